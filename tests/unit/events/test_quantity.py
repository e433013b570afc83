"""Quantities are exact decimals with up to 5 places, as scales and tills send them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from processors.profiles.cart import lines
from processors.segments.purchase_attributes import readers
from schemas.events.touchpoint import read
from schemas.quantity import plus, to_quantity
from tests.support.builders import at, touchpoint
from tests.support.profiles import resolved, told


def read_quantity(sent: object) -> dict[str, Any]:
    return read(touchpoint("Product Added", properties={"product_id": "cheese", "quantity": sent}))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("0.375", 0.375),
        (0.375, 0.375),
        ("1.50000", 1.5),
        ("0.00001", 0.00001),
        (1e-05, 0.00001),
        ("2", 2),
        (2.0, 2),
        ("2.000", 2),
        ("0.37500000", 0.375),
        (999_999_999.99999, 999_999_999.99999),
        (1_000_000_000, 1_000_000_000),
        (Decimal("12.34567"), 12.34567),
        (-1, -1),
        ("-1", -1),
        ("-0.375", -0.375),
        (-0.00001, -0.00001),
        (0, 0),
        ("0.000", 0),
        ("-1000000000", -1_000_000_000),
    ],
)
def test_a_quantity_is_a_number_whose_shortest_text_is_the_decimal(sent: object, expected: float) -> None:
    written = read_quantity(sent)
    quantity = written["properties"]["quantity"]

    assert (expected, type(expected)) == (quantity, type(quantity))
    assert Decimal(str(sent)) == Decimal(repr(quantity))
    assert "context" not in written
    assert written == read(orjson.loads(orjson.dumps(written)))


@pytest.mark.parametrize(
    ("sent", "expected", "rule"),
    [
        (0.1 + 0.2, 0.3, "float_sum"),
        (2.9999999999999996, 3, "float_sum"),
        (1e-17, 0, "float_sum"),
        (-2.9999999999999996, -3, "float_sum"),
        ("٠٫٣٧٥", 0.375, "digits"),
        ("", 1, "empty"),
        (1.123456, 1.12346, "rounded"),
        ("1.123456", 1.12346, "rounded"),
        (1 / 3, 0.33333, "rounded"),
        (-0.1234565, -0.12346, "rounded"),
        ("0.000015", 0.00002, "rounded"),
        ("2.9999999", 3, "rounded"),
        ("999999999.1234567", 999_999_999.12346, "rounded"),
    ],
)
def test_a_quantity_with_one_meaning_is_mended(sent: object, expected: float, rule: str) -> None:
    written = read_quantity(sent)

    assert (expected, type(expected)) == (found := written["properties"]["quantity"], type(found))
    assert [{"field": "properties.quantity", "rule": rule, "count": 1}] == written["context"]["mended"]


@pytest.mark.parametrize(
    "sent",
    [
        0.000001,
        "-0.000001",
        "0.0000049",
        "0.000005",
        "1." + "1" * 41,
        "1000000000.000009",
        "1.123456 kg",
        "0,375",
        "1e3",
        "--1",
        "-",
        "375 g",
        1_000_000_000.5,
        -1_000_000_001,
        "1.",
        [1],
        {},
    ],
)
def test_what_is_no_quantity_is_refused(sent: object) -> None:
    with pytest.raises(ValidationError) as caught:
        read_quantity(sent)
    assert ["quantity"] == [error["type"] for error in caught.value.errors()]


@pytest.mark.parametrize(
    ("first", "second", "expected"), [(0.1, 0.2, 0.3), (1, 2, 3), (0.5, 0.5, 1), (1_000_000, 0.00001, 1_000_000.00001)]
)
def test_quantities_add_up_exactly(first: float, second: float, expected: float) -> None:
    assert (expected, type(expected)) == (plus(first, second), type(plus(first, second)))
    assert first == plus(plus(first, second), second, -1)


def test_a_cart_holds_what_was_weighed_to_the_gram() -> None:
    def change(verb: str, quantity: object, second: int) -> dict[str, Any]:
        about = {"product_id": "cheese", "price": "19.90", "currency": "EUR", "quantity": quantity}
        return resolved(f"Product {verb}", occurred_at=at(seconds=second), properties=about)

    added = [change("Added", "0.1", 1), change("Added", 0.2, 2), change("Added", 1, 3)]
    whole = told(*added)
    [line] = lines(told(*added, change("Removed", 0.3, 4)))
    rest = lines(told(*added, change("Removed", 1.3, 4)))

    assert [1.3] == [one["quantity"] for one in lines(whole)]
    assert (1, int) == (line["quantity"], type(line["quantity"]))
    assert [] == rest
    assert {"cart.items", "cart.value"} <= readers().keys()


def test_to_quantity_reads_what_events_may_hold() -> None:
    assert 0.375 == to_quantity(Decimal("0.3750"))
