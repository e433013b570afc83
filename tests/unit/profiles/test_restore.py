"""A rebuilt person keeps the decisions that were taken: nothing is entered, sent or counted that never was."""

from __future__ import annotations

from typing import Any, Self

import orjson
import pytest

from processors.decisions.engine import DecisionEngine
from processors.profiles.document import encode
from processors.profiles.fold import encode_state
from processors.profiles.rebuild import (
    RebuiltProfile,
    advance,
    may_lack_events,
    rebuild,
    refill,
    replacement,
    restore,
    state_anew,
)
from processors.segments.preview import history_of
from schemas.decisions.policy import MessagePolicy
from schemas.profiles.document import StoredProfile
from schemas.profiles.person import Person
from schemas.segments.conditions import SegmentHistory
from schemas.segments.definitions import SegmentDefinitions
from schemas.topics import JOURNEY_EVENTS
from tests.support.profiles import resolved
from tests.support.stories import NO_HOLDOUT, Story, journey, simple

CAPPED = MessagePolicy(holdout=NO_HOLDOUT, quiet_hours={})
WELCOME = simple("  - {set_trait: {welcomed: true}}\n  - {message: hello, channel: email}\n  - {delay: 3d}")
NEW = journey(
    "entry: {event: Product Viewed}\nre_entry: once\nsteps:\n"
    "  - {set_trait: {keen: true}}\n  - {message: seen, channel: email}",
    name="new",
)
VIEWERS: dict[str, Any] = {
    "name": "viewers", "description": "Two views.", "when": {"performed": "Product Viewed", "at_least": 2},
}  # fmt: skip


class RecordedStory(Story):
    """A story that keeps its events, as ClickHouse does."""

    def __init__(self, *journeys: Any) -> None:
        self.history: list[dict[str, Any]] = []
        super().__init__(*journeys, policy=CAPPED)

    def process(self, event: dict[str, Any]) -> Self:
        """Keep and process an event."""
        self.history.append(event)
        return super().process(event)

    def stored(self) -> StoredProfile:
        """Return the person as a store has them."""
        return StoredProfile("p1", 7, encode(self.person.document), (), encode_state(self.person.state))


def ann() -> RecordedStory:
    """Ann signs up, gets a message, and looks at two products."""
    timeline = RecordedStory(WELCOME).at("10:00")
    timeline.event("Signed Up").event("Product Viewed", product_id="a").event("Product Viewed", product_id="b")
    assert isinstance(timeline, RecordedStory)
    return timeline


def restored(timeline: RecordedStory, *journeys: Any, segments: tuple[Any, ...] = ()) -> RebuiltProfile:
    definitions = SegmentDefinitions.model_validate({"segments": list(segments)})
    decider = DecisionEngine(definitions, journeys, CAPPED)
    return restore(timeline.stored(), timeline.history, decider, timeline.now)


def test_a_new_journey_has_sent_nothing_to_a_rebuilt_person() -> None:
    timeline = ann()
    rebuilt = restored(timeline, WELCOME, NEW)

    assert {name: timeline.person.state[name] for name in ("journeys", "caps", "sends")} == {
        name: rebuilt.state.get(name) for name in ("journeys", "caps", "sends")
    }
    assert "keen" not in rebuilt.document["traits"]


def test_a_removed_journey_has_sent_what_it_sent() -> None:
    timeline = ann()
    rebuilt = restored(timeline)

    assert (timeline.person.state["sends"], timeline.person.state["caps"]) == (
        rebuilt.state["sends"],
        rebuilt.state["caps"],
    )


def test_a_rebuilt_person_can_enter_a_new_journey_later() -> None:
    timeline = ann()
    rebuilt = restored(timeline, WELCOME, NEW)
    decider = DecisionEngine(SegmentDefinitions(), (WELCOME, NEW), CAPPED)
    event = {**timeline.history[-1], "event_id": "later"}
    emits = decider.on_event(Person("p1", rebuilt.document, rebuilt.state), event, timeline.now)

    assert ["seen"] == [emit.value["template"] for emit in emits if emit.topic == "actions"]


def test_the_profile_is_that_of_the_events_with_the_traits_that_journeys_have_set() -> None:
    timeline = ann()
    del timeline.person.document["viewed"]
    timeline.person.document["traits"]["wrong"] = ["from a bug", timeline.now]
    rebuilt = restored(timeline, WELCOME)

    assert (["a", "b"], True, None) == (
        sorted(rebuilt.document["viewed"]),
        rebuilt.document["traits"]["welcomed"][0],
        rebuilt.document["traits"].get("wrong"),
    )


