"""A reader gives one attribute of a person and says when time alone may change it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil, floor
from typing import Any, NamedTuple

from processors.segments.evaluation import DAY_MS, Moment
from processors.segments.series import Series

Read = Callable[[Moment], Any]
Turns = Callable[[Moment, Sequence[float]], Iterable[int]]
"""Of a moment and the numbers that the value is compared with: the times at which a comparison may change."""
Course = Callable[[Moment], Iterator[tuple[int, Any]]]
"""The value now, and each later value that time alone gives it, with the time of the change; in order."""

EVERYTHING = frozenset({"any"})


class Reader(NamedTuple):
    """How to read an attribute.

    Attributes:
        read: The value; None: absent.
        needs: What of an event can change it, as the words of `touched.Touched`.
        turns: When time alone may change it; None: never.
        course: Used in place of `turns` where the values to come are cheap to list.
        endless: `turns` does not name all times to come: look again at the last one.
        series: What has to be kept for it.
    """

    read: Read
    needs: frozenset[str] = EVERYTHING
    turns: Turns | None = None
    course: Course | None = None
    endless: bool = False
    series: tuple[Series, ...] = ()


def days_ago(time: Read, needs: frozenset[str]) -> Reader:
    """The whole days since a time; a time to come is 0 days ago."""

    def read(moment: Moment) -> int | None:
        at = time(moment)
        return None if at is None else max(0, (moment.now - at) // DAY_MS)

    def turns(moment: Moment, limits: Sequence[float]) -> list[int]:
        at = time(moment)
        if at is None:
            return []
        return [at + day * DAY_MS for limit in limits for day in (ceil(limit), floor(limit) + 1)]

    return Reader(read, needs, turns)


def section(name: str, *path: str) -> Read:
    """Read a value of the document at a path of keys."""
    if not path:
        return lambda moment: moment.document.get(name)
    if len(path) == 1:
        key = path[0]
        return lambda moment: None if (found := moment.document.get(name)) is None else found.get(key)

    def read(moment: Moment) -> Any:
        found = moment.document.get(name)
        for key in path:
            if not isinstance(found, dict):
                return None
            found = found.get(key)
        return found

    return read


def item(read: Read, index: int) -> Read:
    """Read an element of a list."""
    return lambda moment: None if (found := read(moment)) is None else found[index]


def counted(read: Read) -> Read:
    """Read a number that is 0 when it is absent."""
    return lambda moment: read(moment) or 0
