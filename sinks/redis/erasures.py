"""The traces of erased people, which the recorder reads before it stores anything: no replay of a topic restores them.

| key | type | content |
| --- | --- | --- |
| `{ns}:alias:<profile>` | string | of the identity store: the profile it was merged into, `!` = erased |
| `{ns}:erased:anchors` | sorted set | anchor of an erased person by the time, ms, when the entry expires |
| `{ns}:erased:letters` | sorted set | place (topic, partition, offset) of an erased dead letter, likewise |

An anchor is never used twice, so a person who comes back gets another one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from schemas.identity.erasure import LetterPlace, Trace
from sinks.redis.delivery import RedisDeliveryLedger
from sinks.redis.identity import ERASED_S
from sinks.redis.keys import patterns, shard_prefixes
from sinks.redis.outbox import profile_outboxes
from sinks.redis.profiles import RedisProfileStore
from sinks.redis.slots import slot_keys

_Entry = tuple[bytes, dict[bytes, bytes]]
_PART = 500
"""Keys or entries of one round trip."""


class RedisErasures:
    """Stores the traces of erased people, and returns whether a record has one of them.

    Args:
        redis: A client that answers with bytes.
        namespace: Hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._delivery = RedisDeliveryLedger(redis, namespace)
        self._profiles = RedisProfileStore(redis, namespace)
        self._anchors = f"{{{namespace}}}:erased:anchors"
        self._letters = f"{{{namespace}}}:erased:letters"

    async def are_erased(self, traces: Sequence[Trace]) -> list[bool]:
        """Return for each trace whether its person, or its dead letter, was erased."""
        live = await self._profiles.live({one.profile_id for one in traces if one.profile_id and not one.anchor})
        anchors = await self._among(self._anchors, {one.anchor for one in traces if one.anchor})
        letters = await self._among(self._letters, {one.letter for one in traces if one.letter})
        return [
            # The anchor comes first: after a split, an event may be of another person than its profile id says.
            one.anchor in anchors if one.anchor else one.letter in letters or live.get(one.profile_id, "") is None
            for one in traces
        ]

    async def erase(self, anchors: Iterable[str], letters: Iterable[LetterPlace], now_ms: int) -> None:
        """Store anchors and dead letters as erased for `ERASED_S` seconds: longer than Kafka keeps their records."""
        for key, names in ((self._anchors, set(anchors)), (self._letters, {str(place) for place in letters})):
            if names:
                await self._redis.zremrangebyscore(key, 0, now_ms)
                await self._redis.zadd(key, dict.fromkeys(names, now_ms + ERASED_S * 1000))

    async def forget(self, profile_ids: Collection[str]) -> dict[str, int]:
        """Delete what names a person outside of the profile and the identity; call it once these are erased.

        It goes through all messages that wait, the outbox, and the names of all keys: about a second for a million.

        Args:
            profile_ids: Every profile id that the person had.

        Returns:
            How many `watches` of products, `messages` that wait, `held` runs, `slots` with what was shown and records
            of the `outbox` there were.
        """
        ids = {profile_id.encode() for profile_id in profile_ids}
        return {
            "watches": await self._forget_watches(ids),
            "messages": await self._delivery.forget(frozenset(profile_ids)),
            "held": await self._forget_held(ids),
            "slots": await self._forget_slots(profile_ids),
            "outbox": await self._forget_records(ids),
        }

    async def _forget_watches(self, ids: set[bytes]) -> int:
        removed = 0
        async for keys in self._keys(patterns(self._namespace, "watch:*")[0]):
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.zrem(key, *ids)
            removed += sum(await pipeline.execute())
        return removed

    async def _forget_slots(self, profile_ids: Iterable[str]) -> int:
        return sum([int(await self._redis.delete(*slot_keys(self._namespace, one))) for one in profile_ids])

    async def _forget_held(self, ids: set[bytes]) -> int:
        journeys: Any = await self._redis.smembers(f"{{{self._namespace}}}:held")
        pipeline = self._redis.pipeline(transaction=False)
        for prefix in shard_prefixes(self._namespace) if journeys else ():
            for journey in journeys:
                pipeline.srem(f"{prefix}held:{journey.decode()}", *ids)
                pipeline.srem(f"{prefix}released:{journey.decode()}", *ids)
        return sum(await pipeline.execute())

    async def _forget_records(self, ids: set[bytes]) -> int:
        """Delete records of the outbox; one that the relay has read already is left out by whoever reads its topic."""
        return sum([await self._forget_records_of(outbox, ids) for outbox in profile_outboxes(self._namespace)])

    async def _forget_records_of(self, stream: str, ids: set[bytes]) -> int:
        removed, start = 0, "-"
        while entries := cast(list[_Entry], await self._redis.xrange(stream, min=start, count=_PART)):
            if theirs := [entry for entry, fields in entries if fields.get(b"k") in ids]:
                removed += int(await self._redis.xdel(stream, *theirs))
            start = f"({entries[-1][0].decode()}"
        return removed

    async def _keys(self, pattern: str) -> AsyncIterator[list[bytes]]:
        part: list[bytes] = []
        async for key in self._redis.scan_iter(match=pattern, count=2 * _PART):
            part.append(key)
            if len(part) == _PART:
                yield part
                part = []
        if part:
            yield part

    async def _among(self, key: str, names: set[str]) -> set[str]:
        if not names or not await self._redis.exists(key):
            return set()  # nothing was erased: the usual case
        asked = list(names)
        found: Any = await self._redis.zmscore(key, asked)
        return {name for name, forget_at in zip(asked, found, strict=True) if forget_at is not None}
