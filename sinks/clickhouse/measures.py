"""Measures what a monitor watches in ClickHouse: free space, accounts of the last days, e-mail events of a day.

Every function takes a clickhouse-connect client, and raises its `ClickHouseError` if there is no answer in time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sinks.clickhouse.reports import accounting_of_profiles

ACCOUNTED_DAYS = 2
SETTLED_MINUTES = 15
"""A record that has no outcome is missing when a later one of its partition has arrived so long ago."""
TIMEOUT_S = 60
_OUTCOMES = ("received", "stored", "duplicate", "suppressed", "dead_lettered")
_LIMITS = {
    "max_execution_time": TIMEOUT_S,
    "max_threads": 1,
    "priority": 10,
}  # a monitor never delays an insert or a report

_DIFFERENCE = f"""
    SELECT sum(abs(difference)), sum(received), sum(stored), sum(duplicate), sum(suppressed), sum(dead_lettered)
    FROM v_accounting WHERE hour > toStartOfHour(now() - INTERVAL {ACCOUNTED_DAYS} DAY)
"""  # noqa: S608 - a number of ours
_MISSING = f"""
    SELECT sum(offset - before - 1)
    FROM
    (
        SELECT offset, received_at,
            lagInFrame(offset, 1, offset)
                OVER (PARTITION BY topic, partition ORDER BY offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
        FROM arrivals
        WHERE received_at > now() - INTERVAL {ACCOUNTED_DAYS} DAY
    )
    WHERE offset > before + 1
        AND received_at BETWEEN now() - INTERVAL {ACCOUNTED_DAYS} DAY + INTERVAL 1 HOUR
            AND now() - INTERVAL {SETTLED_MINUTES} MINUTE
"""  # noqa: S608 - numbers of ours; an hour's margin, since neighbours may have arrived in another order than they lie


class Disk(NamedTuple):
    """A disk of the server.

    Attributes:
        name: As its configuration names it.
        free_bytes: Free space.
        size_bytes: All space.
    """

    name: str
    free_bytes: int
    size_bytes: int


class RecordAccount(NamedTuple):
    """The account of the records of the last days.

    Attributes:
        difference: received - stored - duplicate - suppressed - dead-lettered by hour and source, amounts added up.
        missing: Records without an outcome, see `SETTLED_MINUTES`.
        records: How many were `received`, `stored`, …
    """

    difference: int
    missing: int
    records: dict[str, int]


def disks(client: Any) -> list[Disk]:
    """Measure the disks of the server that have an end."""
    rows = client.query(
        "SELECT name, free_space, total_space FROM system.disks WHERE total_space BETWEEN 1 AND toUInt64(1e18)"
    ).result_rows
    return [Disk(str(name), int(free), int(size)) for name, free, size in rows]


def account_of_records(client: Any, *, timeout_s: int = TIMEOUT_S) -> RecordAccount:
    """Take the account of the records of the last `ACCOUNTED_DAYS` days."""
    limits = {**_LIMITS, "max_execution_time": timeout_s}
    difference, *records = map(int, client.query(_DIFFERENCE, settings=limits).first_row)
    missing = int(client.query(_MISSING, settings=limits).first_row[0])
    return RecordAccount(difference, missing, dict(zip(_OUTCOMES, records, strict=True)))


def differing_profiles(client: Any) -> int:
    """Count the profiles that have not counted what is stored of their person."""
    return accounting_of_profiles(client, timeout_s=TIMEOUT_S).differing


def emails_of_a_day(client: Any) -> dict[str, int]:
    """Count the e-mail events of the last 24 hours, by step."""
    row = client.query(
        """
        SELECT countIf(event = 'Email Sent'), countIf(event = 'Email Bounced'), countIf(event = 'Email Marked as Spam')
        FROM touchpoints
        WHERE occurred_at > now() - INTERVAL 1 DAY AND event IN ('Email Sent', 'Email Bounced', 'Email Marked as Spam')
        """,
        settings=_LIMITS,
    ).first_row
    return dict(zip(("sent", "bounced", "complained"), map(int, row), strict=True))
