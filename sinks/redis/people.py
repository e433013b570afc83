"""Whether the store still has its people: a key that exists as long as it has, and one in each shard.

They are created at the first start of a deployment, by a migration, and by a rebuild at its end. A server that lost
its data, or another one at its address, does not have them. Then each known person would be a new one: so no event is
resolved and no profile is written without them.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from schemas.delivery.outbound import DeliveryClaim
from sinks.redis.delivery import RedisDeliveryLedger
from sinks.redis.keys import shard_prefixes
from sinks.redis.layout import has_layout, layout_fields, layout_key

LOST = (
    "Redis has lost its people: stop all workers but `record`, and run `throughline rebuild`; until then no event is"
    " taken, since everybody would become a new person"
)


class LostPeopleError(RuntimeError):
    """The store has lost its people; the message says what to do."""


def key_of(namespace: str) -> str:
    """Return the key."""
    return f"{{{namespace}}}:people"


class LedgerOfPeople(RedisDeliveryLedger):
    """The delivery ledger, which claims nothing in a store that has lost its people: it does not know what was sent."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        super().__init__(redis, namespace)
        self._people = key_of(namespace)

    async def claim(self, key: str, action: bytes, now_ms: int, lease_ms: int) -> DeliveryClaim:
        """Claim a message for its first attempt.

        Raises:
            LostPeopleError: The store has lost its people.
        """
        await check_people(self._redis, self._people)
        return await super().claim(key, action, now_ms, lease_ms)


async def check_people(redis: Redis, key: str) -> None:
    """Raise an error if the key is not there.

    Raises:
        LostPeopleError: The store has lost its people.
    """
    if not await redis.exists(key):
        raise LostPeopleError(LOST)


def has_people_key(redis: Any, namespace: str) -> bool:
    """Return whether the key is there, by a synchronous client."""
    return bool(redis.exists(key_of(namespace)))


def has_its_people(redis: Any, namespace: str) -> bool:
    """Return whether the store has had people, or was new, and has lost nothing since; by a synchronous client."""
    if not (has_people_key(redis, namespace) and has_layout(redis, namespace)):
        return False
    pipeline = redis.pipeline(transaction=False)
    for prefix in shard_prefixes(namespace):
        pipeline.hexists(f"{prefix}shard", "people")
    return all(pipeline.execute())


def keep_people(redis: Any, namespace: str, shared_marks_until_ms: int = 0) -> None:
    """Note that the store has all its people from now on, in shards, by a synchronous client.

    Args:
        redis: The client.
        namespace: Of all keys.
        shared_marks_until_ms: As in `layout.py`.
    """
    pipeline = redis.pipeline(transaction=False)
    for prefix in shard_prefixes(namespace):
        pipeline.hset(f"{prefix}shard", "people", 1)
    pipeline.execute()
    redis.hset(layout_key(namespace), mapping=layout_fields(shared_marks_until_ms))
    redis.set(key_of(namespace), 1)  # last: it says that the others are there
