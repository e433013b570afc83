"""Quiet hours and calendar periods of a person, correct across daylight saving changes."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from schemas.decisions.policy import WILDCARD, Calendar, QuietHours
from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.time import ms_of_time, time_of_ms

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def ms_of_local_time(day: date, at: time, zone: ZoneInfo, fold: int = 0) -> int:
    """Return the milliseconds since 1970 at which a clock of the zone shows a time.

    A time that is skipped by daylight saving is read with the offset before the change, which gives a later time; of a
    time that comes twice, `fold` 0 is the first.
    """
    return ms_of_time(datetime.combine(day, at, zone).replace(fold=fold))


def readable_time(at_ms: int, now_ms: int, zone: ZoneInfo) -> str:
    """Return a time as text for a marketer, on the person's clock: `Tue 09:00`, with the date if it is a week away."""
    then = time_of_ms(at_ms, zone)
    if then.second or then.microsecond:  # "possible after 09:00" must not be said of 09:00:20
        then = time_of_ms((at_ms // MINUTE_MS + 1) * MINUTE_MS, zone)
    day = _DAYS[then.weekday()]
    if abs(at_ms - now_ms) >= 6 * DAY_MS:
        day = f"{day} {then.day} {_MONTHS[then.month - 1]}"
    return f"{day} {then.hour:02d}:{then.minute:02d}"


def next_hour(at_ms: int, zone: ZoneInfo) -> int:
    """Return the next full hour of the person's clock, milliseconds since 1970; zones may have half-hour offsets."""
    then = time_of_ms(at_ms, zone)
    into_hour = (then.minute * 60 + then.second) * 1000 + at_ms % 1000
    return at_ms + HOUR_MS - into_hour


def period_start(at_ms: int, calendar: Calendar, zone: ZoneInfo) -> int:
    """Return the start of the person's day, week (from Monday) or month that contains a time."""
    return ms_of_local_time(_first_day(time_of_ms(at_ms, zone).date(), calendar), time.min, zone)


def next_period_start(at_ms: int, calendar: Calendar, zone: ZoneInfo) -> int:
    """Return the start of the person's next day, week or month."""
    start = _first_day(time_of_ms(at_ms, zone).date(), calendar)
    if calendar == "month":
        following = (start + timedelta(days=31)).replace(day=1)
    else:
        following = start + timedelta(days=7 if calendar == "week" else 1)
    return ms_of_local_time(following, time.min, zone)


def _first_day(day: date, calendar: Calendar) -> date:
    if calendar == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if calendar == "month" else day


class QuietCalendar:
    """The quiet hours of each channel, and their ends in a person's time zone."""

    def __init__(self, rules: dict[str, QuietHours | None]) -> None:
        self._rules = {name: _Span(rule) if rule else None for name, rule in rules.items()}

    def span(self, channel: str) -> str:
        """Return the quiet hours of a channel as text, `21:00-09:00`; empty: it has none."""
        span = self._span(channel)
        return span.text if span else ""

    def until(self, channel: str, at_ms: int, zone: ZoneInfo) -> int | None:
        """Return the end of the quiet hours that contain a time, milliseconds since 1970; None: none contain it."""
        span = self._span(channel)
        return span.until(at_ms, zone) if span else None

    def after(self, channel: str, at_ms: int, open_ms: int, zone: ZoneInfo) -> int:
        """Return the time at which, since a time, so many milliseconds outside quiet hours have passed."""
        span = self._span(channel)
        if span is None:
            return at_ms + open_ms
        at_ms = span.until(at_ms, zone) or at_ms
        while (quiet_ms := span.next_start(at_ms, zone)) - at_ms <= open_ms:
            open_ms -= quiet_ms - at_ms
            at_ms = span.until(quiet_ms, zone) or quiet_ms + HOUR_MS
        return at_ms + open_ms

    def _span(self, channel: str) -> _Span | None:
        return self._rules[channel] if channel in self._rules else self._rules.get(WILDCARD)


class _Span:
    """Quiet hours of one channel, on the clock of the person; the span may contain midnight."""

    __slots__ = ("_end", "_start", "text")

    def __init__(self, rule: QuietHours) -> None:
        self._start, self._end = time.fromisoformat(rule.start), time.fromisoformat(rule.end)
        self.text = f"{rule.start}-{rule.end}"

    def until(self, at_ms: int, zone: ZoneInfo) -> int | None:
        now = time_of_ms(at_ms, zone)
        if not self._covers(now.time()):
            return None
        day = now.date() if now.time() < self._end else now.date() + timedelta(days=1)
        end = ms_of_local_time(day, self._end, zone)
        if end <= at_ms:  # the clocks have just gone back, and show this time again
            end = ms_of_local_time(day, self._end, zone, fold=1)
        # Where the clocks go back at the end of the span, the hour before the end comes twice.
        return end if not self._covers(time_of_ms(end, zone).time()) else self.until(end, zone)

    def next_start(self, at_ms: int, zone: ZoneInfo) -> int:
        """Return the next beginning of the quiet hours after a time that is outside of them."""
        day = time_of_ms(at_ms, zone).date()
        start = ms_of_local_time(day, self._start, zone)
        return start if start > at_ms else ms_of_local_time(day + timedelta(days=1), self._start, zone)

    def _covers(self, at: time) -> bool:
        if self._start < self._end:
            return self._start <= at < self._end
        return at >= self._start or at < self._end
