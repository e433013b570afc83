"""Measures what a worker cannot count: lag, what waits in Redis, memory, disks, accounts, certificates.

The functions are those of `deploy/operations/measures.py`; each role has its share. Several workers of a role measure
the same, so whoever reads a gauge takes the highest. The accounts, which cost ClickHouse seconds, are taken by one
worker: the reader of partition 0 of `resolved-touchpoints`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import NamedTuple

import faust
from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from deploy.operations.lag import KafkaUnreachableError, LagReader
from deploy.operations.measures import (
    TIMEOUT_S,
    measure_certificates,
    measure_disks,
    measure_lag,
    measure_profiles,
    measure_records,
    measure_redis,
)
from deploy.operations.roles import Role
from deploy.settings import Settings
from deploy.workers.own_partitions import OwnPartitions
from schemas.metrics import (
    ACCOUNTED_AT,
    ACCOUNTED_RECORDS,
    ACCOUNTING_DIFFERENCE,
    ACCOUNTING_MISSING,
    EMAILS,
    PROFILES_DIFFERING,
    STORE_ANSWERS,
    Gauge,
    Meter,
)
from schemas.topics import RESOLVED_TOUCHPOINTS
from sinks.clickhouse.client import StoreDown

log = logging.getLogger(__name__)

SOON_S = 10.0
"""Between two measurements of what costs little; Prometheus asks every 15 to 60 seconds."""
DISKS_S = 60.0
RECORDS_S = 300.0
"""Between two accounts, which read the records of two days."""
PROFILES_S = 3_600.0
"""Between two accounts of profiles, which read all events."""
CERTIFICATES_S = 3_600.0
OF_RECORDS = (ACCOUNTING_DIFFERENCE, ACCOUNTING_MISSING, ACCOUNTED_RECORDS, ACCOUNTED_AT, EMAILS)
OF_PROFILES = (PROFILES_DIFFERING, ACCOUNTED_AT)


class Measurement(NamedTuple):
    """Something that is measured again and again.

    Attributes:
        measure: Sets gauges, in a thread.
        every_s: The pause after it, in seconds.
        alone: The gauges, if one worker measures them for all of its role; the others do not serve them.
        store: Which store answers it; empty: more than one, or none of ours.
    """

    measure: Callable[[Settings, Meter], None]
    every_s: float
    alone: tuple[Gauge, ...] = ()
    store: str = ""


def measurements(role: Role, settings: Settings) -> list[Measurement]:
    """Return what the workers of a role measure."""
    # Kept open, since its connections cost more than what they ask; not closed, since a thread may be using them.
    found = [
        Measurement(partial(measure_lag, LagReader(settings, TIMEOUT_S, [role])), SOON_S, store="kafka"),
        Measurement(partial(measure_redis, role), SOON_S, store="redis"),
    ]
    if role == "record":
        found += [
            Measurement(measure_disks, DISKS_S, store="clickhouse"),
            Measurement(measure_records, RECORDS_S, OF_RECORDS),
            Measurement(measure_profiles, PROFILES_S, OF_PROFILES),
        ]
    elif role == "deliver":
        found += [Measurement(measure_certificates, CERTIFICATES_S)]
    return found


def register_gauges(app: faust.App, role: Role, settings: Settings, meter: Meter) -> None:
    """Measure again and again, in threads; a server that is down is asked the next time."""

    @app.task  # type: ignore[untyped-decorator]
    async def measure_gauges() -> None:
        # A thread for each, so that an account that takes a minute holds up no lag; none that a stop would wait for.
        own = OwnPartitions(app, settings.topic_prefix + RESOLVED_TOUCHPOINTS, lambda: 0)
        for one in measurements(role, settings):
            arguments = app, one, settings, meter, own.first if one.alone else lambda: True
            Thread(target=_repeat, args=arguments, name="gauges", daemon=True).start()


def _repeat(
    app: faust.App, measurement: Measurement, settings: Settings, meter: Meter, is_mine: Callable[[], bool]
) -> None:
    due_at = 0.0
    while not app.should_stop:
        time.sleep(SOON_S)
        if not is_mine():
            for gauge in measurement.alone:
                meter.forget(gauge)
            due_at = 0.0
        elif time.monotonic() >= due_at:
            _measure(measurement, settings, meter)
            due_at = time.monotonic() + measurement.every_s - SOON_S


def _measure(measurement: Measurement, settings: Settings, meter: Meter) -> None:
    answers = True
    try:
        measurement.measure(settings, meter)
    except (KafkaUnreachableError, RedisConnectionError, RedisTimeoutError, StoreDown, OSError) as error:
        answers = False
        log.debug("not measured: %s", error)
    except (RedisError, ClickHouseError) as error:  # which is an answer
        log.debug("not measured: %s", error)
    except Exception:  # a bug: what is not measured stops no events
        log.exception("a measurement failed")
    if measurement.store:
        meter.set(STORE_ANSWERS, float(answers), measurement.store)
