"""Opens a deployment for an operator's command: its stores, its tables, and waits on its workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.redis import async_redis_client
from deploy.operations.completion import catch_up
from deploy.operations.definition_files import identity_policy
from deploy.operations.lag import LagReader
from deploy.operations.roles import Role
from deploy.settings import Settings
from schemas.identity.policy import IdentityPolicy
from sinks.clickhouse.identity_log import has_version
from sinks.redis.broadcasts import RedisBroadcasts
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.erasures import RedisErasures
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.profiles import RedisProfileStore
from sinks.redis.segment_backfill import RedisSegmentBackfill

Progress = Callable[[str], None]
"""Takes the subject of a wait."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The stores of one deployment.

    Attributes:
        settings: Of the deployment.
        policy: The effective identity policy.
        identities: Identifiers and the profile that each belongs to.
        profiles: The live profiles.
        erasures: Traces of erased people.
        broadcasts: How far the people of broadcasts have entered.
        backfills: Which segments have taken in history.
        definitions: Which definitions are in force, and what the workers have of them.
        outbox: Records of profiles that are not in Kafka yet.
        tables: A client of the ClickHouse database.
        lags: Reads the lags of the workers.
    """

    settings: Settings
    policy: IdentityPolicy
    identities: RedisIdentityStore
    profiles: RedisProfileStore
    erasures: RedisErasures
    broadcasts: RedisBroadcasts
    backfills: RedisSegmentBackfill
    definitions: RedisDefinitions
    outbox: RedisProfileOutbox
    tables: Any
    lags: LagReader

    @property
    def secret(self) -> bytes:
        """Key of the identifier hashes."""
        return self.settings.identity_secret.get_secret_value().encode()

    async def catch_up(self, role: Role, timeout_s: float, progress: Progress) -> int:
        """Wait until the workers of a role have committed what is published now.

        Returns:
            How many of those records are left after `timeout_s` seconds; 0 when all are committed.
        """

        def report(left: int) -> None:
            if left:
                progress(f"{left:,} records before {role}")

        return await asyncio.to_thread(catch_up, self.lags, role, timeout_s, progress=report)

    async def wait_for_version(self, version: int, timeout_s: float, progress: Progress) -> bool:
        """Wait until an identity change is in ClickHouse; False when it is not after `timeout_s` seconds."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        while not await asyncio.to_thread(has_version, self.tables, version):
            if clock() > deadline:
                return False
            progress("the identity log")
            await asyncio.sleep(0.2)
        return True


@asynccontextmanager
async def open_deployment(settings: Settings) -> AsyncIterator[Deployment]:
    """Connect to all stores.

    Raises:
        DefinitionError: The identity policy is not valid.
        StoreDown: ClickHouse does not answer.
        redis.RedisError: Redis does not answer.
    """
    policy, namespace = identity_policy(settings), settings.redis_namespace
    tables = clickhouse_client(settings)
    try:
        async with async_redis_client(settings, timeout_s=30) as redis:
            with LagReader(settings) as lags:
                yield Deployment(
                    settings=settings,
                    policy=policy,
                    identities=RedisIdentityStore(redis, namespace, policy),
                    profiles=RedisProfileStore(redis, namespace),
                    erasures=RedisErasures(redis, namespace),
                    broadcasts=RedisBroadcasts(redis, namespace),
                    backfills=RedisSegmentBackfill(redis, namespace),
                    definitions=RedisDefinitions(redis, namespace),
                    outbox=RedisProfileOutbox(redis, namespace),
                    tables=tables,
                    lags=lags,
                )
    finally:
        tables.close()
