"""Makes the profiles of a lost Redis again: from snapshots, or from events where these are newer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from deploy.operations.catalogue_history import read_catalogue
from deploy.operations.deployment import Deployment
from deploy.operations.rebuild import separated_identifiers, whole_since_ms
from processors.decisions.engine import DecisionEngine
from processors.identity.claims import event_key
from processors.profiles.document import read_profile
from processors.profiles.fold import read_state
from processors.profiles.rebuild import (
    RebuiltProfile,
    advance,
    may_lack_events,
    newer_events,
    replacement,
    restore,
)
from schemas.profiles.document import StoredProfile
from schemas.profiles.person import Person
from schemas.time import clock_ms, time_of_ms
from sinks.clickhouse.history import read_people
from sinks.clickhouse.rebuild import Snapshot, count_profiles, read_last_versions, read_snapshots, split_profiles
from sinks.redis.rebuild import RedisRebuild

PEOPLE_A_PART = 5_000
"""About as many people of one part, which is done again if it broke off."""
_AT_ONCE = 50

Events = list[dict[str, Any]]


async def rebuild_profiles(
    deployment: Deployment,
    progress: RedisRebuild,
    decider: DecisionEngine,
    unread: set[bytes],
    report: Callable[[str], None],
) -> tuple[int, int]:
    """Rebuild all profiles, part by part.

    Args:
        deployment: Open; its identities are rebuilt.
        progress: Knows the parts that are done.
        decider: Of the definitions in force.
        unread: Keys of events that the profile workers have yet to read: they are left to them.
        report: Takes lines about the progress.

    Returns:
        How many profiles are as their snapshots, and how many were made of their events.
    """
    tables = deployment.tables
    parts = 1 + await asyncio.to_thread(count_profiles, tables) // PEOPLE_A_PART
    divided = await deployment.profiles.live(await asyncio.to_thread(split_profiles, tables))
    work = _Work(
        deployment, decider, unread, {one for one in divided.values() if one}, await whole_since_ms(deployment)
    )
    done = await progress.done()
    # The number of parts may be another one if people came meanwhile: then all are done again.
    for part in range(parts):
        step = f"profiles:{part}/{parts}"
        if step not in done:
            await work.do(part, parts)
            await progress.note(step)
        report(f"profiles: part {part + 1} of {parts}")
    return work.kept, work.anew


class _Work:
    def __init__(
        self,
        deployment: Deployment,
        decider: DecisionEngine,
        unread: set[bytes],
        divided: set[str],
        whole_since_ms: int,
    ) -> None:
        self._deployment = deployment
        self._profiles = deployment.profiles
        self._decider = decider
        self._unread = unread
        self._divided = divided
        self._whole_since_ms = whole_since_ms
        self.kept = self.anew = 0

    async def do(self, part: int, parts: int) -> None:
        tables = self._deployment.tables
        snapshots = await asyncio.to_thread(read_snapshots, tables, part, parts)
        versions = await asyncio.to_thread(read_last_versions, tables, part, parts)
        self._catalogue = await asyncio.to_thread(read_catalogue, tables, self._decider.segments)
        now_ms = clock_ms()
        waiting: list[Any] = []
        people = read_people(tables, time_of_ms(now_ms), 1.0, (part, parts))
        for profile_id, events in people:
            last = versions.get(profile_id, 0)
            waiting.append(self._rebuild(profile_id, snapshots.pop(profile_id, None), last, events, now_ms))
            if len(waiting) == _AT_ONCE:
                await asyncio.gather(*waiting)
                waiting = []
        for profile_id, snapshot in snapshots.items():  # of people whose events were deleted
            waiting.append(self._rebuild(profile_id, snapshot, snapshot.version, [], now_ms))
        for start in range(0, len(waiting), _AT_ONCE):
            await asyncio.gather(*waiting[start : start + _AT_ONCE])

    async def _rebuild(
        self, profile_id: str, snapshot: Snapshot | None, last: int, events: Events, now_ms: int
    ) -> None:
        applied = [one for one in events if event_key(one["source"], one["event_id"]) not in self._unread]
        if snapshot is None and not applied:
            return  # all that is known of the person is still to come
        stored = await self._profiles.get(profile_id)
        if stored is None or stored.profile_id != profile_id or stored.document:
            return  # erased, merged away, or rebuilt before this part broke off
        if snapshot is not None:
            stored = stored._replace(document=snapshot.document, state=snapshot.state or None)
        rebuilt = self._of_snapshot(stored, applied) if snapshot is not None else None
        decided = rebuilt is not None
        if rebuilt is None and snapshot is not None and self._lacks_events(stored):
            rebuilt = advance(stored, self._catalogue.around(profile_id, applied), self._decider, now_ms)
        elif rebuilt is None:
            foreign = (
                await separated_identifiers(self._deployment, profile_id, applied)
                if profile_id in self._divided
                else frozenset[tuple[str, str]]()
            )
            received = self._catalogue.around(profile_id, applied)
            rebuilt = restore(stored, received, self._decider, now_ms, foreign=foreign)
        change = replacement(stored, rebuilt, decided=True, marked_since_ms=now_ms)
        version = max(last, 1) if decided else last + 1
        await self._profiles.put_back(change, version)
        if decided:
            self.kept += 1
        else:
            self.anew += 1

    def _of_snapshot(self, stored: StoredProfile, events: Events) -> RebuiltProfile | None:
        """Return the profile of a snapshot; None: there are other events than it knows."""
        document, state = read_profile(stored), read_state(stored.state)
        lacks = self._lacks_events(stored)
        if newer_events(document, events) if lacks else document["event_count"] != len(events) and events:
            return None
        person = Person(stored.profile_id, document, state)
        return RebuiltProfile(document, state, self._decider.due(person), ())

    def _lacks_events(self, stored: StoredProfile) -> bool:
        return may_lack_events(read_profile(stored), self._whole_since_ms)
