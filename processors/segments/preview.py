"""What a segment would be: history through the very engine that decides live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from processors.profiles.document import join, new_profile, profile_of_event
from processors.profiles.joins import milliseconds
from processors.segments.engine import SegmentEngine
from schemas.profiles.person import Person
from schemas.segments.conditions import SegmentChange
from schemas.segments.definitions import SegmentDefinitions

Event = dict[str, Any]

EXAMPLES = 5


@dataclass
class Preview:
    """One segment over history.

    Attributes:
        members: How many people are in it at the end.
        entered: How often somebody entered it, by local day.
        left: How often somebody left it, by local day.
        examples: Profile ids of some members, those who entered last first.
    """

    members: int = 0
    entered: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


def preview(
    definitions: SegmentDefinitions,
    people: Iterable[tuple[str, list[Event]]],
    at_ms: int,
    *,
    timezone: str,
) -> tuple[dict[str, Preview], int]:
    """Follow everybody from the first event to a moment.

    Args:
        definitions: The segments to try, with what they refer to.
        people: Everybody, one after the other, each with their events in the order in which the broker got them.
        at_ms: The moment; events that the broker got later are not for this.
        timezone: Zone of the days.

    Returns:
        For each segment what it would be, and how many people were looked at.
    """
    engine, zone = SegmentEngine(definitions, timezone=timezone), ZoneInfo(timezone)
    found = {segment.name: Preview() for segment in definitions.segments}
    since: dict[str, list[tuple[int, str]]] = {name: [] for name in found}
    count = 0
    for profile_id, events in people:
        count += 1
        person = Person(profile_id, new_profile(profile_id), {})
        for change in _follow(engine, person, events, at_ms):
            one = found[change.segment]
            day = datetime.fromtimestamp(change.at_ms / 1000, zone).date().isoformat()
            (one.entered if change.entered else one.left)[day] += 1
        for name, entered in person.state.get("segments", {}).get("in", {}).items():
            found[name].members += 1
            since[name] = sorted([*since[name], (-entered, profile_id)])[:EXAMPLES]
    for name, latest in since.items():
        found[name].examples = [profile_id for _, profile_id in latest]
    return found, count


def _follow(engine: SegmentEngine, person: Person, events: list[Event], at_ms: int) -> Iterable[SegmentChange]:
    for event in events:
        now = milliseconds(event["received_at"])
        if now > at_ms:
            break
        yield from _pass_time(engine, person, now)
        join(person.document, profile_of_event(event))
        engine.observe(person, event, now)
        yield from engine.evaluate(person, now, event)
    yield from _pass_time(engine, person, at_ms)


def _pass_time(engine: SegmentEngine, person: Person, until: int) -> Iterable[SegmentChange]:
    while (due := engine.due(person)) is not None and due <= until:
        yield from engine.evaluate(person, due, None)
