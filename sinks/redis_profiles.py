"""Profiles in Redis: documents with versions, written in one atomic step together with the marks of their events.

Keys, all under the hash tag `{namespace}`:

* `profile:<id>` hash of `version` (1, 2, …) and `document` (JSON);
* `profiles:changed` sorted set of profile id by version: what has changed since its last snapshot elsewhere;
* `alias:<loser>`, `absorb:<winner>` as the identity store writes them when it merges: where a profile went (`!` for an
  erased one), and which profiles' documents the winner's is still to be combined with;
* `seen:…` marks of events (`sinks/seen.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import orjson
from redis.asyncio import Redis

from schemas.profile import ProfileReading, ProfileRequest, ProfileWrite, StoredProfile
from sinks import seen

EVENTS_A_CALL = 500
"""Most events of one script call: about 2 ms in which the server does nothing else."""
_ERASED = b"!"


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
        self._read = redis.register_script(seen.script("read_profiles"))
        self._write = redis.register_script(seen.script("write_profiles"))
        self._exported = redis.register_script(seen.script("exported_profiles"))
        self._erase = redis.register_script(seen.script("erase_profile"))

    async def read(self, requests: Sequence[ProfileRequest]) -> ProfileReading:
        """Find the live profiles of some events' people, and which of the events they hold already."""
        reading = ProfileReading([], [], {})
        for start in range(0, len(requests), EVENTS_A_CALL):
            part = requests[start : start + EVENTS_A_CALL]
            people = {request.profile_id: None for request in part}
            events = [(request.event_key, request.received_ms) for request in part]
            live = await self._read_people(list(people), events, reading)
            now = dict(zip(people, live, strict=True))
            reading.live.extend(now[request.profile_id] for request in part)
        return reading

    async def write(self, changes: Sequence[ProfileWrite]) -> list[str]:
        """Store documents, each in whole or not at all; answer with the ids of those that are out of date."""
        conflicts: list[str] = []
        remaining = iter(changes)
        while part := list(_events_at_most(remaining, EVENTS_A_CALL)):
            packed = [
                (change.profile_id, change.expected_version, change.document, change.absorbed, change.events)
                for change in part
            ]
            conflicts.extend(found.decode() for found in await self._call(self._write, packed))
        return conflicts

    async def get(self, profile_id: str) -> StoredProfile | None:
        """Find a person's profile by any id that it ever had.

        Returns:
            The live profile with those that it is still to absorb, version 0 when nothing is stored of it; None when
            the person was erased.
        """
        reading = ProfileReading([], [], {})
        (live,) = await self._read_people([profile_id], [], reading)
        return None if live is None else reading.profiles[live]

    async def changed(self, count: int) -> list[tuple[str, int, bytes]]:
        """List some profiles that have changed since `exported` last named them.

        Returns:
            Profile id, version and document. Of a profile that is no more, because it was merged into another or
            erased, the document says so: `{"profile_id": …, "event_count": 0, "gone": true}`.
        """
        listed: Any = await self._redis.zrange(self._changed, 0, count - 1, withscores=True)
        pipeline = self._redis.pipeline(transaction=False)
        for profile_id, _ in listed:
            pipeline.hmget(f"{self._prefix}profile:{profile_id.decode()}", ["version", "document"])
        found = []
        for (profile_id, score), (version, document) in zip(listed, await pipeline.execute(), strict=True):
            name = profile_id.decode()
            found.append((name, int(version or score), document or _gone(name)))
        return found

    async def exported(self, done: Sequence[tuple[str, int]]) -> None:
        """Note that these versions are stored elsewhere; a profile that has changed again stays listed."""
        await self._call(self._exported, done)

    async def erase(self, profile_id: str) -> int:
        """Delete a live profile and those that it was still to absorb.

        Returns:
            How many documents were deleted.
        """
        return int(await self._erase(keys=[self._changed], args=[self._prefix, profile_id]))

    async def _read_people(
        self, people: list[str], events: list[tuple[bytes, int]], reading: ProfileReading
    ) -> list[str | None]:
        """Read people and events into `reading`; answer with each person's profile id now."""
        live, profiles, applied = await self._call(self._read, (people, events))
        for profile_id, version, document, absorbed in profiles:
            losers = zip(absorbed[::3], absorbed[1::3], absorbed[2::3], strict=True)
            reading.profiles[profile_id.decode()] = StoredProfile(
                profile_id.decode(),
                int(version),
                document,
                tuple(StoredProfile(loser.decode(), int(its), stored) for loser, its, stored in sorted(losers)),
            )
        reading.applied.extend(mark == ord("1") for mark in applied)
        return [None if found == _ERASED else found.decode() for found in live]

    async def _call(self, script: Any, argument: Any) -> Any:
        # The server's msgpack is of the time before texts and bytes were told apart.
        packed = msgpack.packb(argument, use_bin_type=False)
        return await script(keys=[self._changed], args=[self._prefix, packed])


def _events_at_most(changes: Any, limit: int) -> Any:
    """Take changes from an iterator until they bring `limit` events."""
    events = 0
    for change in changes:
        yield change
        events += len(change.events)
        if events >= limit:
            return


def _gone(profile_id: str) -> bytes:
    return orjson.dumps({"event_count": 0, "gone": True, "profile_id": profile_id})
