"""Keeps an event's time at or before its arrival, and corrects the time of a call by the error of its client's clock.

Profiles keep the last answer by the time of the event, so an event from the future would win over every later one: a
consent that a till with a wrong clock dates to 2099 could not be withdrawn. The time of arrival is the broker's, which
no producer sets (`schemas.topics`). Where it is the broker's clock that is behind, its time counts all the same: the
events of all producers are then dated by one clock, and the original time is kept beside it.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from schemas.durations import DAY_MS
from schemas.events.envelope import ORIGINAL_TIMESTAMP, is_historical
from schemas.events.touchpoint import Event
from schemas.intake.sources import Source
from schemas.time import FIRST_YEAR, clock_times, ms_of_text, parse_time, text_of_ms, text_of_time

NOTICEABLE_MS = 1000
"""The smallest difference that is recorded: smaller ones come from synchronised clocks and the way to the broker."""

TIME_DOUBTFUL = "time_doubtful"
"""The key of an event's `context` that is true where nothing but the time of arrival was left to date the event by."""

_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")  # NUL and half surrogate pairs
_SDK_FIRST_YEAR = 2000
"""No SDK is older: an earlier time is that of a clock that was never set."""
_NO_DELAY, _NOTICEABLE = timedelta(), timedelta(milliseconds=NOTICEABLE_MS)
_MIN_DELAY = timedelta(days=-1)
"""A local time that is taken for UTC is up to 14 hours ahead; a time that is further ahead of its sending says nothing
of when the event happened."""

# A day begins 14 hours before its midnight in UTC, and ends 12 hours after the next one.
_UNIX_DAY_END = "1970-01-02T12:00:00.000Z"
"""The end of the day from which Unix counts, in all zones: a clock that was never set, or a date that is none."""
_GPS_DAY_END = "1980-01-07T12:00:00.000Z"
"""The end of the last first day of the clocks of PCs and of GPS; no source was live before."""
_RTC_DAY = "1999-12-31T10:00:00.000Z", "2000-01-02T12:00:00.000Z"
"""The day at which the clock of a till starts after its battery was flat, 1 January 2000, in all zones."""


class CallTime(NamedTuple):
    """When a call happened.

    Attributes:
        occurred_at: The corrected time, as records carry it; never after the arrival.
        original: What the client stated, if that is noticeably another time or written otherwise; else None.
        doubtful: `occurred_at` is the time of arrival, since what the client stated cannot be relied on.
    """

    occurred_at: str
    original: str | None = None
    doubtful: bool = False


def time_of_call(stated: object, sent_at: object, received: datetime, source: Source) -> CallTime:
    """Date a call: it happened as long before its arrival as its `timestamp` is before its `sentAt`.

    Both are read off the client's clock, so their difference is right whatever the clock shows and in whichever
    calendar. It is believed up to `source.max_delay_days`. A server's call without a readable `sentAt` comes from no
    SDK: its own time counts, however old. So does that of a source without a limit, which sends history.

    Args:
        stated: The call's `timestamp`; None or empty if it has none.
        sent_at: Its `sentAt`, or that of its batch; None if there is none.
        received: When it came in, UTC.
        source: The source whose write key it came with.
    """
    if stated is None or stated == "":
        return CallTime(text_of_time(received))
    time, sent, written_otherwise = _read(stated, sent_at, received)
    if time is not None:
        limit_days = source.max_delay_days
        if sent is None or limit_days is None:
            sent = received
            limit_days = None if source.kind == "server" else limit_days
        delay = sent - time
        if delay >= _MIN_DELAY and (limit_days is None or delay <= timedelta(limit_days)):
            corrected = received - delay if delay > _NO_DELAY else received
            if corrected.year >= (FIRST_YEAR if source.max_delay_days is None else _SDK_FIRST_YEAR):
                noticeable = written_otherwise or not -_NOTICEABLE < corrected - time < _NOTICEABLE
                return CallTime(text_of_time(corrected), _original(stated) if noticeable else None)
    return CallTime(text_of_time(received), _original(stated), doubtful=True)


def _original(stated: object) -> str | None:
    """What the client stated, as far as a record can hold it."""
    text = str(stated)[:100] if isinstance(stated, str | int | float) else None
    return None if text is None or _NOT_STORABLE.search(text) else text


def _read(stated: object, sent_at: object, received: datetime) -> tuple[datetime | None, datetime | None, bool]:
    """Read a call's two times, None for one that cannot be read, and tell whether the first is no RFC 3339."""
    try:
        time = parse_time(stated)
        return time, None if sent_at is None else parse_time(sent_at), False
    except PydanticCustomError:
        return *clock_times(stated, sent_at, received), not _is_rfc_3339(stated)


def _is_rfc_3339(stated: object) -> bool:
    try:
        parse_time(stated)
    except PydanticCustomError:
        return False
    return True


def doubt_unset_clock(event: Event, received_ms: int) -> None:
    """Date an event by its arrival, and mark it doubtful, if its time is what a clock shows that was never set.

    The day of 1 January 1970 is no time of any event. An event that is not marked as history (`context.historical`)
    claims to be live: then no time before the epoch of GPS is one either, nor is 1 January 2000.

    Args:
        event: An event in its canonical form; it is changed. The producer's time goes to `context.original_timestamp`.
        received_ms: The broker's time of the record, milliseconds since 1970.
    """
    occurred_at = event["occurred_at"]
    if occurred_at >= _RTC_DAY[1]:  # texts of this form sort in the order of their times
        return
    if occurred_at >= _UNIX_DAY_END and (
        is_historical(event) or not (occurred_at < _GPS_DAY_END or occurred_at >= _RTC_DAY[0])
    ):
        return
    if received_ms - ms_of_text(occurred_at) < DAY_MS:  # the broker's clock says the same
        return
    event["occurred_at"] = text_of_ms(received_ms)
    event["context"] = {ORIGINAL_TIMESTAMP: occurred_at, **(event.get("context") or {}), TIME_DOUBTFUL: True}


def clamp_to_arrival(event: Event, received_ms: int) -> None:
    """Set `occurred_at` to the time of arrival if it is later than that.

    Args:
        event: An event in its canonical form; it is changed. The producer's time goes to `context.original_timestamp`,
            unless the collector has put the client's own time there before.
        received_ms: The broker's time of the record, milliseconds since 1970.
    """
    received_at, occurred_at = text_of_ms(received_ms), event["occurred_at"]
    if occurred_at <= received_at:  # texts of this form sort in the order of their times
        return
    event["occurred_at"] = received_at
    if ms_of_text(occurred_at) - received_ms >= NOTICEABLE_MS:
        event["context"] = {ORIGINAL_TIMESTAMP: occurred_at, **(event.get("context") or {})}
