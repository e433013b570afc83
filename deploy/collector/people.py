"""Live profiles for the collector: a person by the hash of an identifier, in two round trips to Redis."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from deploy.collector.refusal import RefusedError
from deploy.connections.redis import async_redis_client
from deploy.operations.definition_files import identity_policy
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.profiles import RedisProfileStore

if TYPE_CHECKING:
    from deploy.settings import Settings
    from schemas.profiles.document import StoredProfile

log = logging.getLogger(__name__)

TIMEOUT_S = 2.0
ANSWER_WITHIN_S = 3.0
"""Longest time for a read with the wait for its turn: while Redis is silent, nobody queues behind reads that fail."""
CONCURRENT_READS = 64
"""Reads at the same time; others wait their turn, so that a flood opens no connection for each."""
LOG_INTERVAL_S = 10.0


class LivePeople:
    """Reads profiles; it connects when the first is asked for.

    Args:
        settings: Of the deployment.
    """

    def __init__(self, settings: Settings) -> None:
        client = async_redis_client(settings, timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S)
        self._identities = RedisIdentityStore(client, settings.redis_namespace, identity_policy(settings))
        self._profiles = RedisProfileStore(client, settings.redis_namespace)
        self._turns = asyncio.Semaphore(CONCURRENT_READS)
        self._logged_at = float("-inf")

    async def find(self, identifier_hashes: list[bytes]) -> StoredProfile | None:
        """Return the profile of the first of some identifiers that has one; None: nobody is known by them.

        Raises:
            RefusedError: Redis does not answer.
        """
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S), self._turns:
                owners = await self._identities.owners(identifier_hashes)
                owner = next((one for one in owners if one is not None), None)
                stored = None if owner is None else await self._profiles.get(owner)
        except (RedisError, OSError) as error:
            if (now := monotonic()) - self._logged_at >= LOG_INTERVAL_S:
                self._logged_at = now
                log.warning("profiles cannot be read: %s", type(error).__name__)
            raise RefusedError(503, "profiles_unreachable", "Profiles cannot be read now: try again.", 2) from None
        return stored if stored is not None and stored.document else None
