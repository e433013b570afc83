"""A detail of a call that breaks a rule is set aside and noted; what an event is about still has to be right."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processors.intake.odd_details import MAX_DETAILS
from schemas.dead_letters import DeadLetter
from tests.support.builders import touchpoint
from tests.support.calls import ARRIVAL, COLLECT, SERVER, collected, notes, stored

ORDER = {"order_id": "1", "revenue": 10, "currency": "EUR"}


@pytest.mark.parametrize(
    ("odd", "field", "kept"),
    [
        ({"coupon": ["A", "B"]}, "properties.coupon", '["A","B"]'),
        ({"coupon": {"code": "A"}}, "properties.coupon", '{"code":"A"}'),
        ({"affiliation": True}, "properties.affiliation", "true"),
        ({"products": [{"sku": "p", "category": ["Shoes"]}]}, "properties.products.category", '["Shoes"]'),
        ({"products": "sku1"}, "properties.products", '"sku1"'),
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
    ("call", "field"),
    [
        ({"event": "Order Completed", "properties": {**ORDER, "revenue": "much"}}, "properties.revenue"),
        ({"event": "Order Completed", "properties": {**ORDER, "tax": "19%"}}, "properties.tax"),
        ({"event": "Order Completed", "properties": {**ORDER, "order_id": ["1"]}}, "properties.order_id"),
        ({"event": "Order Completed", "properties": {**ORDER, "currency": "Euro"}}, "properties.currency"),
        ({"event": "Order Refunded", "properties": {"revenue": 5, "currency": "EUR"}}, "properties.order_id"),
        ({"event": "E", "userId": ["u"]}, "userId"),
        ({"event": "E", "context": {"traits": {"email": ["a@shop.example"]}}}, "context.traits.email"),
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
    odd: dict[str, list[str]] = {
        name: [] for name in ("ip", "locale", "timezone", "user_agent", "device", "os", "geo", "page", "store_id")
    }
    more: dict[str, Any] = {"campaign": {"source": [], "medium": []}}

    assert 9 + 2 > MAX_DETAILS
    assert 0 == collected({"event": "Order Completed", "properties": ORDER, "context": {**odd, **more}}).accepted


def test_touchpoints_are_held_to_the_contract_in_every_detail() -> None:
    event = touchpoint(context={"os": "iOS"})

    assert ["context.os"] == [
        one.rejected.field for one in COLLECT.touchpoints("shop", SERVER, [event], [ARRIVAL]).refusals
    ]
