"""Series: the values of a person's events that the definitions need, so that events need not be read again.

A series is stored in `state["features"]` under a key: a letter for its kind and a hash of what it holds. So two
definitions share a series, and an unchanged one survives a new version of the files. Each kind is bounded, and its join
is commutative and associative: any order of the same events, and any split of them over profiles that are then merged,
gives the same series.

* `t` **times**: the N latest times of an event, N being the greatest number that a definition needs. Exact: "at least 3
  within 7 days" needs the third latest time and no other.
* `n` **numbers**: the `ROWS_KEPT` latest values with their times, to the millisecond; older ones as sums of UTC days,
  `DAYS_KEPT` of them. Exact in amount; a value older than the kept rows leaves its window up to a day early.
* `v` **values**: the `ROWS_KEPT` latest values with their times. Exact for that many.
* `a` **amounts**: count, sum, minimum and maximum of all time. Exact.
* `e` **ends**: the first and the last value of all time. Exact.
* `s` **steps**: the `STEPS_KEPT` latest times of each step of a sequence. Exact for that many.
* `h` **hours**: how many visits and clicks in each of the 24 hours, UTC. Exact.
* `p` **products**: the `PRODUCTS_KEPT` products watched last, each with `FACTS_KEPT` facts of the catalogue. Exact for
  that many; see `product_conditions.py`.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

from processors.profiles.joins import bounded_text, canonical_json
from processors.segments.event_filters import Event, Filter, ReadValues, scaled
from schemas.durations import DAY_MS, HOUR_MS
from schemas.segments.conditions import MAX_TIMES

ROWS_KEPT = 100
"""How many of the latest values of a series are kept with their times."""
DAYS_KEPT = 400
"""How many days of older values are kept as sums."""
STEPS_KEPT = 50
"""How many of the latest times of each step of a sequence are kept."""
PRODUCTS_KEPT = 40
"""How many watched products are kept: twice as many as the profile keeps of what was viewed or put into a cart."""
FACTS_KEPT = 12
"""How many facts of one product are kept, those stated last."""

EVERY_EVENT = "*"


class Series(NamedTuple):
    """Definition of one series.

    Attributes:
        key: Kind and hash.
        events: Names of the events that it reads, or `EVERY_EVENT`.
        extract: Takes an event and its time in milliseconds; returns a series of that event alone, or None.
        keep: Of kind `t`: how many times are kept.
    """

    key: str
    events: frozenset[str]
    extract: Callable[[Event, int], Any]
    keep: int = MAX_TIMES


def key_of(kind: str, *what: object) -> str:
    """Return the key of a series: its kind and 8 bytes of hash of what it holds."""
    return kind + blake2b(canonical_json([str(part) for part in what]), digest_size=8).hexdigest()


def join(key: str, mine: Any, other: Any, keep: int = MAX_TIMES) -> Any:
    """Merge two series of the same key; both may be changed and must not be used afterwards."""
    return _JOINS[key[0]](mine, other, keep)


def times(key: str, events: frozenset[str], test: Filter | None, between: tuple[int, int], keep: int) -> Series:
    """Define a series of the latest times of events, from `between[0]` and before `between[1]`, in milliseconds."""
    after, before = between

    def extract(event: Event, at: int) -> list[int] | None:
        return [at] if after <= at < before and (test is None or test(event)) else None

    return Series(key, events, extract, keep)


def numbers(key: str, events: frozenset[str], test: Filter | None, read: ReadValues | None) -> Series:
    """Define a series of the latest numbers, and of sums by day before. Without `read` every number is 0."""

    def extract(event: Event, at: int) -> dict[str, Any] | None:
        found = _numbers(event, test, read)
        return _bounded({"rows": sorted([at, value] for value in found)}) if found else None

    return Series(key, events, extract)


def amounts(key: str, events: frozenset[str], test: Filter | None, read: ReadValues | None) -> Series:
    """Define a series of count, sum, minimum and maximum of all time."""

    def extract(event: Event, at: int) -> list[int] | None:
        found = _numbers(event, test, read)
        return [len(found), sum(found), min(found), max(found)] if found else None

    return Series(key, events, extract)


def values(key: str, events: frozenset[str], test: Filter | None, read: ReadValues) -> Series:
    """Define a series of the latest values."""

    def extract(event: Event, at: int) -> list[Any] | None:
        rows = [[at, value] for value in _values(event, test, read)]
        return sorted(rows, key=_order)[-ROWS_KEPT:] or None

    return Series(key, events, extract)


def ends(key: str, events: frozenset[str], test: Filter | None, read: ReadValues) -> Series:
    """Define a series of the first and the last value of all time."""

    def extract(event: Event, at: int) -> list[Any] | None:
        rows = sorted(([at, value] for value in _values(event, test, read)), key=_order)
        return [rows[0], rows[-1]] if rows else None

    return Series(key, events, extract)


def steps(key: str, tests: list[tuple[frozenset[str], Filter | None]], same: ReadValues | None) -> Series:
    """Define a series of the latest times of each step of a sequence, with the value that all steps share, or ''."""

    def extract(event: Event, at: int) -> list[list[Any]] | None:
        tied = sorted({text for value in same(event) if (text := bounded_text(value))}) if same else [""]
        name = event["event"]
        found = [
            [[at, tie] for tie in tied[:STEPS_KEPT]] if name in names and (test is None or test(event)) else []
            for names, test in tests
        ]
        return found if any(found) else None

    return Series(key, frozenset[str]().union(*(names for names, _ in tests)), extract)


def hours(key: str, counts: Callable[[Event], bool]) -> Series:
    """Define a series that counts events by hour of the day, UTC."""

    def extract(event: Event, at: int) -> list[int] | None:
        if not counts(event):
            return None
        found = [0] * 24
        found[at // HOUR_MS % 24] = 1
        return found

    return Series(key, frozenset({EVERY_EVENT}), extract)


def parts(series: dict[str, Any] | None) -> list[tuple[int, int, int, int, int]]:
    """Return numbers as (time, count, sum, minimum, maximum), oldest first; the time of a day is its beginning."""
    if not series:
        return []
    found = [(int(day) * DAY_MS, *sums) for day, sums in series.get("days", {}).items()]
    found += [(at, 1, value, value, value) for at, value in series["rows"]]
    found.sort()
    return found


def _numbers(event: Event, test: Filter | None, read: ReadValues | None) -> list[int]:
    if test is not None and not test(event):
        return []
    return [0] if read is None else [number for value in read(event) if (number := scaled(value)) is not None]


def _values(event: Event, test: Filter | None, read: ReadValues) -> list[Any]:
    if test is not None and not test(event):
        return []
    return [kept for value in read(event) if (kept := _storable(value)) is not None]


def _storable(value: object) -> Any:
    """Return a number or a short text; true and false as text, so that they are not taken for numbers; else None."""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is float or type(value) is int:
        return value
    return bounded_text(value) or None


def _order(row: list[Any]) -> tuple[int, bytes]:
    return row[0], canonical_json(row[1])


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


def merged_products(series: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Bound a series of products."""
    for product in series.values():
        if len(product[3]) > FACTS_KEPT:
            product[3] = sorted(sorted(product[3], key=_age_of_fact)[-FACTS_KEPT:])
    if len(series) > PRODUCTS_KEPT:
        for name in sorted(series, key=lambda name: (max(series[name][:3]), name))[:-PRODUCTS_KEPT]:
            del series[name]
    return series


