"""History is taken into new segments: memberships are dated by it, and nothing else begins."""

from __future__ import annotations

from typing import Any

import orjson

from processors.decisions.engine import DecisionEngine
from processors.journeys.lint import lint
from processors.profiles.document import encode, join, new_profile, profile_of_event
from processors.profiles.fold import encode_state
from processors.profiles.rebuild import RebuiltProfile, refill
from processors.segments.preview import history_of
from schemas.decisions.policy import MessagePolicy
from schemas.journeys.definitions import Journey
from schemas.profiles.document import StoredProfile
from schemas.profiles.person import Person
from schemas.segments.conditions import SegmentHistory
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import ms_of_text, text_of_ms
from schemas.topics import JOURNEY_EVENTS
from tests.support.builders import at
from tests.support.profiles import resolved

TWICE = {"name": "twice", "description": "Two views.", "when": {"performed": "Product Viewed", "at_least": 2}}
WEEK = {"name": "week", "description": "A view in a week.", "when": {"performed": "Product Viewed", "within": "7d"}}
OLD = SegmentDefinitions.model_validate({"segments": []})
NEW = SegmentDefinitions.model_validate({"segments": [TWICE, WEEK]})
DAY_MS = 86_400_000
NOW = ms_of_text(at(days=30))


def journey(**entry: Any) -> Journey:
    return Journey.model_validate(
        {"name": "greeting", "description": "Hi.", "entry": {"segment": "twice", **entry}, "steps": [{"exit": "done"}]}
    )


def day(number: int) -> str:
    return text_of_ms(ms_of_text(at(days=number)))


def views(*days: int, received: int | None = None) -> list[dict[str, Any]]:
    """Product views of some days; with `received` all of them arrived on that day."""
    return [
        {
            **resolved("Product Viewed", event_id=f"view {day}", occurred_at=at(days=day)),
            "received_at": text_of_ms(ms_of_text(at(days=day if received is None else received))),
        }
        for day in days
    ]


def stored(events: list[dict[str, Any]], decider: DecisionEngine) -> StoredProfile:
    person = Person("p1", new_profile("p1"), {})
    for event in events:
        join(person.document, profile_of_event(event))
        decider.on_event(person, event, ms_of_text(event["received_at"]))
    return StoredProfile("p1", 7, encode(person.document), (), encode_state(person.state))


def filled(
    known: StoredProfile, events: list[dict[str, Any]], decider: DecisionEngine, stated: frozenset[str] = frozenset()
) -> RebuiltProfile:
    changes = history_of(decider.segments, "p1", events, NOW)
    history = SegmentHistory(decider.segments.names, changes, stated, frozenset({"greeting"}), "fill 1")
    rebuilt = refill(known, events, decider, NOW, history)
    assert rebuilt is not None
    return rebuilt


def changes(rebuilt: RebuiltProfile) -> list[tuple[str, str, str]]:
    return [
        (emit.value["segment"], emit.value["kind"], emit.value["at"])
        for emit in rebuilt.emits
        if emit.topic == JOURNEY_EVENTS and emit.value["kind"].startswith("segment")
    ]


def entries(rebuilt: RebuiltProfile) -> list[str]:
    return [emit.value["journey"] for emit in rebuilt.emits if emit.value.get("kind") == "journey_entered"]


def test_who_fits_already_is_a_member_since_the_event_that_made_it_so() -> None:
    events = views(1, 3)
    rebuilt = filled(
        stored(events, DecisionEngine(OLD, [], MessagePolicy())), events, DecisionEngine(NEW, [], MessagePolicy())
    )

    assert [("week", "segment_entered", day(1)), ("twice", "segment_entered", day(3)),
            ("week", "segment_left", day(10))] == changes(rebuilt)  # fmt: skip
    assert {"twice": ms_of_text(at(days=3))} == rebuilt.state["segments"]["in"]


def test_changes_by_history_replace_those_before() -> None:
    events = views(1, 3)
    decider = DecisionEngine(NEW, [], MessagePolicy())
    rebuilt = filled(stored(events, decider), events, decider)
    numbers = [(emit.value["sequence"], emit.value["replaces_before"]) for emit in rebuilt.emits]

    assert [(4, 4), (5, 4), (6, 4)] == numbers


def test_events_that_arrive_late_date_the_membership_by_when_they_happened() -> None:
    events = views(1, 3, received=29)
    decider = DecisionEngine(NEW, [], MessagePolicy())
    rebuilt = filled(stored(events, decider), events, decider)

    assert ("twice", "segment_entered", day(3)) in changes(rebuilt)
    assert ("week", "segment_left", day(10)) in changes(rebuilt)


