"""Laws of segments: exact at every time, in any order of events, and across merges."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from processors.profiles.document import apply
from processors.segments import series
from schemas.segments.conditions import Condition
from schemas.time import ms_of_text
from tests.oracles.segment_history import (
    HOUR,
    HOURS,
    START,
    conditions,
    engine_for,
    happened,
    histories,
    holds,
    merged,
    person_of,
    simple_conditions,
)

laws = settings(max_examples=200, deadline=None)
bounded = settings(laws, suppress_health_check=[HealthCheck.function_scoped_fixture])
times = st.integers(START - HOUR, START + 2 * HOURS * HOUR) | st.integers(-1, 2 * HOURS).map(
    lambda hour: START + hour * HOUR
)


@pytest.fixture(params=["room for all", "full"])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws of series hold for series that reach their bounds too."""
    if request.param == "full":
        for name in ("ROWS_KEPT", "DAYS_KEPT", "STEPS_KEPT"):
            monkeypatch.setattr(series, name, 2)


def _bytes(state: dict[str, Any]) -> bytes:
    return orjson.dumps(state.get("features", {}), option=orjson.OPT_SORT_KEYS)


@laws
@given(conditions, histories, times)
@example(
    {"sequence": [{"event": "Product Viewed"}, {"event": "Order Completed", "within": "2h"}]},
    [happened("Product Viewed", 1), happened("Order Completed", 3)],
    START + 5 * HOUR,
)
def test_a_condition_holds_when_it_holds_over_all_events(
    written: dict[str, Any], events: list[dict[str, Any]], now: int
) -> None:
    engine = engine_for(written)
    person = person_of(engine, events)
    engine.evaluate(person, now, None)

    assert holds(Condition.model_validate(written), events, now) is ("s0" in engine.members(person))


@laws
@given(conditions, histories, st.integers(0, HOURS))
@example({"performed": "Product Viewed", "within": "2h", "exactly": 1}, [happened("Product Viewed", 1)] * 2, 2)
def test_between_now_and_due_nothing_changes_and_at_due_it_does(
    written: dict[str, Any], events: list[dict[str, Any]], hour: int
) -> None:
    """All events are at whole hours, so the oracle needs to evaluate only there."""
    engine, condition = engine_for(written), Condition.model_validate(written)
    person = person_of(engine, events)
    now = START + hour * HOUR
    engine.evaluate(person, now, None)
    expected = next(
        (
            later
            for later in range(now + HOUR, START + (2 * HOURS + 2) * HOUR, HOUR)
            if holds(condition, events, later) is not holds(condition, events, now)
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
    observed: list[dict[str, Any]] = []
    wrong = []
    for hour in range(HOURS + 12):
        now = START + hour * HOUR
        if (due := engine.due(person)) is not None and due <= now:
            engine.evaluate(person, due, None)
        while coming and ms_of_text(coming[0]["occurred_at"]) == now:
            observed.append(coming.pop(0))
            apply(person.document, observed[-1])
            engine.observe(person, observed[-1])
            engine.evaluate(person, now, observed[-1])
        expected = {name for name, condition in by_name.items() if holds(condition, observed, now)}
        if observed and expected != engine.members(person):
            wrong.append(hour)

    assert [] == wrong


@laws
@given(st.lists(conditions, min_size=1, max_size=3), histories.filter(bool), st.booleans())
def test_segments_not_evaluated_at_a_first_event_have_the_result_of_an_evaluation(
    written: list[dict[str, Any]], events: list[dict[str, Any]], by_event: bool
) -> None:
    engine = engine_for(*written)
    person, other = person_of(engine, events[:1]), person_of(engine, events[:1])
    now = ms_of_text(events[0]["occurred_at"])
    observed = events[0] if by_event else {"event": "", "channel": "", "occurred_at": events[0]["occurred_at"]}

    engine.evaluate(person, now, observed)
    engine.evaluate(other, now, None)

    assert (engine.members(other), engine.due(other)) == (engine.members(person), engine.due(person))


@pytest.mark.usefixtures("bounds")
@bounded
@given(st.lists(simple_conditions, min_size=1, max_size=4), histories, st.data())
def test_series_do_not_depend_on_the_order_of_events(
    written: list[dict[str, Any]], events: list[dict[str, Any]], data: st.DataObject
) -> None:
    engine = engine_for(*written)
    shuffled = data.draw(st.permutations(events))

    assert _bytes(person_of(engine, events).state) == _bytes(person_of(engine, shuffled).state)


@pytest.mark.usefixtures("bounds")
@bounded
@given(st.lists(simple_conditions, min_size=1, max_size=4), histories, histories, times)
def test_merged_profiles_equal_one_profile_with_all_events(
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
@given(st.lists(simple_conditions, min_size=1, max_size=4), histories, histories, histories)
def test_the_order_of_merges_does_not_matter(
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
