"""Wires each role of worker: agents, stage, and stores with retries. One function a role.

`WIRING` is the table of roles; `build_app` calls the role's function once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import faust
import redis.asyncio
import redis.exceptions

from deploy.connections.clickhouse import clickhouse_sink
from deploy.connections.kafka import kafka_connection
from deploy.connections.redis import async_redis_client
from deploy.operations.bots import BotJudge
from deploy.operations.broadcast_winners import choose_winners
from deploy.operations.definition_files import identity_policy, touch_rules, user_agents
from deploy.operations.locations import open_locations
from deploy.operations.plans import plan_in_force
from deploy.operations.recommendations import refresh_if_due
from deploy.operations.roles import Role, consumed_topics, group_id
from deploy.operations.schema_registry import registry_client
from deploy.operations.sources import load_sources
from deploy.operations.transforms import transforms_in_force
from deploy.settings import Settings
from deploy.workers.broadcast_members import ListedMembers
from deploy.workers.deliver_stage import build_deliver
from deploy.workers.failpoints import make_failpoint
from deploy.workers.followed_definitions import follow_decisions, follow_sending
from deploy.workers.own_partitions import OwnPartitions
from deploy.workers.retry import with_retry
from processors.agents import Batching, Worker, register_deliver, register_identify, register_profile, register_record
from processors.enrichment.enrichment import Enrichment
from processors.identity.stage import Identify
from processors.journeys.events import all_segments_left
from processors.profiles.broadcasts import BroadcastEntries
from processors.profiles.expiry import AnonymousExpiry
from processors.profiles.product_news import ProductNews
from processors.profiles.stage import ProfileUpdate
from schemas.durations import DAY_MS
from schemas.metrics import ROWS, Meter
from schemas.time import clock_ms
from schemas.topics import RESOLVED_TOUCHPOINTS
from sinks.clickhouse.client import ClickHouseSink, StoreDown
from sinks.kafka.offsets import OffsetReader
from sinks.kafka.producer import KafkaPublisher, PublishFailedError
from sinks.kafka.progress import KafkaProgress
from sinks.kafka.schema_registry import RegistryDown, SchemaRegistryClient
from sinks.redis.broadcasts import RedisBroadcasts
from sinks.redis.coupons import RedisCoupons
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.delivery import RedisDeliveryLedger
from sinks.redis.durability import RedisDurability
from sinks.redis.erasures import RedisErasures
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.idle_profiles import RedisIdleProfiles
from sinks.redis.outbox import RedisOutbox, RedisProfileOutbox, identity_outbox
from sinks.redis.people import LedgerOfPeople
from sinks.redis.products import RedisProducts
from sinks.redis.profiles import RedisProfileStore
from sinks.redis.recommendations import RedisRecommendations
from sinks.redis.refused_share import RedisRefusedShare

REDIS_DOWN: tuple[type[BaseException], ...] = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ClusterError,
    redis.exceptions.AskError,  # MovedError too: where a slot is was asked often enough
    redis.exceptions.TryAgainError,
    OSError,
)
MAX_DELIVERY_RECORDS = 500
"""The most actions of one batch. All are claimed when the batch begins, and no claim may expire before its send."""
PROGRESS_TIMEOUT_S = 5.0
"""How long a request may take by which timers learn what is processed."""


Topic = Callable[..., Any]
"""Returns the Faust topic of names without the deployment's prefix."""


class CountedTables:
    """Tables of which the rows that were taken are counted.

    Args:
        tables: The tables.
        meter: Counts.
    """

    def __init__(self, tables: ClickHouseSink, meter: Meter) -> None:
        self._tables, self._meter = tables, meter
        self.sources_heard_by, self.first_deliveries = tables.sources_heard_by, tables.first_deliveries
        self.note_source_starts = tables.note_source_starts

    async def insert_all(self, table: str, rows: Sequence[bytes], token: str) -> list[tuple[int, str]]:
        """Insert rows; returns those that the server refuses, as (index, message)."""
        refused = await self._tables.insert_all(table, rows, token)
        self._meter.add(ROWS, len(rows) - len(refused), table)
        return refused


