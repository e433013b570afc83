"""Segment preview: replays the history of all people through the engine that evaluates live events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from processors.enrichment.enrichment import is_bot
from processors.profiles import link_scans
from processors.profiles.catalogue_history import NO_CATALOGUE, CatalogueHistory, arrival
from processors.profiles.document import join, new_profile, profile_of_event
from processors.profiles.product_news import news_for
from processors.segments import scores
from processors.segments.engine import SegmentEngine
from processors.segments.reachability import AddressTypes
from schemas.channels import ADDRESS_TYPES_OF
from schemas.profiles.person import Person
from schemas.segments.conditions import SegmentChange
from schemas.segments.definitions import SegmentDefinitions
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import ms_of_text, time_of_ms

Event = dict[str, Any]

EXAMPLES = 5
"""Members listed for each segment."""


@dataclass
class Preview:
    """One segment after the replay of history.

    Attributes:
        members: How many people are in it at the end.
        entered: How many times a person entered it, by local day.
        left: How many times a person left it, by local day.
        examples: Profile ids of up to `EXAMPLES` members, those who entered last first.
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
    territory: Territory = ONE_TERRITORY,
    address_types: AddressTypes = ADDRESS_TYPES_OF,
    catalogue: CatalogueHistory = NO_CATALOGUE,
) -> tuple[dict[str, Preview], int]:
    """Evaluate segments over the history of all people, up to a time.

    Args:
        definitions: The segments to preview, with the segments and traits that they refer to.
        people: Profile ids, each with the person's events in the order in which they were received.
        at_ms: The time, in milliseconds; later events are ignored.
        territory: Of the deployment; the days are those of its zone.
        address_types: The identifier types that messages of each channel are sent to.
        catalogue: What was known of products.

    Returns:
        A preview of each segment, by name, and the number of people.
    """
    engine = SegmentEngine(definitions, territory=territory, address_types=address_types)
    found = {segment.name: Preview() for segment in definitions.segments}
    since: dict[str, list[tuple[int, str]]] = {name: [] for name in found}
    count = 0
    for profile_id, events in people:
        count += 1
        person = Person(profile_id, new_profile(profile_id), {})
        for change in _replay(engine, person, catalogue.around(profile_id, events), at_ms):
            segment = found[change.segment]
            day = time_of_ms(change.at_ms, territory.zone).date().isoformat()
            (segment.entered if change.entered else segment.left)[day] += 1
        for name, entered in person.state.get("segments", {}).get("in", {}).items():
            found[name].members += 1
            since[name] = sorted([*since[name], (-entered, profile_id)])[:EXAMPLES]
    for name, latest in since.items():
        found[name].examples = [profile_id for _, profile_id in latest]
    return found, count


def members_by_history(
    engine: SegmentEngine, profile_id: str, events: list[Event], at_ms: int, known_scores: dict[str, Any] | None = None
) -> set[str]:
    """Return the segments that a person is in at a time, by a replay of the person's events.

    Args:
        engine: The segments.
        profile_id: The person.
        events: In the order in which they were received, with what `CatalogueHistory` adds to them; later ones than
            `at_ms` are ignored.
        at_ms: The time, in milliseconds.
        known_scores: The predictions in the person's state, which no event holds.
    """
    person = Person(profile_id, new_profile(profile_id), {})
    for _ in _replay(engine, person, events, at_ms):
        pass
    if known_scores:
        scores.set_scores(person.state, {name: value for name, (value, _) in known_scores.items()}, at_ms)
        engine.evaluate(person, at_ms, None)
    return engine.members(person)


def history_of(
    engine: SegmentEngine, profile_id: str, events: Iterable[Event], until_ms: int
) -> tuple[SegmentChange, ...]:
    """Return a person's changes of membership at the times of the events, as if each had been known when it happened.

    Args:
        engine: The segments.
        profile_id: The person.
        events: In any order, with what `CatalogueHistory` adds to them by the time at which they happened.
        until_ms: Up to when, in milliseconds.
    """
    person = Person(profile_id, new_profile(profile_id), {})
    in_order = sorted(events, key=lambda event: (event["occurred_at"], arrival(event)))
    return tuple(_replay(engine, person, in_order, until_ms, "occurred_at"))


def _replay(
    engine: SegmentEngine, person: Person, events: Iterable[Event], at_ms: int, time: str = "received_at"
) -> Iterable[SegmentChange]:
    seen: set[tuple[str, str]] = set()
    for event in events:
        now = ms_of_text(event[time])
        if now > at_ms:
            break
        if (key := (event["source"], event["event_id"])) in seen:
            continue
        seen.add(key)
        yield from _evaluate_due(engine, person, now)
        if event.get("derived"):
            yield from _observe(engine, person, event, now)
            continue
        admitted = link_scans.admit(person.document, person.state, event, profile_of_event(event), replayed=True)
        if admitted.added:
            join(person.document, admitted.added)
        for counted, addition in admitted.events:
            join(person.document, addition)
            if is_bot(counted):
                continue
            yield from _observe(engine, person, counted, now)
    yield from _evaluate_due(engine, person, at_ms)


def _observe(engine: SegmentEngine, person: Person, event: Event, now: int) -> Iterable[SegmentChange]:
    if (news := news_for(person.document, event)) is not None:
        engine.observe(person, news)
        yield from engine.evaluate(person, now, news)


def _evaluate_due(engine: SegmentEngine, person: Person, until: int) -> Iterable[SegmentChange]:
    while (due := engine.due(person)) is not None and due <= until:
        yield from engine.evaluate(person, due, None)
