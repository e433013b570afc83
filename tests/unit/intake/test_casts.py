"""Values that vendors and files write in their own ways."""

from __future__ import annotations

from typing import Any

import pytest

from processors.intake.casts import CastError, cast
from schemas.intake.mappings import ValueMapping
from schemas.money import MINOR_UNITS


def read(value: Any, how: dict[str, Any], currency: Any = None, table: str = "iso_4217") -> Any:
    return cast(value, ValueMapping.model_validate({"get": "a", **how}), currency, MINOR_UNITS[table])


@pytest.mark.parametrize(
    ("value", "how", "expected"),
    [
        (632910392.0, {"as": "text"}, "632910392"),
        (4.5, {"as": "text"}, "4.5"),
        ("12", {"as": "integer"}, 12),
        (12.0, {"as": "integer"}, 12),
        ("1.50", {"as": "number"}, 1.5),
        ("0.375", {"as": "quantity"}, 0.375),
        ("Yes", {"as": "boolean"}, True),
        (0, {"as": "boolean"}, False),
        ("409.94", {"as": "money"}, "409.94"),
        (836.9999999999998, {"as": "money"}, "837"),
        (" 5 ", {"as": "money"}, "5"),
        ("1.234,50", {"as": "money", "decimal": ","}, "1234.50"),
        ("1 234,50", {"as": "money", "decimal": ","}, "1234.50"),
        ("1,234.50", {"as": "money", "decimal": "."}, "1234.50"),
        ("12,5", {"as": "quantity", "decimal": ","}, 12.5),
        ("2026-11-28T10:15:30-05:00", {"as": "time"}, "2026-11-28T15:15:30.000Z"),
        (1795860930, {"as": "time"}, "2026-11-28T10:15:30.000Z"),
        ("1795860930123", {"as": "time"}, "2026-11-28T10:15:30.123Z"),
        (1249409679.5, {"as": "time"}, "2009-08-04T18:14:39.500Z"),
        ("Sat, 28 Nov 2026 10:15:30 +0100", {"as": "time"}, "2026-11-28T09:15:30.000Z"),
        ("2026-11-28T10:15:30", {"as": "time", "zone": "UTC"}, "2026-11-28T10:15:30.000Z"),
        ("2026-11-28 10:15", {"as": "time", "zone": "Europe/Berlin"}, "2026-11-28T09:15:00.000Z"),
        ("28.11.2026 10:15", {"as": "time", "zone": "Europe/Berlin", "format": "%d.%m.%Y %H:%M"},
         "2026-11-28T09:15:00.000Z"),
        ("24.12.1980", {"as": "date", "format": "%d.%m.%Y"}, "1980-12-24"),
        ("46354.4274305556", {"as": "time", "zone": "Europe/Berlin", "format": "excel"}, "2026-11-28T09:15:30.000Z"),
        ("46354,5", {"as": "time", "zone": "UTC", "format": "excel"}, "2026-11-28T12:00:00.000Z"),
        (46354, {"as": "time", "zone": "UTC", "format": "excel"}, "2026-11-28T00:00:00.000Z"),
        ("29579", {"as": "date", "format": "excel"}, "1980-12-24"),
        (29579.0, {"as": "date", "format": "excel"}, "1980-12-24"),
        ("1980-12-24T00:00:00Z", {"as": "date"}, "1980-12-24"),
        (["1", None, "2"], {"as": "integer"}, [1, 2]),
        ({"kept": "as it is"}, {}, {"kept": "as it is"}),
    ],
)  # fmt: skip
def test_a_value_is_read_as_its_type(value: Any, how: dict[str, Any], expected: Any) -> None:
    assert expected == read(value, how)


@pytest.mark.parametrize(
    ("value", "currency", "table", "expected"),
    [
        (4990, "eur", "iso_4217", "49.90"),
        ("4990", "EUR", "iso_4217", "49.90"),
        (4990, "JPY", "iso_4217", "4990"),
        (4990, "KWD", "stripe", "4.990"),
        (4990, "mga", "stripe", "4990"),
        (4990, "MGA", "iso_4217", "49.90"),
        (500000, "ISK", "stripe", "5000.00"),
        (5000, "ISK", "iso_4217", "5000"),
        (-100, "USD", "stripe", "-1.00"),
    ],
)
def test_minor_units_are_those_of_the_provider(value: Any, currency: str, table: str, expected: str) -> None:
    assert expected == read(value, {"as": "minor_money", "currency": "c"}, currency, table)


@pytest.mark.parametrize(
    ("value", "how", "currency", "rule"),
    [
        ({}, {"as": "text"}, None, "it should be a text or a number"),
        ("1.5", {"as": "integer"}, None, "it should be a whole number"),
        ("nan", {"as": "number"}, None, "it should be a number"),
        ("maybe", {"as": "boolean"}, None, "use `lookup` for other words"),
        ("1,234.50", {"as": "money"}, None, "a plain decimal number"),
        ("1.234.50", {"as": "money", "decimal": ","}, None, "a comma before its decimal places"),
        ("12.50", {"as": "money", "decimal": ","}, None, "a comma before its decimal places"),
        ("19.99999", {"as": "money"}, None, "at most 4 decimal places"),
        (49.9, {"as": "minor_money", "currency": "c"}, "EUR", "a whole number of minor units"),
        (4990, {"as": "minor_money", "currency": "c"}, None, "the three letters of ISO 4217"),
        ("2026-11-28 10:15", {"as": "time"}, None, "has no offset from UTC"),
        ("28/11/2026", {"as": "time", "zone": "UTC"}, None, "it should be a time"),
        ("0026-11-28T10:15:30Z", {"as": "time"}, None, "its year should be from 1970 to 2100"),
        (5, {"as": "time"}, None, "seconds or milliseconds since 1970"),
        ("2026-11-28", {"as": "time", "format": "%d.%m.%Y"}, None, "in the form %d.%m.%Y"),
        ("04/05/1990", {"as": "date"}, None, "name its `format`"),
        ("0", {"as": "time", "zone": "UTC", "format": "excel"}, None, "days as Excel counts them"),
        ("123456", {"as": "time", "zone": "UTC", "format": "excel"}, None, "days as Excel counts them"),
        ("2026-11-28", {"as": "date", "format": "excel"}, None, "days as Excel counts them"),
        ("400", {"as": "time", "zone": "UTC", "format": "excel"}, None, "its year should be from 1970 to 2100"),
        ("46354.5", {"as": "time", "format": "excel"}, None, "has no offset from UTC"),
        ("2 kg", {"as": "quantity"}, None, "a decimal of at most"),
    ],
)  # fmt: skip
def test_what_has_another_meaning_or_none_is_refused(value: Any, how: dict[str, Any], currency: Any, rule: str) -> None:
    with pytest.raises(CastError) as error:
        read(value, how, currency)

    assert rule in str(error.value)
