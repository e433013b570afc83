"""Readers: how to read an attribute of a person, and the times at which its value may change without an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil, floor
from typing import Any, NamedTuple

from processors.segments.evaluation import EvaluationContext
from processors.segments.series import Series
from schemas.durations import DAY_MS

Read = Callable[[EvaluationContext], Any]
ChangeTimes = Callable[[EvaluationContext, Sequence[float]], Iterable[int]]
"""Takes a context and the numbers that the value is compared with; returns the times at which a result may change."""
Timeline = Callable[[EvaluationContext], Iterator[tuple[int, Any]]]
"""Returns (time, value) for now and for each later change that the passing of time causes, in order."""

ANY_EVENT = frozenset({"any"})


class Reader(NamedTuple):
    """How to read an attribute.

    Attributes:
        read: Returns the value; None: absent.
        triggers: What can change the value, see `index.SegmentIndex`.
        change_times: The times at which the value may change without an event; None: never.
        timeline: Used instead of `change_times` where the later values are cheap to list.
        open_ended: `change_times` returns only the next ones; evaluate again at the last of them.
        series: The series that it reads.
    """

    read: Read
    triggers: frozenset[str] = ANY_EVENT
    change_times: ChangeTimes | None = None
    timeline: Timeline | None = None
    open_ended: bool = False
    series: tuple[Series, ...] = ()


def days_ago(time: Read, triggers: frozenset[str]) -> Reader:
    """Return a reader of the whole days since a time; 0 for a time in the future."""

    def read(context: EvaluationContext) -> int | None:
        at = time(context)
        return None if at is None else max(0, (context.now_ms - at) // DAY_MS)

    def change_times(context: EvaluationContext, thresholds: Sequence[float]) -> list[int]:
        at = time(context)
        if at is None:
            return []
        return [at + day * DAY_MS for limit in thresholds for day in (ceil(limit), floor(limit) + 1)]

    return Reader(read, triggers, change_times)


def section(name: str, *path: str) -> Read:
    """Return a function that reads the document at a path of keys."""
    if not path:
        return lambda context: context.document.get(name)
    if len(path) == 1:
        key = path[0]
        return lambda context: None if (found := context.document.get(name)) is None else found.get(key)

    def read(context: EvaluationContext) -> Any:
        found = context.document.get(name)
        for key in path:
            if not isinstance(found, dict):
                return None
            found = found.get(key)
        return found

    return read


def element(read: Read, index: int) -> Read:
    """Return a function that reads an element of a list."""
    return lambda context: None if (found := read(context)) is None else found[index]


def or_zero(read: Read) -> Read:
    """Return a function that reads a number, and 0 if it is absent."""
    return lambda context: read(context) or 0
