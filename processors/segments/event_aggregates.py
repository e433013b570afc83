"""Aggregates of events: count, sum, average, most frequent value and so on, of all time or of a sliding window.

In a window the result is a step function of time: each value leaves the window at its time plus the window's length.
A timeline lists those steps, from all values to none. Each step is computed from the next by adding a value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from processors.segments.evaluation import EvaluationContext
from processors.segments.event_filters import SCALE, Filter, ReadValues, matching, values_at
from processors.segments.reader import Reader
from processors.segments.series import Series, amounts, ends, key_of, numbers, parts, values
from schemas.segments.conditions import NUMERIC_FUNCTIONS, Comparison

Amounts = tuple[int, int, int, int]
_SCALE = Decimal(SCALE)


class Aggregate(NamedTuple):
    """Definition of an aggregate.

    Attributes:
        function: One of `schemas.segments.conditions.Function`.
        events: Event names.
        path: Path of the values; None for `count`.
        where: Filter on events, by path.
        within: Window in milliseconds; None: all time.
    """

    function: str
    events: frozenset[str]
    path: str | None
    where: dict[str, Comparison]
    within: int | None


def aggregate(definition: Aggregate, zone: ZoneInfo) -> Reader:
    """Return the reader of an aggregate, with the series that it needs."""
    test, read = matching(definition.where, zone), values_at(definition.path) if definition.path else None
    identity = sorted(definition.events), sorted(definition.where.items()), definition.path
    triggers = frozenset(f"event:{name}" for name in definition.events)
    if definition.within is None:
        return _all_time_reader(definition.function, identity, triggers, definition.events, test, read)
    if definition.function in NUMERIC_FUNCTIONS:
        series = numbers(key_of("n", *identity), definition.events, test, read)
        return _windowed_number_reader(series, _RESULTS[definition.function], definition.within, triggers)
    assert read is not None, "definitions are validated"
    series = values(key_of("v", *identity), definition.events, test, read)
    return _windowed_value_reader(series, definition.function, definition.within, triggers)


def _all_time_reader(
    function: str,
    identity: tuple[Any, ...],
    triggers: frozenset[str],
    events: frozenset[str],
    test: Filter | None,
    read: ReadValues | None,
) -> Reader:
    if function in NUMERIC_FUNCTIONS:
        series = amounts(key_of("a", *identity), events, test, read)
        result, key = _RESULTS[function], series.key
        return Reader(lambda context: result(tuple(context.features.get(key, _NO_AMOUNTS))), triggers, series=(series,))
    assert read is not None, "definitions are validated"
    if function in ("first", "last"):
        series = ends(key_of("e", *identity), events, test, read)
        which, key = 0 if function == "first" else 1, series.key
        return Reader(
            lambda context: None if (found := context.features.get(key)) is None else found[which][1],
            triggers,
            series=(series,),
        )
    series = values(key_of("v", *identity), events, test, read)
    key = series.key

    def whole(context: EvaluationContext) -> Any:
        state = _ACCUMULATORS[function]()
        for _, value in reversed(context.features.get(key, ())):
            state.add(value)
        return state.result()

    return Reader(whole, triggers, series=(series,))


_NO_AMOUNTS: Amounts = (0, 0, 0, 0)

_RESULTS: dict[str, Callable[[Amounts], Any]] = {
    "count": lambda amounts: amounts[0],
    "sum": lambda amounts: amounts[1] / _SCALE,
    "average": lambda amounts: amounts[1] / _SCALE / amounts[0] if amounts[0] else None,
    "min": lambda amounts: amounts[2] / _SCALE if amounts[0] else None,
    "max": lambda amounts: amounts[3] / _SCALE if amounts[0] else None,
}


def _windowed_number_reader(
    series: Series, result: Callable[[Amounts], Any], within: int, triggers: frozenset[str]
) -> Reader:
    def timeline(context: EvaluationContext) -> Iterator[tuple[int, Any]]:
        since = context.now_ms - within
        kept = [part for part in parts(context.features.get(series.key)) if part[0] > since]
        suffixes = [_NO_AMOUNTS]
        for _, count, total, minimum, maximum in reversed(kept):
            known = suffixes[-1]
            suffixes.append(
                (known[0] + count, known[1] + total, min(known[2], minimum), max(known[3], maximum))
                if known[0]
                else (count, total, minimum, maximum)
            )
        suffixes.reverse()
        yield context.now_ms, result(suffixes[0])
        for index, part in enumerate(kept):
            if index + 1 == len(kept) or kept[index + 1][0] != part[0]:
                yield part[0] + within, result(suffixes[index + 1])

    return Reader(lambda context: next(timeline(context))[1], triggers, timeline=timeline, series=(series,))


class _Latest:
    """The value added first, as values are added from the latest to the earliest."""

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


class _DistinctValues:
    def __init__(self) -> None:
        self.values: dict[Any, int] = {}

    def add(self, value: Any) -> None:
        self.values[value] = self.values.get(value, 0) + 1

    def result(self) -> Any:
        return sorted(self.values, key=str) or None


class _DistinctCount(_DistinctValues):
    def result(self) -> Any:
        return len(self.values)


class _MostFrequent(_DistinctValues):
    """The most frequent value; of equally frequent ones the first in the alphabet."""

    def result(self) -> Any:
        counts = Counter(self.values)
        return min(counts, key=lambda value: (-counts[value], str(value))) if counts else None


_ACCUMULATORS: dict[str, Callable[[], Any]] = {
    "first": _Earliest,
    "last": _Latest,
    "unique": _DistinctValues,
    "unique_count": _DistinctCount,
    "most_frequent": _MostFrequent,
}


def _windowed_value_reader(series: Series, function: str, within: int, triggers: frozenset[str]) -> Reader:
    def timeline(context: EvaluationContext) -> Iterator[tuple[int, Any]]:
        since = context.now_ms - within
        kept = [row for row in context.features.get(series.key, ()) if row[0] > since]
        state = _ACCUMULATORS[function]()
        results = [state.result()]
        for _, value in reversed(kept):
            state.add(value)
            results.append(state.result())
        results.reverse()
        yield context.now_ms, results[0]
        for index, (at, _) in enumerate(kept):
            if index + 1 == len(kept) or kept[index + 1][0] != at:
                yield at + within, results[index + 1]

    return Reader(lambda context: next(timeline(context))[1], triggers, timeline=timeline, series=(series,))
