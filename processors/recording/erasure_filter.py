"""What the recorder leaves out: rows of people who were erased, also when a topic is replayed from its beginning.

The check comes before the insert, so a batch that was under way during an erasure may still land; who erases waits for
the recorder first and deletes afterwards (`deploy/operations/erasure.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from processors.recording.rows import Row, dropped_rows, identity_rows
from schemas.identity.erasure import LetterPlace, Trace

Value = dict[str, Any]


class Erasures(Protocol):
    """Knows what was erased."""

    async def erased(self, traces: Sequence[Trace]) -> list[bool]:
        """Say for each trace whether it is of somebody, or a dead letter, that was erased since."""


def person_trace(value: Value) -> Trace:
    """Of a record that names a person: an event, a change of identity, a decision, a step of a journey."""
    return Trace(value.get("profile_id") or "", value.get("anchor") or "")


def letter_trace(letter: Value) -> Trace:
    """Of a dead letter."""
    return Trace(letter=str(LetterPlace(letter["topic"], letter["partition"], letter["offset"])))


def no_trace(_: Value) -> Trace:
    """Of a record that names nobody."""
    return Trace()


def event_remains(event: Value) -> list[Row]:
    """Say of an erased person's event that it was suppressed: the accounting has to know what became of it."""
    names = ("event_id", "source", "channel", "received_at")
    return dropped_rows({**{name: event[name] for name in names}, "reason": "erased", **event["origin"]})


def change_remains(change: Value) -> list[Row]:
    """Of the changes of an erased person, keep the erasure itself."""
    return identity_rows(change) if change["kind"] == "erase" else []


def nothing_remains(_: Value) -> list[Row]:
    """Keep nothing."""
    return []
