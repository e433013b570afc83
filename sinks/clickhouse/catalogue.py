"""The tracking plan in ClickHouse, the catalogue of events, and history as lines to check against a plan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from schemas.time import text_of_time
from sinks.clickhouse.client import without_deduplication

_CATALOGUE = """
    SELECT event, source, status, first_seen, last_seen, events, events_last_day, events_last_week, against_plan, mode,
        owner, meaning
    FROM v_event_catalogue
    ORDER BY status != 'planned', status != 'never planned', event, source
"""
_PROPERTIES = """
    SELECT event, source, property, status, planned_type, types, events, fill_rate
    FROM v_event_properties
    WHERE event = {event:String} OR {event:String} = ''
    ORDER BY event, source, fill_rate DESC, property
"""
_HISTORY = """
    SELECT event_id, event, channel, source, occurred_at, properties
    FROM touchpoints FINAL
    WHERE received_at >= {start:DateTime64(3, 'UTC')} AND received_at < {stop:DateTime64(3, 'UTC')}
"""


def publish_plan(client: Any, rows: Sequence[Mapping[str, Any]], known_events: Sequence[str]) -> bool:
    """Write the plan that the views of the catalogue read.

    Args:
        client: Of the deployment's database.
        rows: One for each event and source that differs: `event`, `source`, `owner`, `meaning`, `mode`, `since`, and
            `properties` as a list of `name`, `type`, `required`, `meaning`.
        known_events: Names of events that need no plan.

    Returns:
        Whether it was different before.
    """
    wanted = (json.dumps(list(rows), sort_keys=True), sorted(known_events))
    found = client.query("SELECT plan, known_events FROM tracking_plan ORDER BY changed_at DESC LIMIT 1").result_rows
    if found and tuple(found[0]) == wanted:
        return False
    columns = ["plan", "known_events"]
    client.insert("tracking_plan", [list(wanted)], column_names=columns, settings=without_deduplication())
    return True


def read_catalogue(client: Any) -> list[dict[str, Any]]:
    """Read `v_event_catalogue`: planned events first, then what was never planned."""
    return list(client.query(_CATALOGUE).named_results())


def read_properties(client: Any, event: str = "") -> list[dict[str, Any]]:
    """Read `v_event_properties` of one event, or of all."""
    return list(client.query(_PROPERTIES, {"event": event}).named_results())


def event_lines(client: Any, start: datetime, stop: datetime) -> Iterator[bytes]:
    """Read what a plan is about of the events that the broker received in a period, as JSON, one event a line."""
    with client.query_rows_stream(_HISTORY, {"start": start, "stop": stop}) as rows:
        for event_id, event, channel, source, occurred_at, properties in rows:
            line: dict[str, Any] = {"event_id": event_id, "event": event, "channel": channel, "source": source}
            line["occurred_at"] = text_of_time(occurred_at)
            if properties:
                line["properties"] = orjson.Fragment(properties)
            yield orjson.dumps(line)