def test_a_new_segment_has_its_member_and_says_so_and_starts_no_journey() -> None:
    by_segment = simple("  - {message: seen, channel: email}", entry="{segment: viewers}")
    rebuilt = restored(ann(), WELCOME, by_segment, segments=(VIEWERS,))
    change = replacement(ann().stored(), rebuilt, decided=True, marked_since_ms=0)

    assert ["viewers"] == list(rebuilt.state["segments"]["in"])
    assert [(JOURNEY_EVENTS, b"p1", "segment_entered", "viewers")] == [
        (record.topic, record.key, orjson.loads(record.value)["kind"], orjson.loads(record.value)["segment"])
        for record in change.outgoing
    ]


def test_a_separated_person_is_said_to_be_in_the_segments_of_their_own_events_and_in_no_other() -> None:
    """What was published of two people in one ends with it, whichever of them keeps the profile id."""
    both = {**VIEWERS, "name": "both", "when": {"performed": "Product Viewed", "at_least": 9}}
    definitions = SegmentDefinitions.model_validate({"segments": [VIEWERS, both]})
    decider, timeline = DecisionEngine(definitions, [], CAPPED), ann()
    as_one = StoredProfile("p1", 7, None, (), encode_state({"segments": {"in": {"both": 1}, "changes": 41}}))
    apart = rebuild("p1", timeline.history, decider=decider, until_ms=timeline.now)
    names = decider.segments.names
    dated = history_of(decider.segments, "p1", timeline.history, timeline.now)

    stated = state_anew(as_one, apart, decider, timeline.now, SegmentHistory(names, dated, names))

    rows = [emit.value for emit in stated.emits]
    assert {("segment_entered", "viewers"), ("segment_left", "both")} == {(row["kind"], row["segment"]) for row in rows}
    assert {42} == {row["replaces_before"] for row in rows}
    assert min(row["sequence"] for row in rows) == 42
    assert stated.document == apart.document


def test_events_of_one_millisecond_are_taken_in_as_they_arrived() -> None:
    """A click right after its delivery is held; the other way round it counts. Ids of events say nothing about that."""

    def event(event_id: str, name: str, offset: int) -> dict[str, Any]:
        written = resolved(name, "email", event_id=event_id, properties={"message_id": "m1"})
        return {**written, "origin": {"topic": "touchpoints.email", "partition": 0, "offset": offset}}

    def clicks(*events: dict[str, Any]) -> int:
        document = rebuild("p1", events).document
        return int(document["messages"]["email"].get("clicked", [0])[0])

    click, delivery = "Email Link Clicked", "Email Delivered"

    assert 0 == clicks(event("a", click, 8), event("b", delivery, 7))
    assert 1 == clicks(event("a", delivery, 8), event("b", click, 7))


@pytest.mark.parametrize("times", [1, 2])
def test_a_rebuild_without_a_change_publishes_nothing(times: int) -> None:
    timeline = ann()
    for _ in range(times):
        rebuilt = restored(timeline, WELCOME, segments=(VIEWERS,))
        timeline.person = Person("p1", rebuilt.document, rebuilt.state)
    again = restored(timeline, WELCOME, segments=(VIEWERS,))

    assert (encode(timeline.person.document), encode_state(timeline.person.state), ()) == (
        encode(again.document),
        encode_state(again.state),
        again.emits,
    )


def test_a_profile_whose_first_events_have_expired_gets_those_after_it_and_loses_none() -> None:
    timeline = ann()
    snapshot, known = timeline.stored(), len(timeline.history)
    timeline.at("11:00").event("Product Viewed", product_id="c")
    kept = timeline.history[1:]  # the first has expired
    rebuilt = advance(snapshot, kept, DecisionEngine(SegmentDefinitions(), (WELCOME,), CAPPED), timeline.now)

    assert may_lack_events(rebuilt.document, timeline.now)
    assert not may_lack_events(rebuilt.document, 0)
    assert (known + 1, 3, ["a", "b", "c"]) == (
        rebuilt.document["event_count"],
        rebuilt.document["events"]["Product Viewed"][0],
        sorted(rebuilt.document["viewed"]),
    )
    assert timeline.person.state["sends"] == rebuilt.state["sends"]


def test_a_segment_that_is_filled_from_what_is_kept_lowers_no_count_that_was_known() -> None:
    lately = {**VIEWERS, "when": {**VIEWERS["when"], "within": "7d"}}
    decider = DecisionEngine(SegmentDefinitions.model_validate({"segments": [lately]}), (), CAPPED)
    timeline = ann()
    whole = refill(timeline.stored(), timeline.history, decider, timeline.now, None)
    assert whole is not None
    stored = StoredProfile("p1", 8, encode(whole.document), (), encode_state(whole.state))
    kept = timeline.history[-1:]

    assert refill(stored, kept, decider, timeline.now, None) is None
    partly = refill(stored, kept, decider, timeline.now, None, partial=True)
    assert partly is not None
    assert (whole.document, whole.state["features"], {"viewers"}) == (
        partly.document,
        partly.state["features"],
        set(partly.state["segments"]["in"]),
    )
