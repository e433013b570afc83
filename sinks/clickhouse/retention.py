"""How long tables keep their rows: TTLs of ClickHouse by class, what would expire, what may have, and what it takes.

ClickHouse deletes what has expired when it merges parts, within hours. What a TTL removes is gone; a longer TTL only
lets the rest stay longer. What people said about analytics is in a table of its own: a withdrawal does not lapse.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from zlib import crc32

from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.recording.retention import RETENTION_CLASSES, KeptClass, RetentionClass
from schemas.time import time_of_ms
from sinks.clickhouse.client import without_deduplication

Kept = Mapping[RetentionClass, int]
"""Class → days; 0: for ever."""

_EPOCH = time_of_ms(0)
_PAYLOADS = ("identifiers", "traits", "context", "properties")
"""Columns of touchpoints that lose their content."""
_WITH_LINES = "order_id != '' OR conversion_id != ''"
"""Events whose properties stay as long as their rows: lines of orders, refunds."""


class _Rows(NamedTuple):
    """Rows of a table that expire.

    Attributes:
        kept: Their class.
        time: What their age counts from: a Date, or what `toDate` takes.
        only: Condition of those that expire; empty: all do.
    """

    kept: RetentionClass
    time: str
    only: str = ""


_MESSAGE_TIME = (
    "coalesce(sent_at, delivered_at, opened_at, clicked_at, replied_at, bounced_at, failed_at, unsubscribed_at,"
    " complained_at)"
)
_MESSAGE_MS = "least(sent_ms, delivered_ms)"
_ROWS: dict[str, _Rows] = {
    "touchpoints": _Rows("events", "occurred_at"),
    "arrivals": _Rows("events", "received_at"),
    "bot_verdicts": _Rows("events", "occurred_at"),
    "broadcast_members": _Rows("events", "listed_at"),
    "click_verdicts": _Rows("events", "at"),
    "dropped_touchpoints": _Rows("events", "received_at"),
    "event_deliveries": _Rows("events", "fromUnixTimestamp64Milli(toInt64(bitNot(delivery)), 'UTC')"),
    "message_arrivals": _Rows(
        "events",
        f"fromUnixTimestamp64Milli(least({_MESSAGE_MS}, 4000000000000), 'UTC')",
        f"{_MESSAGE_MS} < 4000000000000",
    ),
    "message_clicks": _Rows("events", "occurred_at"),
    "page_rates": _Rows("events", "day"),
    "dead_letters": _Rows("payloads", "received_at"),
    "dead_letter_replays": _Rows("payloads", "received_at"),
    "attribution_days": _Rows("reports", "day"),
    "attribution_history": _Rows("reports", "day"),
    "attribution_stored": _Rows("reports", "day"),
    "conversion_exports": _Rows("reports", "converted_at"),
    "conversions": _Rows("reports", "converted_at"),
    "decisions": _Rows("reports", "decided_at"),
    "journey_events": _Rows("reports", "at"),
    "messages": _Rows("reports", f"ifNull({_MESSAGE_TIME}, toDateTime64(0, 3, 'UTC'))", f"{_MESSAGE_TIME} IS NOT NULL"),
    "order_events": _Rows("reports", "occurred_at"),
}
KEPT_FOR_EVER = frozenset({
    *("analytics_consents", "attribution_models", "attribution_settings", "audit_log", "backups", "country_names"),
    *("coupon_codes", "definition_changes", "identity_log", "identity_overrides", "ltv_calibration", "ltv_predictions"),
    *("ltv_refused_runs", "ltv_runs", "margins", "markets", "policy_channels", "product_facts", "product_sightings"),
    *("profiles", "rates", "report_settings", "retention", "rfm_settings", "schema_migrations", "score_runs"),
    *("segment_changes", "source_starts", "spend", "tracking_plan"),
})  # fmt: skip
"""Tables without an end: settings, money and products, who is who, the present state of people, who did what."""


class ClassSize(NamedTuple):
    """What a class takes on the disks.

    Attributes:
        name: The class.
        size_bytes: Compressed.
        pending: Tables whose parts are still to be looked through after a change.
    """

    name: RetentionClass
    size_bytes: int
    pending: int


def read_retention(client: Any) -> list[KeptClass]:
    """Read how long each class is kept, as it was set."""
    rows = client.query("SELECT class, keep_days, toUnixTimestamp(complete_since) FROM v_retention").result_rows
    found = {name: (int(days), int(since)) for name, days, since in rows}
    return [
        KeptClass(name, found[name][0], time_of_ms(found[name][1] * 1000) if found[name][1] else None)
        if name in found
        else KeptClass(name, 0, None)
        for name in RETENTION_CLASSES
    ]


def whole_since(client: Any) -> datetime | None:
    """Return since when all events are there with all that they said; None: since ever."""
    times = [one.complete_since for one in read_retention(client) if one.name != "reports" and one.complete_since]
    return max(times, default=None)


def is_set(client: Any, kept: Kept) -> bool:
    """Return whether tables have the TTLs of these days, and those that this release knows."""
    rows = client.query("SELECT class, keep_days, rules FROM retention FINAL").result_rows
    return {name: (int(days), int(rules)) for name, days, rules in rows} == {
        name: (kept[name], _hash(kept, name)) for name in RETENTION_CLASSES
    } or (not rows and not any(kept.values()))


def count_expiring(client: Any, kept: Kept) -> dict[str, int]:
    """Count what these days would remove now: rows by table, and rows of touchpoints that would lose their payload."""
    found: dict[str, int] = {}
    for table, rows in _ROWS.items():
        if days := kept[rows.kept]:
            found[table] = _count(client, table, f"{_end(rows.time, days)} <= today() AND ({rows.only or '1'})")
    if days := kept["payloads"]:
        lost = " OR ".join(f"({name} != '' AND {_column_end(name, days)} <= today())" for name in _PAYLOADS)
        found["payloads of touchpoints"] = _count(client, "touchpoints", lost)
    return {name: count for name, count in found.items() if count}


def set_retention(client: Any, kept: Kept, *, wait: bool = False) -> None:
    """Set the TTLs. It may be repeated: the days are noted first, and that all is done last.

    Args:
        client: Of the deployment's database.
        kept: Days by class.
        wait: Return when all parts have been looked through; else ClickHouse goes on with it.
    """
    _note(client, kept, done=False)
    settings = {"mutations_sync": 2 if wait else 0}
    columns = {name: _column_end(name, kept["payloads"]) for name in _PAYLOADS} if kept["payloads"] else {}
    for table, rows in _ROWS.items():
        changes = [f"MODIFY COLUMN {name} TTL {end}" for name, end in columns.items()] if table == "touchpoints" else []
        if days := kept[rows.kept]:
            changes.append(f"MODIFY TTL {_end(rows.time, days)}" + (f" DELETE WHERE {rows.only}" if rows.only else ""))
        if changes:
            client.command(f"ALTER TABLE {table} {', '.join(changes)}", settings=settings)
        if not days:
            _remove(client, f"ALTER TABLE {table} REMOVE TTL", settings)
    for name in () if columns else _PAYLOADS:
        _remove(client, f"ALTER TABLE touchpoints MODIFY COLUMN {name} REMOVE TTL", settings)
    _note(client, kept, done=True)


def measure_classes(client: Any) -> list[ClassSize]:
    """Measure what each class takes."""
    tables = {
        name: (int(size or 0), int(pending))
        for name, size, pending in client.query(
            """
            SELECT name, total_bytes, name IN
            (
                SELECT table FROM system.mutations
                WHERE database = currentDatabase() AND NOT is_done AND command LIKE '%MATERIALIZE TTL%'
            )
            FROM system.tables WHERE database = currentDatabase()
            """
        ).result_rows
    }
    payloads = int(
        client.query(
            "SELECT sum(data_compressed_bytes) FROM system.columns WHERE database = currentDatabase()"
            " AND table = 'touchpoints' AND name IN {columns:Array(String)}",
            {"columns": list(_PAYLOADS)},
        ).first_row[0]
    )
    found = []
    for one in RETENTION_CLASSES:
        of_class = [tables[name] for name, rows in _ROWS.items() if rows.kept == one and name in tables]
        size = sum(size for size, _ in of_class)
        moved = {"payloads": payloads, "events": -payloads}.get(one, 0)
        found.append(ClassSize(one, max(0, size + moved), sum(pending for _, pending in of_class)))
    return found


def _note(client: Any, kept: Kept, *, done: bool) -> None:
    """Note the days, and up to when an earlier, shorter time may have removed something."""
    since = {one.name: one.complete_since for one in read_retention(client)}
    rows = [[name, kept[name], since[name] or _EPOCH, _hash(kept, name) if done else 0] for name in RETENTION_CLASSES]
    client.insert(
        "retention",
        rows,
        column_names=["class", "keep_days", "expired_before", "rules"],
        settings=without_deduplication(),
    )


def _remove(client: Any, statement: str, settings: dict[str, Any]) -> None:
    try:
        client.command(statement, settings=settings)
    except DatabaseError as error:
        if "cannot remove" not in str(error):  # there is none
            raise


def _count(client: Any, table: str, condition: str) -> int:
    return int(client.query(f"SELECT count() FROM {table} WHERE {condition}").first_row[0])  # noqa: S608 - our own texts


def _end(time: str, days: int) -> str:
    return f"toDate({time}) + toIntervalDay({days})"


def _column_end(column: str, days: int) -> str:
    end = _end("occurred_at", days)
    return f"if({_WITH_LINES}, toDate('2149-06-06'), {end})" if column == "properties" else end


def _hash(kept: Kept, name: RetentionClass) -> int:
    """Return a hash of the rules of a class: a release with other rules sets them anew."""
    rules = [(table, rows) for table, rows in _ROWS.items() if rows.kept == name]
    return crc32(repr((kept[name], rules, (_PAYLOADS, _WITH_LINES) if name == "payloads" else ())).encode()) or 1
