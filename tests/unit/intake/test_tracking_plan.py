"""A tracking plan notes, refuses or watches; what it does not name, and what keeps to it, is left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from processors.intake.collect import Collect, CollectResult
from processors.intake.record_forms import decode_record
from processors.intake.segment_calls import Arrival
from processors.intake.tracking_plan import TrackingPlan
from processors.intake.validation_mark import ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import DeadLetter, Reason
from schemas.events.touchpoint import read
from schemas.intake.plan import PlanDefinitions
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from schemas.records import UnloggedRecord
from tests.support.builders import touchpoint

ALL = frozenset(TOUCHPOINT_CHANNELS)
CARD = {
    "owner": "stores",
    "meaning": "A card was shown.",
    "mode": "warn",
    "properties": {
        "number": {"required": True, "pattern": "^L[0-9]{8}$"},
        "tier": {"values": ["silver", "gold"]},
        "points": {"type": "integer", "min": 0, "max": 1000},
        "weight": {"type": "number"},
        "voucher": {"type": "money", "min": 0},
        "until": {"type": "date"},
        "seen_at": {"type": "time"},
        "first": {"type": "boolean"},
        "shelves": {"type": "list", "of": {"type": "object", "properties": {"id": {"required": True}}}},
    },
    "sources": {"till": {"mode": "refuse"}, "app": {"mode": "observe", "properties": {"number": {"required": False}}}},
}


def plan(unplanned: dict[str, str] | None = None, **changes: Any) -> TrackingPlan:
    definitions = {"events": {"Card Shown": {**CARD, **changes}}, "unplanned": unplanned or {}}
    return TrackingPlan(PlanDefinitions.model_validate(definitions))


def shown(source: str = "web", **properties: Any) -> dict[str, Any]:
    return read(touchpoint("Card Shown", source=source, properties={"number": "L12345678", **properties}))


def broken(event: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    return [(one.field, one.rule) for one in plan(**changes).violations(event)]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param({"number": None}, ("number", "required"), id="null is not given"),
        pytest.param({"number": "l1"}, ("number", "pattern"), id="another form"),
        pytest.param({"number": 12345678}, ("number", "type"), id="a number for a text"),
        pytest.param({"tier": "bronze"}, ("tier", "values"), id="a value that is not allowed"),
        pytest.param({"points": True}, ("points", "type"), id="true is no number"),
        pytest.param({"points": 1.5}, ("points", "type"), id="half a point"),
        pytest.param({"points": -1}, ("points", "min"), id="below the smallest"),
        pytest.param({"points": 1001}, ("points", "max"), id="above the largest"),
        pytest.param({"weight": "1.5"}, ("weight", "type"), id="a text for a number"),
        pytest.param({"voucher": "free"}, ("voucher", "type"), id="no amount"),
        pytest.param({"voucher": "-5.00"}, ("voucher", "min"), id="an amount below the smallest"),
        pytest.param({"until": "22.11.2026"}, ("until", "type"), id="a date in another form"),
        pytest.param({"seen_at": "2026-11-22T10:00"}, ("seen_at", "type"), id="a time without an offset"),
        pytest.param({"first": "yes"}, ("first", "type"), id="a text for true"),
        pytest.param({"shelves": [{"id": "a"}, {}]}, ("shelves.1.id", "required"), id="inside of a list"),
    ],
)
def test_each_rule_is_named_with_the_property_that_breaks_it(
    properties: dict[str, Any], expected: tuple[str, str]
) -> None:
    field, rule = expected

    assert [(f"properties.{field}", rule)] == broken(shown(**properties))


def test_an_event_that_keeps_to_its_plan_is_left_alone() -> None:
    properties: dict[str, Any] = {
        "tier": "gold", "points": 0, "weight": 2, "voucher": "5.00", "until": "2026-11-22", "first": False,
        "seen_at": "2026-11-22T10:00:00Z", "shelves": [{"id": "a"}], "note": "further properties are welcome",
    }  # fmt: skip
    event = shown(**properties)
    before = orjson.dumps(event)

    assert (None, before) == (plan().apply(event), orjson.dumps(event))


def test_a_closed_event_knows_its_properties_and_no_others() -> None:
    assert [("properties.teir", "closed")] == broken(shown(teir="gold"), closed=True)
    assert [] == broken(shown(tier="gold"), closed=True)


def test_only_named_sources_may_send_an_event_that_says_so() -> None:
    assert [("source", "only_sources")] == broken(shown("web"), only_sources=True)
    assert [] == broken(shown("till"), only_sources=True)


def test_warn_keeps_the_event_and_notes_field_and_rule() -> None:
    event = shown(tier="bronze", points=-1)

    assert plan().apply(event) is None
    assert [
        {"field": "properties.tier", "rule": "values"}, {"field": "properties.points", "rule": "min"},
    ] == event["context"]["against_plan"]  # fmt: skip


def test_observe_costs_an_event_nothing_and_a_source_may_differ() -> None:
    event = shown("app", tier="bronze")
    before = orjson.dumps(event)

    assert (None, before) == (plan().apply(event), orjson.dumps(event))
    assert [("properties.tier", "values")] == broken(event)


def test_refuse_names_event_property_and_rule() -> None:
    refused = plan().apply(shown("till", tier="bronze", points=-1))

    assert refused is not None
    assert (Reason.AGAINST_PLAN, "properties.tier") == (refused.reason, refused.field)
    for part in ("Card Shown", "'bronze'", "'silver' or 'gold'", "rule values", "1 more"):
        assert part in refused.message


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        pytest.param("Crad Shown", "till", Reason.UNPLANNED_EVENT, id="an event that no file names"),
        pytest.param("Crad Shown", "web", None, id="of another source"),
        pytest.param("Product Viewed", "till", None, id="a known event needs no plan"),
        pytest.param("Card Shown", "till", None, id="a planned event"),
    ],
)
def test_events_that_are_not_planned_are_refused_where_the_plan_says_so(
    name: str, source: str, expected: Reason | None
) -> None:
    event = read(touchpoint(name, source=source, properties={"number": "L12345678", "product_id": "p"}))
    refused = plan({"till": "refuse", "*": "observe"}).apply(event)

    assert expected == (refused.reason if refused else None)


def test_an_address_is_not_quoted() -> None:
    refused = plan().apply(shown("till", number="ada@shop.example"))

    assert refused is not None
    assert "ada@" not in refused.message


def test_a_hostile_text_is_matched_in_linear_time() -> None:
    event = read(touchpoint("Card Shown", source="till", properties={"number": "a" * 4000 + "!"}))

    assert [("properties.number", "pattern")] == broken(event, properties={"number": {"pattern": "^(a+)+$"}})


def collect(found: TrackingPlan | None, *events: dict[str, Any]) -> CollectResult:
    mark = ValidationMark(b"secret", rules=found.digest if found else b"")
    collector = Collect(
        channels=ALL, max_event_bytes=65_536, key=lambda event: b"", topic_prefix="", mark=mark, plan=found
    )  # fmt: skip
    arrivals = [Arrival(datetime.now(UTC), None, str(number)) for number in range(len(events))]
    return collector.touchpoints("till", Source(channel="store"), events, arrivals)


def test_the_collector_refuses_one_event_keeps_it_and_takes_its_neighbours() -> None:
    bad = touchpoint("Card Shown", channel="store", properties={"number": "1"})
    good = touchpoint("Card Shown", channel="store", properties={"number": "L12345678"})
    collected = collect(plan(), bad, good)
    letter = DeadLetter.model_validate_json(collected.outgoing[0].value)

    assert (1, [0]) == (collected.accepted, [one.place for one in collected.refusals])
    assert ("against_plan", "properties.number", bad["event_id"]) == (
        letter.reason, letter.field, orjson.loads(letter.value)["event_id"],
    )  # fmt: skip


def decoded(record: Any, found: TrackingPlan | None) -> dict[str, Any] | Reject:
    taken = UnloggedRecord("touchpoints.store", 0, 0, 0, b"", record.value, record.headers)
    mark = ValidationMark(b"secret", rules=found.digest if found else b"")
    return decode_record(taken, mark, channels=ALL, max_bytes=65_536, plan=found)


def test_a_record_that_was_marked_under_another_plan_is_checked_again() -> None:
    [record] = collect(None, touchpoint("Card Shown", channel="store", properties={"number": "1"})).outgoing

    assert isinstance(decoded(record, None), dict)
    assert isinstance(decoded(record, plan()), Reject)


def test_a_plan_that_only_observes_changes_no_mark() -> None:
    definitions = {"events": {"Card Shown": {"owner": "o", "meaning": "m"}}}

    assert b"" == TrackingPlan(PlanDefinitions.model_validate(definitions)).digest


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({"pattern": "[a"}, "no regular expression", id="a pattern that does not parse"),
        pytest.param({"pattern": "(?=a)b"}, "look-around", id="a pattern without a bound"),
        pytest.param({"type": "integer", "pattern": "a"}, "for a text", id="a pattern of a number"),
        pytest.param({"values": [True]}, "not all of them", id="what YAML takes for true"),
        pytest.param({"type": "number", "min": 2, "max": 1}, "above max", id="nothing between"),
        pytest.param({"min": 2}, "for numbers", id="the smallest text"),
        pytest.param({"of": {}}, "for a list", id="elements of a text"),
        pytest.param({"typ": "text"}, "Extra inputs", id="a misspelt rule"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        plan(properties={"tier": wrong})
