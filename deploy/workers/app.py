"""A worker: one Faust app with the agents of one role, its stores, and what keeps it honest.

`throughline worker identify|profile|record|deliver` runs one; more workers of a role share its partitions.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic, time
from typing import Any
from uuid import uuid4

import faust
import redis
import redis.asyncio
import redis.exceptions
from mode.supervisors import CrashingSupervisor

from deploy.home import Home
from deploy.operations.definition_files import identity_policy, touch_rules
from deploy.operations.engines import load_decider
from deploy.operations.lag import Role, group_id
from deploy.operations.recommendations import refresh_in_turn
from deploy.settings import Settings, home
from deploy.workers.delivery import build_deliver
from deploy.workers.failpoints import crossing
from deploy.workers.retry import patient
from deploy.workers.transport import BatchScheduler, BatchSchema, Transport
from processors.agents import Batching, register_deliver, register_identify, register_profile, register_record
from processors.decisions.engine import Decider
from processors.identity.stage import Identify
from processors.profiles.product_news import Catalogue
from processors.profiles.stage import ProfileUpdate
from sinks.clickhouse.client import ClickHouseSink, StoreDown
from sinks.kafka.producer import KafkaPublisher, PublishFailedError
from sinks.redis.delivery import RedisDeliveryLedger
from sinks.redis.erasures import RedisErasures
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.outbox import RedisOutbox, identity_outbox, profile_outbox
from sinks.redis.profiles import RedisProfileStore
from sinks.redis.recommendations import RedisRecommendations

REDIS_DOWN: tuple[type[BaseException], ...] = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ClusterDownError,
    OSError,
)
POLL_SILENCE_S = 30.0
DELIVERIES = 500
"""Messages that are handed over at once: the claims of all are to outlive the slowest mail server."""


def build_app(role: Role, settings: Settings) -> faust.App:
    """Put together the Faust app of one role; nothing connects before it is started.

    Connections are not closed one by one at the end: what counts is confirmed before it is acknowledged, and the
    process's end closes the rest.
    """
    app = faust.App(
        group_id(settings.topic_prefix, role),
        broker=[f"kafka://{address.strip()}" for address in settings.kafka_bootstrap.split(",")],
        store="memory://",
        datadir=home() / "faust" / role,
        web_enabled=False,
        topic_allow_declare=False,  # `throughline topics apply` creates them
        topic_disable_leader=True,
        table_standby_replicas=0,  # no tables: state is in Redis
        stream_wait_empty=False,  # with manual acknowledgement the one clean way to stop with a stuck batch
        stream_buffer_maxsize=8,  # record batches of up to 1,000, so this is what memory holds
        agent_supervisor=CrashingSupervisor,  # a worker that cannot go on ends, unacknowledged, and is restarted
        broker_max_poll_records=5000,
        broker_commit_interval=1.0,
        broker_commit_livelock_soft_timeout=3600.0,  # who waits for a store says so; Faust would suspect our code
        broker_session_timeout=float(settings.session_timeout_s),
        broker_heartbeat_interval=settings.session_timeout_s / 6,
        broker_rebalance_timeout=float(max(settings.session_timeout_s, 10)),
        consumer_auto_offset_reset="earliest",
        ConsumerScheduler=BatchScheduler,
    )
    app.transport = Transport(app.conf.broker_consumer, app)

    def topic(*names: str) -> Any:
        full = [settings.topic_prefix + name for name in names]
        return app.topic(*full, schema=BatchSchema(), allow_empty=True)

    _WIRES[role](app, topic, settings)
    _watch_progress(app, role)
    return app


def _wire_identify(app: faust.App, topic: Callable[..., Any], settings: Settings) -> None:
    policy = identity_policy(settings)
    client = _redis(settings)
    store = RedisIdentityStore(client, settings.redis_namespace, policy)
    publisher = KafkaPublisher(settings.kafka_bootstrap, settings.topic_prefix)
    port = partial(patient, down=REDIS_DOWN, longest_pause_s=settings.store_retry_max_s)
    register_identify(
        app,
        topic,
        channels=settings.channels,
        stage=Identify(
            port(store),
            policy=policy,
            secret=settings.identity_secret.get_secret_value().encode(),
            channels=frozenset(settings.channels),
            max_event_bytes=settings.max_event_bytes,
            dead_letter_limit_ratio=settings.dead_letter_limit_ratio,
        ),
        publisher=_patient_publisher(publisher, settings),
        outbox=port(RedisOutbox(client, identity_outbox(settings.redis_namespace))),
        relay_token=uuid4().hex,
        batching=_batching(settings),
        at=crossing(settings.crash_at),
    )


def _wire_profile(app: faust.App, topic: Callable[..., Any], settings: Settings) -> None:
    client = _redis(settings)
    publisher = KafkaPublisher(settings.kafka_bootstrap, settings.topic_prefix)
    longest = settings.store_retry_max_s
    profiles = patient(RedisProfileStore(client, settings.redis_namespace), down=REDIS_DOWN, longest_pause_s=longest)
    register_profile(
        app,
        topic,
        stage=ProfileUpdate(profiles, _decider(settings)),
        catalogue=Catalogue(profiles),
        timers=profiles,
        outbox=patient(
            RedisOutbox(client, profile_outbox(settings.redis_namespace)), down=REDIS_DOWN, longest_pause_s=longest
        ),
        publisher=_patient_publisher(publisher, settings),
        token=uuid4().hex,
        clock=lambda: int(time() * 1000),
        batching=_batching(settings),
        at=crossing(settings.crash_at),
    )


def _decider(settings: Settings) -> Decider:
    with redis.Redis.from_url(settings.redis_url, socket_timeout=30, socket_connect_timeout=5) as client:
        return load_decider(settings, client)


def _wire_record(app: faust.App, topic: Callable[..., Any], settings: Settings) -> None:
    client = _redis(settings)
    sink = ClickHouseSink(settings.clickhouse_url, settings.clickhouse_database)
    publisher = KafkaPublisher(settings.kafka_bootstrap, settings.topic_prefix)
    longest = settings.store_retry_max_s
    register_record(
        app,
        topic,
        tables=patient(sink, down=(StoreDown,), longest_pause_s=longest),
        changed=patient(RedisProfileStore(client, settings.redis_namespace), down=REDIS_DOWN, longest_pause_s=longest),
        erasures=patient(RedisErasures(client, settings.redis_namespace), down=REDIS_DOWN, longest_pause_s=longest),
        publisher=_patient_publisher(publisher, settings),
        rules=touch_rules(settings),
        batching=_batching(settings),
        at=crossing(settings.crash_at),
    )


def _wire_deliver(app: faust.App, topic: Callable[..., Any], settings: Settings) -> None:
    client, namespace = _redis(settings), settings.redis_namespace
    port = partial(patient, down=REDIS_DOWN, longest_pause_s=settings.store_retry_max_s)
    publisher = KafkaPublisher(settings.kafka_bootstrap, settings.topic_prefix)
    at = crossing(settings.crash_at)
    stage = build_deliver(
        settings,
        ledger=port(RedisDeliveryLedger(client, namespace)),
        publisher=_patient_publisher(publisher, settings),
        profiles=port(RedisProfileStore(client, namespace)),
        identities=port(RedisIdentityStore(client, namespace, identity_policy(settings))),
        related=port(RedisRecommendations(client, namespace)),
        clock=lambda: int(time() * 1000),
        at=at,
    )
    few = replace(_batching(settings), records=min(settings.batch_records, DELIVERIES))
    register_deliver(app, topic, stage=stage, chores=lambda: refresh_in_turn(settings), batching=few, at=at)


_WIRES: dict[str, Callable[[faust.App, Callable[..., Any], Settings], None]] = {
    "identify": _wire_identify,
    "profile": _wire_profile,
    "record": _wire_record,
    "deliver": _wire_deliver,
}


def _redis(settings: Settings) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(settings.redis_url, socket_timeout=30, socket_connect_timeout=5)


def _patient_publisher(publisher: KafkaPublisher, settings: Settings) -> KafkaPublisher:
    return patient(publisher, down=(PublishFailedError,), longest_pause_s=settings.store_retry_max_s)


def _batching(settings: Settings) -> Batching:
    return Batching(settings.batch_records, settings.record_flush_rows, settings.record_flush_s)


def _watch_progress(app: faust.App, role: str) -> None:
    """Touch a file while Kafka is polled, so that a health check sees a stuck worker, not only a dead one."""
    path = Home(home()).heartbeat(role)

    @app.task
    async def heartbeat() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not app.should_stop:
            if monotonic() - app.consumer.polled_at < POLL_SILENCE_S:
                path.touch()
            await asyncio.sleep(1)


def run(role: Role, settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT; exit code 1 when it cannot go on and wants to be restarted."""
    app = build_app(role, settings)
    app.conf.datadir.mkdir(parents=True, exist_ok=True)
    # A batch makes hundreds of thousands of short-lived objects and no cycles. Collecting at Python's default pace
    # walks all of them several times a batch: it doubled the cost of an event. What is in hand must not start it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 20)
    worker = faust.Worker(
        app,
        loglevel=settings.log_level,
        redirect_stdouts=False,
        quiet=True,
        override_logging=True,
    )
    sys.exit(worker.execute_from_commandline())
