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
    "Messages `sent`, `failed`, `bounced`, `stopped` (with their journey), `dropped` (the person was erased) or"
    " `handed_over` to a topic.",
)  # fmt: skip
EXPORTS = Counter(
    "throughline_exports_total", "exports", ("destination", "outcome"),
    "Exports `sent`, `refused`, or withheld, with the reason, such as `no_consent`.",
)  # fmt: skip
EXPORT_PAUSED = Gauge(
    "throughline_export_paused", "destinations", ("destination",),
    "1 while a destination takes nothing: it is down, asks for a pause, or refuses the credentials.",
)  # fmt: skip
EXPORT_LAG = Gauge(
    "throughline_export_lag_seconds", "seconds", ("destination",),
    "How long the oldest record waits that a destination has not handled.",
)  # fmt: skip
RETRIES = Counter(
    "throughline_store_retries_total", "calls", ("store",),
    "Calls made again that `kafka` (or its schema registry), `redis` or `clickhouse` did not answer.",
)  # fmt: skip
STORE_ANSWERS = Gauge(
    "throughline_store_answers", "1 or 0", ("store",),
    "Whether `kafka`, `redis` or `clickhouse` answered within seconds when the worker last measured it.",
)  # fmt: skip
IDENTITY_CHANGES = Counter(
    "throughline_identity_changes_total", "changes", ("kind",),
    "Changes of who is who that were published: `bind`, `merge`, `split`, `transfer`, `erase`, `refuse`, `release`,"
    " `expire`.",
)  # fmt: skip
PEOPLE_EXPIRED = Counter(
    "throughline_people_expired_total",
    "people",
    (),
    "Anonymous people who were not seen for the retention, and expired.",
)
SOURCE_EVENTS = Counter(
    "throughline_source_events_total", "events", ("source",), "Events of a source that were stored."
)
SOURCE_LAST_EVENT = Gauge(
    "throughline_source_last_event_timestamp_seconds", "seconds since 1970", ("source",),
    "When the last stored event of a source arrived; absent: none has since the start of the process.",
)  # fmt: skip
COLLECTED = Counter(
    "throughline_collector_events_total", "events", ("outcome",),
    "Events that the collector `accepted`, `refused` or `ignored`; requests `tried again`; profiles `read`.",
)  # fmt: skip
COLLECTOR_ANSWERS = Counter(
    "throughline_collector_answers_total", "requests", ("route", "status"),
    "Requests that the collector has answered, by HTTP status.",
)  # fmt: skip
COLLECTOR_DURATION = Histogram(
    "throughline_collector_request_duration_seconds", "seconds", ("route",),
    "From the head of a request to its answer, and to Kafka's confirmation if it has events.", DURATIONS_S,
)  # fmt: skip
COLLECTOR_IN_FLIGHT = Gauge(
    "throughline_collector_requests_in_flight", "requests", (), "Requests that wait for their answer."
)
COLLECTOR_WAITING = Gauge(
    "throughline_collector_waiting_bytes", "bytes", (), "Keys and values that Kafka has not confirmed yet."
)
SLOTS_DECIDED = Counter(
    "throughline_slots_decided_total", "requests", ("channel", "reason"),
    "Requests of slots: `shown`, or the reason of the fallback, such as a gate, `unknown_person` or `unreachable`.",
)  # fmt: skip
LAG = Gauge(
    "throughline_consumer_lag_records", "records", ("role", "topic"), "Records that the workers of a role are behind."
)
LAG_AGE = Gauge(
    "throughline_consumer_lag_seconds", "seconds", ("role", "topic"),
    "How long the oldest record waits that they have not handled; 0: none waits.",
)  # fmt: skip
WATERMARK = Gauge(
    "throughline_watermark_timestamp_seconds", "seconds since 1970", (), "Up to when timers may fire; 0: not known yet."
)
OUTBOX = Gauge("throughline_outbox_records", "records", ("outbox",), "Records that wait in Redis to be published.")
OUTBOX_AGE = Gauge(
    "throughline_outbox_age_seconds", "seconds", ("outbox",), "How long the oldest of them waits; 0: none waits."
)
SNAPSHOTS_BEHIND = Gauge(
    "throughline_snapshots_waiting", "profiles", (), "Profiles that have changed since their last snapshot."
)
SNAPSHOTS_AT = Gauge(
    "throughline_snapshot_timestamp_seconds", "seconds since 1970", (),
    "Up to when changes of profiles are in ClickHouse, or when the process started.",
)  # fmt: skip
EXPIRY_AT = Gauge(
    "throughline_expiry_timestamp_seconds", "seconds since 1970", (),
    "When all people were last looked at for who expires; absent: never.",
)  # fmt: skip
EXPIRY_PEOPLE = Gauge(
    "throughline_expiry_people", "people", ("outcome",),
    "What was found then: `people` of whom there is a profile, `idle`: not seen for the retention, `expired`.",
)  # fmt: skip
TIMERS_DUE = Gauge("throughline_timers_due", "people", (), "People with a timer that is due.")
TIMERS_LATE = Gauge(
    "throughline_timers_late_seconds", "seconds", (), "How long the earliest timer has been due; 0: none is."
)
REDIS_MEMORY = Gauge("throughline_redis_memory_bytes", "bytes", (), "Memory that Redis uses.")
REDIS_MEMORY_LIMIT = Gauge(
    "throughline_redis_memory_limit_bytes", "bytes", (),
    "What it may use: `maxmemory`, else the memory of its machine; absent: it does not say.",
)  # fmt: skip
DISK_FREE = Gauge("throughline_disk_free_bytes", "bytes", ("disk",), "Free space of a disk of ClickHouse.")
DISK_SIZE = Gauge("throughline_disk_size_bytes", "bytes", ("disk",), "All space of a disk of ClickHouse.")
ACCOUNTING_DIFFERENCE = Gauge(
    "throughline_accounting_difference_records", "records", (),
    "Of the last two days, received - stored - duplicate - suppressed - dead-lettered, of each hour and source: their "
    "amounts added up.",
)  # fmt: skip
ACCOUNTED_RECORDS = Gauge(
    "throughline_accounting_records", "records", ("outcome",),
    "Records of the last two days, `received`, and of these `stored`, `duplicate`, `suppressed`, `dead_lettered`.",
)  # fmt: skip
ACCOUNTING_MISSING = Gauge(
    "throughline_accounting_missing_records", "records", (),
    "Records of the last two days that have no outcome, while later ones of their partition had one 15 minutes ago.",
)  # fmt: skip
PROFILES_DIFFERING = Gauge(
    "throughline_profiles_differing", "profiles", (),
    "Profiles that have not counted what is stored of their person, by `v_profile_accounting`.",
)  # fmt: skip
ACCOUNTED_AT = Gauge(
    "throughline_accounting_timestamp_seconds", "seconds since 1970", ("account",),
    "When the account of `records`, of `profiles` was last taken.",
)  # fmt: skip
EMAILS = Gauge(
    "throughline_email_events_of_a_day", "events", ("step",),
    "E-mail events of the last 24 hours: `sent`, `bounced`, `complained`.",
)  # fmt: skip
CERTIFICATE_END = Gauge(
    "throughline_certificate_expiry_timestamp_seconds", "seconds since 1970", ("server",),
    "Until when the certificate is valid with which `redis`, `clickhouse`, `registry` or the `collector`'s proxy "
    "answers; absent: without TLS.",
)  # fmt: skip
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
    RECEIVED, PUBLISHED, DROPPED, DEAD_LETTERED, ROWS, DECISIONS_MADE, MESSAGES, EXPORTS, EXPORT_PAUSED, EXPORT_LAG,
    RETRIES, IDENTITY_CHANGES, PEOPLE_EXPIRED, STORE_ANSWERS, SOURCE_EVENTS, SOURCE_LAST_EVENT, COLLECTED,
    COLLECTOR_ANSWERS, COLLECTOR_DURATION,
    COLLECTOR_IN_FLIGHT, COLLECTOR_WAITING, LAG, LAG_AGE, WATERMARK, OUTBOX, OUTBOX_AGE, SNAPSHOTS_BEHIND,
    SNAPSHOTS_AT, EXPIRY_AT, EXPIRY_PEOPLE, TIMERS_DUE, TIMERS_LATE, REDIS_MEMORY, REDIS_MEMORY_LIMIT, DISK_FREE,
    DISK_SIZE, ACCOUNTING_DIFFERENCE, ACCOUNTED_RECORDS, ACCOUNTING_MISSING, PROFILES_DIFFERING, ACCOUNTED_AT, EMAILS,
    CERTIFICATE_END, SEGMENT_DIFFERENCES, SEGMENT_CHECK, STAGE_DURATION, DELAY, SLOTS_DECIDED,
)  # fmt: skip


class Meter(Protocol):
    """Counts and measures; called once a batch, not once an event."""

    def add(self, metric: Counter, amount: float, *labels: str) -> None:
        """Add to a counter."""

    def set(self, metric: Gauge, value: float, *labels: str) -> None:
        """Set a gauge."""

    def forget(self, metric: Gauge) -> None:
        """Serve a gauge no more until it is set again: it cannot be measured."""

    def observe(self, metric: Histogram, value: float, *labels: str) -> None:
        """Add a measured number to a histogram."""


class NoMeter:
    """Counts nothing."""

    def add(self, metric: Counter, amount: float, *labels: str) -> None:
        """Do nothing."""

    def set(self, metric: Gauge, value: float, *labels: str) -> None:
        """Do nothing."""

    def forget(self, metric: Gauge) -> None:
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
