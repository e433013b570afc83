"""What journeys say about themselves: rows of topic `journey-events`, with ids that a replay repeats."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from schemas.decisions.decision import Emit
from schemas.identity.resolution import uuid_text
from schemas.segments.conditions import SegmentChange
from schemas.time import text_of_ms
from schemas.topics import JOURNEY_EVENTS


def identity(*parts: str) -> str:
    """Derive an id: the same parts always give the same one."""
    return uuid_text(blake2b("\0".join(parts).encode(), digest_size=16).digest())


def journey_event(
    kind: str,
    at_ms: int,
    profile_id: str,
    run_id: str,
    run: dict[str, Any],
    *,
    step: str = "",
    detail: dict[str, Any] | None = None,
    event_id: str = "",
) -> Emit:
    """Say what happened in a run.

    Args:
        kind: `journey_entered`, `waiting`, `step`, `trait_updated`, `goal`, `exited`, `collapsed`; or of a run that
            never was: `too_late`, `already_over`, `too_many_runs`.
        at_ms: Logical time.
        profile_id: The person.
        run_id: The run.
        run: Its state, of which journey, version and key are told.
        step: The step that it is about.
        detail: What else there is to tell.
        event_id: The event that caused it; empty for a timer.
    """
    what = detail.get("goal", "") if detail and kind == "goal" else ""
    return Emit(
        JOURNEY_EVENTS,
        {
            "id": identity("journey-event", run_id, kind, step, what),
            "kind": kind,
            "at": text_of_ms(at_ms),
            "profile_id": profile_id,
            "journey": run["journey"],
            "version": run["version"],
            "run_id": run_id,
            "key": run["key"],
            "step": step,
            "detail": detail or {},
            "event_id": event_id,
        },
    )


def segment_event(change: SegmentChange, profile_id: str, event_id: str) -> Emit:
    """Say that a person entered or left a segment."""
    kind = "segment_entered" if change.entered else "segment_left"
    return Emit(
        JOURNEY_EVENTS,
        {
            "id": identity(kind, profile_id, change.segment, str(change.at_ms), change.definition_version, event_id),
            "kind": kind,
            "at": text_of_ms(change.at_ms),
            "profile_id": profile_id,
            "segment": change.segment,
            "version": change.definition_version,
            "run_id": "",
            "key": "",
            "step": "",
            "detail": {},
            "event_id": event_id,
        },
    )
