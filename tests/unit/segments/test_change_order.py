"""Changes of segments have an order that no tie of times breaks, also after merges."""

from __future__ import annotations

from typing import Any

import orjson

from processors.decisions.engine import DecisionEngine
from processors.profiles.document import combine, join, new_profile, profile_of_event
from processors.recording.decision_rows import journey_event_rows
from schemas.decisions.policy import MessagePolicy
from schemas.journeys.definitions import Journey
from schemas.profiles.person import Person
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import ms_of_text
from schemas.topics import JOURNEY_EVENTS
from tests.support.builders import at
from tests.support.profiles import resolved

NOW = ms_of_text(at())

SEGMENTS = SegmentDefinitions.model_validate(
    {
        "segments": [
            {"name": "one_order", "description": "One order.", "when": {"attribute": "orders.count", "eq": 1}},
            {"name": "buyers", "description": "Any order.", "when": {"attribute": "orders.count", "gte": 1}},
        ]
    }
)
GREETING = Journey.model_validate(
    {"name": "greeting", "description": "Greets buyers.", "entry": {"segment": "buyers"}, "steps": [{"exit": "done"}]}
)
ENGINE = DecisionEngine(SEGMENTS, [GREETING], MessagePolicy())


def nobody_yet(name: str) -> Person:
    return Person(name, new_profile(name), {})


def order(person: Person, order_id: str, now_ms: int = NOW) -> list[dict[str, Any]]:
    """Handle an order; return the records of `journey-events`."""
    properties = {"order_id": order_id, "revenue": "10.00", "currency": "EUR"}
    event = resolved("Order Completed", event_id=f"event of {order_id}", properties=properties)
    join(person.document, profile_of_event(event))
    return [emit.value for emit in ENGINE.on_event(person, event, now_ms) if emit.topic == JOURNEY_EVENTS]


def segment_changes(records: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """Return segment, entered and sequence of the rows of `segment_changes`."""
    rows = [
        orjson.loads(row) for one in records for table, row in journey_event_rows(one) if table == "segment_changes"
    ]
    return [(row["segment"], row["entered"], row["sequence"]) for row in rows]


def merge(winner: Person, loser: Person) -> Person:
    ENGINE.combine(winner.state, loser.state)
    return Person(winner.profile_id, combine(winner.document, loser.document), winner.state)


def test_changes_of_one_millisecond_are_numbered_in_their_order() -> None:
    person = nobody_yet("p1")

    changes = segment_changes(order(person, "o1") + order(person, "o2"))

    assert [("one_order", 1, 1), ("buyers", 1, 2), ("one_order", 0, 3)] == changes


def test_the_numbers_go_on_with_a_state_of_before_that_has_none() -> None:
    person = nobody_yet("p1")
    order(person, "o1")
    del person.state["segments"]["changes"]

    assert [("one_order", 0, 1)] == segment_changes(order(person, "o2"))


def test_a_replay_from_the_stored_state_repeats_ids_and_numbers() -> None:
    first, second = nobody_yet("p1"), nobody_yet("p1")

    assert order(first, "o1") == order(second, "o1")


def test_a_member_by_one_of_two_merged_profiles_is_stated_again_and_enters_no_journey() -> None:
    buyer, visitor = nobody_yet("p1"), nobody_yet("p2")
    order(buyer, "o1")
    page = resolved("Page Viewed", event_id="page")
    join(visitor.document, profile_of_event(page))
    ENGINE.on_event(visitor, page, NOW)
    merged = merge(visitor, buyer)

    records = [emit.value for emit in ENGINE.on_time(merged, NOW) if emit.topic == JOURNEY_EVENTS]

    assert [("buyers", 1, 3), ("one_order", 1, 4)] == segment_changes(records)
    assert [] == [one for one in records if one["kind"] == "journey_entered"]
    assert [] == segment_changes([emit.value for emit in ENGINE.on_time(merged, NOW + 1)])


def test_what_both_merged_profiles_were_in_is_not_stated_again() -> None:
    one, other = nobody_yet("p1"), nobody_yet("p2")
    order(one, "o1")
    order(other, "o2")

    records = [emit.value for emit in ENGINE.on_time(merge(one, other), NOW)]

    assert [("one_order", 0, 3)] == segment_changes(records)
