"""Joins: how the values of one section of two profiles become one.

Each join is commutative and associative, so the order in which events arrive cannot be seen in the result. A join may
change `mine`, which the caller owns, and may keep parts of `other`, which the caller gives away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from schemas.json_bytes import json_bytes
from schemas.profiles.document import TEXT_KEPT

Section = dict[str, Any]


def bounded_text(value: object) -> str:
    """Keep a name or an id at a bounded length; what is neither text nor an integer becomes the empty string."""
    if type(value) is str:
        return value if len(value) <= TEXT_KEPT else value[:TEXT_KEPT]
    return str(value) if type(value) is int else ""


def join_counters(mine: Section, other: Section) -> Section:
    """Join `[count, first, last]` by name: counts add, times widen."""
    for name, theirs in other.items():
        known = mine.get(name)
        if known is None:
            mine[name] = theirs
            continue
        known[0] += theirs[0]
        if theirs[1] < known[1]:
            known[1] = theirs[1]
        if theirs[2] > known[2]:
            known[2] = theirs[2]
    return mine


def join_tallies(mine: Section, other: Section) -> Section:
    """Join `[count, last]` by name."""
    for name, (count, last) in other.items():
        known = mine.get(name)
        mine[name] = [count, last] if known is None else [known[0] + count, max(known[1], last)]
    return mine


def join_times(mine: Section, other: Section) -> Section:
    """Join times by name: the later one stays."""
    for name, at in other.items():
        if at > mine.get(name, at - 1):
            mine[name] = at
    return mine


def join_values(mine: Section, other: Section) -> Section:
    """Join `[value, at]` by name: the last writer by time of the event stays; at the same time, the greater JSON."""
    for name, theirs in other.items():
        known = mine.get(name)
        if (
            known is None
            or theirs[1] > known[1]
            or (theirs[1] == known[1] and canonical_json(theirs[0]) > canonical_json(known[0]))
        ):
            mine[name] = theirs
    return mine


def join_rows(mine: Section, other: Section) -> Section:
    """Join rows by name: the greater row stays."""
    for name, theirs in other.items():
        known = mine.get(name)
        if known is None or theirs > known:
            mine[name] = theirs
    return mine


def nested_join(join: Callable[[Section, Section], Section]) -> Callable[[Section, Section], Section]:
    """Join sections of sections."""

    def by_name(mine: Section, other: Section) -> Section:
        for name, theirs in other.items():
            known = mine.get(name)
            mine[name] = theirs if known is None else join(known, theirs)
        return mine

    return by_name


def most_recent(times: Section, limit: int, at: Callable[[Any], Any] = lambda time: time) -> Section:
    """Keep the most recent entries; at the same time, those last in the alphabet.

    Args:
        times: Name → a time, or something that has one.
        limit: How many to keep.
        at: Reads the time of an entry.
    """
    if len(times) > limit:
        for name in sorted(times, key=lambda name: (at(times[name]), name))[:-limit]:
            del times[name]
    return times


def first_by_name(section: Section, limit: int, known: frozenset[str] = frozenset()) -> Section:
    """Keep the names that come first, known ones before others: which those are does not depend on what came when."""
    if len(section) > limit:
        for name in sorted(section, key=lambda name: (name not in known, name))[limit:]:
            del section[name]
    return section


def canonical_json(value: object) -> bytes:
    """Encode a value as canonical JSON: equal values are equal bytes."""
    return json_bytes(value, orjson.OPT_SORT_KEYS)
