"""A mapping applied to a payload: touchpoints, records that are ignored, and refusals that name the expression."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from processors.intake.mapping import MAX_RECORDS, CompiledMapping, Payload, RecordResult
from schemas.intake.mappings import Mapping
from schemas.outcomes import Reject

RECEIVED = datetime(2026, 11, 28, 12, tzinfo=UTC)
SHOP = """\
source: shop
ignore:
  - {when: test, reason: an order for a test}
common:
  identifiers: {user_id: customer.id, email: [email, customer.email]}
  properties: {currency: currency}
events:
  - when: _headers."X-Topic" == 'orders/create'
    event: Order Completed
    event_id: ["'order'", id]
    occurred_at: created_at
    properties:
      order_id: {get: id, as: text}
      total: {get: total, as: money}
      coupon: {get: coupon, as: text}
      gift: false
      status: {get: state, lookup: {p: paid, r: refunded}, default: open}
      shipment: {fields: {carrier: carrier, weight: {get: weight, as: number}}}
      products:
        each: lines[?quantity > `0`]
        fields:
          product_id: {get: product_id, as: text}
          price: {get: cents, as: minor_money, currency: _record.currency}
          quantity: {get: quantity, as: quantity}
          color: {get: color, as: boolean}
    consent: {marketing: customer.accepts, channels: {sms: customer.sms}}
  - when: customer.joined
    event: Account Created
    event_id: ["'customer'", customer.id]
    traits: {first_name: customer.first_name}
