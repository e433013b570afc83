"""Reads the time line of one person, newest first and page by page: events, decisions about messages, merges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from schemas.identity.resolution import NIL_UUID
from schemas.time import text_of_time
from sinks.clickhouse.identity_log import former_ids

Entry = dict[str, Any]


class TimelinePosition(NamedTuple):
    """The place of an entry in a time line: a page goes on after the last entry of the one before.

    Attributes:
        at: Event time, UTC, in whole milliseconds.
        rank: Order of the kinds of entries at one time: a decision comes after the event that led to it.
        key: Names the entry among those of its kind.
    """

    at: datetime
    rank: int
    key: str


@dataclass(frozen=True, slots=True)
class TimelineFilter:
    """Which entries to read.

    Attributes:
        limit: Entries of a page, at most.
        start: Entries from this time on; None: from the beginning.
        stop: Entries before this time; None: to the end.
        channel: Events and decisions of this channel alone; empty: all. Merges have no channel.
        after: Only what is older than this entry.
    """

    limit: int = 50
    start: datetime | None = None
    stop: datetime | None = None
    channel: str = ""
    after: TimelinePosition | None = None


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """One page.

    Attributes:
        entries: Newest first. All have `at`, `kind` (`event`, `decision`, `merge` or `split`) and `channel`; the others
            are the columns of their view.
        last: Position of the last entry if older ones follow, else None.
    """

    entries: list[Entry]
    last: TimelinePosition | None


class _Source(NamedTuple):
    rank: int
    names: tuple[str, ...]
    query: str


# `rank` and `key` are those of `TimelinePosition`. {condition} is filled in by `_read`.
_EVENTS = _Source(
    0,
    ("event_id", "event", "source", "received_at", "marketing_channel", "campaign", "order_id", "bot_reason",
     "properties"),
    """
    SELECT occurred_at AS at, concat(event_id, ' ', source) AS key, 'event' AS kind, channel,
        event_id, event, source, received_at, marketing_channel, campaign, order_id, bot_reason, properties
    FROM v_touchpoints_of(person = {person:UUID})
    WHERE {condition}
    """,
)  # fmt: skip
_DECISIONS = _Source(
    2,
    ("decision_id", "message", "outcome", "gate", "reason", "until", "journey", "journey_version", "run_id", "step",
     "campaign", "variant", "holdout", "idempotency_key", "event_id"),
    """
    SELECT decided_at AS at, toString(decision_id) AS key, 'decision' AS kind, channel,
        key AS decision_id, message, outcome, gate, reason, until, journey, journey_version, run_id, step,
        campaign, variant, holdout, idempotency_key, event_id
    FROM v_decisions
    WHERE profile_id = {person:UUID} AND {condition}
    """,
)  # fmt: skip
_CHANGES = _Source(
    1,
    ("version", "profile_id", "from_profile_id", "identifier_types", "rule", "event_id"),
    """
    SELECT occurred_at AS at, leftPad(toString(version), 20, '0') AS key, toString(kind) AS kind, '' AS channel,
        version, profile_id, from_profile_id, arrayDistinct(anchors.type) AS identifier_types, rule, event_id
    FROM identity_log FINAL
    WHERE kind IN ('merge', 'split')
        AND (profile_id IN {people:Array(UUID)} OR from_profile_id IN {people:Array(UUID)}) AND {condition}
    """,
)


def read_timeline(client: Any, profile_id: str, wanted: TimelineFilter) -> TimelinePage:
    """Read one page of a person's time line.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        profile_id: The live profile: what belongs to profiles that were merged into it is included.
        wanted: The page.
    """
    sources = (_EVENTS, _DECISIONS) if wanted.channel else (_EVENTS, _DECISIONS, _CHANGES)
    found = [row for source in sources for row in _read(client, source, profile_id, wanted)]
    found.sort(key=lambda row: row[0], reverse=True)
    page = found[: wanted.limit]
    return TimelinePage([entry for _, entry in page], page[-1][0] if len(found) > wanted.limit else None)


def _read(
    client: Any, source: _Source, profile_id: str, wanted: TimelineFilter
) -> list[tuple[TimelinePosition, Entry]]:
    conditions, parameters = ["1"], {"person": profile_id, "limit": wanted.limit + 1}
    if source is _CHANGES:
        parameters["people"] = sorted({profile_id, *former_ids(client, profile_id)})
    if wanted.start is not None:
        conditions.append("at >= {start:DateTime64(3, 'UTC')}")
        parameters["start"] = wanted.start
    if wanted.stop is not None:
        conditions.append("at < {stop:DateTime64(3, 'UTC')}")
        parameters["stop"] = wanted.stop
    if wanted.channel:
        conditions.append("channel = {channel:String}")
        parameters["channel"] = wanted.channel
    if wanted.after is not None:
        conditions.append("(at, {rank:UInt8}, key) < ({at:DateTime64(3, 'UTC')}, {last_rank:UInt8}, {last_key:String})")
        parameters |= {"rank": source.rank, "at": wanted.after.at}
        parameters |= {"last_rank": wanted.after.rank, "last_key": wanted.after.key}
    query = (
        source.query.replace("{condition}", " AND ".join(conditions))
        + " ORDER BY at DESC, key DESC LIMIT {limit:UInt32}"
    )
    return [
        (TimelinePosition(at.replace(tzinfo=UTC), source.rank, key), _entry(at, kind, channel, source.names, columns))
        for at, key, kind, channel, *columns in client.query(query, parameters).result_rows
    ]


def _entry(at: datetime, kind: str, channel: str, names: tuple[str, ...], columns: list[Any]) -> Entry:
    entry: Entry = {"at": text_of_time(at), "kind": kind, "channel": channel}
    for name, value in zip(names, columns, strict=True):
        if isinstance(value, datetime):
            entry[name] = text_of_time(value)
        elif name == "properties":
            entry[name] = orjson.loads(value) if value else {}
        elif name in ("profile_id", "from_profile_id"):
            entry[name] = "" if str(value) == NIL_UUID else str(value)
        else:
            entry[name] = value
    return entry
