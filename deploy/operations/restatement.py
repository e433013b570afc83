"""Restates the stored classification of events as touches by today's rules, day by day.

Rows that would stay the same are left alone, so a second run, or one that goes on after it was stopped, writes only
what is missing. No erased person comes back: erasures are asked about before rows are inserted and, since one may have
begun meanwhile, once more afterwards.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import compress
from typing import Any

from deploy.connections.clickhouse import clickhouse_sink
from deploy.operations.definition_files import touch_rules
from deploy.operations.deployment import Deployment
from processors.recording.erasure_filter import person_trace
from processors.recording.restatement import Restated, restated
from schemas.identity.erasure import Trace
from sinks.clickhouse.client import ClickHouseSink
from sinks.clickhouse.erasure import PersonRows, delete_rows
from sinks.clickhouse.history import events_by_day, read_classified
from sinks.clickhouse.retention import whole_since

BATCH = 20_000

DayDone = Callable[[date, int], None]
"""Is called with a day that is done and the number of its events."""


@dataclass(slots=True)
class RestatementResult:
    """What a restatement has changed, or would change.

    Attributes:
        events: Events looked at.
        restated: Events whose row was replaced.
        changes: Number of them by stored role and marketing channel, and those of today.
    """

    events: int = 0
    restated: int = 0
    changes: Counter[tuple[tuple[str, str], tuple[str, str]]] = field(default_factory=Counter)


async def restate(
    deployment: Deployment, start: datetime, stop: datetime, *, dry_run: bool, done: DayDone = lambda day, events: None
) -> RestatementResult:
    """Classify stored events anew; those whose payload may have expired stay as they are.

    Args:
        deployment: Open.
        start: Events that occurred from then on.
        stop: Events that occurred before.
        dry_run: Write nothing.
        done: Progress.

    Raises:
        StoreDown: ClickHouse does not answer. Days that are done stay done; call again.
        RuntimeError: ClickHouse refuses a row.
    """
    rules, result = touch_rules(deployment.settings), RestatementResult()
    sink = clickhouse_sink(deployment.settings)
    if since := await asyncio.to_thread(whole_since, deployment.tables):
        start = max(start, since)
    try:
        for day, events in await asyncio.to_thread(events_by_day, deployment.tables, start, stop):
            found = await asyncio.to_thread(_of_day, deployment.tables, day, start, stop, rules)
            result.events += events
            for place in range(0, len(found), BATCH):
                part = await _insert(deployment, sink, found[place : place + BATCH], dry_run=dry_run)
                result.restated += len(part)
                result.changes.update((one.before, one.after) for one in part)
            done(day, events)
    finally:
        await sink.close()
    return result


def _of_day(client: Any, day: date, start: datetime, stop: datetime, rules: Any) -> list[tuple[Trace, Restated]]:
    return [
        (person_trace(event), changed)
        for event, stored in read_classified(client, day, start, stop)
        if (changed := restated(event, stored, rules))
    ]


async def _insert(
    deployment: Deployment, sink: ClickHouseSink, found: list[tuple[Trace, Restated]], *, dry_run: bool
) -> list[Restated]:
    erased = await _erased(deployment, found)
    kept = [(trace, one) for trace, one in found if trace not in erased]
    rows = [one for _, one in kept]
    if dry_run or not kept:
        return rows
    if refused := await sink.insert_all("touchpoints", [one.row for one in rows], ""):
        raise RuntimeError(f"ClickHouse refuses a restated row: {refused[0][1]}")
    if meanwhile := await _erased(deployment, kept):
        values = {
            "anchors": sorted({trace.anchor for trace in meanwhile if trace.anchor}),
            "people": sorted({trace.profile_id for trace in meanwhile if not trace.anchor}),
        }
        condition = "anchor IN {anchors:Array(UUID)} OR profile_id IN {people:Array(UUID)}"
        await asyncio.to_thread(delete_rows, deployment.tables, PersonRows({"touchpoints": condition}, values))
    return rows


async def _erased(deployment: Deployment, found: list[tuple[Trace, Restated]]) -> set[Trace]:
    traces = sorted({trace for trace, _ in found} - {Trace()})  # events about nobody stay
    return set(compress(traces, await deployment.erasures.are_erased(traces)))
