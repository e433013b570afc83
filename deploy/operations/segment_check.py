"""Compares the members of segments in the profiles, in ClickHouse and by a replay of history, while workers go on.

The profiles decide about messages; counts, exports and reports read ClickHouse. Both should have the same members, and
those that an evaluation of the whole history gives. A difference that stays is a fault or has a reason that a person
should know: definitions that a profile was not evaluated with yet, or events of before a series was kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from deploy.operations.segment_backfill import batches
from processors.profiles.catalogue_history import NO_CATALOGUE, CatalogueHistory
from processors.profiles.document import read_profile
from processors.profiles.rebuild import may_lack_events
from processors.segments.engine import SegmentEngine
from processors.segments.preview import members_by_history
from schemas.profiles.document import StoredProfile
from schemas.profiles.person import UNMERGED, Person
from sinks.redis.profiles import RedisProfileStore

Place = Literal["tables", "history"]
People = Iterable[tuple[str, list[dict[str, Any]]]]

EXAMPLES = 5
"""People named for each difference."""
_PEOPLE_A_CALL = 500


@dataclass
class Difference:
    """Members of a segment that the profiles and another place do not agree about.

    Attributes:
        segment: The segment.
        place: What the profiles were compared with: `tables` (v_segment_memberships) or `history` (a replay).
        only_in_profiles: Number of people who are members in the profiles alone.
        only_there: Number of people who are members in the other place alone.
        examples: Ids of some of these people.
    """

    segment: str
    place: Place
    only_in_profiles: int = 0
    only_there: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class CheckResult:
    """The outcome of a check.

    Attributes:
        people: People compared.
        skipped: People left out: they changed during the check, or have a timer or a merge that is still to be done.
        differences: In the order of segment and place.
    """

    people: int = 0
    skipped: int = 0
    differences: list[Difference] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Compared:
    """A person whose members differ somewhere: version of the profile, and (segment, place, in the profile)."""

    version: int
    found: tuple[tuple[str, Place, bool], ...]


async def check_segments(
    store: RedisProfileStore,
    engine: SegmentEngine,
    tables: Mapping[str, set[str]],
    people: People,
    at_ms: int,
    catalogue: CatalogueHistory = NO_CATALOGUE,
    whole_since_ms: int = 0,
) -> CheckResult:
    """Compare the members of all segments; people of whom events may have expired are left out.

    Args:
        store: The live profiles.
        engine: The segments in force.
        tables: The segments of each person in v_segment_memberships, by profile id.
        people: The history of each person.
        at_ms: The time of both, milliseconds since 1970.
        catalogue: What was known of products, by `read_catalogue`.
        whole_since_ms: All events since then are there, milliseconds since 1970; 0: all.
    """
    result, names = CheckResult(), engine.names
    different: dict[str, _Compared] = {}
    seen: set[str] = set()
    for batch in batches(_with_members(people, tables, seen), _PEOPLE_A_CALL):
        reading = await store.people([profile_id for profile_id, _ in batch])
        for (profile_id, events), live in zip(batch, reading.live, strict=True):
            stored = reading.profiles.get(live) if live is not None else None
            state = orjson.loads(stored.state) if stored is not None and stored.state else {}
            expired = stored is not None and may_lack_events(read_profile(stored), whole_since_ms)
            if live not in (profile_id, None) or expired or _is_unfinished(engine, stored, state, at_ms):
                result.skipped += 1
                continue
            result.people += 1
            members = engine.members(Person(profile_id, {}, state)) & names
            around = catalogue.around(profile_id, events)
            in_history = members_by_history(engine, profile_id, around, at_ms, state.get("scores"))
            found = _differences(members, tables.get(profile_id, set()) & names, in_history)
            if found:
                different[profile_id] = _Compared(0 if stored is None else stored.version, found)
    await _add_settled(store, different, result)
    return result


def _with_members(people: People, tables: Mapping[str, set[str]], seen: set[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield all people with a history, then those who only have memberships."""
    for profile_id, events in people:
        seen.add(profile_id)
        yield profile_id, events
    for profile_id in sorted(tables.keys() - seen):
        yield profile_id, []


def _is_unfinished(engine: SegmentEngine, stored: StoredProfile | None, state: dict[str, Any], at_ms: int) -> bool:
    """Return whether a merge or a timer of the person is still to be done, or was done after the time of the check."""
    if stored is None:
        return False
    if stored.absorbed or UNMERGED in state or state.get("segments", {}).get("at", 0) > at_ms:
        return True
    person = Person(stored.profile_id, {}, state)
    if engine.is_outdated(person):
        return False  # which is a difference, if it makes one
    due = engine.due(person)
    return due is not None and due <= at_ms


def _differences(profile: set[str], tables: set[str], history: set[str]) -> tuple[tuple[str, Place, bool], ...]:
    places: tuple[tuple[Place, set[str]], ...] = (("tables", tables), ("history", history))
    return tuple((name, place, name in profile) for place, there in places for name in sorted(profile ^ there))


async def _add_settled(store: RedisProfileStore, different: Mapping[str, _Compared], result: CheckResult) -> None:
    """Count the differences of people whose profile is still the one that was compared."""
    counted: dict[tuple[str, Place], Difference] = {}
    by_key: defaultdict[tuple[str, Place], list[str]] = defaultdict(list)
    for batch in batches(different, _PEOPLE_A_CALL):
        reading = await store.people(batch)
        for profile_id, live in zip(batch, reading.live, strict=True):
            stored = reading.profiles.get(live) if live is not None else None
            compared = different[profile_id]
            if (0 if stored is None else stored.version) != compared.version:
                result.people -= 1
                result.skipped += 1
                continue
            for segment, place, in_profile in compared.found:
                one = counted.setdefault((segment, place), Difference(segment, place))
                one.only_in_profiles += in_profile
                one.only_there += not in_profile
                by_key[segment, place].append(profile_id)
    for key, one in counted.items():
        one.examples = sorted(by_key[key])[:EXAMPLES]
    result.differences = sorted(counted.values(), key=lambda one: (one.segment, one.place))
