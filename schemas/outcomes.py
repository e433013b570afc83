"""The outcome of a stage for one record: it goes on, it is dropped on purpose, or it is rejected.

A stage returns outcomes and publishes nothing itself. `processors/stream/routing.py` turns them into records: an `Ok`
into what it holds, a `Drop` into a record of `dropped-touchpoints`, a `Reject` into a dead letter.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from schemas.dead_letters import Reason

Value = TypeVar("Value", covariant=True)


class DropReason(StrEnum):
    """Why a valid touchpoint does not go on: the column `reason` of `dropped_touchpoints`."""

    DUPLICATE = "duplicate"
    ERASED = "erased"


class Ok(NamedTuple, Generic[Value]):
    """The record goes on.

    Attributes:
        value: What the next step takes.
    """

    value: Value


class Drop(NamedTuple):
    """The record holds a valid touchpoint that must not go on.

    Attributes:
        reason: Why.
        event_id: The producer's id of the event.
        source: Which producer it came from.
        channel: The channel that it happened on.
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
        message: What was found and which rule it breaks, for a human.
    """

    reason: Reason
    field: str
    message: str


Outcome = Ok[Value] | Drop | Reject


def rejected_for_bug(error: Exception) -> Reject:
    """Reject a record that our own code failed on: an error costs that record, not its neighbours.

    The message names the error's type and place. The text of an error may quote data of a person, and dead letters and
    logs are read by more people than profiles are.
    """
    return Reject(Reason.BUG, "", f"{type(error).__name__}{_place(error)}")


def _place(error: Exception) -> str:
    """The innermost line of Python that raised an error."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    module, function = trace.tb_frame.f_globals.get("__name__", "?"), trace.tb_frame.f_code.co_name
    return f" in {module}.{function}, line {trace.tb_lineno}"
