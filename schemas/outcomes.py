"""The outcome of a stage for one record: processed further, dropped on purpose, or rejected.

A stage returns outcomes and publishes nothing itself. `processors/stream/routing.py` turns them into records: an `Ok`
into its value, a `Drop` into a record of `dropped-touchpoints`, a `Reject` into a dead letter.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from schemas.dead_letters import Reason

Value = TypeVar("Value", covariant=True)


class DropReason(StrEnum):
    """The reason for dropping a valid touchpoint: the column `reason` of `dropped_touchpoints`."""

    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    """Another event of the same source has its id: it counts as a duplicate, but the producer should be told."""
    ERASED = "erased"


class Ok(NamedTuple, Generic[Value]):
    """The record is processed further.

    Attributes:
        value: The input of the next step.
    """

    value: Value


class Drop(NamedTuple):
    """The record holds a valid touchpoint that must not be processed further.

    Attributes:
        reason: The reason.
        event_id: The producer's id of the event.
        source: The event's producer.
        channel: The event's channel.
    """

    reason: DropReason
    event_id: str
    source: str
    channel: str


class Reject(NamedTuple):
    """The record cannot be processed, now or later; its neighbours can.

    Attributes:
        reason: The code.
        field: The path of the offending field, as `properties.products.0.price`; empty when it is the whole record.
        message: The value and the rule that it breaks, for people.
        kept: What a dead letter keeps in place of the record's value; empty: the value.
    """

    reason: Reason
    field: str
    message: str
    kept: bytes = b""


Outcome = Ok[Value] | Drop | Reject


def rejected_for_bug(error: Exception) -> Reject:
    """Return the rejection of a record on which our own code raised an error; its neighbours are processed.

    The message names the error's type and place. The text of an error may quote data of a person, and dead letters and
    logs are read by more people than profiles are.
    """
    return Reject(Reason.BUG, "", f"{type(error).__name__}{_place(error)}")


def _place(error: Exception) -> str:
    """Return file and line of the innermost frame of an error."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    module, function = trace.tb_frame.f_globals.get("__name__", "?"), trace.tb_frame.f_code.co_name
    return f" in {module}.{function}, line {trace.tb_lineno}"
