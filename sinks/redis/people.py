"""Whether the store still has its people: a key that exists as long as it has.

It is created at the first start of a deployment, and by a rebuild at its end. A server that lost its data, or another
one at its address, does not have it. Then each known person would be a new one: so no event is resolved and no profile
is written without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from schemas.delivery.outbound import DeliveryClaim
from schemas.profiles.document import ProfileWrite
from sinks.redis.delivery import RedisDeliveryLedger
from sinks.redis.profiles import RedisProfileStore

LOST = (
    "Redis has lost its people: stop all workers but `record`, and run `throughline rebuild`; until then no event is"
    " taken, since everybody would become a new person"
)


class LostPeopleError(RuntimeError):
    """The store has lost its people; the message says what to do."""


def key_of(namespace: str) -> str:
    """Return the key."""
    return f"{{{namespace}}}:people"


class ProfilesOfPeople(RedisProfileStore):
    """The profile store, which refuses to write into a store that has lost its people.

    What was read before the loss has versions that an empty store does not have, so it is refused by the write itself.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        super().__init__(redis, namespace)
        self._people = key_of(namespace)

    async def write(self, changes: Sequence[ProfileWrite], definitions: int | None = None) -> list[str]:
        """Store profiles, each in full or not at all.

        Raises:
            LostPeopleError: The store has lost its people.
        """
        await check_people(self._redis, self._people)
        return await super().write(changes, definitions)


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


def has_its_people(redis: Any, namespace: str) -> bool:
    """Return whether the store has had people, or was new, and has lost nothing since; by a synchronous client."""
    return bool(redis.exists(key_of(namespace)))


def keep_people(redis: Any, namespace: str) -> None:
    """Note that the store has all its people from now on, by a synchronous client."""
    redis.set(key_of(namespace), 1)
