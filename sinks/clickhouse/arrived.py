"""What has been stored or refused since a moment, for a live view; sources with their last events; goals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from schemas.time import utc

_ARRIVED = """
SELECT
    'event' AS kind, stored_at AS at, received_at, source, channel, event AS name, toString(profile_id) AS person,
    event_id, toString(touch) AS touch, marketing_channel, campaign, bot_reason, '' AS reason, '' AS message
FROM touchpoints
WHERE stored_at > {since:DateTime64(3, 'UTC')}
ORDER BY stored_at DESC
LIMIT {limit:UInt16}
"""

_REFUSED = """
SELECT
    'refused' AS kind, stored_at AS at, received_at, source, topic AS channel, stage AS name, '' AS person,
    '' AS event_id, '' AS touch, '' AS marketing_channel, '' AS campaign, '' AS bot_reason, reason,
    concat(field, ': ', message) AS message
FROM dead_letters
WHERE stored_at > {since:DateTime64(3, 'UTC')}
ORDER BY stored_at DESC
LIMIT {limit:UInt16}
"""

_SOURCES = """
SELECT source, count() AS events, countIf(received_at > now() - INTERVAL 1 DAY) AS today, max(received_at) AS last_at
FROM touchpoints
GROUP BY source
ORDER BY events DESC, source
LIMIT 200
"""

_GOALS = "SELECT conversion_type FROM v_conversion_values GROUP BY conversion_type ORDER BY count() DESC"


def arrived_since(client: Any, since: datetime, limit: int = 100) -> list[dict[str, Any]]:
    """List events that were stored and records that were refused after a moment, newest first, at most `limit` each.

    Returns:
        `kind` (`event` or `refused`), `at`, `received_at`, `source`, `channel`, `name`, `person` (a profile id as known
        then), `event_id`, `touch`, `marketing_channel`, `campaign`, `bot_reason`, `reason`, `message`.
    """
    asked = {"since": since, "limit": limit}
    rows = [row for query in (_ARRIVED, _REFUSED) for row in client.query(query, asked).named_results()]
    found = [{**row, "at": utc(row["at"]), "received_at": utc(row["received_at"])} for row in rows]
    return sorted(found, key=lambda row: row["at"], reverse=True)


def sources(client: Any) -> list[tuple[str, int, int, datetime]]:
    """List the sources: name, stored events, those of the last 24 hours, when the last one arrived."""
    rows = client.query(_SOURCES).result_rows
    return [(source, int(events), int(today), utc(last)) for source, events, today, last in rows]


def goals(client: Any) -> list[str]:
    """List the kinds of conversions, the most frequent first."""
    return [name for (name,) in client.query(_GOALS).result_rows]
