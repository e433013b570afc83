"""Bots that only several events together show: found in history, and kept in `bot_verdicts` for whoever reads.

A verdict can change: a visit that is reported late makes a click a person's, a delivery that is reported late makes it
a mail filter's. So the events near whatever was stored lately are judged again, and all of them once a day.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.time import ms_of_time
from sinks.clickhouse.client import without_deduplication

EVERYTHING = datetime(1900, 1, 1, tzinfo=UTC)
"""A start for `judge_bots` before every event."""

_NEAR = timedelta(hours=1)
"""An event decides about others before it: a visit about clicks, too fast pages about that hour of their device."""
_STOP_MS = 4_133_980_800_000  # 2101: after every event


def judge_bots(client: Any, start: datetime = EVERYTHING) -> int:
    """Judge the events from a time on, and store what has changed.

    Two processes that judge at once do no harm: the verdict of the one that began last counts.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        start: When the first of these events happened.

    Returns:
        How many verdicts have changed.
    """
    found = client.command(
        """
        INSERT INTO bot_verdicts (event_hash, occurred_at, reason, judged_at)
        SELECT event_hash, max(happened_at), minIf(verdict, is_new) AS reason, now64(3)
        FROM
        (
            SELECT event_hash, occurred_at AS happened_at, reason AS verdict, true AS is_new
            FROM bots_between(start_ms = {start:Int64}, stop_ms = {stop:Int64})
            UNION ALL
            SELECT event_hash, occurred_at, toString(reason), false
            FROM bot_verdicts FINAL
            WHERE occurred_at >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')
        )
        GROUP BY event_hash
        HAVING reason != anyIf(verdict, NOT is_new)
        """,
        parameters={"start": ms_of_time(start), "stop": _STOP_MS},
        settings=without_deduplication(),
    )
    return int(found.written_rows)


def judge_bots_near(client: Any, stored_since: datetime) -> int:
    """Judge what the events that were stored from a time on may decide about; see `judge_bots`."""
    query = "SELECT count(), min(occurred_at) FROM touchpoints WHERE stored_at >= {since:DateTime64(3, 'UTC')}"
    stored, earliest = client.query(query, {"since": stored_since}).first_row
    return judge_bots(client, earliest.replace(tzinfo=UTC) - _NEAR) if stored else 0
