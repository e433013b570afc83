"""The profile store: documents with versions, written in one atomic step together with the marks of their events.

It writes the profiles' half of the keys in `sinks/redis/README.md`; `sinks/redis/identity.py` writes the other half.
The two meet at a merge: identity writes `alias:<loser>` and `absorb:<winner>`, and from then on the profile store reads
and writes the winner, combines the losers' documents with it and deletes them. They share the marks of seen events too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgpack
import orjson
from redis.asyncio import Redis

from schemas.profiles.document import ProfileReading, ProfileRequest, ProfileWrite, StoredProfile
from sinks.redis import deduplication as seen
from sinks.redis.lua import source

EVENTS_A_CALL = 500
"""The most events of one script call, which blocks the server for about 2 ms."""
IDS_A_CALL = 5000
"""The most aliases of one read, which blocks the server for about 2 ms."""
_ERASED = b"!"
_DOCUMENT_ALONE = (None, None, (), (), ())
"""The fields of a change after `events` where nothing but the document and its events is written."""


class RedisProfileStore:
    """Keeps profiles in Redis or Valkey.

    Args:
        redis: A client that answers with bytes.
        namespace: Hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._changed = f"{self._prefix}profiles:changed"
        self._timers = f"{self._prefix}timers"
        self._read = redis.register_script(seen.script("read_profiles"))
        self._write = redis.register_script(seen.script("write_profiles"))
        self._list = redis.register_script(source("changed_profiles"))
        self._exported = redis.register_script(source("exported_profiles"))
        self._erase = redis.register_script(source("erase_profile"))
        self._replace = redis.register_script(seen.script("replace_profile"))

    async def read(self, requests: Sequence[ProfileRequest]) -> ProfileReading:
        """Read the live profiles of events, and which of the events are applied to them already."""
        reading = ProfileReading([], [], {})
        for start in range(0, len(requests), EVENTS_A_CALL):
            part = requests[start : start + EVENTS_A_CALL]
            people = {request.profile_id: None for request in part}
            events = [(request.event_key, request.received_ms) for request in part]
            live = await self._read_people(list(people), events, reading)
            now = dict(zip(people, live, strict=True))
            reading.live.extend(now[request.profile_id] for request in part)
        return reading

    async def write(self, changes: Sequence[ProfileWrite], definitions: int | None = None) -> list[str]:
        """Store profiles, each in full or not at all.

        Args:
            changes: The profiles.
            definitions: Number of the definitions by which they were decided; None: by none.

        Returns:
            The ids of those that have changed since the read; all of them, where other definitions are in force.
        """
        conflicts: list[str] = []
        remaining = iter(changes)
        while part := list(_events_at_most(remaining, EVENTS_A_CALL)):
            by = "" if definitions is None else definitions
            conflicts.extend(found.decode() for found in await self._call(self._write, _columns(part), by))
        return conflicts

    async def people(self, profile_ids: Sequence[str]) -> ProfileReading:
        """Read live profiles by any id that they ever had.

        Returns:
            `live` has one entry for each id; `applied` is empty.
        """
        reading = ProfileReading([], [], {})
        for start in range(0, len(profile_ids), EVENTS_A_CALL):
            reading.live.extend(await self._read_people(list(profile_ids[start : start + EVENTS_A_CALL]), [], reading))
        return reading

    async def due(self, now_ms: int, count: int, start: int = 0) -> list[str]:
        """List profiles with a timer that is due by `now_ms`, the longest overdue first.

        Args:
            now_ms: Milliseconds since 1970.
            count: The most profiles.
            start: Leave out so many.
        """
        found: Any = await self._redis.zrange(self._timers, 0, now_ms, byscore=True, offset=start, num=count)
        return [profile_id.decode() for profile_id in found]

    async def forget_timers(self, profile_ids: Sequence[str]) -> None:
        """Remove the timers of profiles that were merged away or erased."""
        if profile_ids:
            await self._redis.zrem(self._timers, *profile_ids)

    async def get(self, profile_id: str) -> StoredProfile | None:
        """Read a profile by any id that it ever had.

        Returns:
            The live profile with those that it has yet to absorb, version 0 when nothing is stored of it; None when
            it was erased.
        """
        reading = ProfileReading([], [], {})
        (live,) = await self._read_people([profile_id], [], reading)
        return None if live is None else reading.profiles[live]

    async def live(self, profile_ids: Iterable[str]) -> dict[str, str | None]:
        """Return the live profile of each id: itself, the one that it was merged into, or None when it was erased."""
        now: dict[str, str | None] = dict.fromkeys(profile_ids)
        waiting = {profile_id: profile_id for profile_id in now}
        while waiting:
            onward: dict[str, str] = {}
            for asked in _chunks(list(waiting.items()), IDS_A_CALL):
                found: Any = await self._redis.mget([f"{self._prefix}alias:{current}" for _, current in asked])
                for (profile_id, current), alias in zip(asked, found, strict=True):
                    if alias is None:
                        now[profile_id] = current
                    elif alias != _ERASED:
                        onward[profile_id] = alias.decode()
            waiting = onward
        return now

    async def replace(self, change: ProfileWrite) -> bool:
        """Replace the stored profile by one that was rebuilt from history, in full or not at all.

        Unlike with `write`, its events may be applied already; afterwards all of them are marked as applied.
        `watches` are not used.

        Returns:
            False, with nothing done, when the profile has changed since it was read.
        """
        packed = (
            change.profile_id,
            change.expected_version,
            change.document,
            change.absorbed,
            *_event_columns([change]),
            False if change.state is None else change.state,
            False if change.due_ms is None else change.due_ms,
            tuple(chain.from_iterable((one.topic, one.key or b"", one.value) for one in change.outgoing)),
        )
        return bool(await self._call(self._replace, packed))

    async def put_back(self, change: ProfileWrite, version: int) -> bool:
        """Store a profile that was lost, under a version of which no later one was ever stored.

        Returns:
            False, with nothing done, when something is stored of it, or it was merged away.
        """
        if version > 1:
            await self._redis.hset(f"{self._prefix}profile:{change.profile_id}", "version", str(version - 1))
        return await self.replace(change._replace(expected_version=version - 1))

    async def changed(self, count: int) -> list[tuple[str, int, bytes, bytes]]:
        """List profiles that have changed since their last snapshot (`mark_exported`); at most `count`.

        Returns:
            Profile id, version, document and state. The document of a profile that was merged into another, or
            erased, is `{"profile_id": …, "event_count": 0, "gone": true}`.
        """
        found: Any = await self._list(keys=[self._changed], args=[self._prefix, count])
        return [
            (name, version, document or _gone(name), state or b"")
            for name, version, document, state in ((one[0].decode(), *one[1:]) for one in found)
        ]

    async def mark_exported(self, snapshots: Sequence[tuple[str, int]]) -> None:
        """Remove versions whose snapshots are stored from the list; a profile that has changed again stays listed."""
        await self._call(self._exported, snapshots)

    async def erase(self, profile_id: str) -> int:
        """Delete a live profile and those that it has yet to absorb.

        Returns:
            How many documents were deleted.
        """
        return int(await self._erase(keys=[self._changed], args=[self._prefix, profile_id]))

    async def _read_people(
        self, people: list[str], events: list[tuple[bytes, int]], reading: ProfileReading
    ) -> list[str | None]:
        """Read profiles and events into `reading`; return the live profile id of each, None for an erased one."""
        live, profiles, applied = await self._call(
            self._read, (people, [key for key, _ in events], [received_ms for _, received_ms in events])
        )
        for profile_id, version, document, state, absorbed in profiles:
            losers = zip(absorbed[::4], absorbed[1::4], absorbed[2::4], absorbed[3::4], strict=True)
            reading.profiles[profile_id.decode()] = StoredProfile(
                profile_id.decode(),
                int(version),
                document,
                tuple(
                    StoredProfile(loser.decode(), int(its), stored, (), remembered)
                    for loser, its, stored, remembered in sorted(losers, key=itemgetter(0))
                ),
                state,
            )
        reading.applied.extend(mark == ord("1") for mark in applied)
        return [None if found == _ERASED else found.decode() for found in live]

    async def _call(self, script: Any, argument: Any, *further: int | str) -> Any:
        # The server's cmsgpack has one type for text and bytes.
        packed = msgpack.packb(argument, use_bin_type=False)
        return await script(keys=[self._changed], args=[self._prefix, packed, *further])


