"""The traces of erased people, which the recorder reads before it stores anything: no replay of a topic restores them.

| key | type | content |
| --- | --- | --- |
| `{ns}:alias:<profile>` | string | of the identity store: the profile it was merged into, `!` = erased |
| `{ns}:erased:anchors` | sorted set | anchor of an erased person by the time, ms, when the entry expires |
| `{ns}:erased:letters` | sorted set | place (topic, partition, offset) of an erased dead letter, likewise |

An anchor is never used twice, so a person who comes back gets another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis

from schemas.identity.erasure import LetterPlace, Trace
from sinks.redis.identity import ERASED_S
from sinks.redis.profiles import RedisProfileStore


class RedisErasures:
    """Stores the traces of erased people, and returns whether a record has one of them.

    Args:
        redis: A client that answers with bytes.
        namespace: Hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
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

    async def _among(self, key: str, names: set[str]) -> set[str]:
        if not names or not await self._redis.exists(key):
            return set()  # nothing was erased: the usual case
        asked = list(names)
        found: Any = await self._redis.zmscore(key, asked)
        return {name for name, forget_at in zip(asked, found, strict=True) if forget_at is not None}