class _Stores:
    """The stores of one worker; each call is retried while its server is down.

    Connections open on first use. The end of the process closes them: every effect was confirmed before its record was
    acknowledged.
    """

    def __init__(self, settings: Settings, meter: Meter) -> None:
        self._settings, self.meter = settings, meter
        self._namespace = settings.redis_namespace
        self._redis = async_redis_client(settings, timeout_s=30)
        self._with_retry = partial(with_retry, longest_pause_s=settings.store_retry_max_s, meter=meter)

    def identities(self) -> RedisIdentityStore:
        policy = identity_policy(self._settings)
        return self._with_retry(RedisIdentityStore(self._redis, self._namespace, policy, guarded=True), down=REDIS_DOWN)

    def refused_share(self) -> RedisRefusedShare:
        return self._with_retry(RedisRefusedShare(self._redis, self._namespace), down=REDIS_DOWN)

    def profiles(self) -> RedisProfileStore:
        return self._with_retry(RedisProfileStore(self._redis, self._namespace, guarded=True), down=REDIS_DOWN)

    def expiry(self) -> AnonymousExpiry:
        profiles = self._with_retry(RedisIdleProfiles(self._redis, self._namespace), down=REDIS_DOWN)
        retention_ms = self._settings.anonymous_retention_days * DAY_MS
        return AnonymousExpiry(profiles, self.identities(), retention_ms, all_segments_left, self.meter)

    def products(self) -> RedisProducts:
        return self._with_retry(RedisProducts(self._redis, self._namespace), down=REDIS_DOWN)

    def coupons(self) -> RedisCoupons:
        return self._with_retry(RedisCoupons(self._redis, self._namespace), down=REDIS_DOWN)

    def identity_outbox(self) -> RedisOutbox:
        return self._with_retry(RedisOutbox(self._redis, identity_outbox(self._namespace)), down=REDIS_DOWN)

    def profile_outbox(self, shards: Callable[[], Sequence[int]]) -> RedisProfileOutbox:
        return self._with_retry(RedisProfileOutbox(self._redis, self._namespace, shards), down=REDIS_DOWN)

    def erasures(self) -> RedisErasures:
        return self._with_retry(RedisErasures(self._redis, self._namespace), down=REDIS_DOWN)

    def delivery_ledger(self) -> RedisDeliveryLedger:
        return self._with_retry(LedgerOfPeople(self._redis, self._namespace), down=REDIS_DOWN)

    def definitions(self) -> RedisDefinitions:
        return self._with_retry(RedisDefinitions(self._redis, self._namespace), down=REDIS_DOWN)

    def durability(self) -> RedisDurability | None:
        level, timeout_s = self._settings.redis_durability, self._settings.redis_durability_timeout_s
        if level == "off":
            return None
        return self._with_retry(RedisDurability(self._redis, self._namespace, level, timeout_s), down=REDIS_DOWN)

    def broadcast_members(self) -> ListedMembers:
        progress = self._with_retry(RedisBroadcasts(self._redis, self._namespace), down=REDIS_DOWN)
        return self._with_retry(ListedMembers(self._settings, progress), down=(StoreDown,))

    def recommendations(self) -> RedisRecommendations:
        return self._with_retry(RedisRecommendations(self._redis, self._namespace), down=REDIS_DOWN)

    def tables(self) -> CountedTables:
        sink = clickhouse_sink(self._settings)
        return CountedTables(self._with_retry(sink, down=(StoreDown,)), self.meter)

    def schema_registry(self) -> SchemaRegistryClient | None:
        if not self._settings.schema_registry_url:
            return None
        client = registry_client(self._settings)
        return self._with_retry(client, down=(RegistryDown,))

    def publisher(self) -> KafkaPublisher:
        publisher = KafkaPublisher(kafka_connection(self._settings), self._settings.topic_prefix)
        return self._with_retry(publisher, down=(PublishFailedError,))


def wire_identify(app: faust.App, topic: Topic, settings: Settings, meter: Meter) -> None:
    """Wire `identify`: touchpoints of all channels become resolved touchpoints."""
    stores, sources = _Stores(settings, meter), load_sources(settings)
    register_identify(
        _worker(app, topic, settings, stores),
        channels=settings.channels,
        stage=Identify(
            stores.identities(),
            policy=identity_policy(settings),
            secret=settings.identity_secret.get_secret_value().encode(),
            channels=frozenset(settings.channels),
            max_event_bytes=settings.max_event_bytes,
            enrich=Enrichment(
                user_agents(settings), open_locations(settings.location_database), settings.network_addresses
            ),
            dead_letter_limit_ratio=settings.dead_letter_limit_ratio,
            refused_share=stores.refused_share(),
            registry=stores.schema_registry(),
            plan=plan_in_force(settings),
            transforms=transforms_in_force(settings, sources),
            sources=sources,
        ),
        outbox=stores.identity_outbox(),
    )