def _join_products(mine: dict[str, list[Any]], other: dict[str, list[Any]], keep: int) -> dict[str, list[Any]]:
    for name, product in other.items():
        known = mine.get(name)
        if known is None:
            mine[name] = product
            continue
        facts = {tuple(fact[:4]): fact for fact in known[3]}
        for fact in product[3]:
            before = facts.get(key := tuple(fact[:4]))
            facts[key] = fact if before is None else max(before, fact, key=_age_of_fact)
        mine[name] = [*map(max, known[:3], product[:3]), sorted(facts.values())]
    return merged_products(mine)


def _age_of_fact(fact: list[Any]) -> tuple[int, str, list[Any]]:
    """Order facts as the catalogue does: the one stated last, then the one of the later event in the alphabet."""
    return fact[4], fact[5], fact


_JOINS: dict[str, Callable[[Any, Any, int], Any]] = {
    "t": _join_times,
    "n": _join_numbers,
    "v": _join_values,
    "a": _join_amounts,
    "e": _join_ends,
    "s": _join_steps,
    "h": _join_hours,
    "p": _join_products,
}


def by_event(series: Iterable[Series]) -> tuple[dict[str, tuple[Series, ...]], tuple[Series, ...]]:
    """Return the series by event name, those of all events included; and the series of all events for other names."""
    every = tuple(one for one in series if EVERY_EVENT in one.events)
    index: dict[str, tuple[Series, ...]] = {}
    for one in series:
        if EVERY_EVENT not in one.events:
            for name in one.events:
                index[name] = (*index.get(name, every), one)
    return index, every
