"""Measures what a worker cannot count: lag, what waits in Redis, and the last check of segments."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial

import faust
from redis import Redis
from redis.exceptions import RedisError

from deploy.operations.lag import KafkaUnreachableError, LagReader
from deploy.operations.roles import Role
from deploy.settings import Settings
from schemas.metrics import LAG, OUTBOX, SEGMENT_CHECK, SEGMENT_DIFFERENCES, SNAPSHOTS_BEHIND, TIMERS_DUE, Meter
from schemas.time import clock_ms, ms_of_text
from sinks.redis.outbox import identity_outbox, profile_outbox
from sinks.redis.segment_backfill import read_check

log = logging.getLogger(__name__)

PAUSE_S = 10.0
"""Between two measurements; Prometheus asks every 15 to 60 seconds."""
_TIMEOUT_S = 5.0


def register_gauges(app: faust.App, role: Role, settings: Settings, meter: Meter) -> None:
    """Measure every few seconds, in a thread; a server that is down is asked the next time."""

    @app.task  # type: ignore[untyped-decorator]
    async def measure_gauges() -> None:
        # Kept, since its connections cost more than what they ask; not closed, since a thread may be using them.
        reader = LagReader(settings, _TIMEOUT_S, [role])
        while not app.should_stop:
            await asyncio.sleep(PAUSE_S)
            for measure in (partial(measure_lag, reader), measure_redis):
                try:
                    await asyncio.to_thread(measure, role, settings, meter)
                except (KafkaUnreachableError, RedisError, OSError) as error:
                    log.debug("not measured: %s", error)


def measure_lag(reader: LagReader, role: Role, settings: Settings, meter: Meter) -> None:
    """Measure how many records the workers of a role have to read, by topic.

    Raises:
        KafkaUnreachableError: The broker does not answer.
    """
    behind: Counter[str] = Counter()
    for one in reader.lags(exact=False):
        behind[one.topic.removeprefix(settings.topic_prefix)] += one.records
    for topic, records in behind.items():
        meter.set(LAG, records, role, topic)


def measure_redis(role: Role, settings: Settings, meter: Meter) -> None:
    """Measure what waits in Redis for the workers of a role, and the outcome of the last check of segments.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    namespace = settings.redis_namespace
    with Redis.from_url(settings.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S) as client:
        if role == "identify":
            meter.set(OUTBOX, client.xlen(identity_outbox(namespace).stream), "identity")
        elif role == "record":
            meter.set(SNAPSHOTS_BEHIND, client.zcard(f"{{{namespace}}}:profiles:changed"))
        elif role == "profile":
            meter.set(OUTBOX, client.xlen(profile_outbox(namespace).stream), "profile")
            meter.set(TIMERS_DUE, client.zcount(f"{{{namespace}}}:timers", 0, clock_ms()))
            if (check := read_check(client, namespace)) is not None:
                meter.set(SEGMENT_DIFFERENCES, check["differences"])
                meter.set(SEGMENT_CHECK, ms_of_text(check["at"]) / 1000)
