"""Reads the stored log of identity changes: how a person got their identifiers, and who was erased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from schemas.identity.resolution import NIL_UUID

_CHANGES = """
    SELECT version, kind, toString(profile_id), toString(from_profile_id),
           arrayMap(one -> (toString(one.1), one.2), anchors), event_id, toUnixTimestamp64Milli(occurred_at), rule
    FROM identity_log FINAL
    WHERE profile_id IN {profiles:Array(UUID)} OR from_profile_id IN {profiles:Array(UUID)}
        OR hasAny(anchors.anchor, {members:Array(UUID)})
    ORDER BY version
"""
_MAX_ROUNDS = 100


class LoggedEnd(NamedTuple):
    """A log entry by which a profile has ended.

    Attributes:
        kind: `erase`, or `expire`.
        profile_id: The profile.
        anchors: Its identifiers, as (anchor, type).
        at_ms: Of an erasure, the time up to which events were erased; else when it expired. Milliseconds since 1970.
        version: Version of the log entry.
    """

    kind: str
    profile_id: str
    anchors: tuple[tuple[str, str], ...]
    at_ms: int
    version: int


def has_version(client: Any, version: int) -> bool:
    """Return whether a change is in the log."""
    query = "SELECT count() FROM identity_log WHERE version = {version:UInt64}"
    return bool(client.query(query, parameters={"version": version}).first_row[0])


def last_erasure(client: Any, *, profile_id: str | None = None, anchor: str | None = None) -> LoggedEnd | None:
    """Find the latest erasure of a profile, or of the owner of an anchor."""
    found = read_ends(client, [profile_id] if profile_id else [], [anchor] if anchor else [])
    return next((one for one in reversed(found) if one.kind == "erase"), None)


def read_ends(client: Any, profile_ids: Sequence[str], anchors: Sequence[str]) -> list[LoggedEnd]:
    """Find the profiles with one of these ids or anchors that were erased or have expired, in order."""
    rows = client.query(
        """
        SELECT kind, toString(profile_id), arrayMap(one -> (toString(one.1), one.2), anchors),
            toUnixTimestamp64Milli(occurred_at), version
        FROM identity_log FINAL
        WHERE kind IN ('erase', 'expire') AND rule != 'merged'
            AND (profile_id IN {profiles:Array(UUID)} OR hasAny(anchors.anchor, {anchors:Array(UUID)}))
        ORDER BY version
        """,
        parameters={"profiles": list(profile_ids), "anchors": list(anchors)},
    ).result_rows
    return [
        LoggedEnd(kind, found, tuple((one, named) for one, named in its), at_ms, version)
        for kind, found, its, at_ms, version in rows
    ]


def former_ids(client: Any, profile_id: str) -> set[str]:
    """Return every profile that was merged into this one, directly or through others."""
    people = fresh = {profile_id}
    while fresh:
        rows = client.query(
            "SELECT DISTINCT toString(from_profile_id) FROM identity_log"
            " WHERE kind = 'merge' AND profile_id IN {people:Array(UUID)}",
            parameters={"people": sorted(fresh)},
        ).result_rows
        fresh = {row[0] for row in rows} - people
        people = people | fresh
    return people - {profile_id}


def read_changes(client: Any, profile_id: str, members: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read every change of a profile and of the profiles that were merged into it.

    Args:
        client: Of the deployment's database, as `sinks.clickhouse.client.connect` opens it.
        profile_id: The live profile.
        members: Anchors whose changes are included whatever their profile: those that a split moved.

    Returns:
        Changes in order: `version`, `kind`, `profile_id` and `from_profile_id` (empty: none), `anchors` as (anchor,
        type), `event_id`, `occurred_ms`, `rule`.
    """
    people = {profile_id}
    for _ in range(_MAX_ROUNDS):
        rows = client.query(_CHANGES, parameters={"profiles": sorted(people), "members": list(members)}).result_rows
        merged = {row[3] for row in rows if row[1] == "merge" and row[2] in people}
        if merged <= people:
            break
        people |= merged
    names = ("version", "kind", "profile_id", "from_profile_id", "anchors", "event_id", "occurred_ms", "rule")
    changes = [dict(zip(names, row, strict=True)) for row in rows]
    for change in changes:
        for name in ("profile_id", "from_profile_id"):
            change[name] = change[name].replace(NIL_UUID, "")
        change["anchors"] = [tuple(anchor) for anchor in change["anchors"]]
    return changes
