"""A symbol of one currency is its code; of one that several share, only a currency that is known decides."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processors.intake.decode import decode
from processors.intake.transform import Transforms
from schemas.currencies import currency_code, sharing
from schemas.events.touchpoint import read
from schemas.outcomes import Reject
from tests.support.builders import touchpoint


def sale(currency: object, **properties: Any) -> dict[str, Any]:
    known = {"order_id": "o", "revenue": "5", "currency": currency}
    return touchpoint("Order Completed", "api", source="shop", properties={**known, **properties})


def decoded(event: dict[str, Any], **sources: str) -> Any:
    """An event as a worker reads it from Kafka, with the currencies that sources declare."""
    transforms = Transforms({}, b"secret", currencies=sources)
    return decode(orjson.dumps(event), channels=frozenset({"api"}), max_bytes=10_000, transform=transforms)


def notes(event: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(note["field"], note["rule"], note["count"]) for note in event.get("context", {}).get("mended", ())]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("€", "EUR"), ("£", "GBP"), ("US$", "USD"), ("US $", "USD"), ("zł", "PLN"), ("ZŁ", "PLN"), ("Kč", "CZK"),
        ("Ft", "HUF"), ("₹", "INR"), ("R$", "BRL"), ("CA$", "CAD"), ("₺", "TRY"), ("₩", "KRW"), ("CN¥", "CNY"),
        ("Euro", "EUR"), ("EUROS", "EUR"), ("978", "EUR"), (840, "USD"), (36, "AUD"), ("EUR €", "EUR"), ("$USD", "USD"),
        ("￡", "GBP"), ("\u200e€", "EUR"), ("zł.", "PLN"), ("ＥＵＲ", "EUR"),
        ("yen", "JPY"), ("RMB", "CNY"), ("NIS", "ILS"), ("UKP", "GBP"), ("Bitcoin", "BTC"), ("EURO", "EUR"),
    ],
)  # fmt: skip
def test_what_means_one_currency_is_its_code(sent: object, code: str) -> None:
    event = read(sale(sent))

    assert (code, "5") == (event["properties"]["currency"], event["properties"]["revenue"])
    assert [("properties.currency", "currency", 1)] == notes(event)
    assert event == read(event)


@pytest.mark.parametrize(
    ("sent", "code", "rules"),
    [("eur", "EUR", []), (" EUR ", "EUR", ["blanks"]), ("chf\t", "CHF", ["blanks"]), ("\u00a0sek", "SEK", ["blanks"])],
)
def test_small_letters_and_blanks_are_no_obstacle(sent: str, code: str, rules: list[str]) -> None:
    event = read(sale(sent))

    assert (code, rules) == (event["properties"]["currency"], [rule for _, rule, _ in notes(event)])


@pytest.mark.parametrize(
    "sent",
    [
        "$",
        "kr",
        "kr.",
        "¥",
        "￥",
        "Rs",
        "C$",
        "R",
        "元",
        "USD €",
        "EUR/USD",
        "E",
        "EUR1",
        "MY OWN LOYALTY",
        "?",
        "¤",
        "peso",
        "rubles",
        0,
        5.5,
        True,
        ["EUR"],
        {},
    ],
)
def test_what_may_mean_several_or_none_is_refused_with_the_order(sent: object) -> None:
    refused = decoded(sale(sent))

    assert isinstance(refused, Reject)
    assert "properties.currency" == refused.field


def test_the_refusal_says_whose_symbol_it_is_and_what_to_do() -> None:
    refused = decoded(sale("kr"))

    assert (
        "properties.currency is 'kr': it may be SEK, NOK, DKK, ISK: send the three letters of ISO 4217, or name the "
        "currency of the source in sources.yaml." == refused.message
    )
    assert "it may be USD, AUD, CAD, NZD, SGD, …: send" in decoded(sale("$")).message
    assert "it should be the three letters of ISO 4217, such as EUR" in decoded(sale("EUR/USD")).message


@pytest.mark.parametrize(
    ("sent", "known", "code"),
    [
        ("kr", "SEK", "SEK"), ("kr.", "DKK", "DKK"), ("$", "CAD", "CAD"), ("¥", "CNY", "CNY"), ("Rs", "LKR", "LKR"),
        ("£", "EGP", "EGP"), ("£", "EUR", "GBP"), ("€", "SEK", "EUR"), ("US$", "CAD", "USD"), ("DKK", "SEK", "DKK"),
        ("CFA", "XOF", "XOF"), ("lei", "RON", "RON"),
    ],
)  # fmt: skip
def test_the_currency_of_the_source_decides_what_a_shared_symbol_means(sent: str, known: str, code: str) -> None:
    assert code == decoded(sale(sent), shop=known)["properties"]["currency"]


def test_a_shared_symbol_of_which_the_source_has_none_is_refused() -> None:
    assert isinstance(decoded(sale("$"), shop="EUR"), Reject)
    assert isinstance(decoded(sale("kr"), other="SEK"), Reject)


def test_a_shared_symbol_that_is_read_is_noted_beside_what_the_producer_noted() -> None:
    event = {**sale("kr"), "context": {"mended": [{"field": "x", "rule": "y", "count": 1}]}}

    assert [("x", "y", 1), ("properties.currency", "currency", 1)] == notes(decoded(event, shop="NOK"))


@pytest.mark.parametrize(
    ("sent", "minor", "expected"), [("₩", 5000, "5000"), ("€", 4990, "49.90"), ("د.ك", 1500, "1.500"), (978, 5, "0.05")]
)
def test_minor_units_are_those_of_the_currency_that_is_meant(sent: object, minor: int, expected: str) -> None:
    event = sale(sent, revenue=None, revenue_minor=minor)

    assert expected == read(event)["properties"]["revenue"]
    by_source = Transforms({}, b"s", minor_units={"shop": {"KRW": 0, "KWD": 3}})(event)
    assert expected == read(by_source)["properties"]["revenue"]


def test_a_line_has_a_currency_by_its_symbol_and_shares_that_of_its_order() -> None:
    lines = [{"product_id": "a", "price": "1", "currency": "$"}, {"product_id": "b", "price": "2", "currency": "€"}]
    event = read(sale("AUD", products=lines))

    assert ["AUD", "EUR"] == [line["currency"] for line in event["properties"]["products"]]
    assert isinstance(decoded(sale("EUR", products=lines[:1])), Reject)


@pytest.mark.parametrize("sent", ["DEM", "itl", "BTC", "usdt", "GBX", "CNH", "JEP", "XCG", "ZWG", "HRK"])
def test_a_code_that_a_list_has_is_a_currency_of_today_before_or_of_no_state(sent: str) -> None:
    event = read(sale(sent))

    assert (sent.upper(), []) == (event["properties"]["currency"], notes(event))


@pytest.mark.parametrize("sent", ["XYZ", "abc", "EURX", "Points", "ERU"])
def test_letters_that_no_list_has_are_a_currency_of_their_own_and_noted(sent: str) -> None:
    event = decoded(sale(sent, products=[{"product_id": "p", "price": "5", "currency": sent}, {"product_id": "q"}]))

    assert ("o", "5", sent.upper()) == tuple(event["properties"][name] for name in ("order_id", "revenue", "currency"))
    assert [
        ("properties.currency", "unknown_currency", 1), ("properties.products.currency", "unknown_currency", 1),
    ] == notes(event)  # fmt: skip
    assert event == read(event)


def test_an_unknown_currency_is_noted_where_what_a_producer_noted_is_no_note() -> None:
    event = read({**sale("XYZ"), "context": {"mended": ["odd"]}})

    assert {"field": "properties.currency", "rule": "unknown_currency", "count": 1} in event["context"]["mended"]


def test_what_a_custom_event_calls_the_currency_of_its_lines_is_its_own_affair() -> None:
    event = touchpoint("Quote Asked", properties={"products": [{"currency": ["EUR"]}, {"currency": 5}, "line"]})

    assert [] == notes(read(event))


def test_a_code_is_no_symbol() -> None:
    assert ("SEK", None, ()) == (currency_code("sek"), currency_code("s" * 1_000), sharing("SEK"))
