"""Converts times between their three forms; no other module does.

A time has three forms here, and each function is named `<result>_of_<argument>`:

* **text**: RFC 3339 in UTC with exactly three decimals and `Z`, `2026-11-22T10:15:30.123Z`, as all records carry it.
  Such texts sort in the order of their times.
* **ms**: whole milliseconds since 1970 in UTC, as profiles, timers and the stores keep it.
* **time**: a `datetime` with a zone, for arithmetic with days and zones.

What comes from outside is read by `parse_time` (strict: RFC 3339 with an offset), `lenient_time` (any ISO 8601 text,
with a zone to fall back on), `clock_times` (what the clock of a client shows, in any calendar) or `foreign_time` (what
vendors and files write). What is meant as a day, such as a date of birth, is read by `stated_day`, in whichever of its
many forms it came.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from functools import lru_cache
from time import time_ns
from typing import NamedTuple, TypeGuard
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from schemas.digits import with_ascii_digits

FIRST_YEAR, LAST_YEAR = 1970, 2100

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,12})?(?P<offset>[Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
# A time in UTC with milliseconds at least: the canonical text is its beginning and `Z`.
_UTC = re.compile(r"(?:19[7-9]\d|20\d\d)-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d\.\d{3,12}(?:Z|\+00:00)", re.ASCII)
# A day with its year first, then perhaps a time of day; and one without a year, `--05-15` as in vCard or `05-15`.
_DAY = re.compile(r"(\d{4})(?:-(\d\d?)-(\d\d?)|/(\d\d?)/(\d\d?)|\.(\d\d?)\.(\d\d?)|(\d\d)(\d\d))([T ].+)?", re.ASCII)
_DAY_OF_YEAR = re.compile(r"(?:--)?(\d\d)-(\d\d)|--(\d\d)(\d\d)", re.ASCII)
_MIDNIGHT = re.compile(r"[T ]00:?00(?::?00(?:[.,]0+)?)?\s?(?:Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII)
_NO_YEAR = frozenset({0, 1604})
"""Years that stand for an unknown one: 1604 in Apple's address books (`X-APPLE-OMIT-YEAR`)."""
_FIRST_STATED_YEAR = 1800
"""Earlier ones are no days of people and shops: .NET and Go write 0001-01-01 for a date that is not set."""
_START = datetime.min.time()
_EPOCH = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
_MAX_STATED_S = 131 * 366 * 86_400
"""Numbers are read as days of the years 1840 to 2100."""
# As clients write it: one digit or two, digits of any script, a 12-hour clock, a date alone.
_CLOCK = re.compile(
    r"(?P<year>\d{1,4})-(?P<month>\d\d?)-(?P<day>\d\d?)"
    r"(?:[T\s](?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d))?(?:\s?(?P<half>[AP])\.?M\.?)?"
    r"(?:[.,](?P<fraction>\d{1,12}))?\s?(?P<offset>Z|[+-]\d\d:?\d\d)?)?",
    re.IGNORECASE,
)
_EPOCH_S, _EPOCH_MS = range(946_684_800, 4_133_980_800), range(946_684_800_000, 4_133_980_800_000)
"""Numbers that are seconds, or milliseconds, from 1970 to a time of the years 2000 to 2100."""
UNSET_CLOCK = "1970-01-01T00:00:00.000Z"
"""What clocks count from, and show before they are set."""

EXCEL = "excel"
"""The form of a number of days since the end of 1899, with the time of day as a fraction, as Excel exports cells."""
_SERIAL = re.compile(r"[0-9]{1,5}(?:[.,][0-9]{1,15})?", re.ASCII)
_EXCEL_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - a spreadsheet knows no zone

_ADVICE = "send RFC 3339 with an offset, such as 2026-11-22T10:15:30.123Z"


def parse_time(value: object) -> datetime:
    """Read an RFC 3339 time with an offset.

    Args:
        value: The text, or a `datetime` with an offset. Digits past milliseconds are cut off. Decimal digits of any
            script are read, since the SDKs of phones write those of the phone's language.

    Returns:
        The time in UTC, whole milliseconds.

    Raises:
        PydanticCustomError: Of type `time`, saying which rule it breaks.
    """
    if isinstance(value, str):
        value = with_ascii_digits(value)
        found = _RFC_3339.fullmatch(value)
        if found is None:
            raise PydanticCustomError("time", f"it should be a time: {_ADVICE}")
        if found["offset"] is None:
            raise PydanticCustomError("time", f"it has no offset from UTC, so its time is not known: {_ADVICE}")
        try:
            time = datetime.fromisoformat(value.upper())
        except ValueError:
            raise PydanticCustomError("time", f"there is no such time: {_ADVICE}") from None
    elif isinstance(value, datetime):
        time = value
        if time.tzinfo is None:
            raise PydanticCustomError("time", f"it has no offset from UTC, so its time is not known: {_ADVICE}")
    else:
        raise PydanticCustomError("time", f"it should be a text: {_ADVICE}")
    # The year first: near the ends of the calendar a change of zone overflows.
    if FIRST_YEAR - 1 <= time.year <= LAST_YEAR + 1 and time.tzinfo is not UTC:
        time = time.astimezone(UTC)
    if not FIRST_YEAR <= time.year <= LAST_YEAR:
        raise PydanticCustomError("time", f"its year should be from {FIRST_YEAR} to {LAST_YEAR}: check the clock")
    surplus = time.microsecond % 1000
    return time.replace(microsecond=time.microsecond - surplus) if surplus else time


