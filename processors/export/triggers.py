"""What of a batch of records concerns a destination: conversions by their id, and people who were merged.

A record only says that something may be new; what is new, the tables say (`decisions.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from processors.recording.rows import conversion_id_of
from processors.recording.touch_rules import TouchRules
from schemas.orders import KINDS
from schemas.records import Record
from schemas.topics import IDENTITY_CHANGES

_OF_ORDERS = frozenset({"refund", "cancellation"})


class Wanted(NamedTuple):
    """What is to be looked at.

    Attributes:
        conversions: Ids of conversions, of any goal.
        people: Profiles that others were merged into.
    """

    conversions: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return bool(self.conversions or self.people)


def wanted_of(records: Iterable[Record], rules: TouchRules, goals: Collection[str]) -> Wanted:
    """Read what concerns a destination; a record that cannot be read concerns none: others judge it.

    Args:
        records: Of `resolved-touchpoints` and `identity-changes`.
        rules: Which events reach which goals.
        goals: The goals of the destination.
    """
    conversions, people = set(), set()
    for record in records:
        with suppress(Exception):  # a bug of one record costs no other; the recorder makes a dead letter of it
            value = orjson.loads(record.value or b"")
            if record.topic.endswith(IDENTITY_CHANGES):
                if value["kind"] == "merge":
                    people.add(value["profile_id"])
            elif found := _conversion_id(value, rules, goals):
                conversions.add(found)
    return Wanted(frozenset(conversions), frozenset(people))


def _conversion_id(event: dict[str, Any], rules: TouchRules, goals: Collection[str]) -> str:
    if event.get("derived"):
        return ""
    if KINDS.get(event["event"]) in _OF_ORDERS or any(goal in goals for goal in rules.goals(event)):
        return conversion_id_of(event)
    return ""
