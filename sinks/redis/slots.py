"""What slots have shown a person, beside the profile: for caps, and so that a request that is repeated counts once.

`{ns:<shard>}slots:<profile>` is JSON, idempotency key → `[at, channel, tags, 0]`, as the section `caps` of a state has
it, there while something counts; `{ns:<shard>}shown:<profile>`, for an hour, hash of a request → `[at, answer]`. A
decision is stored together with its ledger row, which the outbox of the shard takes to Kafka: so there is never
the one without the other, and while Kafka is down rows wait there. They are read and written by compare-and-set: the
profile worker alone writes profiles.

A person who is merged into another begins anew here: what they had seen under the former profile id counts no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from hashlib import sha1
from typing import Any, NamedTuple, cast

import orjson
from redis.asyncio import Redis

from schemas.durations import DAY_MS, HOUR_MS
from schemas.records import Outgoing
from sinks.redis.keys import person_prefix
from sinks.redis.lua import source

KEPT_MS = 32 * DAY_MS
"""Life of what a person has seen, from the last request on."""
SEEN_KEPT = 200
"""The most things seen that caps remember: the latest ones."""
ANSWER_MS = HOUR_MS
"""How long a request that is repeated gets the same answer."""
ANSWERS_KEPT = 10
MAX_WAITING = 20_000
"""The most records of a shard that wait for Kafka; beyond, nothing is decided."""


class Stored(Enum):
    """What became of a write."""

    DONE = 1
    CHANGED = 0
    GONE = -1
    FULL = -2


class SlotMemory(NamedTuple):
    """What slots remember of one person.

    Attributes:
        digest: Of the stored values.
        seen: What caps count: idempotency key → entry.
        answers: Hash of a request → when it was answered, ms, and the answer.
    """

    digest: str
    seen: Mapping[str, list[Any]]
    answers: Mapping[str, list[Any]]

    def answer(self, request: str, now_ms: int) -> dict[str, Any] | None:
        """Return the answer that a request has had; None: it is new."""
        known = self.answers.get(request)
        return known[1] if known is not None and known[0] > now_ms - ANSWER_MS else None


class RedisSlots:
    """Keeps what slots have shown.

    Args:
        redis: A client that answers bytes.
        namespace: Of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._script = redis.register_script(source("slot_decision"))

    async def read(self, profile_id: str) -> SlotMemory:
        """Read what a person has seen."""
        seen, answers = cast(list[bytes | None], await self._redis.mget(slot_keys(self._namespace, profile_id)))
        digest = sha1(b"%s\n%s" % (seen or b"", answers or b""), usedforsecurity=False).hexdigest()
        return SlotMemory(digest, orjson.loads(seen or b"{}"), orjson.loads(answers or b"{}"))

    async def write(
        self, profile_id: str, known: SlotMemory, request: str, answer: Mapping[str, Any],
        counted: tuple[str, list[Any]] | None, records: Iterable[Outgoing], now_ms: int,
    ) -> Stored:  # fmt: skip
        """Store a decision, if nothing has changed since `known` was read.

        Args:
            profile_id: The live profile.
            known: As it was read.
            request: Hash of the request; empty: it has no id, so its answer is not kept.
            answer: Its answer.
            counted: What caps have to remember of it: idempotency key and entry; None: nothing.
            records: What follows, such as the row of the ledger.
            now_ms: The time.
        """
        seen = dict(known.seen)
        if counted is not None:
            seen[counted[0]] = counted[1]
        latest = sorted(seen.items(), key=lambda one: one[1][0])[-SEEN_KEPT:]
        answers = {**known.answers, request: [now_ms, answer]} if request else known.answers
        recent = sorted(answers.items(), key=lambda one: one[1][0])[-ANSWERS_KEPT:]
        counting = {key: entry for key, entry in latest if entry[0] > now_ms - KEPT_MS}
        answered = {key: entry for key, entry in recent if entry[0] > now_ms - ANSWER_MS}
        prefix = person_prefix(self._namespace, profile_id)
        of_seen = orjson.dumps(counting) if counting else b""
        arguments: list[Any] = [known.digest, of_seen, KEPT_MS, orjson.dumps(answered), ANSWER_MS, MAX_WAITING]
        for one in records:
            arguments += [one.topic, one.key or b"", one.value or b""]
        keys = [*slot_keys(self._namespace, profile_id), f"{prefix}outbox", f"{prefix}gone:{profile_id}"]
        return Stored(int(await self._script(keys=keys, args=arguments)))


def slot_keys(namespace: str, profile_id: str) -> tuple[str, str]:
    """Return the keys of what a person has seen, and of the last answers."""
    prefix = person_prefix(namespace, profile_id)
    return f"{prefix}slots:{profile_id}", f"{prefix}shown:{profile_id}"
