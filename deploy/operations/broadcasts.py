"""Starts broadcasts, and says how far they are.

A start lists the members of the segment in ClickHouse and then states, in one step that fails if somebody else was
faster, that the broadcast has started with that list. A start that dies in between leaves a list that nobody reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from deploy.operations.definitions_report import DefinitionsReport
from deploy.operations.deployment import Deployment, Progress
from deploy.operations.publication import Changed, NotPublishedError, Publication
from processors.journeys.broadcast_lint import most_people
from processors.journeys.broadcasts import is_over, send_time
from schemas.durations import DAY_MS
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.control import JourneyControl
from schemas.time import text_of_ms
from sinks.clickhouse.broadcasts import list_members
from sinks.redis.broadcasts import RedisBroadcasts

BroadcastState = Literal["planned", "running", "paused", "cancelled", "done"]
_WESTERNMOST_MS = DAY_MS // 2
"""A clock may be so far behind UTC."""


class BroadcastStatus(NamedTuple):
    """A broadcast and how far it is.

    Attributes:
        name: Its name.
        broadcast: Its definition in force; None: its file is gone, and what was started goes on.
        state: `done` when everybody on the list has entered and nobody waits any more, or when it is over.
        control: As it was started; None: it was not.
        entered_share: Share of the people on the list who have entered, 0 to 1.
    """

    name: str
    broadcast: Broadcast | None
    state: BroadcastState
    control: JourneyControl | None
    entered_share: float


def find_broadcast(report: DefinitionsReport, name: str) -> Broadcast:
    """Return a broadcast that is in force.

    Raises:
        NotPublishedError: There is none of that name; the message names those that there are.
    """
    found = next((one for one in report.definitions.broadcasts if one.name == name), None)
    if found is None:
        names = ", ".join(one.name for one in report.definitions.broadcasts) or "none"
        raise NotPublishedError(
            f"{name}: no broadcast in force has this name; there are {names}."
            f" `throughline journeys publish {name}` puts a new file in force"
        )
    return found


def statuses(
    report: DefinitionsReport, shares: Mapping[str, float], under_way: Mapping[str, int] | None, now_ms: int
) -> list[BroadcastStatus]:
    """Return every broadcast with its state: those that were started, the last one first, then those that are planned.

    Args:
        report: What is in force.
        shares: Of each that was started: which share of its people has entered.
        under_way: Of each: how many people wait in it, as far as it is recorded; None: ClickHouse does not say.
        now_ms: The time, milliseconds since 1970.
    """
    defined = {one.name: one for one in report.definitions.broadcasts}
    started = {name: one for name, one in report.state.journeys.items() if one.version}
    found = []
    for name, control in sorted(started.items(), key=lambda item: -item[1].started_ms):
        broadcast, share = defined.get(name), shares.get(name, 0.0)
        state: BroadcastState = "running"
        if control.state == "stopped":
            state = "cancelled"
        elif _is_done(broadcast, control, share, None if under_way is None else under_way.get(name, 0), now_ms):
            state = "done"
        elif control.state == "paused":
            state = "paused"
        found.append(BroadcastStatus(name, broadcast, state, control, share))
    planned = [one for name, one in defined.items() if name not in started]
    return [*found, *(BroadcastStatus(one.name, one, "planned", None, 0.0) for one in planned)]


def _is_done(
    broadcast: Broadcast | None, control: JourneyControl, share: float, waiting: int | None, now_ms: int
) -> bool:
    if broadcast is not None and is_over(broadcast.as_journey(), control, now_ms):
        return True
    return share >= 1 and waiting == 0 and not _takes_people(broadcast, control, now_ms)


def _takes_people(broadcast: Broadcast | None, control: JourneyControl, now_ms: int) -> bool:
    """Return whether people may still enter who were not on the list: those who become members of a live segment."""
    if broadcast is None or broadcast.members == "frozen":
        return False
    last_ms = max(control.started_ms, (send_time(broadcast.send, ZoneInfo("UTC")) or 0) + _WESTERNMOST_MS)
    return now_ms <= last_ms + control.paused_ms + broadcast.expires_after


async def read_shares(progress: RedisBroadcasts, report: DefinitionsReport) -> dict[str, float]:
    """Return which share of the people of each broadcast that was started has entered."""
    return await progress.shares(name for name, one in report.state.journeys.items() if one.version)


async def start(
    deployment: Deployment,
    publication: Publication,
    report: DefinitionsReport,
    name: str,
    *,
    timeout_s: float,
    clock: Callable[[], int],
    progress: Progress = lambda _: None,
) -> Changed:
    """List the people of a broadcast and start it.

    Args:
        deployment: Open.
        publication: Of the person who starts it.
        report: What is in force.
        name: The broadcast.
        timeout_s: Longest wait until the tables have what was published before, in seconds.
        clock: The time, milliseconds since 1970.
        progress: Told what is waited for.

    Raises:
        NotPublishedError: It was started before, its time is over, it has no people, or the tables lag behind.
    """
    broadcast = find_broadcast(report, name)
    if (control := report.state.journeys.get(name)) is not None:
        since = f" on {text_of_ms(control.started_ms)}" if control.started_ms else ""
        raise NotPublishedError(f"{name}: it was started already{since}; a broadcast is sent once")
    zone = report.definitions.territory.zone
    at = send_time(broadcast.send, zone)
    if at is not None and clock() - at > broadcast.expires_after + _WESTERNMOST_MS:
        raise NotPublishedError(f"{name}: its time, {broadcast.send.at:%Y-%m-%d %H:%M}, is over: nobody would get it")
    if left := await deployment.catch_up("record", timeout_s, progress):
        raise NotPublishedError(
            f"{left:,} records are not in ClickHouse yet, so that the members of {broadcast.segment} are not known:"
            " `throughline status` shows what holds them up"
        )
    now_ms = clock()
    exclude = broadcast.exclude if broadcast.members == "frozen" else ()
    most = most_people(broadcast, report.definitions.policy)
    audience = await asyncio.to_thread(list_members, deployment.tables, name, broadcast.segment, exclude, now_ms, most)
    if not audience and broadcast.members == "frozen":
        raise NotPublishedError(f"{name}: nobody is in {broadcast.segment}: nothing was started")
    return await publication.begin(name, broadcast.as_journey().version, audience, now_ms)