def parse_text(value: object) -> str:
    """Read an RFC 3339 time and write it: `text_of_time(parse_time(value))`, faster for a text in UTC.

    Digits of other scripts are refused here: `schemas.events.mending` reads them and notes that it did.

    Raises:
        PydanticCustomError: As `parse_time`.
    """
    if isinstance(value, str) and _UTC.fullmatch(value):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            pass  # parse_time words the error
        else:
            return value[:23] + "Z"
    elif isinstance(value, str) and not value.isascii():
        raise PydanticCustomError("time", f"it should be a time: {_ADVICE}")
    return text_of_time(parse_time(value))


def is_of_no_year(value: object) -> TypeGuard[str]:
    """Return whether a text is a time with an offset, of a year before 1970 or after 2100: what stands for none."""
    found = _RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if found is None or found["offset"] is None:
        return False
    if not FIRST_YEAR <= int(found[0][:4]) <= LAST_YEAR:
        return True
    try:
        return not FIRST_YEAR <= datetime.fromisoformat(found[0].upper()).astimezone(UTC).year <= LAST_YEAR
    except ValueError:
        return False


def lenient_time(text: str, zone: tzinfo | None) -> datetime:
    """Read an ISO 8601 date or time, as people and other systems write it.

    Args:
        text: The date (its midnight) or the time.
        zone: The zone of a text that states none; None refuses such a text.

    Raises:
        ValueError: The text is no time, or has no zone.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        if zone is None:
            raise ValueError(f"{text!r} has no offset from UTC")
        time = time.replace(tzinfo=zone)
    return time


def clock_times(stated: object, sent: object, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Read two times of one client's clock: when something happened, and when the client sent it.

    Calendars whose months are those of ours but whose years are counted from another event (Buddhist, Japanese, that of
    Taiwan) are recognised by a year outside 1970 to 2100 in `sent`. Both years are then moved so that `sent` is
    near `now`, which keeps the difference of the two right, leap days included.

    Args:
        stated: When it happened: a text, or seconds or milliseconds since 1970. A time without an offset is in UTC, a
            date alone is its midnight.
        sent: When it was sent, likewise.
        now: When it came in, by our clock.

    Returns:
        The two times; None for one that cannot be read.
    """
    texts = [text.strip(" \t\u200e\u200f") if isinstance(text, str) else text for text in (stated, sent)]
    found = [_CLOCK.fullmatch(text) if isinstance(text, str) and len(text) <= 50 else None for text in texts]
    years = 0
    if (sent_at := found[1]) and not FIRST_YEAR <= int(sent_at["year"]) <= LAST_YEAR:
        ahead = {(12, 1): 1, (1, 12): -1}.get((int(sent_at["month"]), now.month), 0)  # around New Year
        years = int(sent_at["year"]) - now.year + ahead
    first, second = (
        _clock_time(parts, years) if parts else _epoch_time(text) for parts, text in zip(found, texts, strict=True)
    )
    return first, second


