"""A transform corrects the events of one source before they are judged, says so, and touches nothing else."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import yaml
from pydantic import ValidationError

from processors.intake.collect import Collect, CollectResult
from processors.intake.record_forms import decode_record
from processors.intake.segment_calls import Arrival
from processors.intake.transform import Transforms
from processors.intake.validation_mark import ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import DeadLetter
from schemas.events.touchpoint import read
from schemas.intake.sources import Source
from schemas.intake.transforms import Transform
from schemas.outcomes import Reject
from schemas.records import UnloggedRecord
from tests.support.builders import touchpoint

ALL = frozenset(TOUCHPOINT_CHANNELS)
FIRMWARE = """
name: till-firmware
version: 3
steps:
  - when: event == 'Sale'
    rename: {properties.bon: properties.order_id, "properties.items[].ean": "properties.items[].product_id"}
    set:
      event: {value: Order Completed}
      channel: {value: store}
      properties.payment_method: {get: properties.pay, lookup: {B: cash, K: card}, default: other}
    default: {properties.currency: EUR, context.store_id: berlin}
    cast: {properties.total: {as: money, decimal: ","}, "properties.items[].quantity": quantity}
    hash: [traits.card]
    drop: [properties.debug, properties.pay]
  - rename: {properties.items: properties.products}
