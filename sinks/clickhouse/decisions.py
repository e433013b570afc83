"""Reads the decisions, journey events and segment changes of one person."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from schemas.time import text_of_time

_DECISIONS = (
    "decision_id", "decided_at", "journey", "journey_version", "run_id", "step", "message", "channel", "purpose",
    "tags", "campaign", "outcome", "gate", "reason", "until", "idempotency_key", "variant", "holdout", "propensity",
    "gates", "event_id",
)  # fmt: skip
_EVENTS = ("id", "kind", "at", "journey", "version", "run_id", "key", "step", "detail", "event_id")
_PERSON_FILTER = "WHERE profile_id = {person:UUID}"


def read_decisions(client: Any, profile_id: str) -> list[dict[str, Any]]:
    """Read every decision about a person, in order of time.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        profile_id: The live profile; decisions about profiles that were merged into it are included.

    Returns:
        Rows of the topic `decisions`, with `gates` as JSON.
    """
    query = f"SELECT {', '.join(_DECISIONS)} FROM v_decisions {_PERSON_FILTER} ORDER BY decided_at, decision_id"  # noqa: S608
    return _rows(client, query, _DECISIONS, profile_id)


def read_journey_events(client: Any, profile_id: str) -> list[dict[str, Any]]:
    """Read the journey events and segment changes of a person, in order of time.

    Returns:
        Rows of the topic `journey-events`, with `detail` as JSON.
    """
    query = f"SELECT {', '.join(_EVENTS)} FROM v_journey_events {_PERSON_FILTER}"  # noqa: S608
    found = _rows(client, query, _EVENTS, profile_id)
    changes = """
        SELECT change_id, if(entered, 'segment_entered', 'segment_left'), changed_at, segment, definition_version,
            event_id, sequence
        FROM v_segment_changes
    """
    names = ("id", "kind", "at", "segment", "version", "event_id", "sequence")
    found += _rows(client, f"{changes} {_PERSON_FILTER}", names, profile_id)
    return sorted(found, key=lambda row: (row["at"], row.get("sequence", 0), row["id"]))


def _rows(client: Any, query: str, names: tuple[str, ...], profile_id: str) -> list[dict[str, Any]]:
    rows = client.query(query, {"person": profile_id}).result_rows
    return [{name: _plain(name, value) for name, value in zip(names, row, strict=True)} for row in rows]


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return text_of_time(value)
    return str(value) if name in ("decision_id", "id") else value
