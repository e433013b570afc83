"""Leaves out the rows of erased people, also when a topic is replayed from its beginning.

The check comes before the insert, so a batch that was being recorded during an erasure may still be inserted. An
erasure therefore waits for the recorder and deletes rows afterwards (`deploy/operations/erasure.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from processors.recording.rows import Row, dropped_rows, identity_rows
from schemas.identity.erasure import LetterPlace, Trace
from schemas.outcomes import DropReason

Value = dict[str, Any]


class Erasures(Protocol):
    """Reads the traces of erased people."""

    async def are_erased(self, traces: Sequence[Trace]) -> list[bool]:
        """Return for each trace whether its person, or its dead letter, was erased."""


def person_trace(value: Value) -> Trace:
    """Return the trace of an event, a change of identity, a decision or a step of a journey: its person."""
    profile_id, anchor = value.get("profile_id") or "", value.get("anchor") or ""
    if type(profile_id) is not str or type(anchor) is not str:
        raise TypeError("profile_id or anchor is no text")  # a store would fail on it, and with it the whole batch
    return Trace(profile_id, anchor)


def letter_trace(letter: Value) -> Trace:
    """Return the trace of a dead letter: the place of its record."""
    return Trace(letter=str(LetterPlace(letter["topic"], letter["partition"], letter["offset"])))


def event_remains(event: Value, reason: DropReason = DropReason.ERASED) -> list[Row]:
    """Return the row that counts an event as dropped, an erased person's by default.

    So the accounting stays right: received = stored + dropped + dead letters.
    """
    names = ("event_id", "source", "channel", "received_at")
    return dropped_rows({**{name: event[name] for name in names}, "reason": reason, **event["origin"]})


def change_remains(change: Value) -> list[Row]:
    """Return the rows of the erasure itself; other identity changes of an erased person have none."""
    return identity_rows(change) if change["kind"] == "erase" else []
