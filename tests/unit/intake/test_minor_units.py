"""Fields with the suffix `_minor` have the decimal places that their source declares, whichever way they came."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from processors.intake.decode import decode
from processors.intake.transform import Transforms
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from tests.support.builders import touchpoint


def revenue(units: Any, currency: str, minor: object = 500, source: str = "pay") -> Any:
    """The revenue of an order as the stage `identify` reads it from Kafka."""
    places = Source.model_validate({"channel": "api", "minor_units": units}).minor_unit_places
    event = touchpoint(
        "Order Completed",
        "api",
        source=source,
        properties={"order_id": "o", "currency": currency, "revenue_minor": minor},
    )
    read = decode(
        orjson.dumps(event), channels=frozenset({"api"}), max_bytes=10_000,
        transform=Transforms({}, b"secret", minor_units={"pay": places}),
    )  # fmt: skip
    return read if isinstance(read, Reject) else read["properties"].get("revenue")


@pytest.mark.parametrize(
    ("units", "currency", "expected"),
    [
        (None, "EUR", "5.00"),
        (None, "ISK", "500"),
        (None, "MGA", "5.00"),
        ("iso_4217", "JPY", "500"),
        ("stripe", "EUR", "5.00"),
        ("stripe", "jpy", "500"),
        ("stripe", "ISK", "5.00"),
        ("stripe", "UGX", "5.00"),
        ("stripe", "MGA", "500"),
        ("stripe", "HUF", "5.00"),
        ("stripe", "TWD", "5.00"),
        ("stripe", "KWD", "0.500"),
        ("adyen", "CLP", "5.00"),
        ("adyen", "CVE", "500"),
        ("adyen", "IDR", "500"),
        ("adyen", "KRW", "500"),
        ("sumup", "HUF", "500"),
        ({"HUF": 0}, "HUF", "500"),
        ({"HUF": 0}, "JPY", "500"),
        ({"HUF": 0}, "EUR", "5.00"),
    ],
)
def test_the_source_declares_decimal_places(units: Any, currency: str, expected: str) -> None:
    assert expected == revenue(units, currency)


def test_another_source_keeps_those_of_iso_4217() -> None:
    assert "500" == revenue("stripe", "ISK", source="till")


@pytest.mark.parametrize(("minor", "field"), [(4.5, "properties.revenue_minor"), ("500", "properties.revenue_minor")])
def test_what_is_no_whole_number_is_refused_by_its_own_name(minor: object, field: str) -> None:
    refused = revenue("stripe", "ISK", minor)

    assert isinstance(refused, Reject)
    assert field == refused.field


def test_amounts_of_products_are_converted_by_the_event_s_currency() -> None:
    transforms = Transforms({}, b"secret", minor_units={"pay": {"ISK": 2}})
    event = {
        "source": "pay",
        "properties": {"currency": "ISK", "products": [{"price_minor": 500}, {"price_minor": 7, "price": "1"}, "x"]},
    }

    assert [{"price": "5.00"}, {"price_minor": 7, "price": "1"}, "x"] == transforms(event)["properties"]["products"]
    assert 500 == event["properties"]["products"][0]["price_minor"]  # type: ignore[index]


@pytest.mark.parametrize("units", ["paypal", {"EURO": 2}, {"EUR": 9}])
def test_a_provider_that_is_not_known_is_an_error(units: Any) -> None:
    with pytest.raises(ValidationError):
        Source.model_validate({"channel": "api", "minor_units": units})


def test_changed_decimal_places_are_other_rules_of_validation() -> None:
    """A record that an older collector has marked is validated again."""
    digests = {Transforms({}, b"s", minor_units={"pay": places}).digest for places in ({"ISK": 2}, {"ISK": 0})}

    assert 2 == len(digests - {Transforms({}, b"s").digest})