def test_what_was_stated_before_and_history_does_not_have_ends() -> None:
    events = views(1)
    decider = DecisionEngine(NEW, [], MessagePolicy())
    rebuilt = filled(stored(events, decider), events, decider, frozenset({"twice"}))

    assert ("twice", "segment_left", text_of_ms(NOW)) in changes(rebuilt)


def test_a_bot_becomes_no_member() -> None:
    visitors = {"name": "visitors", "description": "No order.", "when": {"attribute": "orders.count", "eq": 0}}
    decider = DecisionEngine(SegmentDefinitions.model_validate({"segments": [visitors]}), [], MessagePolicy())
    events = [{**one, "enriched": {"bot": "automation"}} for one in views(1)]
    rebuilt = filled(stored(events, decider), events, decider)

    assert ([], {}) == (changes(rebuilt), rebuilt.state)


def test_a_profile_with_other_events_than_history_is_not_filled() -> None:
    decider = DecisionEngine(NEW, [], MessagePolicy())
    known = stored(views(1), decider)

    assert refill(known, views(1, 2), decider, NOW, SegmentHistory(frozenset(), ())) is None


def test_members_enter_no_journey_unless_it_takes_them_in() -> None:
    events = views(1, 3)
    known = stored(events, DecisionEngine(OLD, [], MessagePolicy()))
    without = filled(known, events, DecisionEngine(NEW, [journey()], MessagePolicy()))
    taken = filled(known, events, DecisionEngine(NEW, [journey(existing=True)], MessagePolicy()))

    assert ([], ["greeting"]) == (entries(without), entries(taken))


def test_members_enter_once_for_each_backfill() -> None:
    events, decider = views(1, 3), DecisionEngine(NEW, [journey(existing=True)], MessagePolicy())
    first = filled(stored(events, DecisionEngine(OLD, [], MessagePolicy())), events, decider)
    again = filled(StoredProfile("p1", 8, encode(first.document), (), encode_state(first.state)), events, decider)

    assert ["greeting"] == entries(first)
    assert [] == entries(again)


def test_people_who_leave_cannot_be_existing_members() -> None:
    problems = lint([journey(existing=True, when="left")], NEW, ())

    assert ["takes in the members of the segment, so it goes with `when: entered` alone"] == [
        one.message for one in problems if one.serious and one.path == ("entry", "existing")
    ]


def test_a_new_definition_starts_no_journey_at_the_next_event() -> None:
    """The series counts from the deploy, but orders are in the profile: who bought before fits at once."""
    buyers = {"name": "twice", "description": "Buyers.", "when": {"attribute": "orders.count", "gte": 1}}
    decider = DecisionEngine(SegmentDefinitions.model_validate({"segments": [buyers]}), [journey()], MessagePolicy())
    order = resolved("Order Completed", properties={"order_id": "o", "revenue": "1.00", "currency": "EUR"})
    known = stored([order], DecisionEngine(NEW, [], MessagePolicy()))
    person = Person("p1", orjson.loads(known.document or b""), orjson.loads(known.state or b""))
    at_ms = ms_of_text(at(days=2))
    kinds = [emit.value["kind"] for emit in decider.on_time(person, at_ms)]
    (view,) = views(2)
    join(person.document, profile_of_event(view))
    kinds += [emit.value["kind"] for emit in decider.on_event(person, view, at_ms)]

    assert ["segment_entered"] == kinds
    assert decider.due(person) is None


def test_a_change_that_was_due_anyway_starts_its_journey_with_new_definitions_too() -> None:
    gone = {
        "name": "twice",
        "description": "Not seen for a week.",
        "when": {"not": {"performed": "Product Viewed", "within": "7d"}},
    }
    other = {**TWICE, "name": "other"}
    before = SegmentDefinitions.model_validate({"segments": [gone]})
    after = SegmentDefinitions.model_validate({"segments": [gone, other]})
    known = stored(views(1), DecisionEngine(before, [], MessagePolicy()))
    person = Person("p1", orjson.loads(known.document or b""), orjson.loads(known.state or b""))
    decider = DecisionEngine(after, [journey()], MessagePolicy())
    kinds = [(emit.value["kind"], emit.value["at"]) for emit in decider.on_time(person, ms_of_text(at(days=9)))]

    assert [("segment_entered", day(8)), ("journey_entered", day(8))] == kinds[:2]
