"""Laws of deciding: the same again gives the same, looking at the clock changes nothing, a merge has no sides."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.decisions.engine import DecisionEngine
from processors.profiles.document import join, new_profile, profile_of_event
from schemas.decisions.decision import Emit
from schemas.decisions.policy import HoldoutRules, MessagePolicy
from schemas.profiles.person import Person
from schemas.territory import Territory
from schemas.time import ms_of_text, text_of_ms
from schemas.topics import ACTIONS, DECISIONS, JOURNEY_EVENTS
from tests.support.stories import FIRST_DAY, journey, shipped_journeys, shipped_segments

MINUTE = 60_000
START = round(FIRST_DAY.timestamp() * 1000)
POLICY = MessagePolicy(holdout=HoldoutRules(share=0.2))

EVERYTHING = journey(
    """
    name: everything
    entry: {event: Signed Up, key: plan}
    re_entry: restart
    exit_when: [{event: Account Deleted}]
    goals: [{event: Order Completed, within: 3d}]
    steps:
      - random: [{name: a, steps: [{delay: 30m}]}, {name: b, steps: [{until: {time: "09:30"}}]}]
      - wait_for: {event: Order Completed}
        timeout: 2h
        then: [{set_trait: {buyer: true}}]
        else: [{message: x, channel: sms}]
      - if: {attribute: traits.buyer, eq: true}
        then: [{message: thanks, channels: [email, app_push], choose: next_best, best_within: 1d}]
      - webhook: crm
    """
)
DECIDER = DecisionEngine(
    shipped_segments(), [*shipped_journeys().values(), EVERYTHING], POLICY, territory=Territory.of("Europe/Berlin")
)


NAMES = [
    ("Signed Up", {"plan": "a"}), ("Signed Up", {"plan": "b"}), ("Account Deleted", {}), ("Page Viewed", {}),
    ("Product Added", {"cart_id": "c1", "product_id": "lamp"}),
    ("Product Added", {"cart_id": "c2", "product_id": "sofa"}),
    ("Product Removed", {"cart_id": "c1", "product_id": "lamp"}), ("Product Viewed", {"product_id": "vase"}),
    ("Order Completed", {"order_id": "o1", "cart_id": "c1", "revenue": "9.90", "currency": "EUR"}),
    ("Order Completed", {"order_id": "o2"}), ("Order Cancelled", {"order_id": "o2"}),
    ("Loyalty Points Earned", {"points": 600}), ("Loyalty Points Redeemed", {"points": 500}),
    ("Payment Due", {"order_id": "o1"}), ("Payment Received", {"order_id": "o1"}),
    ("Contest Entered", {"contest_id": "k"}), ("Contest Won", {"contest_id": "k"}),
]  # fmt: skip

HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from([0, 1, 20, 59, 60, 61, 300, 1440, 3000, 20_000]),  # minutes since the last one
        st.sampled_from([0, 0, 0, 5, 90, 2000]),  # minutes that it came late
    ),
    min_size=1,
    max_size=14,
)


def events(happenings: list[Any], person: str = "p1") -> list[dict[str, Any]]:
    """Write what happened as it is on the wire, in the order in which it was received."""
    now, told = START, [_identify(person, START)]
    for number, ((name, properties), pause, late) in enumerate(happenings):
        now += pause * MINUTE
        told.append(
            {
                "event_id": f"{person}-{number}",
                "event": name,
                "channel": "web",
                "source": "test",
                "occurred_at": text_of_ms(now - late * MINUTE),
                "received_at": text_of_ms(now),
                "identifiers": [],
                "properties": properties,
            }
        )
    return told


def _identify(person: str, at: int) -> dict[str, Any]:
    return {
        "event_id": f"{person}-identify",
        "event": "Identify",
        "channel": "web",
        "source": "test",
        "occurred_at": text_of_ms(at),
        "received_at": text_of_ms(at),
        "identifiers": [{"type": kind, "value": f"{person}-{kind}"} for kind in ("email", "phone", "push_token")],
        "consent": {"marketing": True, "channels": {"email": True, "sms": True, "app_push": True}},
        "context": {"timezone": "Europe/Berlin"},
    }


def live(
    told: list[dict[str, Any]],
    looks: Sequence[int] = (),
    end: int | None = None,
    person: str = "p1",
) -> tuple[Person, list[Emit]]:
    """Process events; between them somebody looks at the clock, so many minutes before each (0: not at all)."""
    who, out = Person(person, new_profile(person), {}), []
    for number, event in enumerate(told):
        now = ms_of_text(event["received_at"])
        for look in looks[number::5]:
            if look:
                out += DECIDER.on_time(who, now - look)
        out += DECIDER.on_time(who, now)  # what was due before sees the profile without the event
        join(who.document, profile_of_event(event))
        out += DECIDER.on_event(who, event, now)
        assert orjson.loads(orjson.dumps(who.state)) == who.state
    return who, out + DECIDER.on_time(who, end or now + 40 * 1440 * MINUTE)


def written(out: list[Emit]) -> list[bytes]:
    return [orjson.dumps(list(emit), option=orjson.OPT_SORT_KEYS) for emit in out]


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS)
def test_a_replay_into_an_empty_state_decides_the_same(happenings: list[Any]) -> None:
    told = events(happenings)

    assert written(live(told)[1]) == written(live(copy.deepcopy(told))[1])


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS, st.lists(st.sampled_from([0, 1, 59_999, 60_000, 3_600_000]), max_size=15))
def test_how_often_somebody_looks_at_the_clock_changes_nothing(happenings: list[Any], looks: list[int]) -> None:
    told = events(happenings)
    looks = sorted(looks, reverse=True)  # the clock does not go back
    first, second = live(told), live(told, looks)

    assert written(first[1]) == written(second[1])
    assert first[0] == second[0]


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS)
def test_each_step_is_done_once_and_each_row_written_once(happenings: list[Any]) -> None:
    _, out = live(events(happenings))
    rows = [emit.value["decision_id"] for emit in out if emit.topic == DECISIONS]
    told = [emit.value["id"] for emit in out if emit.topic == JOURNEY_EVENTS]
    orders = Counter((emit.value["run_id"], emit.value["step"]) for emit in out if emit.topic == ACTIONS)
    keys = Counter(emit.value["idempotency_key"] for emit in out if emit.topic == ACTIONS)

    assert (len(set(rows)), len(set(told))) == (len(rows), len(told))
    assert {1} >= {*orders.values(), *keys.values()}


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS)
def test_each_message_that_goes_out_has_its_row_and_each_run_its_beginning(happenings: list[Any]) -> None:
    _, out = live(events(happenings))
    sent = {row.value["idempotency_key"] for row in out if row.topic == DECISIONS and row.value["outcome"] == "sent"}
    ordered = {
        row.value["idempotency_key"] for row in out if row.topic == ACTIONS and row.value["channel"] != "webhook"
    }
    entered = {
        row.value["run_id"] for row in out if row.topic == JOURNEY_EVENTS and row.value["kind"] == "journey_entered"
    }
    acted = {row.value["run_id"] for row in out if row.topic in (DECISIONS, ACTIONS)}

    assert (sent, set()) == (ordered, acted - entered)


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS)
def test_that_it_was_postponed_is_never_the_last_word_about_a_message(happenings: list[Any]) -> None:
    _, out = live(events(happenings), end=START + 600 * 1440 * MINUTE)
    last = {row.value["idempotency_key"]: row.value["outcome"] for row in out if row.topic == DECISIONS}

    assert "postponed" not in last.values()


# Merges


def state(happenings: list[Any], person: str) -> dict[str, Any]:
    told = events(happenings, person)
    return live(told, end=START + sum(pause for _, pause, _ in happenings) * MINUTE, person=person)[0].state


def joined(*states: dict[str, Any]) -> bytes:
    first, *others = copy.deepcopy(states)
    for other in others:
        DECIDER.journeys.combine(first, other)
    return orjson.dumps(first.get("journeys", {}), option=orjson.OPT_SORT_KEYS)


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS, HAPPENINGS)
def test_it_does_not_matter_who_is_merged_into_whom(one: list[Any], other: list[Any]) -> None:
    first, second = state(one, "p1"), state(other, "p2")

    assert joined(first, second) == joined(second, first)


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS, HAPPENINGS)
def test_a_merge_loses_no_run_without_a_word(one: list[Any], other: list[Any]) -> None:
    states = state(one, "p1"), state(other, "p2")
    before = {run_id for each in states for run_id in each.get("journeys", {}).get("runs", {})}
    section = orjson.loads(joined(*states))

    assert before == {*section.get("runs", {}), *section.get("collapsed", {})}


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS, HAPPENINGS)
def test_after_a_merge_there_is_one_run_for_each_journey_and_key(one: list[Any], other: list[Any]) -> None:
    section = orjson.loads(joined(state(one, "p1"), state(other, "p2")))
    places = Counter((run["journey"], run["key"]) for run in section.get("runs", {}).values())

    assert {1} >= set(places.values())


@settings(max_examples=60, deadline=None)
@given(HAPPENINGS)
def test_a_merge_with_somebody_who_did_nothing_changes_nothing(happenings: list[Any]) -> None:
    before = state(happenings, "p1")

    assert orjson.dumps(before.get("journeys", {}), option=orjson.OPT_SORT_KEYS) == joined(before, {})
