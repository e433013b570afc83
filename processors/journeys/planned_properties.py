"""Lint of the properties that segments and journeys name, against the tracking plan; all findings are hints.

An event that is not planned is not checked, since nothing says what it has. What the shape of a known event has counts
as planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import get_type_hints

from schemas.events.properties import Properties
from schemas.events.touchpoint import PROPERTIES
from schemas.intake.plan import PlanDefinitions, PlannedEvent, PlannedProperty
from schemas.journeys.definitions import EventMatch, Journey, Until
from schemas.segments.conditions import Condition
from schemas.segments.definitions import SegmentDefinitions
from schemas.spelling import suggestion

Path = tuple[str | int, ...]
Unplanned = tuple[str, Path, str]
"""A definition, the place of a property in it, and the hint."""

_IN_EVENT = "properties."
_SHAPES: Mapping[str, frozenset[str]] = {
    name: frozenset(get_type_hints(shape)) for shape, names in PROPERTIES.items() for name in names
}
_CUSTOM = frozenset(get_type_hints(Properties))


def unplanned_of_segments(segments: SegmentDefinitions, plan: PlanDefinitions) -> Iterator[Unplanned]:
    """Yield the properties in segments and computed traits that the plan does not have for their event."""
    for segment in segments.segments:
        for at, events, path in _of_condition(segment.when, ("when",)):
            yield from ((segment.name, at, message) for message in _unplanned(plan, events, path))
    for trait in segments.traits:
        paths = [(("where", path), path) for path in trait.where]
        for at, path in [(("of",), trait.of or ""), *paths]:
            yield from ((trait.name, at, message) for message in _unplanned(plan, trait.event, path))


def unplanned_of_journeys(journeys: Iterable[Journey], plan: PlanDefinitions) -> Iterator[Unplanned]:
    """Yield the properties in journeys that the plan does not have for their event."""
    for journey in journeys:
        for at, match in journey.matches():
            if isinstance(match, EventMatch):
                for path in match.where:
                    found = _unplanned(plan, match.names, path)
                    yield from ((journey.name, (*at, "where", path), message) for message in found)
                if match.key is not None:  # events of several names need not all have it
                    found = _unplanned(plan, match.names, f"{_IN_EVENT}{match.key}")
                    if len(found) == len(match.names):
                        yield journey.name, (*at, "key"), found[0]
        for at, condition in journey.conditions():
            for inner, events, path in _of_condition(condition, at):
                yield from ((journey.name, inner, message) for message in _unplanned(plan, events, path))
        if isinstance(journey.entry, EventMatch):
            for at, step in journey.walk():
                date = step.until.date or "" if isinstance(step, Until) else ""
                if date.startswith("event."):
                    found = _unplanned(plan, journey.entry.names, f"{_IN_EVENT}{date.removeprefix('event.')}")
                    yield from ((journey.name, (*at, "until", "date"), message) for message in found)


def _of_condition(condition: Condition, at: Path) -> Iterator[tuple[Path, Sequence[str], str]]:
    """Yield each path of an event in a condition and its parts: its place, the names of the events, the path."""
    events = condition.performed or condition.not_performed or condition.event or ()
    for path in condition.where:
        yield (*at, "where", path), events, path
    if condition.of is not None:
        yield (*at, "of"), events, condition.of
    for index, step in enumerate(condition.sequence or ()):
        for path in step.where:
            yield (*at, "sequence", index, "where", path), step.event, path
    if condition.same is not None:
        named = [name for step in condition.sequence or () for name in step.event]
        yield (*at, "same"), list(dict.fromkeys(named)), condition.same
    for key, inner in (("all", condition.all), ("any", condition.any)):
        for index, one in enumerate(inner or ()):
            yield from _of_condition(one, (*at, key, index))
    if condition.not_ is not None:
        yield from _of_condition(condition.not_, (*at, "not"))


def _unplanned(plan: PlanDefinitions, events: Iterable[str], path: str) -> list[str]:
    """Return a hint for each planned event that does not have a property; none for a path that is of no property."""
    if not path.startswith(_IN_EVENT):
        return []
    found = []
    for name in events:
        planned = plan.events.get(name)
        if planned is not None and (unknown := _unknown(name, planned, path.removeprefix(_IN_EVENT).split("."))):
            found.append(unknown)
    return found


def _unknown(event: str, planned: PlannedEvent, parts: Sequence[str]) -> str:
    """Return the hint about the first part of a property that is not planned; empty: it is planned, or may be free."""
    level: dict[str, list[PlannedProperty]] = {name: [] for name in _SHAPES.get(event, _CUSTOM)}
    for properties in (planned.properties, *(source.properties for source in planned.sources.values())):
        for name, one in properties.items():
            level.setdefault(name, []).append(one)
    for index, part in enumerate(parts):
        if part not in level:
            inside = ".".join(parts[:index])
            owner = f"{inside} of {event!r}" if inside else f"{event!r}"
            return f"the tracking plan has no property {part!r} for {owner}{suggestion(part, sorted(level))}"
        following: dict[str, list[PlannedProperty]] = {}
        for one in level[part]:
            for name, inner in _parts(one).items():
                following.setdefault(name, []).append(inner)
        if not following:  # nothing is said about what is inside
            return ""
        level = following
    return ""


def _parts(one: PlannedProperty) -> Mapping[str, PlannedProperty]:
    """Return the parts of an object, or of the objects of a list."""
    while one.of is not None:
        one = one.of
    return one.properties