def _columns(changes: Sequence[ProfileWrite]) -> tuple[Any, ...]:
    """Return what `write_profiles.lua` takes: the changes as columns, and by place what only few of them have."""
    rest = {
        place: (
            change.absorbed,
            False if change.state is None else change.state,
            False if change.due_ms is None else change.due_ms,
            tuple(chain.from_iterable([(one.topic, one.key, one.value) for one in change.outgoing])),
            change.watches,
            change.held,
        )
        for place, change in enumerate(changes, 1)
        if change[5:] != _DOCUMENT_ALONE or change.absorbed
    }
    return (
        [change.profile_id for change in changes],
        [change.expected_version for change in changes],
        [change.document for change in changes],
        [len(change.events) for change in changes],
        *_event_columns(changes),
        rest,
    )


def _event_columns(changes: Sequence[ProfileWrite]) -> tuple[list[bytes], list[int]]:
    keys = [key for change in changes for key, _ in change.events]
    return keys, [received_ms for change in changes for _, received_ms in change.events]


def _chunks(items: list[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _events_at_most(changes: Any, limit: int) -> Any:
    """Yield changes of an iterator until they have `limit` events together."""
    events = 0
    for change in changes:
        yield change
        events += len(change.events)
        if events >= limit:
            return


def _gone(profile_id: str) -> bytes:
    return orjson.dumps({"event_count": 0, "gone": True, "profile_id": profile_id})
