"""The stores that slots read: people and what they have seen, products, recommendations and coupons, all in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from deploy.collector.slots import SlotContent
from deploy.operations.definition_files import identity_policy
from deploy.operations.message_preview import renderer_of
from deploy.settings import Settings
from processors.delivery.recommend import Recommender
from schemas.profiles.document import StoredProfile
from schemas.records import Outgoing
from sinks.redis.coupons import RedisCoupons
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.profiles import RedisProfileStore
from sinks.redis.recommendations import RedisRecommendations
from sinks.redis.slots import RedisSlots, SlotMemory, Stored

TIMEOUT_S = 0.4
"""Longest wait for one answer of Redis."""


class SlotPeople:
    """Finds people and what slots have shown them: see `deploy.collector.slots.People`.

    Args:
        redis: A client that answers bytes.
        settings: Of the deployment.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._identities = RedisIdentityStore(redis, settings.redis_namespace, identity_policy(settings))
        self._profiles = RedisProfileStore(redis, settings.redis_namespace)
        self._slots = RedisSlots(redis, settings.redis_namespace)

    async def find(self, identifier_hashes: list[bytes]) -> tuple[StoredProfile, SlotMemory] | None:
        """Return the profile of the first identifier that has one; None: nobody is known by them."""
        owners = await self._identities.owners(identifier_hashes)
        owner = next((one for one in owners if one is not None), None)
        if owner is None:
            return None
        stored, memory = await asyncio.gather(self._profiles.get(owner), self._slots.read(owner))
        if stored is None or not stored.document:
            return None
        if stored.profile_id != owner:  # merged since
            memory = await self._slots.read(stored.profile_id)
        return stored, memory

    async def remember(
        self, profile_id: str, known: SlotMemory, request: str, answer: Mapping[str, Any],
        counted: tuple[str, list[Any]] | None, records: list[Outgoing], now_ms: int,
    ) -> Stored:  # fmt: skip
        """Store a decision with its records."""
        return await self._slots.write(profile_id, known, request, answer, counted, records, now_ms)


def slot_content(redis: Redis, settings: Settings) -> SlotContent:
    """Return what makes the content of what slots show."""
    namespace = settings.redis_namespace
    return SlotContent(
        renderer_of(redis, settings),
        Recommender(RedisRecommendations(redis, namespace)),
        RedisCoupons(redis, namespace),
    )
