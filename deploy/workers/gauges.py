"""Measures what a worker cannot count: lag, what waits in Redis, memory, disks, accounts, certificates.

The functions are those of `deploy/operations/measures.py`; each role has its share. Several workers of a role measure
the same, so whoever reads a gauge takes the highest.
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
from redis.exceptions import RedisError

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
from schemas.metrics import Meter
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


class Measurement(NamedTuple):
    """Something that is measured again and again.

    Attributes:
        measure: Sets gauges, in a thread.
        every_s: The pause after it, in seconds.
    """

    measure: Callable[[Settings, Meter], None]
    every_s: float


def measurements(role: Role, settings: Settings) -> list[Measurement]:
    """Return what the workers of a role measure."""
    # Kept open, since its connections cost more than what they ask; not closed, since a thread may be using them.
    found = [
        Measurement(partial(measure_lag, LagReader(settings, TIMEOUT_S, [role])), SOON_S),
        Measurement(partial(measure_redis, role), SOON_S),
    ]
    if role == "record":
        found += [
            Measurement(measure_disks, DISKS_S),
            Measurement(measure_records, RECORDS_S),
            Measurement(measure_profiles, PROFILES_S),
        ]
    elif role == "deliver":
        found += [Measurement(measure_certificates, CERTIFICATES_S)]
    return found


def register_gauges(app: faust.App, role: Role, settings: Settings, meter: Meter) -> None:
    """Measure again and again, in threads; a server that is down is asked the next time."""

    @app.task  # type: ignore[untyped-decorator]
    async def measure_gauges() -> None:
        # A thread for each, so that an account that takes a minute holds up no lag; none that a stop would wait for.
        for one in measurements(role, settings):
            Thread(target=_repeat, args=(app, one, settings, meter), name="gauges", daemon=True).start()


def _repeat(app: faust.App, measurement: Measurement, settings: Settings, meter: Meter) -> None:
    time.sleep(SOON_S)
    while not app.should_stop:
        try:
            measurement.measure(settings, meter)
        except (KafkaUnreachableError, RedisError, StoreDown, ClickHouseError, OSError) as error:
            log.debug("not measured: %s", error)
        except Exception:  # a bug: what is not measured stops no events
            log.exception("a measurement failed")
        time.sleep(measurement.every_s)
