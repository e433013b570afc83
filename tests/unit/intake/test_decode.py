"""What a record's bytes become: an event, or a reason that a producer can act on."""

from __future__ import annotations

import gc
from typing import Any

import orjson
import pytest

from processors.intake.decode import decode
from schemas.dead_letters import Reason
from schemas.events.touchpoint import read
from schemas.outcomes import Reject
from tests.support.builders import order, touchpoint

CHANNELS = frozenset({"web", "app", "email"})
MAX_BYTES = 65_536
ADVICE = 'send a decimal string in major units such as "49.90", or minor units in the field with the suffix _minor.'
ISO = "send the three letters of ISO 4217, such as EUR."


def refused(value: bytes | None, max_bytes: int = MAX_BYTES) -> Reject:
    outcome = decode(value, channels=CHANNELS, max_bytes=max_bytes)
    assert isinstance(outcome, Reject), outcome
    return outcome


def dumped(event: dict[str, Any]) -> bytes:
    return orjson.dumps(event)


def with_properties(raw: bytes) -> bytes:
    return dumped(touchpoint("Custom", properties={"x": "HERE"})).replace(b'"HERE"', raw)


def test_a_good_record_becomes_the_event_that_parse_makes() -> None:
    event = order("o1")

    assert read(event) == decode(dumped(event), channels=CHANNELS, max_bytes=MAX_BYTES)


@pytest.mark.parametrize(
    ("value", "reason", "text"),
    [
        pytest.param(None, Reason.NOT_AN_OBJECT, "no value (a tombstone)", id="tombstone"),
        pytest.param(b"", Reason.NOT_JSON, "send one JSON object a record", id="empty"),
        pytest.param(b"  \n", Reason.NOT_JSON, "send one JSON object a record", id="blank"),
        pytest.param(b"hello", Reason.NOT_JSON, "line 1, column 1", id="plain text"),
        pytest.param(b"{'event': 'x'}", Reason.NOT_JSON, "line 1, column 2", id="Python's repr"),
        pytest.param(b'{"a": 1,}', Reason.NOT_JSON, "column 8", id="trailing comma"),
        pytest.param(b'{"a": 1} {"a": 2}', Reason.NOT_JSON, "send one JSON object a record", id="two documents"),
        pytest.param(b'{"a": "b', Reason.NOT_JSON, "was it cut off?", id="truncated"),
        pytest.param(b"\xef\xbb\xbf{}", Reason.NOT_JSON, "remove the byte order mark", id="byte order mark"),
        pytest.param("{}".encode("utf-16"), Reason.NOT_JSON, "UTF-8", id="UTF-16"),
        pytest.param('{"a": "é"}'.encode("latin-1"), Reason.NOT_JSON, "send UTF-8", id="Latin-1"),
        pytest.param(b'{"a": NaN}', Reason.NOT_JSON, "JSON knows no NaN", id="NaN"),
        pytest.param(b'{"a": -Infinity}', Reason.NOT_JSON, "not JSON", id="Infinity"),
        pytest.param(b'{"a": 1e400}', Reason.NOT_JSON, "send a number of a usual size", id="1e400"),
        pytest.param(b'{"a": 01}', Reason.NOT_JSON, "not JSON", id="leading zero"),
        pytest.param(b'{"a": "\\ud800"}', Reason.NOT_JSON, "half a surrogate pair", id="lone surrogate"),
        pytest.param(b'{"a": "\x00"}', Reason.NOT_JSON, "escape control characters", id="raw NUL"),
        pytest.param(b"\x00\x00\x00\x00\x01avro", Reason.NOT_JSON, "not JSON", id="Avro frame"),
        pytest.param(b"<event/>", Reason.NOT_JSON, "not JSON", id="XML"),
        pytest.param(b"null", Reason.NOT_AN_OBJECT, "The record is null", id="null"),
        pytest.param(b"[]", Reason.NOT_AN_OBJECT, "The record is a list", id="list"),
        pytest.param(b'"{}"', Reason.NOT_AN_OBJECT, "The record is a text", id="double-encoded"),
        pytest.param(b"5", Reason.NOT_AN_OBJECT, "The record is a number", id="number"),
        pytest.param(b'"' + b"x" * MAX_BYTES + b'"', Reason.TOO_LARGE, "65538 bytes: at most 65536", id="too large"),
        pytest.param(b"[" * 30_000 + b"]" * 30_000, Reason.TOO_DEEP, "flatten it", id="30,000 lists"),
        pytest.param(b'{"a":' * 8_000 + b"1" + b"}" * 8_000, Reason.TOO_DEEP, "flatten it", id="8,000 objects"),
        pytest.param(b"[" * 60_000, Reason.TOO_DEEP, "flatten it", id="lists that never end"),
    ],
)
def test_a_record_that_is_no_object_is_refused_as_a_whole(value: bytes | None, reason: Reason, text: str) -> None:
    outcome = refused(value)

    assert (reason, "") == (outcome.reason, outcome.field)
    assert text in outcome.message


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        pytest.param(b"[" * 15 + b"]" * 15, Reason.TOO_DEEP, "properties.x" + ".0" * 14, id="17 levels"),
        pytest.param(b"[" + b'{"":1},' * 12_000 + b"0]", Reason.TOO_MANY_KEYS, "properties.x.11991", id="12,000 keys"),
        pytest.param(b'{"' + b"y" * 9000 + b'":1}', Reason.INVALID_FIELD, "properties.x", id="long key"),
        pytest.param(b'{"a\\u0000": 1}', Reason.INVALID_FIELD, "properties.x", id="escaped NUL in a key"),
    ],
)
def test_free_properties_are_bounded(raw: bytes, reason: Reason, field: str) -> None:
    outcome = refused(with_properties(raw), max_bytes=200_000)

    assert (reason, field) == (outcome.reason, outcome.field)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b'"\\\\u0000"', "\\u0000", id="a backslash before u0000 is no NUL"),
        pytest.param(b"123456789012345678901234567890", 1.2345678901234568e29, id="a huge integer is a float"),
        pytest.param(b'{"a":1,"a":2}', {"a": 2}, id="of keys given twice the last counts"),
        pytest.param(b'"\\ud83d\\ude00"', "😀", id="a whole surrogate pair"),
        pytest.param(b'"{{{{{{{{{{[[[[[[[["', "{" * 10 + "[" * 8, id="brackets in a text"),
        pytest.param(b"1e-400", 0.0, id="1e-400 is nothing"),
        pytest.param(b'{"__class__":"x","model_dump":1}', {"__class__": "x", "model_dump": 1}, id="names of Python"),
    ],
)
def test_unusual_but_valid_json_is_kept(raw: bytes, expected: Any) -> None:
    event = decode(with_properties(raw), channels=CHANNELS, max_bytes=MAX_BYTES)

    assert not isinstance(event, Reject), event
    assert expected == event["properties"]["x"]


