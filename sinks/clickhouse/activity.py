"""What goes on in a deployment now, for the console: arrivals, delay, refusals, sales, and people by name."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

from schemas.time import utc

_ARRIVALS = """
SELECT toStartOfInterval(received_at, INTERVAL {minutes:UInt16} MINUTE) AS slot, channel, count() AS events
FROM touchpoints
WHERE received_at >= now() - INTERVAL {hours:UInt16} HOUR
GROUP BY slot, channel
ORDER BY slot, channel
"""

_DELAY = """
SELECT
    count() AS events,
    quantile(0.5)(dateDiff('millisecond', received_at, stored_at)) AS median_ms,
    quantile(0.95)(dateDiff('millisecond', received_at, stored_at)) AS p95_ms,
    max(received_at) AS last_at
FROM touchpoints
WHERE received_at >= now() - INTERVAL {hours:UInt16} HOUR
"""

_REFUSALS = """
SELECT reason, stage, count() AS records, max(received_at) AS last_at
FROM dead_letters FINAL
WHERE received_at >= now() - INTERVAL {hours:UInt16} HOUR
GROUP BY reason, stage
ORDER BY records DESC, reason, stage
"""

_SALES = """
SELECT day, count() AS orders, sum(toFloat64(ifNull(revenue, 0))) AS revenue, countIf(is_first) AS new_customers
FROM v_conversion_values
WHERE conversion_type = (SELECT goal FROM v_attribution_settings)
    AND day > {last:Date} - {days:UInt16} AND day <= {last:Date}
GROUP BY day
ORDER BY day
"""

_LAST_SALE = (
    "SELECT max(day) FROM v_conversion_values WHERE conversion_type = (SELECT goal FROM v_attribution_settings)"
)

_ACCOUNTING = """
SELECT sum(received), sum(stored), sum(duplicate), sum(suppressed), sum(dead_lettered), sum(difference)
FROM v_accounting
"""

_PEOPLE = """
SELECT
    toString(profile_id),
    arrayStringConcat(arrayFilter(name -> name != '', [
        JSONExtractString(document, 'traits', 'name', 1),
        JSONExtractString(document, 'traits', 'first_name', 1), JSONExtractString(document, 'traits', 'firstName', 1),
        JSONExtractString(document, 'traits', 'last_name', 1), JSONExtractString(document, 'traits', 'lastName', 1)
    ]), ' ') AS full_name,
    event_count,
    fromUnixTimestamp64Milli(JSONExtractInt(document, 'last_seen'), 'UTC') AS last_seen
FROM profiles FINAL
WHERE NOT is_deleted AND positionCaseInsensitiveUTF8(document, {text:String}) > 0
    AND positionCaseInsensitiveUTF8(full_name, {text:String}) > 0
ORDER BY last_seen DESC
LIMIT {limit:UInt16}
"""

_RECENT = """
SELECT
    toString(profile_id),
    event_count,
    fromUnixTimestamp64Milli(JSONExtractInt(document, 'last_seen'), 'UTC') AS last_seen
FROM profiles FINAL
WHERE NOT is_deleted
ORDER BY last_seen DESC
LIMIT {limit:UInt16}
"""


class Delay(NamedTuple):
    """How long events took from their arrival until reports have them.

    Attributes:
        events: How many there were.
        median_ms: Of half of them, at most.
        p95_ms: Of 95 of 100, at most.
        last_at: When the last one arrived; None: there was none.
    """

    events: int
    median_ms: float
    p95_ms: float
    last_at: datetime | None


class Refusal(NamedTuple):
    """Records that became dead letters for one reason."""

    reason: str
    stage: str
    records: int
    last_at: datetime


class SalesDay(NamedTuple):
    """The sales of one day, in the currency of reports."""

    day: date
    orders: int
    revenue: float
    new_customers: int


class AccountingTotals(NamedTuple):
    """The outcomes of all records; `difference` other than 0: a record had two outcomes."""

    received: int
    stored: int
    duplicate: int
    suppressed: int
    dead_lettered: int
    difference: int


class NamedPerson(NamedTuple):
    """A person who was found by a name, or is among the last seen."""

    profile_id: str
    name: str
    events: int
    last_seen: datetime


def arrivals(client: Any, hours: int = 24, minutes: int = 30) -> list[tuple[datetime, str, int]]:
    """Count stored events by time slot of their arrival and channel."""
    rows = client.query(_ARRIVALS, {"hours": hours, "minutes": minutes}).result_rows
    return [(utc(slot), channel, events) for slot, channel, events in rows]


def delay(client: Any, hours: int = 24) -> Delay:
    """Measure from arrival to storage."""
    events, median_ms, p95_ms, last_at = client.query(_DELAY, {"hours": hours}).first_row
    return Delay(events, median_ms, p95_ms, utc(last_at)) if events else Delay(0, 0.0, 0.0, None)


def refusals(client: Any, hours: int = 24) -> list[Refusal]:
    """Count dead letters by reason and stage, the most frequent first."""
    rows = client.query(_REFUSALS, {"hours": hours}).result_rows
    return [Refusal(reason, stage, records, utc(last_at)) for reason, stage, records, last_at in rows]


def sales(client: Any, last: date, days: int = 30) -> list[SalesDay]:
    """List the days with sales up to a day; days without any are left out."""
    return [SalesDay(*row) for row in client.query(_SALES, {"last": last, "days": days}).result_rows]


def last_sale(client: Any) -> date | None:
    """Return the day of the last sale; None: there was none."""
    found: date = client.query(_LAST_SALE).first_row[0]
    return found if found.year > 1970 else None


def report_currency(client: Any) -> str:
    """Return the currency of reports."""
    return str(client.query("SELECT currency FROM v_report_settings").first_row[0])


def accounting_totals(client: Any) -> AccountingTotals:
    """Sum up the outcomes of all records."""
    return AccountingTotals(*map(int, client.query(_ACCOUNTING).first_row))


def people_named(client: Any, text: str, limit: int = 30) -> list[NamedPerson]:
    """Find people by a part of their name, those seen last first."""
    rows = client.query(_PEOPLE, {"text": text, "limit": limit}).result_rows
    return [NamedPerson(profile_id, name, events, utc(last)) for profile_id, name, events, last in rows]


def people_seen_last(client: Any, limit: int = 20) -> list[NamedPerson]:
    """List the people of whom something was heard last."""
    rows = client.query(_RECENT, {"limit": limit}).result_rows
    return [NamedPerson(profile_id, "", events, utc(last)) for profile_id, events, last in rows]
