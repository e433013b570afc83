"""Whether an event is the one that a journey waits for, and about which of a person's runs it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from processors.segments.event_filters import matching, values_at
from schemas.journeys.definitions import EventMatch

Event = dict[str, Any]
KEY_CHARACTERS = 200
"""Longest key of a run; a longer one counts by its beginning."""


class Matcher:
    """A compiled `EventMatch`.

    Attributes:
        names: The names of events that may match.
        keyed: It looks at a property that tells which run an event is about.
        signature: Equal for matches that ask for the same.
    """

    __slots__ = ("_read", "_test", "keyed", "names", "signature")

    def __init__(self, match: EventMatch, zone: ZoneInfo) -> None:
        self.names = frozenset(match.names)
        self.keyed = match.key is not None
        self._test = matching(match.where, zone)
        self._read = values_at(f"properties.{match.key}") if match.key else None
        asked = match.model_dump(mode="json", include={"event", "where", "key"}, exclude_defaults=True)
        self.signature = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]

    def matches(self, event: Event) -> bool:
        """Tell whether name and properties are the wanted ones."""
        return event["event"] in self.names and (self._test is None or self._test(event))

    def keys(self, event: Event) -> list[str]:
        """List the keys that a matching event names; none if it names none, or if no key was asked for."""
        if self._read is None:
            return []
        return list(dict.fromkeys(text for value in self._read(event) if (text := _text(value))))

    def heard(self, heard: Mapping[str, Mapping[str, int]], run_key: str, since: int) -> bool:
        """Tell whether such an event, about a run, is known to have happened since then.

        Args:
            heard: By signature and key (empty: none was named), when it last happened.
            run_key: The run's key.
            since: From when on it counts.
        """
        times = heard.get(self.signature)
        if not times:
            return False
        last = max(times.get(run_key, 0), times.get("", 0)) if run_key else max(times.values())
        return last >= since


def about(keys: list[str], run_key: str) -> bool:
    """Tell whether an event that names these keys is about a run.

    One without a key is about every run, and every event is about a run without a key.
    """
    return not keys or not run_key or run_key in keys


def _text(value: Any) -> str:
    if type(value) is str:
        return value[:KEY_CHARACTERS]
    return str(value) if type(value) is int else ""
