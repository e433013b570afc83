"""Profiles that were not seen for long: finds them in small steps, notes since when nothing has changed, deletes them.

The note is the field `idle` of the profile's hash; what it means is decided in `processors/profiles/expiry.py`. A write
of the profile leaves it, and counts up the version that it names. A deleted profile has no fence, unlike one that was
merged away: an event that comes nevertheless makes a new document.

`{namespace}:expiry`, a hash, has when the last pass over all profiles ended, and what it found.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgpack
from redis.asyncio import Redis

from schemas.profiles.document import IdleProfile, IdleStep
from schemas.shards import shard_of
from sinks.redis.keys import patterns, person_prefix, shared_prefix, slot_key
from sinks.redis.lua import source
from sinks.redis.packing import unpack, unpack_if_any
from sinks.redis.people import check_people, key_of
from sinks.redis.scripts import Script, ScriptCalls, ShardPart

PROFILES_A_STEP = 500
"""About as many profiles of one step, which blocks the server for a few milliseconds."""
_FIND, _NOTE = Script(source("idle_profiles")), Script(source("note_idle"))


class RedisIdleProfiles:
    """Finds and deletes profiles that were not seen for long.

    Args:
        redis: A client that answers with bytes.
        namespace: Of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._calls = ScriptCalls(redis)
        self._passes = passes_key(namespace)

    async def last_pass(self) -> dict[str, int]:
        """Return what is known of the last pass: `ended_ms` and the counts of `end_pass`; empty: there was none."""
        found: Any = await self._redis.hgetall(self._passes)
        return read_last_pass(found)

    async def end_pass(self, ended_ms: int, counts: Mapping[str, int]) -> None:
        """Keep that a pass over all profiles has ended, and what it found."""
        fields: Any = {"ended_ms": ended_ms, **counts}
        await self._redis.hset(self._passes, mapping=fields)

    async def ids(self) -> AsyncIterator[list[str]]:
        """Yield the ids of all profiles, in parts; one may come twice."""
        part: list[str] = []
        pattern = patterns(self._namespace, "profile:*")[1]
        async for key in self._redis.scan_iter(match=pattern, count=PROFILES_A_STEP):
            part.append(key.rpartition(b":")[2].decode())
            if len(part) == PROFILES_A_STEP:
                yield part
                part = []
        if part:
            yield part

    async def find(self, profile_ids: Sequence[str], before_ms: int) -> list[IdleProfile]:
        """Return those profiles of which the document says that they were last seen before a time, or says nothing."""
        parts = self._parts({one: one for one in profile_ids})
        answers = await self._calls.run(self._calls.over_shards(_FIND, parts, [before_ms]))
        return [
            IdleProfile(
                flat[at].decode(),
                int(flat[at + 1]),
                unpack(flat[at + 2]),
                unpack_if_any(flat[at + 3]),
                flat[at + 4],
                flat[at + 5] == b"1",
            )
            for flat in answers
            for at in range(0, len(flat), 6)
        ]

    async def take(self, steps: Sequence[IdleStep]) -> int:
        """Note what is to be noted and delete what has expired, unless it has changed; return how many were deleted.

        Raises:
            LostPeopleError: The store has lost its people.
        """
        await check_people(self._redis, key_of(self._namespace))
        parts = self._parts(
            {
                one.profile_id: (
                    one.profile_id,
                    str(one.version),
                    one.note,
                    one.delete,
                    one.noted_ms,
                    *(part for record in one.outgoing for part in (record.topic, record.key, record.value)),
                )
                for one in steps
            }
        )
        return sum(await self._calls.run(self._calls.over_shards(_NOTE, parts)))

    def _parts(self, asked: Mapping[str, Any]) -> list[ShardPart]:
        shards: dict[int, list[str]] = {}
        for profile_id in asked:
            shards.setdefault(shard_of(profile_id.encode()), []).append(profile_id)
        found = []
        for names in shards.values():
            prefix = person_prefix(self._namespace, names[0])
            packed = msgpack.packb([asked[name] for name in names], use_bin_type=False)
            found.append(ShardPart(slot_key(prefix), (prefix, packed), len(names)))
        return found


def passes_key(namespace: str) -> str:
    """Return the key of what the last pass found."""
    return f"{shared_prefix(namespace)}expiry"


def read_last_pass(found: Mapping[bytes, bytes]) -> dict[str, int]:
    """Return the fields of a pass."""
    return {name.decode(): int(value) for name, value in found.items()}
