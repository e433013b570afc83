"""Matchers of events, and the keys that assign an event to runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from processors.segments.event_filters import matching, values_at
from schemas.journeys.definitions import EventMatch

Event = dict[str, Any]
MAX_KEY_CHARACTERS = 200
"""Keys of runs are truncated to this length."""


class Matcher:
    """A compiled `EventMatch`.

    Attributes:
        names: The names of events that may match.
        keyed: Whether a property of the event is the key of a run.
        signature: Hash of event names, filter and key.
    """

    __slots__ = ("_read", "_test", "keyed", "names", "signature")

    def __init__(self, match: EventMatch, zone: ZoneInfo) -> None:
        self.names = frozenset(match.names)
        self.keyed = match.key is not None
        self._test = matching(match.where, zone)
        self._read = values_at(f"properties.{match.key}") if match.key else None
        definition = match.model_dump(mode="json", include={"event", "where", "key"}, exclude_defaults=True)
        self.signature = hashlib.sha256(orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]

    def matches(self, event: Event) -> bool:
        """Return whether the name and the properties of an event match."""
        return event["event"] in self.names and (self._test is None or self._test(event))

    def keys(self, event: Event) -> list[str]:
        """Return the keys of a matching event; none if it has none or the matcher has no key."""
        if self._read is None:
            return []
        return list(dict.fromkeys(text for value in self._read(event) if (text := _text(value))))

    def happened_since(self, heard: Mapping[str, Mapping[str, int]], run_key: str, since: int) -> bool:
        """Return whether a matching event of a run is known to have happened since a time.

        Args:
            heard: Latest event time by signature and key; the key is empty for events without one.
            run_key: Key of the run.
            since: The time in milliseconds.
        """
        times = heard.get(self.signature)
        if not times:
            return False
        return times.get(self._latest_key(times, run_key), 0) >= since

    def heard_event(self, heard: Mapping[str, Mapping[str, int]], events: Mapping[str, Any], run_key: str) -> Any:
        """Return the event by which `happened_since` holds; None if only its time is remembered.

        Args:
            heard: As of `happened_since`, which was true.
            events: The remembered events by signature and key.
            run_key: Key of the run.
        """
        return events.get(self.signature, {}).get(self._latest_key(heard[self.signature], run_key))

    @staticmethod
    def _latest_key(times: Mapping[str, int], run_key: str) -> str:
        """Return the key with the latest time among those that concern a run."""
        keys = [key for key in (run_key, "") if key in times] if run_key else times
        return max(keys, key=lambda key: (times[key], key), default="")


def concerns(keys: list[str], run_key: str) -> bool:
    """Return whether an event with these keys concerns a run.

    An event without a key concerns every run, and every event concerns a run without a key.
    """
    return not keys or not run_key or run_key in keys


def _text(value: Any) -> str:
    if type(value) is str:
        return value[:MAX_KEY_CHARACTERS]
    return str(value) if type(value) is int else ""
