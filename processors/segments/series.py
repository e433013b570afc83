"""Series: what is kept of a person's events for the definitions, so that no question needs the events again.

A series is kept in `state["features"]` under a key that is a hash of what it keeps, so that two definitions share it
and an unchanged one survives a new version of the files. Its first letter names the kind. Each kind is bounded and is a
join: any order of the same events, and any split of them into two people who are then merged, gives the same series.

* `t` **times**: the N latest times of an event; N is what the definitions ask for at most. Exact: "at least 3 within 7
  days" needs the third latest time and no other.
* `n` **numbers**: the `ROWS_KEPT` latest values with their times, to the millisecond; older ones as sums of UTC days,
  `DAYS_KEPT` of them. Exact in amount; a value older than the kept rows leaves its window up to a day early.
* `v` **values**: the `ROWS_KEPT` latest values with their times. Exact for that many.
* `a` **amounts**: count, sum, least and greatest of all time. Exact.
* `e` **ends**: the first and the last value of all time. Exact.
* `s` **steps**: the `STEPS_KEPT` latest times of each step of a sequence. Exact for that many.
* `h` **hours**: how many visits and clicks in each of the 24 hours, UTC. Exact.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

from processors.profiles.joins import json, short
from processors.segments.evaluation import DAY_MS
from processors.segments.event_filters import Event, Filter, Reads, scaled
from schemas.segments.conditions import MOST_TIMES

ROWS_KEPT = 100
"""Latest values of a series, kept with their times."""
DAYS_KEPT = 400
"""Days of older values, kept as sums."""
STEPS_KEPT = 50
"""Latest times of each step of a sequence."""

EVERY_EVENT = "*"


class Series(NamedTuple):
    """One thing to keep.

    Attributes:
        key: Kind and hash.
        events: Event names that it is about, or `EVERY_EVENT`.
        one: What one event adds, as a series of its own; None: nothing.
        keep: For times: how many.
    """

    key: str
    events: frozenset[str]
    one: Callable[[Event, int], Any]
    keep: int = MOST_TIMES


def key_of(kind: str, *what: object) -> str:
    """The key of a series: its kind and 8 bytes of hash of what it keeps."""
    return kind + blake2b(json([str(part) for part in what]), digest_size=8).hexdigest()


def join(key: str, mine: Any, other: Any, keep: int = MOST_TIMES) -> Any:
    """Put two series of a kind together; both are the caller's to give away."""
    return _JOINS[key[0]](mine, other, keep)


def times(key: str, events: frozenset[str], test: Filter | None, between: tuple[int, int], keep: int) -> Series:
    """The latest times of events."""
    after, before = between

    def one(event: Event, at: int) -> list[int] | None:
        return [at] if after <= at < before and (test is None or test(event)) else None

    return Series(key, events, one, keep)


def numbers(key: str, events: frozenset[str], test: Filter | None, read: Reads | None) -> Series:
    """The latest numbers, and sums of days before. Without `read`, every event counts 0: only how many they are."""

    def one(event: Event, at: int) -> dict[str, Any] | None:
        found = _numbers(event, test, read)
        return _bounded({"rows": sorted([at, value] for value in found)}) if found else None

    return Series(key, events, one)


def amounts(key: str, events: frozenset[str], test: Filter | None, read: Reads | None) -> Series:
    """Count, sum, least and greatest of all time."""

    def one(event: Event, at: int) -> list[int] | None:
        found = _numbers(event, test, read)
        return [len(found), sum(found), min(found), max(found)] if found else None

    return Series(key, events, one)


def values(key: str, events: frozenset[str], test: Filter | None, read: Reads) -> Series:
    """The latest values."""

    def one(event: Event, at: int) -> list[Any] | None:
        rows = [[at, value] for value in _values(event, test, read)]
        return sorted(rows, key=_order)[-ROWS_KEPT:] or None

    return Series(key, events, one)


def ends(key: str, events: frozenset[str], test: Filter | None, read: Reads) -> Series:
    """The first and the last value of all time."""

    def one(event: Event, at: int) -> list[Any] | None:
        rows = sorted(([at, value] for value in _values(event, test, read)), key=_order)
        return [rows[0], rows[-1]] if rows else None

    return Series(key, events, one)


def steps(key: str, tests: list[tuple[frozenset[str], Filter | None]], same: Reads | None) -> Series:
    """The latest times of each step of a sequence, each with the value that all steps share (empty: none)."""

    def one(event: Event, at: int) -> list[list[Any]] | None:
        tied = sorted({text for value in same(event) if (text := short(value))}) if same else [""]
        name = event["event"]
        found = [
            [[at, tie] for tie in tied[:STEPS_KEPT]] if name in names and (test is None or test(event)) else []
            for names, test in tests
        ]
        return found if any(found) else None

    return Series(key, frozenset[str]().union(*(names for names, _ in tests)), one)


