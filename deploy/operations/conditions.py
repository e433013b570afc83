"""What is measured of a deployment now, in lines, and which conditions of the shipped alerts hold.

`throughline status` and `throughline doctor` show it, without Prometheus. The limits are those of
`deploy/observability/alerts.yaml`, where a condition has to last for some minutes; here it is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from deploy.operations import measures
from schemas import metrics
from schemas.metrics import Counter, Gauge, Histogram
from schemas.time import clock_ms

if TYPE_CHECKING:
    from deploy.operations.lag import MeasuredLags
    from deploy.settings import Settings

LIMITS = {
    "LagGrowing": 300,
    "AccountingDifference": 0,
    "RecordsMissing": 0,
    "ManyRefusals": 0.02,
    "TimersLate": 600,
    "OutboxNotDraining": 60,
    "RedisMemoryHigh": 0.8,
    "DiskFilling": 0.15,
    "CertificateEnding": 14,
}
"""The limit of each alert, as its rule has it; of certificates in days."""
_LABELS = {one.name: one.labels for one in metrics.METRICS}


class Readings:
    """A meter that keeps the last reading of each gauge.

    Attributes:
        numbers: Metric and labels → reading.
    """

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, tuple[str, ...]], float] = {}

    def add(self, metric: Counter, amount: float, *labels: str) -> None:
        """Do nothing: what is read from outside counts nothing."""

    def set(self, metric: Gauge, value: float, *labels: str) -> None:
        """Keep a reading."""
        self.numbers[metric.name, labels] = value

    def forget(self, metric: Gauge) -> None:
        """Forget its readings."""
        self.numbers = {place: value for place, value in self.numbers.items() if place[0] != metric.name}

    def observe(self, metric: Histogram, value: float, *labels: str) -> None:
        """Do nothing."""

    def of(self, metric: Gauge) -> dict[tuple[str, ...], float]:
        """Return the readings of a metric by labels; empty: it could not be measured."""
        return {labels: value for (name, labels), value in self.numbers.items() if name == metric.name}

    def named(self) -> list[tuple[str, dict[str, str], float]]:
        """Return all readings: metric, labels by name, number."""
        return [
            (name, dict(zip(_LABELS[name], labels, strict=True)), value)
            for (name, labels), value in self.numbers.items()
        ]

    def one(self, metric: Gauge, *labels: str) -> float | None:
        """Return a reading; None: it could not be measured."""
        return self.numbers.get((metric.name, labels))


class Condition(NamedTuple):
    """Something that is measured, and whether an alert would come of it.

    Attributes:
        name: What it is about.
        found: What was measured, in words.
        alert: The alert whose condition holds; empty: none.
    """

    name: str
    found: str
    alert: str = ""


def read(settings: Settings, lags: MeasuredLags | None) -> Readings:
    """Measure a deployment; what a store does not answer within seconds is left out.

    Args:
        settings: Of the deployment.
        lags: How far its workers are behind; None: Kafka does not say.
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import RedisError
    from redis.exceptions import TimeoutError as RedisTimeoutError

    from sinks.clickhouse.client import StoreDown

    readings = Readings()
    if lags is not None:
        measures.set_lag(lags, settings, readings)
    of_each_server: list[list[Callable[[], None]]] = [
        [
            lambda: measures.measure_redis("identify", settings, readings),
            lambda: measures.measure_redis("profile", settings, readings),
            lambda: measures.measure_redis("record", settings, readings),
        ],
        [
            lambda: measures.measure_disks(settings, readings),
            lambda: measures.measure_records(settings, readings, timeout_s=5),
        ],
        [lambda: measures.measure_certificates(settings, readings)],
    ]
    for steps in of_each_server:
        for step in steps:
            try:
                step()
            except (StoreDown, RedisConnectionError, RedisTimeoutError, OSError):
                break  # that a server does not answer is for the checks of servers to say
            except (RedisError, ClickHouseError):
                continue
    return readings


def conditions(readings: Readings) -> list[Condition]:
    """Say what was measured, in the order of what matters most; what could not be measured is left out."""
    found = [
        _account(readings), _refusals(readings), _lag(readings), _outboxes(readings), _timers(readings),
        _expiry(readings), _memory(readings), *_disks(readings), *_certificates(readings),
    ]  # fmt: skip
    return [one for one in found if one is not None]


