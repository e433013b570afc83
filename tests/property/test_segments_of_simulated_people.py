"""The shipped segments over a simulated retailer: incremental is exact, every attribute can be read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import orjson
import pytest

from deploy.demo.simulator.run import Options, Simulation
from deploy.operations.engines import load_segments
from deploy.settings import Settings
from processors.profiles.document import join, new_profile, profile_of_event
from processors.segments.engine import SegmentEngine
from schemas.events.touchpoint import read
from schemas.profiles.person import Person
from schemas.segments.attributes import ATTRIBUTES
from schemas.segments.conditions import Condition
from schemas.territory import Territory
from schemas.time import ms_of_text
from tests.oracles.segment_history import person_of
from tests.support.builders import at

HISTORY = Options(people=60, days=45, junk=0)

# The series behind some attributes are only kept if a condition reads the attribute.
EXTRA = [
    Condition.model_validate({"attribute": name, "exists": True})
    for name in ("preferred.hour", "preferred.category", "preferred.brand", "affinity.categories")
]


@cache
def engine() -> SegmentEngine:
    return SegmentEngine(load_segments(Settings()), territory=Territory.of("Europe/Paris"), extra=EXTRA)


def attributed_events() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every event with its person: the e-mail address, else the first identifier."""
    for line in Simulation(HISTORY).lines():
        event = read(orjson.loads(line))
        names = sorted(
            (one["type"] != "email", one["type"], one["value"].strip().lower()) for one in event["identifiers"]
        )
        if names:
            yield names[0][2], event


@cache
def people() -> dict[str, Person]:
    """Return all people at the end, evaluated at their events and at due times."""
    found: dict[str, Person] = {}
    for name, event in attributed_events():
        person = found.setdefault(name, Person(name, new_profile(name), {}))
        now = ms_of_text(event["occurred_at"]) + 500
        while (due := engine().due(person)) is not None and due <= now:
            engine().evaluate(person, due, None)
        join(person.document, profile_of_event(event))
        engine().observe(person, event)
        engine().evaluate(person, now, event)
    return found


def _evaluated_anew(person: Person, now: int) -> Person:
    state = {"features": person.state.get("features", {})}
    fresh = Person(person.profile_id, person.document, state)
    engine().evaluate(fresh, now, None)
    return fresh


def _next_change(person: Person) -> tuple[int, set[str]] | None:
    """Follow the due times to the next change without an event: its time and the segments entered or left."""
    known = orjson.loads(orjson.dumps(person.state))
    alone = Person(person.profile_id, person.document, known)
    before = engine().members(alone)
    while (due := engine().due(alone)) is not None:
        if engine().evaluate(alone, due, None):
            return due, engine().members(alone) ^ before
    return None


def test_following_events_and_due_times_gives_what_evaluating_everything_anew_gives() -> None:
    wrong = {}
    for name, person in people().items():
        fresh = _evaluated_anew(person, person.state["segments"]["at"])
        if engine().members(fresh) != engine().members(person) or _next_change(fresh) != _next_change(person):
            wrong[name] = engine().members(fresh) ^ engine().members(person)

    assert {} == wrong


def test_a_due_time_is_never_too_late() -> None:
    late = []
    for person in people().values():
        due, expected = engine().due(person), engine().due(_evaluated_anew(person, person.state["segments"]["at"]))
        if expected is not None and (due is None or due > expected):
            late.append((person.profile_id, due, expected))

    assert [] == late


def test_a_segment_changes_when_it_is_due_and_not_the_millisecond_before() -> None:
    wrong = []
    for person in people().values():
        change = _next_change(person)
        if change is not None:
            before, then = (engine().members(_evaluated_anew(person, moment)) for moment in (change[0] - 1, change[0]))
            if before != engine().members(person) or before ^ then != change[1]:
                wrong.append((person.profile_id, before ^ then))

    assert [] == wrong


def test_there_are_more_than_120_attributes_and_each_is_documented() -> None:
    undocumented = [one.name for one in ATTRIBUTES.values() if not one.meaning.endswith(".") or one.example is None]

    assert len(ATTRIBUTES) >= 120
    assert [] == undocumented


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_has_a_value_of_its_type_for_all_people(name: str) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "number": (int, float), "money": (object,), "time": (int,), "text": (str,), "yes/no": (bool,), "list": (list,),
    }  # fmt: skip
    fitting = kinds[ATTRIBUTES[name].type]
    values = [engine().attribute(name, person, ms_of_text(at(days=30))) for person in people().values()]

    assert [] == [value for value in values if value is not None and not isinstance(value, fitting)]


def test_most_attributes_have_a_value_for_some_person() -> None:
    now = ms_of_text(at())
    known = [
        name
        for name in ATTRIBUTES
        if any(engine().attribute(name, person, now) is not None for person in people().values())
    ]

    assert len(known) > 300


def test_every_attribute_of_an_empty_profile_can_be_read() -> None:
    empty = person_of(engine(), [])

    assert len(ATTRIBUTES) == len([engine().attribute(name, empty, 0) for name in ATTRIBUTES] + [])


def test_the_state_of_a_person_is_small() -> None:
    sizes = sorted(len(orjson.dumps(person.state)) for person in people().values())

    assert sizes[len(sizes) // 2] < 1_500
    assert sizes[-1] < 12_000
