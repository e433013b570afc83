"""Rows of the decision ledger, of journeys and of segments. Pure functions, as in `processors/recording/rows.py`.

Columns are explained in `sinks/migrations`, 0006 and 0092. No column holds an address or the text of a message.
"""

from __future__ import annotations

from typing import Any

import orjson

from processors.recording.rows import Row
from schemas.json_bytes import json_bytes
from schemas.profiles.verdicts import JUDGED

SEGMENT_KINDS = {"segment_entered": 1, "segment_left": 0}
"""Journey events that are rows of `segment_changes`, and their column `entered`."""

_DECISION = (
    "decision_id", "decided_at", "profile_id", "journey", "journey_version", "run_id", "step", "message", "channel",
    "purpose", "tags", "campaign", "outcome", "gate", "reason", "until", "idempotency_key", "variant", "holdout",
    "propensity", "event_id",
)  # fmt: skip
_VERDICT = ("source", "event_id", "verdict", "at", "profile_id", "anchor", "identity_version")
_JOURNEY_EVENT = ("id", "kind", "at", "profile_id", "journey", "version", "run_id", "key", "step", "event_id")


def decision_rows(value: dict[str, Any]) -> list[Row]:
    """Write one decision.

    Args:
        value: A value of the topic `decisions`, parsed.

    Returns:
        A row of `decisions`. What the decision leaves out takes the column's default.

    Raises:
        KeyError: It has no `decision_id`, so it is no decision.
    """
    row = {name: value[name] for name in _DECISION if value.get(name) is not None}
    row["decision_id"] = value["decision_id"]
    row["gates"] = orjson.dumps(value.get("gates") or []).decode()
    return [("decisions", json_bytes(row))]


def journey_event_rows(value: dict[str, Any]) -> list[Row]:
    """Write one event of a journey or a segment.

    Args:
        value: A value of the topic `journey-events`, parsed.

    Returns:
        A row of `segment_changes` when someone entered or left a segment, of `click_verdicts` when a click was judged,
        else a row of `journey_events`.

    Raises:
        KeyError: It has no `id` or no `kind`, so it is no such event.
    """
    kind = value["kind"]
    if kind in SEGMENT_KINDS:
        change = {
            "change_id": value["id"],
            "segment": value["segment"],
            "changed_at": value["at"],
            "profile_id": value["profile_id"],
            "entered": SEGMENT_KINDS[kind],
            "definition_version": str(value.get("version") or ""),
            "event_id": value.get("event_id") or "",
            "sequence": value.get("sequence") or 0,
            "replaces_before": value.get("replaces_before") or 0,
        }
        return [("segment_changes", json_bytes(change))]
    if kind == JUDGED:
        verdict = {name: value[name] for name in _VERDICT if value.get(name) is not None}
        return [("click_verdicts", json_bytes({**verdict, "is_final": int(value["verdict"] != "held")}))]
    row = {name: value[name] for name in _JOURNEY_EVENT if value.get(name) is not None}
    row["id"] = value["id"]
    row["detail"] = orjson.dumps(value.get("detail") or {}).decode()
    return [("journey_events", json_bytes(row))]