"""
ORDER = {
    "id": 450789469,
    "created_at": "2026-11-28T10:15:30+01:00",
    "email": "",
    "customer": {"id": 207119551, "email": "ada@shop.example", "accepts": "yes", "sms": None},
    "total": "409.94",
    "currency": "EUR",
    "state": "p",
    "carrier": None,
    "lines": [
        {"product_id": 632910392, "cents": 19900, "quantity": 1},
        {"product_id": 808950810, "cents": 10997, "quantity": 2, "color": "yes"},
        {"product_id": 1, "cents": 1, "quantity": 0},
    ],
}
HEADERS = {"x-topic": "orders/create", "authorization": "secret"}


def compiled(text: str) -> CompiledMapping:
    return CompiledMapping(Mapping.model_validate(yaml.safe_load(text)))


def applied(body: Any, text: str = SHOP, headers: dict[str, str] | None = None) -> list[RecordResult]:
    mapping = compiled(text)
    records = mapping.records(Payload(body, RECEIVED, HEADERS if headers is None else headers))
    assert not isinstance(records, Reject)
    return [mapping.apply(record) for record in records]


def refusal(body: Any, text: str = SHOP) -> tuple[str, str]:
    """Return field and message of the only refusal of a payload that gives nothing else."""
    result = applied(body, text)[0]
    assert not result.events
    [(_, rejected)] = result.refusals
    return rejected.field, rejected.message


def test_a_record_becomes_a_touchpoint() -> None:
    [result] = applied(ORDER)

    assert [
        {
            "event_id": "order:450789469",
            "event": "Order Completed",
            "occurred_at": "2026-11-28T09:15:30.000Z",
            "identifiers": [
                {"type": "user_id", "value": 207119551},
                {"type": "email", "value": "ada@shop.example"},
            ],
            "properties": {
                "currency": "EUR",
                "order_id": "450789469",
                "total": "409.94",
                "gift": False,
                "status": "paid",
                "products": [
                    {"product_id": "632910392", "price": "199.00", "quantity": 1},
                    {"product_id": "808950810", "price": "109.97", "quantity": 2, "color": True},
                ],
            },
            "consent": {"marketing": True},
        }
    ] == [one.event for one in result.events]


def test_every_rule_that_applies_gives_one_and_a_time_that_is_not_given_is_that_of_arrival() -> None:
    joined = {**ORDER, "created_at": None, "customer": {**ORDER["customer"], "joined": True}}  # type: ignore[dict-item]

    [result] = applied(joined)

    assert [
        ("Order Completed", "2026-11-28T12:00:00.000Z"),
        ("Account Created", "2026-11-28T12:00:00.000Z"),
    ] == [(one.event["event"], one.event["occurred_at"]) for one in result.events]


def test_a_second_delivery_at_another_time_gives_the_same_ids() -> None:
    mapping = compiled(SHOP)
    ids = []
    for hour in (12, 18):
        records = mapping.records(Payload(ORDER, RECEIVED.replace(hour=hour), HEADERS))
        assert isinstance(records, list)
        ids.append([one.event["event_id"] for one in mapping.apply(records[0]).events])

    assert ids[0] == ids[1] == ["order:450789469"]


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        ({**ORDER, "test": True}, HEADERS, "an order for a test"),
        (ORDER, {"x-topic": "products/update"}, "no rule applies"),
        (ORDER, {}, "no rule applies"),
        ({}, {}, "no rule applies"),
        ("a text", {}, "no rule applies"),
    ],
)
def test_a_record_that_no_rule_is_for_is_ignored_with_the_reason(
    body: Any, headers: dict[str, str], reason: str
) -> None:
    [result] = applied(body, headers=headers)

    assert ([], [], reason) == (result.events, result.refusals, result.ignored)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"total": "abc"}, "properties.total",
         "properties.total is 'abc', which is `total`: it should be a plain decimal number"),
        ({"created_at": "soon"}, "occurred_at", "occurred_at is 'soon', which is `created_at`: it should be a time"),
        ({"id": None}, "event_id", "event_id cannot be made: `id`, a part of it, is missing"),
        ({"id": {"a": 1}}, "event_id", "`id`, a part of it, is no text and no number"),
        ({"lines": [{"product_id": 1, "cents": 1.5, "quantity": 1}]}, "properties.products.0.price",
         "properties.products.0.price is 1.5, which is `cents`: it should be a whole number of minor units"),
        ({"currency": None}, "properties.products.0.price", "its currency should be the three letters"),
        ({"customer": {"id": 1, "accepts": "perhaps"}}, "consent.marketing", "it should be true or false"),
    ],
)  # fmt: skip
def test_a_head_that_cannot_be_read_is_refused_and_names_expression_and_value(
    change: dict[str, Any], field: str, message: str
) -> None:
    refused = refusal({**ORDER, **change})

    assert field == refused[0]
    assert message in refused[1]


def test_a_value_that_may_name_a_person_is_not_shown() -> None:
    refused = refusal({**ORDER, "created_at": "ada@shop.example"})

    assert "ada" not in refused[1]


def test_a_detail_that_cannot_be_read_is_set_aside_and_noted_and_the_order_is_kept() -> None:
    lines = [{"product_id": number, "cents": 100, "quantity": 1, "color": ["red"]} for number in (1, 2)]

    [result] = applied({**ORDER, "coupon": {"code": "A"}, "lines": lines})

    event = result.events[0].event
    assert [
        {"field": "properties.coupon", "rule": "set_aside", "count": 1},
        {"field": "properties.products.color", "rule": "set_aside", "count": 2},
    ] == sorted(event["context"]["mended"], key=lambda note: str(note["field"]))
    assert ("409.94", 2) == (event["properties"]["total"], len(event["properties"]["products"]))


def test_lines_that_cannot_be_read_do_not_cost_the_order() -> None:
    [result] = applied({**ORDER, "lines": [{"product_id": 1, "quantity": "two"}]})

    event = result.events[0].event
    assert ("409.94", [{"field": "properties.products", "rule": "set_aside", "count": 1}]) == (
        event["properties"]["total"],
        event["context"]["mended"],
    )


def test_one_rule_that_is_refused_does_not_cost_the_other() -> None:
    joined = {**ORDER, "total": "abc", "customer": {**ORDER["customer"], "joined": True}}  # type: ignore[dict-item]

    [result] = applied(joined)

    assert ["Account Created"] == [one.event["event"] for one in result.events]
    assert [("order:450789469", "properties.total")] == [(one, rejected.field) for one, rejected in result.refusals]


def test_a_list_is_many_records_and_each_finds_them_inside() -> None:
    inner = SHOP + "each: deliveries[].order\n"

    plain, found = (
        applied([ORDER, None, ORDER]),
        applied({"deliveries": [{"order": ORDER}, {}, {"order": ORDER}]}, inner),
    )

    assert [1, 1] == [len(one.events) for one in plain] == [len(one.events) for one in found]


def test_each_of_several_finds_the_records_inside_those_of_the_one_before() -> None:
    text = """\
