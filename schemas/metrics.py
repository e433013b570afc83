"""Every metric of the product: its name, unit, labels and meaning. Workers and the collector serve them to Prometheus.

A metric is counted with its constant, so a wrong name does not type-check. Labels have few values that are known
before: roles, stages, topics, tables, channels, reasons. Never a person, an event or an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

DURATIONS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
DELAYS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: As Prometheus knows it.
        unit: What its numbers are of.
        labels: The names of its labels.
        meaning: In a sentence.
    """

    name: str
    unit: str
    labels: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Counter(Metric):
    """A number that only grows, from 0 at the start of the process."""


@dataclass(frozen=True, slots=True)
class Gauge(Metric):
    """A number that is measured again and again."""


@dataclass(frozen=True, slots=True)
class Histogram(Metric):
    """How many measured numbers were at most so large.

    Attributes:
        buckets: The upper bounds.
    """

    buckets: tuple[float, ...] = ()


RECEIVED = Counter("throughline_records_received_total", "records", ("stage",), "Records that a stage has handled.")
PUBLISHED = Counter(
    "throughline_records_published_total", "records", ("stage",),
    "Records that became another one: in `identify`, resolved touchpoints.",
)  # fmt: skip
DROPPED = Counter(
    "throughline_records_dropped_total", "records", ("stage", "reason"),
    "Records of `dropped-touchpoints`: `duplicate`, `conflict`, or `erased`: of erased people.",
)  # fmt: skip
DEAD_LETTERED = Counter(
    "throughline_dead_letters_total", "records", ("stage", "reason"), "Records that became dead letters."
)
ROWS = Counter("throughline_rows_written_total", "rows", ("table",), "Rows that ClickHouse has taken.")
DECISIONS_MADE = Counter(
    "throughline_decisions_total", "decisions", ("outcome", "gate"),
    "Decisions about messages, with the gate that held one back; empty: none did.",
)  # fmt: skip
MESSAGES = Counter(
    "throughline_messages_total", "messages", ("channel", "outcome"),
    "Messages `sent`, `failed`, `bounced`, `dropped` (the person was erased) or `handed_over` to a topic.",
)  # fmt: skip
RETRIES = Counter(
    "throughline_store_retries_total",
    "calls",
    ("store",),
    "Calls that a store did not answer, made again.",
)
COLLECTED = Counter(
    "throughline_collector_events_total", "events", ("outcome",),
    "Events that the collector `accepted`, `refused` or `ignored`; requests `tried again`.",
)  # fmt: skip
LAG = Gauge(
    "throughline_consumer_lag_records", "records", ("role", "topic"), "Records that the workers of a role are behind."
)
WATERMARK = Gauge(
    "throughline_watermark_timestamp_seconds", "seconds since 1970", (), "Up to when timers may fire; 0: not known yet."
)
OUTBOX = Gauge("throughline_outbox_records", "records", ("outbox",), "Records that wait in Redis to be published.")
SNAPSHOTS_BEHIND = Gauge(
    "throughline_snapshots_waiting", "profiles", (), "Profiles that have changed since their last snapshot."
)
SNAPSHOT_AGE = Gauge(
    "throughline_snapshot_age_seconds",
    "seconds",
    (),
    "How long a profile may have waited for its snapshot; 0: not at all.",
)
TIMERS_DUE = Gauge("throughline_timers_due", "people", (), "People with a timer that is due.")
SEGMENT_DIFFERENCES = Gauge(
    "throughline_segment_differences", "segments", (),
    "Segments whose members differed at the last `throughline segments check`; absent: there was none.",
)  # fmt: skip
SEGMENT_CHECK = Gauge(
    "throughline_segment_check_timestamp_seconds", "seconds since 1970", (), "When that check was; absent: never."
)
STAGE_DURATION = Histogram(
    "throughline_stage_duration_seconds", "seconds", ("stage",), "From a batch taken to its effects confirmed.",
    DURATIONS_S,
)  # fmt: skip
DELAY = Histogram(
    "throughline_delay_seconds", "seconds", ("to",),
    "From the arrival of a batch's first event to its effect: `profile` (in Redis), `tables` (in ClickHouse).",
    DELAYS_S,
)  # fmt: skip

METRICS: tuple[Metric, ...] = (
    RECEIVED, PUBLISHED, DROPPED, DEAD_LETTERED, ROWS, DECISIONS_MADE, MESSAGES, RETRIES, COLLECTED, LAG, WATERMARK,
    OUTBOX, SNAPSHOTS_BEHIND, SNAPSHOT_AGE, TIMERS_DUE, SEGMENT_DIFFERENCES, SEGMENT_CHECK, STAGE_DURATION, DELAY,
)  # fmt: skip


class Meter(Protocol):
    """Counts and measures; called once a batch, not once an event."""

    def add(self, metric: Counter, amount: float, *labels: str) -> None:
        """Add to a counter."""

    def set(self, metric: Gauge, value: float, *labels: str) -> None:
        """Set a gauge."""

    def observe(self, metric: Histogram, value: float, *labels: str) -> None:
        """Add a measured number to a histogram."""


class NoMeter:
    """Counts nothing."""

    def add(self, metric: Counter, amount: float, *labels: str) -> None:
        """Do nothing."""

    def set(self, metric: Gauge, value: float, *labels: str) -> None:
        """Do nothing."""

    def observe(self, metric: Histogram, value: float, *labels: str) -> None:
        """Do nothing."""


NO_METER = NoMeter()


def table() -> str:
    """Return all metrics as a table in Markdown."""
    rows = [
        f"| `{one.name}` | {type(one).__name__.lower()} | {one.unit} | {', '.join(one.labels)} | {one.meaning} |"
        for one in METRICS
    ]
    return "\n".join(("| metric | type | unit | labels | meaning |", "| --- | --- | --- | --- | --- |", *rows))
