"""Laws of segments: exact at every moment, whatever the order of events, and across merges."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from processors.profiles.document import apply
from processors.profiles.joins import milliseconds
from processors.segments import series
from schemas.segments.conditions import Condition
from tests.oracles.segment_history import (
    HOUR,
    HOURS,
    START,
    conditions,
    engine_for,
    happened,
    histories,
    judge,
    leaves,
    merged,
    person_of,
)

laws = settings(max_examples=200, deadline=None)
bounded = settings(laws, suppress_health_check=[HealthCheck.function_scoped_fixture])
moments = st.integers(START - HOUR, START + 2 * HOURS * HOUR) | st.integers(-1, 2 * HOURS).map(
    lambda hour: START + hour * HOUR
)


@pytest.fixture(params=["room for all", "full"])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws about what is kept hold for series that overflow too."""
    if request.param == "full":
        for name in ("ROWS_KEPT", "DAYS_KEPT", "STEPS_KEPT"):
            monkeypatch.setattr(series, name, 2)


def _bytes(state: dict[str, Any]) -> bytes:
    return orjson.dumps(state.get("features", {}), option=orjson.OPT_SORT_KEYS)


@laws
@given(conditions, histories, moments)
@example(
    {"sequence": [{"event": "Product Viewed"}, {"event": "Order Completed", "within": "2h"}]},
    [happened("Product Viewed", 1), happened("Order Completed", 3)],
    START + 5 * HOUR,
)
def test_a_condition_holds_when_all_events_read_anew_say_so(
    written: dict[str, Any], events: list[dict[str, Any]], now: int
) -> None:
    engine = engine_for(written)
    person = person_of(engine, events)
    engine.evaluate(person, now, None)

    assert judge(Condition.model_validate(written), events, now) is ("s0" in engine.members(person))


@laws
@given(conditions, histories, st.integers(0, HOURS))
@example({"performed": "Product Viewed", "within": "2h", "exactly": 1}, [happened("Product Viewed", 1)] * 2, 2)
def test_between_now_and_due_nothing_changes_and_at_due_it_does(
    written: dict[str, Any], events: list[dict[str, Any]], hour: int
) -> None:
    """All that happens happens at whole hours, so the judge needs to look only there."""
    engine, condition = engine_for(written), Condition.model_validate(written)
    person = person_of(engine, events)
    now = START + hour * HOUR
    engine.evaluate(person, now, None)
    expected = next(
        (
            later
            for later in range(now + HOUR, START + (2 * HOURS + 2) * HOUR, HOUR)
            if judge(condition, events, later) is not judge(condition, events, now)
        ),
        None,
    )

    assert expected == engine.due(person)


@laws
@given(st.lists(conditions, min_size=1, max_size=3), histories)
def test_every_membership_is_found_by_following_events_and_due_times_alone(
    written: list[dict[str, Any]], events: list[dict[str, Any]]
) -> None:
    engine = engine_for(*written)
    by_name = {f"s{number}": Condition.model_validate(one) for number, one in enumerate(written)}
    person = person_of(engine, [])
    coming = sorted(events, key=lambda event: str(event["occurred_at"]))
    told: list[dict[str, Any]] = []
    wrong = []
    for hour in range(HOURS + 12):
        now = START + hour * HOUR
        if (due := engine.due(person)) is not None and due <= now:
            engine.evaluate(person, due, None)
        while coming and milliseconds(coming[0]["occurred_at"]) == now:
            told.append(coming.pop(0))
            apply(person.document, told[-1])
            engine.observe(person, told[-1])
            engine.evaluate(person, now, told[-1])
        expected = {name for name, condition in by_name.items() if judge(condition, told, now)}
        if told and expected != engine.members(person):
            wrong.append(hour)

    assert [] == wrong


@laws
@given(st.lists(conditions, min_size=1, max_size=3), histories.filter(bool), st.booleans())
def test_what_is_not_asked_of_a_newcomer_is_as_if_it_had_been(
    written: list[dict[str, Any]], events: list[dict[str, Any]], by_event: bool
) -> None:
    engine = engine_for(*written)
    person, other = person_of(engine, events[:1]), person_of(engine, events[:1])
    now = milliseconds(events[0]["occurred_at"])
    told = events[0] if by_event else {"event": "", "channel": "", "occurred_at": events[0]["occurred_at"]}

    engine.evaluate(person, now, told)
    engine.evaluate(other, now, None)

    assert (engine.members(other), engine.due(other)) == (engine.members(person), engine.due(person))


@pytest.mark.usefixtures("bounds")
@bounded
@given(st.lists(leaves, min_size=1, max_size=4), histories, st.data())
def test_any_order_of_the_same_events_keeps_the_same(
    written: list[dict[str, Any]], events: list[dict[str, Any]], data: st.DataObject
) -> None:
    engine = engine_for(*written)
    shuffled = data.draw(st.permutations(events))

    assert _bytes(person_of(engine, events).state) == _bytes(person_of(engine, shuffled).state)


@pytest.mark.usefixtures("bounds")
@bounded
@given(st.lists(leaves, min_size=1, max_size=4), histories, histories, moments)
def test_two_people_who_merge_are_as_if_they_had_always_been_one(
    written: list[dict[str, Any]], ours: list[dict[str, Any]], theirs: list[dict[str, Any]], now: int
) -> None:
    engine = engine_for(*written)
    whole = person_of(engine, ours + theirs)
    one, other = person_of(engine, ours), person_of(engine, theirs, "p2")
    engine.evaluate(one, min(now, START + HOUR), None)
    engine.evaluate(other, min(now, START + 2 * HOUR), None)
    joined = merged(engine, one, other)
    due_at_once = engine.due(joined)
    for person in (whole, joined):
        engine.evaluate(person, now, None)

    assert min(now, START + 2 * HOUR) == due_at_once
    assert _bytes(whole.state) == _bytes(joined.state)
    assert (engine.members(whole), engine.due(whole)) == (engine.members(joined), engine.due(joined))


@pytest.mark.usefixtures("bounds")
@bounded
@given(st.lists(leaves, min_size=1, max_size=4), histories, histories, histories)
def test_it_does_not_matter_who_of_three_meets_whom_first(
    written: list[dict[str, Any]],
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    third: list[dict[str, Any]],
) -> None:
    engine = engine_for(*written)
    groups = (first, second, third)
    left = merged(engine, merged(engine, *(person_of(engine, group) for group in groups[:2])), person_of(engine, third))
    right = merged(engine, *(person_of(engine, group) for group in groups[1:]))
    right = merged(engine, right, person_of(engine, first))

    assert _bytes(left.state) == _bytes(right.state)