"""
SALE: dict[str, Any] = {
    "event_id": "s1", "event": "Sale", "channel": "web", "source": "till", "occurred_at": "2026-11-01T10:00:00Z",
    "properties": {
        "bon": "B1", "total": "1.234,50", "pay": "K", "debug": {"a": 1},
        "items": [{"ean": "L-1", "quantity": "0.375"}, {"ean": "L-2", "quantity": "2"}],
    },
    "traits": {"card": "4711"},
}  # fmt: skip


def transforms(text: str = FIRMWARE, source: str = "till", **more: Any) -> Transforms:
    return Transforms({source: Transform.model_validate(yaml.safe_load(text))}, b"secret", **more)


def steps(**step: Any) -> Transforms:
    return Transforms({"till": Transform.model_validate({"name": "t", "steps": [step]})}, b"secret")


def event(**fields: Any) -> dict[str, Any]:
    return {**touchpoint("Card Shown", source="till"), **fields}


def test_the_events_of_an_old_till_become_what_the_contract_asks_for() -> None:
    changed = transforms()(SALE)
    properties = read(changed)["properties"]

    assert ("Order Completed", "store", ["till-firmware@3"], "berlin") == (
        changed["event"], changed["channel"], changed["context"]["transformed"], changed["context"]["store_id"],
    )  # fmt: skip
    assert {
        "order_id": "B1", "total": "1234.50", "currency": "EUR", "payment_method": "card",
        "products": [{"product_id": "L-1", "quantity": 0.375}, {"product_id": "L-2", "quantity": 2}],
    } == properties  # fmt: skip
    assert (32, True) == (len(changed["traits"]["card"]), changed["traits"] == transforms()(SALE)["traits"])


def test_the_event_that_came_is_left_alone() -> None:
    before = copy.deepcopy(SALE)
    transforms()(SALE)

    assert before == SALE


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({**SALE, "source": "web"}, id="of another source"),
        pytest.param({**SALE, "source": ["till"]}, id="whose source is no text"),
        pytest.param({**SALE, "event": "Till Opened", "properties": {"debug": 1}}, id="for which no step is"),
        pytest.param([SALE], id="that is no object"),
    ],
)
def test_an_event_is_the_same_object(other: Any) -> None:
    assert transforms()(other) is other


def test_an_event_that_is_transformed_is_not_transformed_again() -> None:
    once = steps(hash=["traits.card"])(event(traits={"card": "4711"}))

    assert steps(hash=["traits.card"])(once) is once


@pytest.mark.parametrize(
    ("step", "properties", "expected"),
    [
        pytest.param({"rename": {"properties.a": "properties.b"}}, {"a": 1, "b": 2}, {"a": 1, "b": 2}, id="both given"),
        pytest.param(
            {"rename": {"properties.a": "properties.b"}}, {"a": 1, "b": None}, {"b": 1}, id="null is not given"
        ),
        pytest.param({"default": {"properties.a": 1}}, {"a": 0}, {"a": 0}, id="zero is a value"),
        pytest.param({"default": {"properties.a.b": 1}}, {"a": "text"}, {"a": "text"}, id="no object on the path"),
        pytest.param({"cast": {"properties.a": "integer"}}, {"a": "seven"}, {"a": "seven"}, id="what cannot be read"),
        pytest.param({"cast": {"properties.a": "integer"}}, {"a": "7"}, {"a": 7}, id="what can"),
        pytest.param({"drop": ["properties.a[].x"]}, {"a": [{"x": 1}, 2]}, {"a": [{}, 2]}, id="in elements of a list"),
        pytest.param({"drop": ["properties.a[]"]}, {"a": [1, 2]}, {"a": []}, id="all elements"),
        pytest.param({"set": {"properties.a": "sum(event)"}}, {"a": 1}, {"a": 1}, id="an expression that fails"),
        pytest.param({"hash": ["properties.a"]}, {"a": [1]}, {"a": [1]}, id="a list has no hash"),
    ],
)
def test_a_step_changes_what_it_can_and_nothing_else(step: Any, properties: Any, expected: Any) -> None:
    assert expected == steps(**step)(event(properties=properties))["properties"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({"set": {"source": {"value": "x"}}}, "says whose transform", id="the source"),
        pytest.param({"drop": ["properties..a"]}, "is no path", id="a path with a hole"),
        pytest.param({"rename": {"properties.a[].x": "properties.b[].x"}}, "another list", id="from list to list"),
        pytest.param({"when": "event"}, "at least one of", id="nothing to do"),
        pytest.param({"cast": {"properties.a": "monny"}}, "Input should be", id="a type that does not exist"),
        pytest.param({"set": {"properties.a": "a["}}, "no JMESPath", id="no expression"),
    ],
)
def test_a_step_that_cannot_be_meant_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        steps(**wrong)


def collect(found: Transforms | None, *events: Any) -> CollectResult:
    mark = ValidationMark(b"secret", rules=found.digest if found else b"")
    collector = Collect(
        channels=ALL, max_event_bytes=65_536, key=lambda event: b"", topic_prefix="", mark=mark, transforms=found
    )  # fmt: skip
    arrivals = [Arrival(datetime.now(UTC), None, str(number)) for number in range(len(events))]
    return collector.touchpoints("till", Source(channel="store"), events, arrivals)


def test_the_collector_judges_what_was_transformed_and_keeps_what_was_sent() -> None:
    unreadable = {**SALE, "event_id": "s2", "properties": {**SALE["properties"], "total": "much"}}
    collected = collect(transforms(), SALE, unreadable)
    accepted, letter = collected.outgoing

    assert ("touchpoints.store", "Order Completed") == (accepted.topic, orjson.loads(accepted.value)["event"])
    assert ["properties.total"] == [one.rejected.field for one in collected.refusals]
    kept = orjson.loads(DeadLetter.model_validate_json(letter.value).value)
    assert ("Sale", "much") == (kept["event"], kept["properties"]["total"])


def test_a_call_of_an_sdk_is_transformed_once_it_is_a_touchpoint() -> None:
    found = transforms()
    collector = Collect(
        channels=ALL, max_event_bytes=65_536, key=lambda event: b"", topic_prefix="", mark=ValidationMark(b"s"),
        transforms=found,
    )  # fmt: skip
    call = {"userId": "u", "event": "Sale", "messageId": "m", "properties": SALE["properties"]}
    arrival = Arrival(datetime.now(UTC), None, "1")
    collected = collector.calls("till", Source(channel="store"), [(call, "track")], [arrival])

    assert ["Order Completed"] == [orjson.loads(one.value)["event"] for one in collected.outgoing]


def decoded(value: bytes, found: Transforms | None, headers: Any = ()) -> dict[str, Any] | Reject:
    record = UnloggedRecord("touchpoints.store", 0, 0, 0, b"", value, headers)
    mark = ValidationMark(b"secret", rules=found.digest if found else b"")
    return decode_record(record, mark, channels=ALL, max_bytes=65_536, transforms=found)


def test_a_record_of_kafka_is_transformed_before_it_is_judged() -> None:
    found = decoded(orjson.dumps(SALE), transforms())

    assert isinstance(found, dict)
    assert ("Order Completed", "1234.50") == (found["event"], found["properties"]["total"])
    other = orjson.dumps({**SALE, "source": "other"})
    assert decoded(other, None) == decoded(other, transforms())


def test_a_record_that_the_collector_has_transformed_is_as_it_is() -> None:
    [record] = collect(transforms(), SALE).outgoing

    assert orjson.loads(record.value) == decoded(record.value, transforms(), record.headers)
    assert orjson.loads(record.value) == decoded(record.value, transforms())


def test_a_transform_that_makes_too_much_is_held_to_the_bounds_of_events() -> None:
    deep = {"name": "deep", "steps": [{"set": {".".join(["properties", *"abcdefghi"]): {"get": "properties"}}}] * 8}
    found = Transforms({"till": Transform.model_validate(deep)}, b"secret")

    assert isinstance(decoded(orjson.dumps(SALE), found), Reject)