def hours(key: str, counts: Callable[[Event], bool]) -> Series:
    """How many events in each hour of the day, UTC."""

    def one(event: Event, at: int) -> list[int] | None:
        if not counts(event):
            return None
        found = [0] * 24
        found[at // 3_600_000 % 24] = 1
        return found

    return Series(key, frozenset({EVERY_EVENT}), one)


def parts(series: dict[str, Any] | None) -> list[tuple[int, int, int, int, int]]:
    """Read numbers as (time, count, sum, least, greatest), oldest first; days as if all were at their beginning."""
    if not series:
        return []
    found = [(int(day) * DAY_MS, *sums) for day, sums in series.get("days", {}).items()]
    found += [(at, 1, value, value, value) for at, value in series["rows"]]
    found.sort()
    return found


def _numbers(event: Event, test: Filter | None, read: Reads | None) -> list[int]:
    if test is not None and not test(event):
        return []
    return [0] if read is None else [number for value in read(event) if (number := scaled(value)) is not None]


def _values(event: Event, test: Filter | None, read: Reads) -> list[Any]:
    if test is not None and not test(event):
        return []
    return [kept for value in read(event) if (kept := _kept(value)) is not None]


def _kept(value: object) -> Any:
    """Keep a number or a short text; true and false as words, so that they are never taken for numbers."""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is float or type(value) is int:
        return value
    return short(value) or None


def _order(row: list[Any]) -> tuple[int, bytes]:
    return row[0], json(row[1])


def _join_times(mine: list[int], other: list[int], keep: int) -> list[int]:
    for at in other:
        insort(mine, at)
    del mine[:-keep]
    return mine


def _join_numbers(mine: dict[str, Any], other: dict[str, Any], keep: int) -> dict[str, Any]:
    rows = mine["rows"]
    for row in other["rows"]:
        insort(rows, row)
    for day, sums in other.get("days", {}).items():
        _add_day(mine, day, sums)
    return _bounded(mine)


def _bounded(series: dict[str, Any]) -> dict[str, Any]:
    rows = series["rows"]
    if len(rows) > ROWS_KEPT:
        for at, value in rows[:-ROWS_KEPT]:
            _add_day(series, str(at // DAY_MS), [1, value, value, value])
        del rows[:-ROWS_KEPT]
    days = series.get("days")
    if days and len(days) > DAYS_KEPT:
        for day in sorted(days, key=int)[:-DAYS_KEPT]:
            del days[day]
    return series


def _add_day(series: dict[str, Any], day: str, sums: list[int]) -> None:
    days = series.setdefault("days", {})
    known = days.get(day)
    days[day] = list(sums) if known is None else _join_amounts(known, sums, 0)


def _join_amounts(mine: list[int], other: list[int], keep: int) -> list[int]:
    return [mine[0] + other[0], mine[1] + other[1], min(mine[2], other[2]), max(mine[3], other[3])]


def _join_values(mine: list[Any], other: list[Any], keep: int) -> list[Any]:
    mine += other
    mine.sort(key=_order)
    del mine[:-ROWS_KEPT]
    return mine


def _join_ends(mine: list[Any], other: list[Any], keep: int) -> list[Any]:
    return [min(mine[0], other[0], key=_order), max(mine[1], other[1], key=_order)]


def _join_steps(mine: list[list[Any]], other: list[list[Any]], keep: int) -> list[list[Any]]:
    for known, theirs in zip(mine, other, strict=True):
        for row in theirs:
            insort(known, row)
        del known[:-STEPS_KEPT]
    return mine


def _join_hours(mine: list[int], other: list[int], keep: int) -> list[int]:
    return [one + two for one, two in zip(mine, other, strict=True)]


_JOINS: dict[str, Callable[[Any, Any, int], Any]] = {
    "t": _join_times,
    "n": _join_numbers,
    "v": _join_values,
    "a": _join_amounts,
    "e": _join_ends,
    "s": _join_steps,
    "h": _join_hours,
}


def by_event(series: Iterable[Series]) -> tuple[dict[str, tuple[Series, ...]], tuple[Series, ...]]:
    """Index series by event name, those about every event included; and those about every event alone."""
    every = tuple(one for one in series if EVERY_EVENT in one.events)
    index: dict[str, tuple[Series, ...]] = {}
    for one in series:
        if EVERY_EVENT not in one.events:
            for name in one.events:
                index[name] = (*index.get(name, every), one)
    return index, every