@pytest.mark.parametrize(
    ("event", "reason", "field", "message"),
    [
        pytest.param(
            touchpoint(event_id=None), Reason.MISSING_FIELD, "event_id",
            "event_id is missing: every event of this kind needs it; send it.",
            id="missing",
        ),
        pytest.param(
            touchpoint("Order Completed", properties={"order_id": "o", "revenue": 9.98765}),
            Reason.INVALID_FIELD, "properties.revenue",
            "properties.revenue is 9.98765: it should have at most 4 decimal places (a sum of floats? "
            f"round it): {ADVICE}",
            id="five places",
        ),
        pytest.param(
            touchpoint("Order Completed", properties={"order_id": "o", "products": [{"price": "free"}]}),
            Reason.INVALID_FIELD, "properties.products.0.price",
            "properties.products.0.price is 'free': it should be a plain decimal number: " + ADVICE,
            id="price in a product",
        ),
        pytest.param(
            touchpoint("Order Completed", properties={"order_id": "o", "products": [{"quantity": "-1 kg"}]}),
            Reason.INVALID_FIELD, "properties.products.0.quantity",
            "properties.products.0.quantity is '-1 kg': it should be a decimal of at most 1000000000 in size, "
            "with at most 5 places.",
            id="quantity with a unit",
        ),
        pytest.param(
            touchpoint("Order Completed", properties={"order_id": "o", "revenue_minor": 5}),
            Reason.MISSING_FIELD, "properties.currency",
            "properties.currency is missing: revenue_minor is in minor units of it; " + ISO,
            id="minor units of nothing",
        ),
        pytest.param(
            touchpoint("Order Completed", properties={"order_id": "o", "products": [{}, {"price_minor": 5}]}),
            Reason.MISSING_FIELD, "properties.products.1.currency",
            "properties.products.1.currency is missing: price_minor is in minor units of it; " + ISO,
            id="minor units in a product",
        ),
        pytest.param(
            touchpoint("Order Completed", properties={"order_id": "o", "tax_minor": 5.5, "currency": "EUR"}),
            Reason.INVALID_FIELD, "properties.tax_minor",
            "properties.tax_minor is 5.5: it should be a whole number of minor units, such as 4990 for 49.90 EUR.",
            id="half a cent",
        ),
        pytest.param(
            touchpoint("Order Completed", properties={"order_id": "o", "tax_minor": 5, "tax": 5, "currency": "EUR"}),
            Reason.INVALID_FIELD, "properties.tax_minor",
            "properties.tax_minor is 5: it is given twice: send it or the field without _minor, not both.",
            id="money given twice",
        ),
        pytest.param(
            touchpoint(occurred_at="2026-11-22T10:15:30"), Reason.INVALID_FIELD, "occurred_at",
            "occurred_at is '2026-11-22T10:15:30': it has no offset from UTC, so its time is not known: "
            "send RFC 3339 with an offset, such as 2026-11-22T10:15:30.123Z.",
            id="naive time",
        ),
        pytest.param(
            touchpoint(userId="u"), Reason.INVALID_FIELD, "userId",
            "userId is not a field of the contract: check its spelling, "
            "put it under properties or context, or remove it.",
            id="unknown field",
        ),
        pytest.param(
            touchpoint(channel="wep"), Reason.UNKNOWN_CHANNEL, "channel",
            "channel is 'wep', which this deployment does not know. Did you mean web? "
            "Send one of: app, email, web; or add it to THROUGHLINE_CHANNELS.",
            id="misspelt channel",
        ),
        pytest.param(
            touchpoint(consent={"marketing": "yes"}), Reason.INVALID_FIELD, "consent.marketing",
            "consent.marketing is 'yes': it should be true or false.",
            id="consent as text",
        ),
        pytest.param(
            touchpoint(properties=[1]), Reason.INVALID_FIELD, "properties",
            "properties is a list: it should be an object.",
            id="a list for an object",
        ),
        pytest.param(
            touchpoint("Cart Viewed", properties={"products": {"sku": "a"}}),
            Reason.INVALID_FIELD, "properties.products",
            "properties.products is an object: it should be a list.",
            id="an object for a list",
        ),
        pytest.param(
            touchpoint("Cart Viewed", properties={"products": ["a"]}),
            Reason.INVALID_FIELD, "properties.products.0",
            "properties.products.0 is 'a': it should be an object.",
            id="a text for a product",
        ),
        pytest.param(
            touchpoint("Product List Viewed", properties={"sorts": [{}] * 101}),
            Reason.INVALID_FIELD, "properties.sorts",
            "properties.sorts is a list: it should have at most 100 items, not 101.",
            id="too many entries of a list",
        ),
        pytest.param(
            touchpoint("x" * 101), Reason.INVALID_FIELD, "event",
            f"event is '{'x' * 59}…': it should have at most 100 characters.",
            id="long value is shortened",
        ),
    ],
)  # fmt: skip
def test_a_rejection_names_field_value_rule_and_remedy(
    event: dict[str, Any], reason: Reason, field: str, message: str
) -> None:
    assert Reject(reason, field, message) == refused(dumped(event))


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(touchpoint(identifiers={"email": {"is": "ann@shop.example"}}), id="object in the map"),
        pytest.param(touchpoint(identifiers="ann@shop.example"), id="a text"),
        pytest.param(touchpoint(identifiers={"phone": 48123456789.5}), id="phone as a float"),
        pytest.param(touchpoint(identifiers=[{"type": "+48123456789", "value": "x"}]), id="value in the type"),
        pytest.param(touchpoint(identifiers={"ann@shop.example": 1}), id="value as a key"),
        pytest.param(touchpoint(identifiers=[{"type": "email", "value": "ann@shop.example" * 50}]), id="long value"),
        pytest.param(touchpoint(identifiers=[{"type": "email", "value": "x", "ann@shop.example": 1}]), id="extra key"),
        pytest.param(touchpoint(event_id="ann@shop.example" * 10), id="address as event_id"),
        pytest.param(touchpoint(traits={"email": "ann@shop.example\0"}), id="NUL in a trait"),
        pytest.param(touchpoint(traits="ann@shop.example"), id="traits is a text"),
        pytest.param(touchpoint(channel="+48123456789"), id="phone as a channel"),
        pytest.param(touchpoint(channel="ann@shop.example"), id="address as a channel"),
        pytest.param(touchpoint(properties={"tel_id": "48123\x00456789"}), id="NUL in an id"),
        pytest.param(touchpoint(properties={"revenue": "ann@shop.example"}), id="address as revenue"),
        pytest.param({**touchpoint(), "ann@shop.example": 1}, id="address as a field"),
    ],
)
def test_a_refusal_never_quotes_what_may_identify_a_person(event: dict[str, Any]) -> None:
    outcome = refused(dumped(event))

    assert [] == [secret for secret in ("ann@", "48123456789") if secret in outcome.field + outcome.message]


