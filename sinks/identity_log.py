"""Reads the stored log of identity changes: why a person has these identifiers."""

from __future__ import annotations

from typing import Any

_CHANGES = """
    SELECT version, kind, toString(profile_id), toString(from_profile_id),
           arrayMap(one -> (toString(one.1), one.2), anchors), event_id, toUnixTimestamp64Milli(occurred_at), rule
    FROM identity_log FINAL
    WHERE profile_id IN {profiles:Array(UUID)} OR from_profile_id IN {profiles:Array(UUID)}
    ORDER BY version
"""
_NOBODY = "00000000-0000-0000-0000-000000000000"
_MOST_ROUNDS = 100


def read_changes(client: Any, profile_id: str) -> list[dict[str, Any]]:
    """Read every change that made a profile what it is, those of the profiles that were merged into it included.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.connect` opens it.
        profile_id: The live profile.

    Returns:
        Changes in order: `version`, `kind`, `profile_id`, `from_profile_id` (empty: none), `anchors` as (UUID's text,
        type), `event_id`, `occurred_ms`, `rule`.
    """
    people = {profile_id}
    for _ in range(_MOST_ROUNDS):
        rows = client.query(_CHANGES, parameters={"profiles": sorted(people)}).result_rows
        merged = {row[3] for row in rows if row[1] == "merge" and row[2] in people}
        if merged <= people:
            break
        people |= merged
    names = ("version", "kind", "profile_id", "from_profile_id", "anchors", "event_id", "occurred_ms", "rule")
    changes = [dict(zip(names, row, strict=True)) for row in rows]
    for change in changes:
        change["from_profile_id"] = change["from_profile_id"].replace(_NOBODY, "")
        change["anchors"] = [tuple(anchor) for anchor in change["anchors"]]
    return changes
