"""Functions over events: counts, sums, averages, the most frequent value, …, of all time or of the last so long.

Within a window the value is a step function of time: each kept value leaves the window at its time plus the window.
`course` walks those steps, from all kept values to none, each worked out from the one after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from processors.segments.evaluation import Moment
from processors.segments.event_filters import PLACES, Filter, Reads, matching, values_at
from processors.segments.reader import Reader
from processors.segments.series import Series, amounts, ends, key_of, numbers, parts, values
from schemas.segments.conditions import NUMERIC_FUNCTIONS, Comparison

Amounts = tuple[int, int, int, int]
_PLACES = Decimal(PLACES)


class Aggregate(NamedTuple):
    """What to take, of which events.

    Attributes:
        function: One of `schemas.segments.conditions.Function`.
        events: Event names.
        of: Path of the values; None for `count`.
        where: Filter, as written.
        within: Window in milliseconds; None: all time.
    """

    function: str
    events: frozenset[str]
    of: str | None
    where: dict[str, Comparison]
    within: int | None


def aggregate(what: Aggregate, zone: ZoneInfo) -> Reader:
    """Make the reader of an aggregate, with the series that it needs."""
    test, read = matching(what.where, zone), values_at(what.of) if what.of else None
    identity = sorted(what.events), sorted(what.where.items()), what.of
    needs = frozenset(f"event:{name}" for name in what.events)
    if what.within is None:
        return _of_all_time(what.function, identity, needs, what.events, test, read)
    if what.function in NUMERIC_FUNCTIONS:
        series = numbers(key_of("n", *identity), what.events, test, read)
        return _windowed_numbers(series, _RESULTS[what.function], what.within, needs)
    assert read is not None, "the definition's check sees to it"
    series = values(key_of("v", *identity), what.events, test, read)
    return _windowed_values(series, what.function, what.within, needs)


def _of_all_time(
    function: str,
    identity: tuple[Any, ...],
    needs: frozenset[str],
    events: frozenset[str],
    test: Filter | None,
    read: Reads | None,
) -> Reader:
    if function in NUMERIC_FUNCTIONS:
        series = amounts(key_of("a", *identity), events, test, read)
        result, key = _RESULTS[function], series.key
        return Reader(lambda moment: result(tuple(moment.features.get(key, _NOTHING))), needs, series=(series,))
    assert read is not None, "the definition's check sees to it"
    if function in ("first", "last"):
        series = ends(key_of("e", *identity), events, test, read)
        which, key = 0 if function == "first" else 1, series.key
        return Reader(
            lambda moment: None if (found := moment.features.get(key)) is None else found[which][1],
            needs,
            series=(series,),
        )
    series = values(key_of("v", *identity), events, test, read)
    key = series.key

    def whole(moment: Moment) -> Any:
        state = _STATES[function]()
        for _, value in reversed(moment.features.get(key, ())):
            state.add(value)
        return state.result()

    return Reader(whole, needs, series=(series,))


_NOTHING: Amounts = (0, 0, 0, 0)

_RESULTS: dict[str, Callable[[Amounts], Any]] = {
    "count": lambda amounts: amounts[0],
    "sum": lambda amounts: amounts[1] / _PLACES,
    "average": lambda amounts: amounts[1] / _PLACES / amounts[0] if amounts[0] else None,
    "min": lambda amounts: amounts[2] / _PLACES if amounts[0] else None,
    "max": lambda amounts: amounts[3] / _PLACES if amounts[0] else None,
}


def _windowed_numbers(series: Series, result: Callable[[Amounts], Any], within: int, needs: frozenset[str]) -> Reader:
    def course(moment: Moment) -> Iterator[tuple[int, Any]]:
        since = moment.now - within
        kept = [part for part in parts(moment.features.get(series.key)) if part[0] > since]
        suffixes = [_NOTHING]
        for _, count, total, least, most in reversed(kept):
            known = suffixes[-1]
            suffixes.append(
                (known[0] + count, known[1] + total, min(known[2], least), max(known[3], most))
                if known[0]
                else (count, total, least, most)
            )
        suffixes.reverse()
        yield moment.now, result(suffixes[0])
        for index, part in enumerate(kept):
            if index + 1 == len(kept) or kept[index + 1][0] != part[0]:
                yield part[0] + within, result(suffixes[index + 1])

    return Reader(lambda moment: next(course(moment))[1], needs, course=course, series=(series,))


class _Latest:
    """The value added first: values are added from the latest to the earliest."""

    def __init__(self) -> None:
        self.value: Any = None

    def add(self, value: Any) -> None:
        if self.value is None:
            self.value = value

    def result(self) -> Any:
        return self.value


class _Earliest(_Latest):
    def add(self, value: Any) -> None:
        self.value = value


class _Different:
    def __init__(self) -> None:
        self.values: dict[Any, int] = {}

    def add(self, value: Any) -> None:
        self.values[value] = self.values.get(value, 0) + 1

    def result(self) -> Any:
        return sorted(self.values, key=str) or None


class _HowMany(_Different):
    def result(self) -> Any:
        return len(self.values)


class _MostFrequent(_Different):
    """Of equals the first in the alphabet."""

    def result(self) -> Any:
        counts = Counter(self.values)
        return min(counts, key=lambda value: (-counts[value], str(value))) if counts else None


_STATES: dict[str, Callable[[], Any]] = {
    "first": _Earliest,
    "last": _Latest,
    "unique": _Different,
    "unique_count": _HowMany,
    "most_frequent": _MostFrequent,
}


def _windowed_values(series: Series, function: str, within: int, needs: frozenset[str]) -> Reader:
    def course(moment: Moment) -> Iterator[tuple[int, Any]]:
        since = moment.now - within
        kept = [row for row in moment.features.get(series.key, ()) if row[0] > since]
        state = _STATES[function]()
        results = [state.result()]
        for _, value in reversed(kept):
            state.add(value)
            results.append(state.result())
        results.reverse()
        yield moment.now, results[0]
        for index, (at, _) in enumerate(kept):
            if index + 1 == len(kept) or kept[index + 1][0] != at:
                yield at + within, results[index + 1]

    return Reader(lambda moment: next(course(moment))[1], needs, course=course, series=(series,))
