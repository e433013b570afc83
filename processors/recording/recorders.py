"""The recorded topics: the rows of their records, and the rows that stay after an erasure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from processors.recording.decision_rows import decision_rows, journey_event_rows
from processors.recording.erasure_filter import change_remains, event_remains, letter_trace, person_trace
from processors.recording.late_duplicates import Delivery, delivery
from processors.recording.rows import Row, dead_letter_rows, dropped_rows, identity_rows, touchpoint_rows
from processors.recording.touch_rules import TouchRules
from schemas.identity.erasure import Trace
from schemas.outcomes import DropReason
from schemas.topics import (
    DEAD_LETTERS,
    DECISIONS,
    DROPPED_TOUCHPOINTS,
    IDENTITY_CHANGES,
    JOURNEY_EVENTS,
    RESOLVED_TOUCHPOINTS,
)

RowsOf = Callable[[dict[str, Any]], list[Row]]
"""Returns the rows of a record's parsed value."""


class Recorder(NamedTuple):
    """The rules by which the records of one topic are stored.

    Attributes:
        topic: The topic, without the deployment's prefix.
        rows: Returns the rows of a record.
        erasure_trace: Returns the trace of a record's person; None: no erasure concerns the topic.
        rows_kept_after_erasure: Returns the rows of an erased person's record; None: there are none.
        delivery: Returns the delivery of an event that a record is; None: the topic has none.
        rows_of_duplicate: Returns the rows of a second delivery that the identity store could not recognise.
    """

    topic: str
    rows: RowsOf
    erasure_trace: Callable[[dict[str, Any]], Trace] | None = None
    rows_kept_after_erasure: RowsOf | None = None
    delivery: Callable[[dict[str, Any]], Delivery] | None = None
    rows_of_duplicate: RowsOf | None = None


def recorders(rules: TouchRules) -> tuple[Recorder, ...]:
    """List every recorded topic.

    Args:
        rules: The rules of touches and conversions.
    """
    return (
        Recorder(
            RESOLVED_TOUCHPOINTS,
            partial(touchpoint_rows, rules=rules),
            person_trace,
            partial(event_remains, reason=DropReason.ERASED),
            delivery,
            partial(event_remains, reason=DropReason.DUPLICATE),
        ),
        Recorder(IDENTITY_CHANGES, identity_rows, person_trace, change_remains),
        Recorder(DROPPED_TOUCHPOINTS, dropped_rows),
        Recorder(DEAD_LETTERS, dead_letter_rows, letter_trace),
        Recorder(DECISIONS, decision_rows, person_trace),
        Recorder(JOURNEY_EVENTS, journey_event_rows, person_trace),
    )