def _clock_time(parts: re.Match[str], years: int) -> datetime | None:
    """The time of the parts of a text, `years` earlier; None if there is no such time."""
    year, month, day, hour, minute, second = (
        int(parts[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
    )  # fmt: skip
    if half := parts["half"]:
        hour = hour % 12 + (12 if half in "Pp" else 0)
    offset = parts["offset"] or "Z"
    minutes = 0 if offset in "Zz" else int(offset[0] + "1") * (int(offset[1:3]) * 60 + int(offset[-2:]))
    milliseconds = int((parts["fraction"] or "0")[:3].ljust(3, "0"))
    try:
        time = datetime(year - years, month, day, hour, minute, second, milliseconds * 1000, UTC)
        return time - timedelta(minutes=minutes)
    except (ValueError, OverflowError):
        return None


def _epoch_time(value: object) -> datetime | None:
    """The time of a number of seconds or milliseconds since 1970, a JSON number or its digits; None if it is none."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= 13:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if _EPOCH_S.start <= value < _EPOCH_S.stop:
        return datetime.fromtimestamp(int(value * 1000) / 1000, UTC)
    return datetime.fromtimestamp(int(value) / 1000, UTC) if _EPOCH_MS.start <= value < _EPOCH_MS.stop else None


def foreign_time(value: object, form: str = "", zone: tzinfo | None = None) -> str:
    """Read a time as other systems write it, and write it as all records carry it.

    Args:
        value: A text of RFC 3339, ISO 8601 or the form of e-mail; or seconds or milliseconds since 1970.
        form: The form of a text that is none of these, in the codes of `strftime`; or `EXCEL`.
        zone: The zone of a text that states none.

    Raises:
        PydanticCustomError: Of type `time`: it is no time, has no zone, or a year out of range.
    """
    text = value.strip() if isinstance(value, str) else ""
    if form == EXCEL and type(value) in (int, float):
        text = str(value)
    if form and text:
        return _zoned_text(_time_of_form(text, form), zone)
    if text and not text.isdecimal():  # `20261128` is a day in ISO 8601, and here a number
        for read in (datetime.fromisoformat, parsedate_to_datetime):
            try:
                time = read(text)
            except (ValueError, TypeError, IndexError):
                continue
            return _zoned_text(time, zone)
    at = _epoch_time(text or value)
    if at is None:
        raise PydanticCustomError(
            "time", "it should be a time: RFC 3339 with an offset, or seconds or milliseconds since 1970"
        )
    return text_of_time(at)


def foreign_day(value: object, form: str = "") -> str:
    """Read a day as other systems write it, and write it as `1980-12-24`; arguments as those of `foreign_time`.

    Raises:
        PydanticCustomError: Of type `time`: it is no day, or has no year.
    """
    if form and (isinstance(value, str) or (form == EXCEL and type(value) in (int, float))):
        return _time_of_form(str(value).strip(), form).date().isoformat()
    day = stated_day(value, UTC)
    if day is None or not day.year:
        raise PydanticCustomError("time", "it should be a day such as 2026-11-28: name its `format`")
    return date(day.year, day.month, day.day).isoformat()


def is_of_form(text: str, form: str = "") -> bool:
    """Return whether a text is a time in a form, in the codes of `strftime` or `EXCEL`; without one: in ISO 8601."""
    if form == EXCEL:
        return _SERIAL.fullmatch(text) is not None
    try:
        datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007 - only its form counts
    except ValueError:
        return False
    return True


def _time_of_form(text: str, form: str) -> datetime:
    if form == EXCEL:
        days = float(text.replace(",", ".")) if _SERIAL.fullmatch(text) else 0
        if days < 1:
            raise PydanticCustomError("time", "it should be days as Excel counts them, such as 46347.5")
        return _EXCEL_EPOCH + timedelta(seconds=round(days * 86_400))
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - its zone is added where it has none
    except ValueError:
        raise PydanticCustomError("time", "it should be a time in the form {form}", {"form": form}) from None


def _zoned_text(time: datetime, zone: tzinfo | None) -> str:
    if time.tzinfo is None:
        if zone is None:
            raise PydanticCustomError("time", "it has no offset from UTC: name its `zone`")
        time = time.replace(tzinfo=zone)
    return text_of_time(parse_time(time))


def utc(time: datetime) -> datetime:
    """Return a time in UTC; a time without a zone is taken as UTC, as in columns of ClickHouse."""
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def text_of_time(time: datetime) -> str:
    """Write a time as all records carry it; one without a zone is in UTC. Digits past milliseconds are cut off."""
    if time.tzinfo is not UTC and time.tzinfo is not None:
        time = time.astimezone(UTC)
    return time.isoformat(timespec="milliseconds")[:23] + "Z"


@lru_cache(maxsize=4096)  # the records of a batch share their milliseconds
def text_of_ms(ms: int) -> str:
    """Write milliseconds since 1970 as all records carry a time."""
    seconds, rest = divmod(ms, 1000)
    return f"{_text_of_second(seconds)}.{int(rest):03d}Z"


@lru_cache(maxsize=4096)  # events that come together happened in a few minutes
def _text_of_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


@lru_cache(maxsize=8192)  # each stage reads the times of an event several times
def ms_of_text(text: str) -> int:
    """Read the time of a record as milliseconds since 1970.

    Raises:
        ValueError: The text is no time.
    """
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def ms_of_time(time: datetime) -> int:
    """Return the milliseconds from 1970 to a time that has a zone."""
    return round(time.timestamp() * 1000)


def time_of_ms(ms: float, zone: tzinfo = UTC) -> datetime:
    """Return the time in a zone of some milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, zone)


def clock_ms() -> int:
    """Return the system's time, milliseconds since 1970. Processors do not call it: they get a clock as an argument."""
    return time_ns() // 1_000_000


def readable_text(time: datetime) -> str:
    """Write a time for people, in its own zone and to the second: `2026-11-22 10:15:30`."""
    return time.isoformat(" ", "seconds")[:19]


def known_zone(name: str) -> str:
    """Return the name of a time zone of the IANA database.

    Raises:
        ValueError: There is none of that name.
    """
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):  # malformed, unknown, or a folder of the database
        raise ValueError(f"{name!r} is no time zone such as Europe/Berlin or UTC") from None
    return name


