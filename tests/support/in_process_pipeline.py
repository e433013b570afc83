"""The pipeline without Kafka: events go through the same stages and stores, one call after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from processors.enrichment.enrichment import Enrichment
from processors.identity.claims import claim
from processors.identity.stage import Identify
from processors.profiles.fold import Decider
from processors.profiles.stage import ProfileUpdate
from processors.recording.rows import identity_rows
from processors.stream.routing import route
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.identity.policy import IdentityPolicy
from schemas.records import Headers
from schemas.topics import RESOLVED_TOUCHPOINTS
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.outbox import RedisOutbox, identity_outbox
from sinks.redis.profiles import RedisProfileStore
from tests.support.warehouse import Warehouse, warehouse

RECEIVED_MS = 1_795_000_000_000  # near the time of the builders' events


class Arrived(NamedTuple):
    """A producer's record."""

    offset: int
    timestamp: int
    value: bytes
    topic: str = "touchpoints.web"
    partition: int = 0
    key: bytes = b""
    headers: Headers = ()


class Town:
    """People and what is known of them.

    Attributes:
        identities: Who is who.
        outbox: Changes of identity that are not relayed.
        profiles: The live profiles.
        redis, namespace: A client, and the hash tag of its keys.
        tables: ClickHouse.
        redis: The client of the stores.
        published: Values of `resolved-touchpoints`, in order.
    """

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        tables: Warehouse,
        enrich: Enrichment | None = None,
        decider: Decider | None = None,
    ) -> None:
        self.policy = IdentityPolicy()
        self.secret = settings.identity_secret.get_secret_value().encode()
        self.identities = RedisIdentityStore(redis, settings.redis_namespace, self.policy)
        self.outbox = RedisOutbox(redis, identity_outbox(settings.redis_namespace))
        self.profiles = RedisProfileStore(redis, settings.redis_namespace)
        self.redis, self.namespace = redis, settings.redis_namespace
        self.tables = tables
        self.redis = redis
        self.published: list[dict[str, Any]] = []
        self._identify = Identify(
            self.identities,
            policy=self.policy,
            secret=self.secret,
            channels=frozenset(TOUCHPOINT_CHANNELS),
            max_event_bytes=settings.max_event_bytes,
            enrich=enrich,
        )
        self._update = ProfileUpdate(self.profiles, decider)
        self._offsets = count()

    async def live(self, *events: Mapping[str, Any], backwards: bool = False) -> list[dict[str, Any]]:
        """Let events happen; answer with what was published of them.

        Args:
            events: In the order in which they are received.
            backwards: Profiles get them the other way round, as if each had been read from a partition of its own.
        """
        records = [
            Arrived(offset, RECEIVED_MS + 1000 * offset, orjson.dumps(event))
            for event, offset in zip(events, self._offsets, strict=False)
        ]
        outgoing = route("identify", records, await self._identify(records))
        assert {RESOLVED_TOUCHPOINTS} >= {one.topic for one in outgoing}, outgoing
        resolved = [orjson.loads(one.value) for one in outgoing]
        await self._update(resolved[::-1] if backwards else resolved)
        await self.store(*resolved)
        await self.relay()
        self.published += resolved
        return resolved

    async def store(self, *resolved: dict[str, Any]) -> None:
        """Write resolved events to ClickHouse alone."""
        await asyncio.to_thread(self.tables.store, *resolved)

    async def relay(self) -> None:
        """Bring identity's changes to ClickHouse, again and again the same ones too."""
        rows = []
        for _, record in await self.outbox.pending(10_000):
            rows += identity_rows(orjson.loads(record.value))
        for table in {table for table, _ in rows}:
            await self.insert(table, *[row for name, row in rows if name == table])

    async def insert(self, table: str, *rows: bytes) -> None:
        """Write rows to ClickHouse as they are."""
        await asyncio.to_thread(self.tables.insert, table, *rows)

    def identifier_hash(self, kind: str, value: str) -> bytes:
        """The hash of an identifier."""
        made = claim(kind, value, self.policy, self.secret)
        assert made is not None
        return made.identifier_hash

    async def owner(self, kind: str, value: str) -> str:
        """Whose an identifier is."""
        found = await self.identities.owner(self.identifier_hash(kind, value))
        assert found is not None
        return found


@asynccontextmanager
async def town(
    settings: Settings, enrich: Enrichment | None = None, decider: Decider | None = None
) -> AsyncIterator[Town]:
    """Found a town; the fixture `stack` removes it."""
    async with async_redis_client(settings, timeout_s=10) as redis:
        with warehouse(settings) as tables:
            yield Town(settings, redis, tables, enrich, decider)