def wire_profile(app: faust.App, topic: Topic, settings: Settings, meter: Meter) -> None:
    """Wire `profile`: resolved touchpoints become profiles, segments and journeys."""
    stores = _Stores(settings, meter)
    profiles, worker = stores.profiles(), _worker(app, topic, settings, stores)
    products = stores.products()
    rules = follow_decisions(settings, stores.definitions(), worker.token, worker.clock)
    progress, resolved = kafka_progress(settings, worker.clock), settings.topic_prefix + RESOLVED_TOUCHPOINTS
    own = OwnPartitions(app, resolved, lambda: progress.partitions(resolved))
    stage = ProfileUpdate(profiles, rules=rules, catalogue=products, meter=meter)
    outbox = stores.profile_outbox(own.shards)
    register_profile(
        worker,
        stage=stage,
        product_news=ProductNews(products),
        timers=profiles,
        own=own,
        progress=progress,
        outbox=outbox,
        broadcasts=BroadcastEntries(stage, stores.broadcast_members(), outbox),
        expiry=stores.expiry(),
    )


def wire_record(app: faust.App, topic: Topic, settings: Settings, meter: Meter) -> None:
    """Wire `record`: all topics but the producers' become rows of ClickHouse."""
    stores = _Stores(settings, meter)
    register_record(
        _worker(app, topic, settings, stores),
        tables=stores.tables(),
        changed=stores.profiles(),
        erasures=stores.erasures(),
        rules=touch_rules(settings),
        housekeeping=BotJudge(settings).judge,
    )


def wire_deliver(app: faust.App, topic: Topic, settings: Settings, meter: Meter) -> None:
    """Wire `deliver`: actions become messages to mail servers and webhooks."""
    stores = _Stores(settings, meter)
    worker = _worker(app, topic, settings, stores)
    rules = follow_sending(settings, stores.definitions(), worker.token, worker.clock)
    stage = build_deliver(
        settings,
        rules=rules,
        ledger=stores.delivery_ledger(),
        publisher=worker.publisher,
        profiles=stores.profiles(),
        identities=stores.identities(),
        related=stores.recommendations(),
        catalogue=stores.products(),
        coupons=stores.coupons(),
        clock=worker.clock,
        failpoint=worker.failpoint,
        durability=worker.durability,
        meter=meter,
    )
    batching = replace(worker.batching, records=min(settings.batch_records, MAX_DELIVERY_RECORDS))
    register_deliver(
        replace(worker, batching=batching),
        stage=stage,
        follow=rules.current,
        housekeeping=partial(_tend, settings),
    )


async def _tend(settings: Settings) -> None:
    """Do what is due now and then: refresh recommendations, choose the winners of broadcasts."""
    await refresh_if_due(settings)
    await choose_winners(settings)


WIRING: dict[Role, Callable[[faust.App, Topic, Settings, Meter], None]] = {
    "identify": wire_identify,
    "profile": wire_profile,
    "record": wire_record,
    "deliver": wire_deliver,
}


def kafka_progress(
    settings: Settings, clock: Callable[[], int], *, timeout_s: float = PROGRESS_TIMEOUT_S
) -> KafkaProgress:
    """Return what reads how far the two groups have come that an event passes until its profile has it."""
    prefix = settings.topic_prefix
    groups = [
        (group_id(prefix, role), [prefix + name for name in consumed_topics(role, settings.channels)])
        for role in ("identify", "profile")
    ]
    reader = OffsetReader(
        kafka_connection(settings),
        [group for group, _ in groups],
        group_id(prefix, "progress"),
        timeout_s=timeout_s,
    )
    return KafkaProgress(reader, groups, clock)


def _worker(app: faust.App, topic: Topic, settings: Settings, stores: _Stores) -> Worker:
    return Worker(
        app,
        topic,
        stores.publisher(),
        uuid4().hex,
        clock_ms,
        Batching(settings.batch_records, settings.record_flush_rows, settings.record_flush_s),
        make_failpoint(settings.crash_at),
        settings.topic_prefix,
        stores.durability(),
        stores.meter,
    )
