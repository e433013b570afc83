"""Rows of stored events whose classification as touches is another one by today's rules.

A row of the same delivery replaces the stored one, whichever comes later, and never one that was received earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from processors.recording.rows import touchpoint_rows
from processors.recording.touch_rules import TouchRules


class Restated(NamedTuple):
    """A row that replaces the stored one.

    Attributes:
        row: The row of `touchpoints`.
        before: Role and marketing channel that are stored.
        after: The same by today's rules.
    """

    row: bytes
    before: tuple[str, str]
    after: tuple[str, str]


def restated(event: dict[str, Any], stored: Mapping[str, Any], rules: TouchRules) -> Restated | None:
    """Classify a stored event by today's rules.

    Args:
        event: The event as it was published.
        stored: The columns that follow from it by the rules, as they are stored.
        rules: Today's.

    Returns:
        The row that replaces the stored one; None if it would be the same.
    """
    row = next((row for table, row in touchpoint_rows(event, rules) if table == "touchpoints"), None)
    if row is None:
        return None
    written = orjson.loads(row)
    if all(written.get(name, type(value)()) == value for name, value in stored.items()):
        return None
    return Restated(
        row, (stored["touch"], stored["marketing_channel"]), (written["touch"], written["marketing_channel"])
    )
