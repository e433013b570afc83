"""Broadcasts: when each person's turn is.

A broadcast is a journey that everybody enters once (`schemas/journeys/broadcasts.py`). With a rate, each person has a
place among all, by a hash, and the places are spread evenly over the time that the audience takes at that rate. So no
counter is shared, a worker that dies changes nobody's turn, and who is merged or erased leaves a gap and no crowd.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from processors.decisions import calendar, sampling
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.journeys.broadcast_parts import SendTime, WinnerChoice
from schemas.journeys.control import JourneyControl
from schemas.journeys.definitions import BroadcastEntry, Journey, Sending

CHOOSING_MS = 2 * MINUTE_MS
"""Time that the choice of a winner takes at most: the rest does not get it earlier."""
LONGEST_MS = 60 * DAY_MS
"""After this time from its start, or from when it is to be sent, a broadcast is over."""
RETRY_MS = 10 * MINUTE_MS
"""Pause after which a person of the rest looks again for a winner that was not chosen in time."""


def is_broadcast(journey: Journey) -> bool:
    """Return whether a journey was made of a broadcast."""
    return isinstance(journey.entry, BroadcastEntry)


def is_over(journey: Journey, control: JourneyControl, now_ms: int) -> bool:
    """Return whether a broadcast is so old that nobody can enter it, or have a run of it, any more."""
    sending = journey.steps[0]
    at = sending.send.at if isinstance(sending, Sending) else None
    return now_ms > max(control.started_ms, _moment(at, ZoneInfo("UTC")) if at else 0) + LONGEST_MS


def send_time(send: SendTime, person: ZoneInfo) -> int | None:
    """Return when a broadcast is sent on a person's clock, milliseconds since 1970; None: when it is started."""
    return None if send.at is None else _moment(send.at, person if send.zone == "person" else ZoneInfo(send.zone))


def winner_time(choice: WinnerChoice, person: ZoneInfo, deployment: ZoneInfo) -> int:
    """Return when the rest gets the winner, milliseconds since 1970."""
    chosen = _moment(choice.at, deployment) + CHOOSING_MS
    return chosen if choice.send_at is None else max(chosen, _moment(choice.send_at, person))


def chosen_at(choice: WinnerChoice, deployment: ZoneInfo) -> int:
    """Return when the winner is to be chosen, milliseconds since 1970."""
    return _moment(choice.at, deployment)


def place_ms(journey: Journey, control: JourneyControl | None, profile_id: str) -> int:
    """Return how long after the first person it is this person's turn, by the broadcast's rate, in milliseconds."""
    sending = journey.steps[0]
    if control is None or not isinstance(sending, Sending) or sending.send.rate_per_hour is None:
        return 0
    whole_ms = control.audience * HOUR_MS / sending.send.rate_per_hour
    return int(sampling.uniform("broadcast", journey.name, profile_id) * whole_ms)


def _moment(at: datetime, zone: ZoneInfo) -> int:
    return calendar.ms_of_local_time(at.date(), at.time(), zone)