class StatedDay(NamedTuple):
    """A day as a producer stated it.

    Attributes:
        year: The year; 0: only month and day are known.
        month: The month, 1 to 12.
        day: The day of the month.
        at: The time that was stated, with its zone; None for a day without one.
        is_whole: No time of day is meant: there is none, or it is midnight where the text was written.
    """

    year: int
    month: int
    day: int
    at: datetime | None
    is_whole: bool

    def start(self, zone: tzinfo) -> datetime:
        """When the day begins in a zone; of a day without a year the one in 2000, which is a leap year."""
        return datetime(self.year or 2000, self.month, self.day, tzinfo=zone)


def stated_day(value: object, zone: tzinfo) -> StatedDay | None:
    """Read the day that a date of birth or a renewal date means, whichever producer wrote it.

    - A date is itself: `1990-05-15`, `1990/5/15`, `1990.05.15`, `19900515`; `05-15` and `--05-15` without a year.
    - A time at midnight in UTC, or in the offset that it states, is the date as written: so `toISOString()` and most
      databases write a date.
    - Any other time is the date that it is for the person: midnight in the person's own zone is that zone's date.
    - A number is a day only if it has one meaning: in seconds or in milliseconds since 1970, not in both, it is a
      midnight in UTC or in the person's zone.

    Texts that begin with the day or the month, such as `04/05/1990`, mean two days and are refused.

    Args:
        value: The text or the number.
        zone: The person's time zone.

    Returns:
        The day; None if the value means none.
    """
    try:
        if type(value) is str:
            return _day_of_text(value.strip().upper(), zone)
        if type(value) is int or (type(value) is float and value.is_integer()):
            return _day_of_number(int(value), zone)
    except (ValueError, OverflowError):
        pass
    return None


@lru_cache(maxsize=4096)  # a person's segments are evaluated many times, each asking for the same day
def _day_of_text(text: str, zone: tzinfo) -> StatedDay | None:
    if found := _DAY_OF_YEAR.fullmatch(text):
        month, day = (int(part) for part in found.groups() if part)
        date(2000, month, day)
        return StatedDay(0, month, day, None, True)
    if (found := _DAY.fullmatch(text)) is None:
        return _day_of_time(lenient_time(text, zone), zone)
    *parts, clock = found.groups()
    year, month, day = (int(part) for part in parts if part)
    if year in _NO_YEAR:
        year = 0
    elif year < _FIRST_STATED_YEAR:
        return None
    written = date(year or 2000, month, day)
    if clock is None:
        return StatedDay(year, month, day, None, True)
    at = lenient_time(f"{written.isoformat()}{clock}", zone)
    return StatedDay(year, month, day, at, True) if _MIDNIGHT.fullmatch(clock) else _day_of_time(at, zone)


def _day_of_time(at: datetime, zone: tzinfo) -> StatedDay | None:
    local = at.astimezone(zone)
    if local.year < _FIRST_STATED_YEAR:
        return None
    return StatedDay(local.year, local.month, local.day, at, _is_start_of_day(local))


def _day_of_number(number: int, zone: tzinfo) -> StatedDay | None:
    found: list[StatedDay] = []
    for seconds in (number, number / 1000):
        at = _EPOCH + timedelta(seconds=seconds) if abs(seconds) < _MAX_STATED_S else None
        if at is None:
            continue
        if at.time() == _START:
            found.append(StatedDay(at.year, at.month, at.day, at, True))
        elif _is_start_of_day(local := at.astimezone(zone)):
            found.append(StatedDay(local.year, local.month, local.day, at, True))
    return found[0] if len(found) == 1 else None


def _is_start_of_day(local: datetime) -> bool:
    # Compared as instants: where summer time begins at midnight, the day begins at 01:00.
    start = datetime.combine(local.date(), _START, local.tzinfo)
    return ms_of_time(start) == ms_of_time(local)
