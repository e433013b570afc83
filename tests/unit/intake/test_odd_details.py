"""A detail of a call that breaks a rule is set aside and noted; what an event is about still has to be right."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest

from deploy.collector.body import parse
from processors.intake.odd_details import MAX_DETAILS
from schemas.dead_letters import DeadLetter
from tests.support.builders import touchpoint
from tests.support.calls import ARRIVAL, COLLECT, SERVER, collected, notes, stored

ORDER = {"order_id": "1", "revenue": 10, "currency": "EUR"}
TOTAL = {"order_id": "1", "total": 10, "currency": "EUR"}


@pytest.mark.parametrize(
    ("odd", "field", "kept"),
    [
        ({"coupon": ["A", "B"]}, "properties.coupon", '["A","B"]'),
        ({"coupon": {"code": "A"}}, "properties.coupon", '{"code":"A"}'),
        ({"affiliation": True}, "properties.affiliation", "true"),
        ({"products": [{"sku": "p", "category": ["Shoes"]}]}, "properties.products.category", '["Shoes"]'),
        ({"products": "sku1"}, "properties.products", '"sku1"'),
        ({"products": {"0": {"sku": "p"}}}, "properties.products", '{"0":{"sku":"p"}}'),
        ({"products": ["sku1"]}, "properties.products", '["sku1"]'),
        ({"products": [["sku1"], {"sku": "p"}]}, "properties.products", '[["sku1"]]'),
        ({"tax": False}, "properties.tax", "false"),
        ({"shipping": "Free"}, "properties.shipping", '"Free"'),
        ({"discount": "10%"}, "properties.discount", '"10%"'),
        ({"total": "N/A"}, "properties.total", '"N/A"'),
        ({"products": [{"sku": "p", "price": "on request"}]}, "properties.products.price", '"on request"'),
        ({"products": [{"sku": "p", "quantity": "two"}]}, "properties.products.quantity", '"two"'),
        ({"products": [{"sku": "p", "position": "top"}]}, "properties.products.position", '"top"'),
    ],
)  # fmt: skip
def test_an_order_is_kept_whatever_form_its_details_have(odd: dict[str, Any], field: str, kept: str) -> None:
    event = stored({"event": "Order Completed", "properties": {**ORDER, **odd}})

    assert ("1", "10") == (event["properties"]["order_id"], event["properties"]["revenue"])
    assert [(field, "set_aside", 1)] == notes(event)
    assert {field: kept} == event["context"]["set_aside"]


@pytest.mark.parametrize(
    ("context", "fields"),
    [
        ({"os": "iOS"}, ["context.os"]),
        ({"ip": ["203.0.113.9"], "device": "phone"}, ["context.ip", "context.device"]),
        ({"page": "https://shop.example/"}, ["context.page"]),
        ({"page": {"title": 5}}, ["context.page.title"]),
        ({"sessionId": ["s"]}, ["context.session_id"]),
        ({"userAgent": {}, "locale": ["de"]}, ["context.locale", "context.user_agent"]),
        ({"campaign": {"id": []}}, ["campaign.id"]),
    ],
)
def test_circumstances_of_another_form_are_left_out_and_what_may_name_a_person_is_not_kept(
    context: dict[str, Any], fields: list[str]
) -> None:
    event = stored({"event": "Order Completed", "properties": ORDER, "context": context})

    assert sorted(fields) == sorted(field for field, rule, _ in notes(event) if rule == "set_aside")
    assert {"campaign.id"} >= set(event["context"].get("set_aside", {}))


def test_one_odd_value_on_many_lines_is_noted_once_with_their_number() -> None:
    products = [{"product_id": str(number), "category": ["a"] if number else "own"} for number in range(40)]
    event = stored({"event": "Order Completed", "properties": {**ORDER, "products": products}})

    assert [("properties.products.category", "set_aside", 39)] == notes(event)
    assert [str(number) for number in range(40)] == [one["product_id"] for one in event["properties"]["products"]]
    assert ["own"] == [one["category"] for one in event["properties"]["products"] if "category" in one]


def test_a_text_that_is_too_long_is_cut() -> None:
    url = "https://shop.example/?q=" + "x" * 9_000
    event = stored({"context": {"page": {"url": url}}, "properties": {"path": "/"}}, "page")

    assert (url[:8192], [("context.page.url", "cut", 1)]) == (event["context"]["page"]["url"], notes(event))


@pytest.mark.parametrize(
    ("call", "verb", "field", "rule"),
    [
        pytest.param({"event": "Viewed " + "red " * 40}, "track", "event", "cut", id="a long name of an event"),
        pytest.param({"event": "E" * 9_000}, "track", "event", "cut", id="a name that is longer than any text"),
        pytest.param({"event": "E", "properties": {"seen": ["x" * 9_000]}}, "track", "properties.seen", "cut",
                     id="a long text in a list"),
        pytest.param({"event": "E", "context": {"campaign": "summer"}}, "track", "campaign", "set_aside",
                     id="a campaign that is only a name"),
        pytest.param({"event": "Quote Asked", "properties": {"value": 5, "currency": "rupee"}}, "track",
                     "properties.currency", "set_aside", id="the currency of nothing that counts"),
        pytest.param({"event": "Survey Submitted", "properties": {"answers": "yes"}}, "track", "properties.answers",
                     "set_aside", id="a value that is none of several types"),
        pytest.param({"traits": {"email": ["a@shop.example", "b@shop.example"]}}, "identify", "identifiers.email",
                     "set_aside", id="several addresses of somebody who has a name"),
        pytest.param({"event": "E", "properties": []}, "track", "properties", "empty", id="an empty map of PHP"),
        pytest.param({"traits": []}, "identify", "traits", "empty", id="traits that are an empty map of PHP"),
        pytest.param({"event": "E", "context": {"device": []}}, "track", "context.device", "empty",
                     id="a device that is an empty map of PHP"),
        pytest.param({"event": "Product Viewed", "properties": {"price": "from 10"}}, "track", "properties.price",
                     "set_aside", id="the price of what was only looked at"),
    ],
)  # fmt: skip
def test_a_call_is_kept_without_the_detail(call: dict[str, Any], verb: str, field: str, rule: str) -> None:
    assert [(field, rule, 1)] == notes(stored(call, verb))


def test_a_call_with_an_empty_list_for_its_context_is_kept() -> None:
    assert "m" == stored({"event": "E", "context": []})["event_id"]


def test_the_whole_of_a_name_that_was_cut_is_kept() -> None:
    event = stored({"event": "Viewed " + "red " * 40})

    assert "Viewed " + "red " * 22 + "red r" == event["event"]
    assert {"event": f'"Viewed {"red " * 40}"'} == event["context"]["set_aside"]


def test_several_odd_numbers_on_many_lines_cost_neither_the_order_nor_the_numbers_that_can_be_read() -> None:
    odd = [{"product_id": str(n), "price": f"from {n}", "position": f"row {n}", "category": []} for n in range(100)]
    good = {"product_id": "good", "price": "5.00", "position": "3", "category": "Shoes", "quantity": 1}
    event = stored({"event": "Order Completed", "properties": {**ORDER, "products": [*odd, good]}})

    assert {(f"properties.products.{name}", "set_aside", 100) for name in ("price", "position", "category")} == set(
        notes(event)
    )
    assert {**good, "position": 3} == event["properties"]["products"][-1]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ({"event": "Order Completed", "properties": {**ORDER, "revenue": "much"}}, "properties.revenue"),
        ({"event": "Order Completed", "properties": {**TOTAL, "tax": "19%"}}, "properties.tax"),
        ({"event": "Order Completed", "properties": {**TOTAL, "shipping": "Free"}}, "properties.shipping"),
        ({"event": "Order Completed", "properties": {**TOTAL, "total": "N/A"}}, "properties.total"),
        ({"event": "Order Completed", "properties": {**TOTAL, "revenue_minor": "10,00"}}, "properties.revenue_minor"),
        ({"event": "Order Refunded", "properties": {**ORDER, "refunded_total": "all"}}, "properties.refunded_total"),
        ({"event": "Order Completed", "properties": {**ORDER, "store_id": ["s"]}}, "properties.store_id"),
        ({"event": "Product Viewed", "properties": {"price": 5, "currency": "kr"}}, "properties.currency"),
        ({"event": "Offer Made", "properties": {"revenue": 5, "currency": "kr"}}, "properties.currency"),
        ({"event": "Product Viewed", "properties": {"product_id": ["p"]}}, "properties.product_id"),
        ({"event": "Price Changed", "properties": {"product_id": "p", "price": "on request"}}, "properties.price"),
        ({"event": "Stock Changed", "properties": {"product_id": "p", "quantity": "few"}}, "properties.quantity"),
        ({"event": " " * 101}, "event"),
        ({"event": "E", "context": ["de"]}, "context"),
        ({"event": "E", "messageId": "m" * 101}, "messageId"),
        ({"event": "E", "properties": {"order_id": "1" * 9_000}}, "properties.order_id"),
        ({"event": "Order Completed", "properties": {**ORDER, "order_id": ["1"]}}, "properties.order_id"),
        ({"event": "Order Completed", "properties": {**ORDER, "currency": "kr"}}, "properties.currency"),
        ({"event": "Order Refunded", "properties": {"revenue": 5, "currency": "EUR"}}, "properties.order_id"),
        ({"event": "E", "userId": ["u"]}, "userId"),
        ({"event": "E", "userId": None, "context": {"traits": {"email": ["a@shop.example"]}}}, "context.traits.email"),
        ({"event": "E", "context": {"traits": {"email": 5.5}}}, "context.traits.email"),
        ({"event": "E", "properties": ["a"]}, "properties"),
        ({"event": 5}, "event"),
    ],
)
def test_who_what_and_how_much_are_no_details(call: dict[str, Any], field: str) -> None:
    found = collected(call)

    assert (0, [field]) == (found.accepted, [one.rejected.field for one in found.refusals])


def test_the_dead_letter_of_a_call_keeps_its_odd_details() -> None:
    found = collected({"event": "Order Completed", "properties": {**ORDER, "coupon": ["A"], "revenue": "much"}})
    letter = DeadLetter.model_validate_json(found.outgoing[0].value)

    assert ["A"] == orjson.loads(letter.value)["properties"]["coupon"]


def test_an_event_of_odd_details_alone_is_refused() -> None:
    odd: dict[str, list[int]] = {
        name: [1] for name in ("ip", "locale", "timezone", "user_agent", "device", "os", "geo", "page", "store_id")
    }
    more: dict[str, Any] = {"campaign": {"source": [1], "medium": [1]}}

    assert 9 + 2 > MAX_DETAILS
    assert 0 == collected({"event": "Order Completed", "properties": ORDER, "context": {**odd, **more}}).accepted


def test_touchpoints_are_held_to_the_contract_in_every_detail() -> None:
    event = touchpoint(context={"os": "iOS"})

    assert ["context.os"] == [
        one.rejected.field for one in COLLECT.touchpoints("shop", SERVER, [event], [ARRIVAL]).refusals
    ]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "1" * 400])
@pytest.mark.parametrize(
    "field", ["properties.discount", "properties.size", "properties.products.price", "context.score", "traits.age"]
)
def test_a_number_that_json_cannot_hold_costs_its_detail_alone(number: str, field: str) -> None:
    """As Python writes what is missing in a table of pandas, and `null` takes its place, as a browser writes it."""
    call: dict[str, Any] = {
        "event": "Order Completed",
        "properties": {**ORDER, "products": [{"sku": "p"}, {"sku": "q"}]},
    }
    part, *above, name = field.split(".")
    inside = call["properties"]["products"][1] if above else call.setdefault(part, {})
    inside[name] = "number"
    verb = "identify" if part == "traits" else "track"

    event = stored(parse(orjson.dumps(call).replace(b'"number"', number.encode()), 1 << 20), verb)

    assert [(field, "set_aside", 1)] == notes(event)
    assert part == "traits" or name not in (event.get(part) or {})
    assert None is (event.get("traits") or {}).get(name)
    assert part == "traits" or Decimal(10) == Decimal(event["properties"]["revenue"])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
@pytest.mark.parametrize("field", ["revenue", "order_id"])
def test_a_number_that_json_cannot_hold_is_no_worth_and_no_id(number: str, field: str) -> None:
    call = {"event": "Order Completed", "properties": {**ORDER, field: "number"}}

    found = collected(parse(orjson.dumps(call).replace(b'"number"', number.encode()), 1 << 20))

    [refused] = [one.rejected for one in found.refusals]
    assert ("not_json", f"properties.{field}") == (refused.reason.value, refused.field)
    assert f"in properties.{field}: leave the field out" in refused.message


def test_odd_details_beside_a_number_that_json_cannot_hold_are_set_aside_as_well() -> None:
    call = parse(
        b'{"event":"Order Completed","properties":{"order_id":"1","revenue":10,"currency":"EUR",'
        b'"tax":NaN,"ratio":Infinity,"coupon":["A"],"note":"\\ud83d"}}', 1 << 20,
    )  # fmt: skip

    event = stored(call)

    assert {"order_id": "1", "revenue": "10", "currency": "EUR", "note": "\ufffd"} == event["properties"]


def test_an_odd_detail_beside_half_a_surrogate_pair_is_set_aside() -> None:
    event = stored({"event": "Order Completed", "properties": {**ORDER, "coupon": ["A"], "note": "Ada \ud83d"}})

    assert [("properties.note", "surrogate", 1), ("properties.coupon", "set_aside", 1)] == notes(event)
    assert "Ada \ufffd" == event["properties"]["note"]
