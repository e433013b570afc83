"""Journey events: records of topic `journey-events`, with ids that a replay repeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.decisions.decision import Emit
from schemas.identity.resolution import uuid_of
from schemas.segments.conditions import SegmentChange
from schemas.time import text_of_ms
from schemas.topics import JOURNEY_EVENTS


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
    """Return the journey event of a run.

    Args:
        kind: `journey_entered`, `waiting`, `step`, `held` (by a pause), `trait_updated`, `goal`, `exited`,
            `collapsed`; or of an entry that was rejected: `too_late`, `already_over`, `too_many_runs`, `stopped`.
        at_ms: Logical time.
        profile_id: The person.
        run_id: The run.
        run: Its state; the event has its journey, version and key.
        step: Id of the step.
        detail: Further fields.
        event_id: The event that caused it; empty for a timer.
    """
    goal = detail.get("goal", "") if detail and kind == "goal" else ""
    return Emit(
        JOURNEY_EVENTS,
        {
            "id": uuid_of("journey-event", run_id, kind, step, goal),
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
    """Return the event of a person who entered or left a segment."""
    kind = "segment_entered" if change.entered else "segment_left"
    return Emit(
        JOURNEY_EVENTS,
        {
            "id": uuid_of(
                kind,
                profile_id,
                change.segment,
                str(change.at_ms),
                change.definition_version,
                event_id,
                str(change.sequence),
            ),
            "kind": kind,
            "at": text_of_ms(change.at_ms),
            "profile_id": profile_id,
            "segment": change.segment,
            "sequence": change.sequence,
            **({"replaces_before": change.replaces_before} if change.replaces_before else {}),
            "version": change.definition_version,
            "run_id": "",
            "key": "",
            "step": "",
            "detail": {},
            "event_id": event_id,
        },
    )


def all_segments_left(profile_id: str, state: Mapping[str, Any], at_ms: int) -> list[Emit]:
    """Return the events by which a person who expires leaves all segments; they start no journey.

    Args:
        profile_id: The person.
        state: What the decider remembers of the person.
        at_ms: The time, milliseconds since 1970.
    """
    segments = state.get("segments") or {}
    number, at_ms = int(segments.get("changes", 0)), max(at_ms, int(segments.get("at", 0)))
    return [
        segment_event(SegmentChange(name, False, at_ms, str(segments["of"]), number + place), profile_id, "")
        for place, name in enumerate(sorted(segments.get("in") or ()), 1)
    ]
