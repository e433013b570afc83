"""A request becomes records: good events for their topics, bad ones as dead letters, and an answer for each."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from deploy.collector.body import parse
from deploy.collector.refusal import RefusedError
from processors.intake.collect import Collect, CollectResult
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import DeadLetter, truncation
from schemas.events.touchpoint import read
from schemas.intake.sources import Source
from tests.support.builders import touchpoint

RECEIVED = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
WEB = Source(channel="web", kind="browser", origins=("*",))
TILL = Source(channel="store")
COLLECT, COLLECT_LARGE = (
    Collect(
        channels=frozenset(TOUCHPOINT_CHANNELS), max_event_bytes=most, key=lambda event: b"key", topic_prefix="test-",
        mark=ValidationMark(b"secret"),
    )
    for most in (65_536, 200_000)
)  # fmt: skip
GOOD = {"type": "track", "userId": "u", "event": "Page Seen", "messageId": "m"}
ANONYMOUS = {"type": "track", "event": "Page Seen", "messageId": "n"}


def arrivals(count: int) -> list[Arrival]:
    return [Arrival(RECEIVED, None, f"r-{number}") for number in range(count)]


def calls(*bodies: Any, source: Source = WEB, collect: Collect = COLLECT) -> CollectResult:
    pairs = [(call, call.get("type") if isinstance(call, dict) else None) for call in bodies]
    return collect.calls("shop", source, pairs, arrivals(len(pairs)))


def touchpoints(*events: Any, source: Source = TILL) -> CollectResult:
    return COLLECT.touchpoints("till", source, events, arrivals(len(events)))


def letters(collected: CollectResult) -> list[DeadLetter]:
    return [DeadLetter.model_validate_json(one.value) for one in collected.outgoing if one.topic == "dead-letters"]


def published(collected: CollectResult) -> list[dict[str, Any]]:
    return [orjson.loads(one.value) for one in collected.outgoing if one.topic != "dead-letters"]


def test_a_bad_event_costs_its_neighbours_nothing_and_is_kept() -> None:
    collected = calls(GOOD, ANONYMOUS, "junk", {**GOOD, "messageId": "o", "event": 5}, {**GOOD, "messageId": "p"})

    assert (2, ["m", "p"]) == (collected.accepted, [event["event_id"] for event in published(collected)])
    refused = [(one.place, one.event_id, one.rejected.reason.value, one.rejected.field) for one in collected.refusals]
    assert [
        (1, "n", "missing_field", "userId"), (2, "", "not_an_object", ""), (3, "o", "invalid_field", "event"),
    ] == refused  # fmt: skip
    assert [
        {"call": ANONYMOUS, "source": "shop", "verb": "track"}, {"call": "junk", "source": "shop", "verb": None},
    ] == [orjson.loads(letter.value) for letter in letters(collected)][:2]  # fmt: skip


def test_a_dead_letter_names_the_topic_of_its_source_and_has_an_offset_of_its_own() -> None:
    collected = calls(ANONYMOUS, ANONYMOUS, {**ANONYMOUS, "context": {"channel": "app"}})
    found = letters(collected)

    assert {("collect", "test-touchpoints.web", -1, RECEIVED)} == {
        (one.stage, one.topic, one.partition, one.received_at) for one in found
    }
    assert 3 == len({one.offset for one in found if one.offset >= 0})


def test_touchpoints_are_published_in_their_canonical_form_with_the_source_of_the_write_key() -> None:
    event = touchpoint(channel="web", source="somebody else")
    bare = {name: value for name, value in event.items() if name not in ("channel", "source")}
    collected = touchpoints(event, bare)

    as_sent = [{**event, "source": "till"}, {**bare, "channel": "store", "source": "till"}]
    assert [read(sent) for sent in as_sent] == published(collected)
    assert ["touchpoints.web", "touchpoints.store"] == [one.topic for one in collected.outgoing]


def test_the_refusal_of_a_touchpoint_names_the_touchpoints_field() -> None:
    collected = touchpoints({**touchpoint(), "occurred_at": "today"})

    assert ["occurred_at"] == [one.rejected.field for one in collected.refusals]


def test_the_answer_names_the_calls_field_and_the_dead_letter_the_field_of_the_touchpoint_that_it_keeps() -> None:
    collected = calls({**GOOD, "messageId": "x" * 101})
    [letter] = letters(collected)

    assert ("messageId", "event_id") == (collected.refusals[0].rejected.field, letter.field)
    assert letter.field in orjson.loads(letter.value)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (b"NaN", "NaN"), (b"-Infinity", "Infinity"), (b"1e400", "beyond all bounds"), (b'{"\\ud83d":1}', "surrogate"),
        (b"1" * 400, "64 bits"), (b'[NaN, "\\ud83d"]', "NaN"),
    ],
)  # fmt: skip
def test_a_value_that_json_cannot_hold_refuses_its_own_event_alone(value: bytes, cause: str) -> None:
    batch = parse(b'[{"type":"track","userId":%b,"event":"E"}, %b]' % (value, orjson.dumps(GOOD)), 1 << 20)
    collected = calls(*batch)

    assert (1, ["not_json"]) == (collected.accepted, [one.rejected.reason.value for one in collected.refusals])
    assert cause in collected.refusals[0].rejected.message
    assert b'"event": "E"' in letters(collected)[0].value


def test_the_lenient_parser_alters_no_value_of_the_other_events() -> None:
    large = {**GOOD, "userId": 1234567890123456789, "properties": {"receipt": -123456789012345678, "part": 0.1}}
    batch = parse(
        b'[{"a":NaN},%b,{"type":"track","userId":%b,"event":"E"}]' % (orjson.dumps(large), b"9" * 25), 1 << 20
    )
    collected = calls(*batch)

    assert [large["properties"]] == [event["properties"] for event in published(collected)]
    assert ["missing_field", "not_json"] == [one.rejected.reason.value for one in collected.refusals]


def test_a_body_that_is_no_json_or_has_too_many_objects_or_values_is_refused_as_a_whole() -> None:
    for raw, code in (
        (b'{"a": NaN', "not_json"),
        (b"[" * 5_000, "not_json"),
        (b"[{}," * 130_000, "too_many_parts"),
        (b"1," * 1_000_001, "too_many_parts"),
        (b"[NaN" + b",1" * 50_001 + b"]", "not_json"),
        (b"[NaN" + b" " * (1 << 20) + b"]", "not_json"),
    ):
        with pytest.raises(RefusedError) as refused:
            parse(raw, 1 << 20)
        assert code == refused.value.code


@pytest.mark.parametrize(
    ("event", "code", "whole"),
    [
        ({**GOOD, "properties": {"text": ["x" * 8_000] * 9}}, "too_large", True),
        ({**GOOD, "properties": {"text_id": "x" * 600_000}}, "too_large", True),
        ({**GOOD, "properties": {"text_id": "x" * 4_000_000}}, "too_large", False),
        ({**GOOD, "properties": {"a": orjson.loads(b"[" * 200 + b"]" * 200)}}, "too_deep", True),
        ({**GOOD, "properties": {"a": orjson.loads(b"[" * 900 + b"]" * 900)}}, "too_deep", True),
        ({**GOOD, "properties": {str(number): 1 for number in range(12_000)}}, "too_many_keys", True),
    ],
    ids=["large", "larger", "too large for a broker", "deep", "bottomless", "wide"],
)
def test_an_event_out_of_bounds_is_refused_and_kept_and_of_one_that_is_too_large_for_a_broker_the_beginning(
    event: dict[str, Any], code: str, whole: bool
) -> None:
    collected = calls(event, GOOD, collect=COLLECT_LARGE if code == "too_many_keys" else COLLECT)

    assert ([code], 1) == ([one.rejected.reason.value for one in collected.refusals], collected.accepted)
    [letter] = letters(collected)
    assert whole == (truncation(letter.message, b64decode(letter.key_base64), letter.value) is None)


@pytest.mark.parametrize("junk", [[], [None], [1, 2.5], [["x"]], ["text"], [True]])
def test_a_value_that_is_no_object_is_refused(junk: Sequence[Any]) -> None:
    for collected in (calls(*junk), touchpoints(*junk)):
        assert (0, len(junk)) == (collected.accepted, len(collected.refusals))


def test_a_call_whose_order_is_a_sum_of_floats_is_published_with_the_amounts_that_were_meant() -> None:
    properties = {
        "order_id": "W-9001", "currency": "EUR", "revenue": 59.97000000000001, "tax": 11.394300000000001,
        "products": [{"product_id": "P-1", "price": 19.990000000000002, "quantity": 3}],
    }  # fmt: skip
    collected = calls({"type": "track", "event": "Order Completed", "userId": "c-501", "properties": properties})
    [event] = published(collected)

    assert ("59.97", "11.3943", "19.99") == (
        event["properties"]["revenue"], event["properties"]["tax"], event["properties"]["products"][0]["price"],
    )  # fmt: skip
    assert {"float_sum"} == {note["rule"] for note in event["context"]["mended"]}


def test_a_call_with_half_a_surrogate_pair_in_a_name_is_published_without_it_and_not_in_an_identifier() -> None:
    batch = parse(
        rb'[{"type":"identify","userId":"u","traits":{"first_name":"Ada \ud83d"}},'
        rb'{"type":"identify","userId":"u\ud83d","traits":{"first_name":"Ada"}}]',
        1 << 20,
    )
    collected = calls(*batch)
    [event] = published(collected)

    assert ("Ada \ufffd", ["surrogate"]) == (
        event["traits"]["first_name"], [note["rule"] for note in event["context"]["mended"]],
    )  # fmt: skip
    assert ["not_json"] == [one.rejected.reason.value for one in collected.refusals]


def test_the_letter_of_a_call_with_half_a_surrogate_pair_is_judged_again_when_it_is_replayed() -> None:
    [letter] = letters(calls({**GOOD, "userId": "\ud83d", "anonymousId": ""}))

    again = COLLECT.replay(letter.value, {"shop": WEB}, arrivals(1)[0], {})

    assert [letter.message] == [one.rejected.message for one in again.refusals]


def test_a_bug_in_judging_an_event_costs_this_event_alone() -> None:
    def broken(event: object) -> object:
        if isinstance(event, dict) and event["event"] == "Broken":
            raise ZeroDivisionError
        return event

    collect = Collect(
        channels=frozenset(TOUCHPOINT_CHANNELS), max_event_bytes=65_536, key=lambda _: b"k", topic_prefix="",
        mark=ValidationMark(b"secret"), transforms=broken,  # type: ignore[arg-type]
    )  # fmt: skip
    collected = calls({**GOOD, "event": "Broken"}, GOOD, collect=collect)

    assert (1, ["bug"]) == (collected.accepted, [one.rejected.reason.value for one in collected.refusals])