def test_a_message_has_no_control_characters() -> None:
    outcome = refused(dumped({**touchpoint(event_id="\x1b[31m" * 30), "a\nb": 1}))

    assert outcome.message.isprintable()
    assert outcome.message.startswith(r"event_id is '\x1b[31m")


@pytest.mark.parametrize(
    ("change", "missing", "field", "said"),
    [
        ({"timestamp": "2026-11-01T10:00:00Z"}, "occurred_at", "occurred_at", "rename timestamp to occurred_at"),
        ({"eventId": "e1"}, "event_id", "event_id", "rename eventId to event_id"),
        ({"messageId": "e1"}, "event_id", "event_id", "rename messageId to event_id"),
        ({"events": [{}]}, "event_id", "event_id", "send each of the list events as a record of its own"),
        ({"user_id": "7"}, "", "user_id", "put it under identifiers"),
        ({"email": "ada@mail.example"}, "", "email", "put it under identifiers"),
        ({"colour": "red"}, "", "colour", "put it under properties or context, or remove it"),
        ({"event": "x" * 10_000}, "", "event", "it should have at most 100 characters"),
        ({"identifiers": {"User ID": "7"}}, "", "identifiers.0.type", "identifiers.0.type is 'User ID'"),
        ({"identifiers": {"+49 151 12345678": "7"}}, "", "identifiers.0.type", "a text (not shown)"),
        ({"identifiers": {"Ada@mail.example": "7"}}, "", "identifiers.0.type", "a text (not shown)"),
        (
            {"identifiers": [{"type": "user_id", "value": str(n)} for n in range(60)]}, "", "identifiers",
            "it should have at most 50 items, not 60",
        ),
        (
            {"properties": {"revenue": "+5", "order_id": "1"}, "event": "Order Completed"}, "",
            "properties.revenue", "properties.revenue is '+5'",
        ),
        (
            {"properties": {"answers": "x"}, "event": "Survey Submitted"}, "",
            "properties.answers", "properties.answers is 'x'",
        ),
    ],
)  # fmt: skip
def test_a_refusal_names_what_was_probably_meant(change: dict[str, Any], missing: str, field: str, said: str) -> None:
    event = {**touchpoint("Custom"), **change}
    event.pop(missing, None)

    outcome = refused(dumped(event))

    assert field == outcome.field
    assert said in outcome.message
    assert "ada@mail.example" not in outcome.message.lower()


def test_a_missing_field_without_a_likely_name_is_only_missing() -> None:
    event = {**touchpoint("Custom"), "colour": "red"}
    del event["occurred_at"]

    assert "occurred_at is missing: every event of this kind needs it; send it." == refused(dumped(event)).message


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(touchpoint("Custom", occurred_at="yesterday"), id="refused"),
        pytest.param(touchpoint("Custom", properties={"revenue": 836.9999999999998}), id="mended"),
        pytest.param(touchpoint("Custom", channel="pigeon"), id="of an unknown channel"),
        pytest.param(["a list"], id="no object"),
    ],
)
def test_an_event_leaves_nothing_to_the_garbage_collector(event: Any) -> None:
    """Workers collect rarely, and what an error's traceback holds is the whole batch that the event came in."""
    value = dumped(event)
    decode(value, channels=CHANNELS, max_bytes=MAX_BYTES)  # makes the validators
    gc.collect()
    gc.disable()
    try:
        decode(value, channels=CHANNELS, max_bytes=MAX_BYTES)

        assert 0 == gc.collect()
    finally:
        gc.enable()