source: mail
each: [parse_json(message), "receivers || everybody"]
events: [{event: Email Delivered, event_id: [_record.id, _value], identifiers: {email: _value}}]
"""
    body = {"message": '{"id": "m1", "receivers": ["ada@shop.example", null, "bob@shop.example"]}'}

    found = [one.events[0].event for one in applied(body, text)]

    assert [("m1:ada@shop.example", "ada@shop.example"), ("m1:bob@shop.example", "bob@shop.example")] == [
        (event["event_id"], event["identifiers"][0]["value"]) for event in found
    ]
    assert [] == applied({"message": '{"id": "m1"}'}, text)


def test_what_an_each_cannot_read_refuses_the_payload_and_names_the_expression() -> None:
    text = SHOP + "each: [parse_json(message), receivers]\n"
    refused = compiled(text).records(Payload({"message": "{"}, RECEIVED))

    assert isinstance(refused, Reject)
    assert "each cannot be evaluated: `parse_json(message)`" in refused.message


def test_more_records_than_a_payload_may_have_are_refused_together() -> None:
    refused = compiled(SHOP).records(Payload([{}] * (MAX_RECORDS + 1), RECEIVED))

    assert isinstance(refused, Reject)
    assert "at most 5,000 are accepted" in refused.message


def test_what_is_read_beside_the_record_is_known_and_nothing_else_is_kept() -> None:
    mapping = compiled(SHOP)

    records = mapping.records(Payload(ORDER, RECEIVED, HEADERS, {"token": "secret"}))

    assert isinstance(records, list)
    assert {
        "_headers": {"x-topic": "orders/create"},
        "_query": {},
        "_received_at": "2026-11-28T12:00:00.000Z",
    } == records[0].scope


def test_a_condition_that_cannot_be_evaluated_is_a_refusal() -> None:
    text = SHOP.replace("when: customer.joined", "when: starts_with(kind, 'new')")

    [result] = applied({**ORDER, "kind": None}, text)

    assert (1, ["when"]) == (len(result.events), [rejected.field for _, rejected in result.refusals])


def test_an_id_that_is_too_long_ends_in_a_hash_of_the_whole() -> None:
    text = "source: a\nevents: [{event: A, event_id: id}]"
    first, second = (applied({"id": "x" * 200 + end}, text)[0].events[0].event["event_id"] for end in "ab")

    assert (100, 100) == (len(first), len(second))
    assert first != second


def test_names_and_channels_may_come_from_the_record() -> None:
    text = """\
source: till
events:
  - event: {get: kind, lookup: {sale: Order Completed, return: Order Refunded}}
    channel: {get: where}
    event_id: [kind, id]
    identifiers: {email: {get: mails, verified: confirmed}}
"""
    [result] = applied(
        {"kind": "return", "where": "store", "id": 7.0, "mails": ["a@b.example", ""], "confirmed": 1}, text
    )

    assert {
        "event_id": "return:7",
        "event": "Order Refunded",
        "channel": "store",
        "occurred_at": "2026-11-28T12:00:00.000Z",
        "identifiers": [{"type": "email", "value": "a@b.example", "verified": True}],
    } == result.events[0].event


@pytest.mark.parametrize(
    ("currency", "expected"), [("HUF", "4990"), ("JPY", "4990"), ("KWD", "4.990"), ("EUR", "49.90")]
)
def test_an_own_table_of_minor_units_says_only_what_differs_from_iso_4217(currency: str, expected: str) -> None:
    text = """\
source: till
minor_units: {HUF: 0}
events: [{event: Sold, event_id: id, properties: {price: {get: cents, as: minor_money, currency: currency}}}]
"""
    [result] = applied({"id": 1, "cents": 4990, "currency": currency}, text)

    assert expected == result.events[0].event["properties"]["price"]