def _account(readings: Readings) -> Condition | None:
    difference, missing = readings.one(metrics.ACCOUNTING_DIFFERENCE), readings.one(metrics.ACCOUNTING_MISSING)
    if difference is None or missing is None:
        return None
    said = f"accounting difference {difference:,.0f}, missing {missing:,.0f} of the records of the last two days"
    alert = _alert("AccountingDifference", difference) or _alert("RecordsMissing", missing)
    return Condition("accounting", said, alert)


def _refusals(readings: Readings) -> Condition | None:
    received = readings.one(metrics.ACCOUNTED_RECORDS, "received")
    refused = readings.one(metrics.ACCOUNTED_RECORDS, "dead_lettered")
    if received is None or refused is None:
        return None
    share = refused / received if received else 0
    said = f"{refused:,.0f} of {received:,.0f} records of the last two days ({share:.1%})"
    return Condition("refusals", said, _alert("ManyRefusals", share))


def _lag(readings: Readings) -> Condition | None:
    behind, ages = readings.of(metrics.LAG), readings.of(metrics.LAG_AGE)
    if not behind:
        return None
    records = sum(behind.values())
    (role, topic), longest = max(ages.items(), key=lambda one: one[1])
    if not records:
        return Condition("lag", "no worker is behind")
    said = f"{records:,.0f} records wait; the oldest {_duration(longest)}, for {role} on {topic}"
    return Condition("lag", said, _alert("LagGrowing", longest))


def _outboxes(readings: Readings) -> Condition | None:
    waiting, ages = readings.of(metrics.OUTBOX), readings.of(metrics.OUTBOX_AGE)
    if not waiting:
        return None
    longest = max(ages.values())
    shown = ", ".join(f"{outbox} {records:,.0f}" for (outbox,), records in sorted(waiting.items()))
    since = f"; the oldest record waits {_duration(longest)}" if longest else ""
    return Condition("outbox", f"{shown}{since}", _alert("OutboxNotDraining", longest))


def _timers(readings: Readings) -> Condition | None:
    due, late = readings.one(metrics.TIMERS_DUE), readings.one(metrics.TIMERS_LATE)
    if due is None or late is None:
        return None
    said = f"{due:,.0f} people have one that is due" + (f", the earliest since {_duration(late)}" if late else "")
    return Condition("timers", said, _alert("TimersLate", late))


def _expiry(readings: Readings) -> Condition | None:
    at, found = readings.one(metrics.EXPIRY_AT), readings.of(metrics.EXPIRY_PEOPLE)
    if at is None:
        return None
    since = _duration(clock_ms() / 1000 - at)
    people, idle, expired = (found.get((name,), 0) for name in ("people", "idle", "expired"))
    said = f"{since} ago, {idle:,.0f} of {people:,.0f} people were idle for the retention, and {expired:,.0f} expired"
    return Condition("expiry", said)


def _memory(readings: Readings) -> Condition | None:
    used, limit = readings.one(metrics.REDIS_MEMORY), readings.one(metrics.REDIS_MEMORY_LIMIT)
    if used is None or limit is None:
        return None
    said = f"Redis uses {used / 1e6:,.0f} MB of {limit / 1e6:,.0f} MB ({used / limit:.0%})"
    return Condition("memory", said, _alert("RedisMemoryHigh", used / limit))


def _disks(readings: Readings) -> list[Condition]:
    sizes = readings.of(metrics.DISK_SIZE)
    return [
        Condition(
            "disk", f"{free / sizes[labels]:.0%} of ClickHouse's disk {labels[0]} are free: {free / 1e9:,.0f} GB",
            "DiskFilling" if free / sizes[labels] < LIMITS["DiskFilling"] else "",
        )
        for labels, free in readings.of(metrics.DISK_FREE).items()
    ]  # fmt: skip


def _certificates(readings: Readings) -> list[Condition]:
    found = []
    for (server,), ends in readings.of(metrics.CERTIFICATE_END).items():
        days = (ends - clock_ms() / 1000) / 86_400
        said = f"that of {server} is valid for {days:.0f} days" if days > 0 else f"that of {server} has ended"
        found.append(Condition("certificate", said, "CertificateEnding" if days < LIMITS["CertificateEnding"] else ""))
    return found


def _alert(name: str, reading: float) -> str:
    """Return the alert if its reading is above its limit, else nothing."""
    return name if reading > LIMITS[name] else ""


def _duration(seconds: float) -> str:
    """Write a length of time for a person: `40 s`, `12 min`, `3 h`, `2 days`."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
