"""The laws of the resolver: no cap is ever exceeded, and a merge looks as if it had always been one person."""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.decisions.policy import CapRule
from schemas.durations import DAY_MS, HOUR_MS
from schemas.time import time_of_ms
from tests.support.messages import NOON, Note, ms, person, receipt, request, resolver

laws = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

RULES = (
    CapRule(limit=2, channel="email", within=DAY_MS),
    CapRule(limit=3, within=3 * DAY_MS),
    CapRule(limit=2, calendar="day"),
    CapRule(limit=2, tag="promotion", calendar="week"),
)
BERLIN = ZoneInfo("Europe/Berlin")
# Over the night in which the clocks go back.
START = ms("2026-10-23T12:00")

notes = st.tuples(
    st.sampled_from([("email",), ("web_push",), ("sms",)]),
    st.sampled_from([(), ("promotion",), ("news", "promotion")]),
    st.sampled_from([False, False, True]),
).map(lambda drawn: Note(channels=drawn[0], tags=drawn[1], transactional=drawn[2]))
steps = st.one_of(
    st.tuples(st.just("ask"), notes),
    st.tuples(st.just("ask"), notes),
    st.tuples(st.just("arrive"), st.integers(0, 20)),
    st.tuples(st.just("fail"), st.integers(0, 20)),
    st.tuples(st.just("pass"), st.sampled_from([1, HOUR_MS, 5 * HOUR_MS, 11 * HOUR_MS, DAY_MS, 25 * HOUR_MS])),
    st.tuples(st.just("expire"), st.none()),
)


@laws
@given(st.lists(steps, max_size=60))
def test_no_cap_is_exceeded_whatever_is_asked_reported_and_given_up(script: list[tuple[str, Any]]) -> None:
    engine, somebody, now = resolver(caps=RULES, quiet_hours={}), person(), START
    sent: list[tuple[int, Note, Any]] = []
    open_: list[int] = []
    failed: set[int] = set()
    for number, (what, value) in enumerate(script):
        if what == "ask":
            decision = engine.decide(somebody, request(f"r{number}", note=value, requested_ms=now), now)
            if decision.outcome == "sent":
                open_.append(len(sent))
                sent.append((now, value, decision))
        elif what in ("arrive", "fail") and open_:
            place = open_.pop(value % len(open_))
            engine.on_event(
                somebody, receipt("Email Delivered" if what == "arrive" else "Email Failed", sent[place][2]), now
            )
            if what == "fail":
                failed.add(place)
        elif what == "pass":
            now += value
        elif what == "expire":
            engine.expire(somebody, now)

        counted = [
            (at, note) for place, (at, note, _) in enumerate(sent) if place not in failed and not note.transactional
        ]
        for rule in RULES:
            assert _most(rule, counted) <= rule.limit


def _most(rule: CapRule, sent: list[tuple[int, Note]]) -> int:
    """The most messages that a rule ever had in one of its periods: counted the plain way."""
    times = [
        at
        for at, note in sent
        if rule.channel in (None, note.channels[0]) and (rule.tag is None or rule.tag in note.tags)
    ]
    if rule.within:
        return max((sum(at <= other < at + rule.within for other in times) for at in times), default=0)
    days = [time_of_ms(at, BERLIN).date() for at in times]
    periods = [day.isocalendar()[:2] if rule.calendar == "week" else day for day in days]
    return max((periods.count(period) for period in periods), default=0)


@pytest.mark.parametrize("seed", [1, 2])
def test_of_a_thousand_triggers_at_once_exactly_three_are_sent(seed: int) -> None:
    """Workers read a version of the person, decide, and write only if it is still the one that is stored."""
    engine, chance = resolver(caps=(CapRule(limit=3, channel="email", within=7 * DAY_MS),)), random.Random(seed)
    stored: tuple[int, bytes] = (0, b"{}")
    waiting = [f"r{number}" for number in range(1000)]
    outcomes: list[str] = []
    while waiting:
        chance.shuffle(waiting)
        at_once = [(run_id, *stored) for run_id in waiting[:6]]
        for run_id, version, state in at_once:
            somebody = person(state=orjson.loads(state))
            decision = engine.decide(somebody, request(run_id), NOON)
            if version != stored[0]:
                continue  # somebody else has written meanwhile: read again
            stored = version + 1, orjson.dumps(somebody.state)
            waiting.remove(run_id)
            outcomes.append(decision.outcome)

    assert (3, 997) == (outcomes.count("sent"), outcomes.count("suppressed"))
    assert 3 == len(orjson.loads(stored[1])["caps"])


histories = st.lists(
    st.tuples(
        notes, st.integers(0, 40), st.sampled_from([None, "Email Delivered", "Email Failed", "Email Link Clicked"])
    ),
    max_size=6,
)


def _state(name: str, history: list[tuple[Note, int, str | None]]) -> dict[str, Any]:
    engine, somebody = resolver(caps=RULES), person()
    for number, (note, hour, report) in enumerate(sorted(history, key=lambda entry: entry[1])):
        now = NOON + hour * HOUR_MS
        decision = engine.decide(somebody, request(f"{name}{number}", note=note, requested_ms=now), now)
        if report and decision.outcome == "sent":
            engine.on_event(somebody, receipt(report, decision), now)
    return somebody.state


def _combined(*states: dict[str, Any]) -> dict[str, Any]:
    mine = deepcopy(states[0])
    for other in states[1:]:
        resolver(caps=RULES).combine(mine, deepcopy(other))
    return mine


@laws
@given(histories, histories, histories)
def test_the_order_in_which_people_are_merged_cannot_be_seen(one: Any, two: Any, three: Any) -> None:
    a, b, c = _state("a", one), _state("b", two), _state("c", three)

    assert _combined(a, b) == _combined(b, a)
    assert _combined(_combined(a, b), c) == _combined(a, _combined(b, c))


@laws
@given(histories, histories)
def test_a_merged_person_has_everything_that_counted_for_either(one: Any, two: Any) -> None:
    a, b = _state("a", one), _state("b", two)
    merged = _combined(a, b)

    assert {**a.get("caps", {}), **b.get("caps", {})} == merged.get("caps", {})
    for number in (0, 1):
        sums = [state.get("sends", {}).get("learned", {}).get("email", [0, 0])[number] for state in (a, b, merged)]
        assert sums[0] + sums[1] == sums[2]


@laws
@given(histories)
def test_two_views_of_the_same_messages_count_them_once(one: Any) -> None:
    a = _state("a", one)

    assert a.get("caps", {}) == _combined(a, a).get("caps", {})


def test_caps_of_two_people_who_turn_out_to_be_one_add_up() -> None:
    engine = resolver(caps=(CapRule(limit=2, within=DAY_MS),))
    one, other = person("p1"), person("p2")
    engine.decide(one, request("a"), NOON)
    engine.decide(other, request("b"), NOON)
    engine.combine(one.state, other.state)

    assert "caps" == engine.decide(one, request("c"), NOON + HOUR_MS).row["gate"]
