"""Deletes a person from ClickHouse: from every table that names a person, also of later migrations.

A table names a person if it has a column `profile_id`. With an `anchor` beside it, its rows follow merges and splits,
as they do in the views. Three things stay: the log entries of the erasure and of identifiers that had
passed to other people (ids and keyed hashes only), and the `gone` row of the profile in `profiles`.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from schemas.identity.erasure import LetterPlace
from schemas.identity.resolution import NIL_UUID

IDENTITY_LOG, OVERRIDES, PROFILES = "identity_log", "identity_overrides", "profiles"

_SYNCHRONOUS = {"mutations_sync": 2}  # return when every replica has deleted
_KEYS_AT_ONCE = 1_000
_OWNER_CONDITION = (
    "if(transform(toString(anchor), {{moved:Array(String)}}, {{versions:Array(UInt64)}}, toUInt64(0)) > {version},"
    " toString(anchor) IN {{mine:Array(String)}}, profile_id IN {{people:Array(UUID)}})"
)
_OWN_CONDITIONS = {
    # What others got from the person stays: without it, a rebuild would not know whose those identifiers are.
    IDENTITY_LOG: "(profile_id IN {people:Array(UUID)} OR (from_profile_id IN {people:Array(UUID)}"
    f" AND (kind NOT IN ('transfer', 'split') OR profile_id = '{NIL_UUID}'))) AND kind != 'erase'",
    OVERRIDES: "profile_id IN {people:Array(UUID)}",
    PROFILES: "profile_id IN {people:Array(UUID)} AND NOT is_deleted",
}
_STORED_EVENTS = "outcome = 'stored' AND (source, event_id) IN {events:Array(Tuple(String, String))}"
_FORGOTTEN = (
    ("arrivals", _STORED_EVENTS),
    (
        "event_deliveries",
        "event_hash IN (SELECT cityHash64(one.1, one.2) FROM"
        " (SELECT arrayJoin({events:Array(Tuple(String, String))}) AS one))",
    ),
)
"""What names events of a person and not the person, and the condition by which it is deleted."""
_DELETED_LAST = (IDENTITY_LOG, OVERRIDES)  # the conditions of other tables read them


@dataclass(frozen=True, slots=True)
class PersonRows:
    """The rows of a person.

    Attributes:
        conditions: Table → SQL condition; the tables that other conditions depend on come last.
        parameters: Parameters of the conditions.
    """

    conditions: dict[str, str]
    parameters: dict[str, Any]


def person_rows(client: Any, profile_ids: Iterable[str]) -> PersonRows:
    """Return the rows of a person.

    Args:
        client: Of the deployment's database.
        profile_ids: The person's profile id and all former ones.
    """
    people = sorted(profile_ids)
    overrides = client.query(
        """
        SELECT toString(anchor), version, profile_id IN {people:Array(UUID)} FROM identity_overrides FINAL
        WHERE profile_id IN {people:Array(UUID)}
            OR anchor IN (SELECT anchor FROM touchpoints WHERE profile_id IN {people:Array(UUID)})
        """,
        parameters={"people": people},
    ).result_rows
    parameters = {
        "people": people,
        "moved": [anchor for anchor, _, _ in overrides],
        "versions": [version for _, version, _ in overrides],
        "mine": [anchor for anchor, _, mine in overrides if mine],
    }
    conditions = {}
    for table, columns in _tables(client):
        if table in _OWN_CONDITIONS:
            conditions[table] = _OWN_CONDITIONS[table]
        elif "anchor" in columns:
            conditions[table] = _OWNER_CONDITION.format(
                version="identity_version" if "identity_version" in columns else 0
            )
        else:
            conditions[table] = "profile_id IN {people:Array(UUID)}"
    ordered = sorted(conditions, key=lambda table: (table in _DELETED_LAST, table))
    return PersonRows({table: conditions[table] for table in ordered}, parameters)


def count_rows(client: Any, rows: PersonRows) -> dict[str, int]:
    """Count a person's rows, table by table."""
    return {
        table: int(client.query(f"SELECT count() FROM {table} WHERE {condition}", rows.parameters).first_row[0])  # noqa: S608
        for table, condition in rows.conditions.items()
    }


def delete_rows(client: Any, rows: PersonRows) -> dict[str, int]:
    """Delete a person's rows from the disks of all replicas, and the rows of `arrivals` that they made.

    Returns:
        Table → number of deleted rows; tables without any are left out.
    """
    deleted: dict[str, int] = {}
    for table, condition in rows.conditions.items():
        found = count_rows(client, PersonRows({table: condition}, rows.parameters))[table]
        if not found:
            continue
        after = _unlinker(client, condition, rows.parameters) if table == "touchpoints" else None
        client.command(f"ALTER TABLE {table} DELETE WHERE {condition}", rows.parameters, settings=_SYNCHRONOUS)
        deleted[table] = found
        if after:
            deleted |= after()
    return deleted


def _unlinker(client: Any, condition: str, parameters: dict[str, Any]) -> Callable[[], dict[str, int]]:
    """Read the arrivals of a person's events; return a function that deletes them after the events.

    The accounting stays right: the events count as suppressed from then on, also if they are delivered again.
    """
    query = f"SELECT DISTINCT source, event_id FROM touchpoints WHERE {condition}"  # noqa: S608 - fixed texts
    events = sorted(map(tuple, client.query(query, parameters).result_rows))

    def unlink() -> dict[str, int]:
        for part in _parts(events):
            client.command(
                "INSERT INTO arrivals SELECT topic, partition, offset, 'suppressed', '', source, received_at"  # noqa: S608
                f" FROM arrivals FINAL WHERE {_STORED_EVENTS}",
                {"events": part},
            )
            for table, condition in _FORGOTTEN:
                client.command(f"ALTER TABLE {table} DELETE WHERE {condition}", {"events": part}, settings=_SYNCHRONOUS)
        return {"arrivals": len(events)}

    return unlink


def find_letters(client: Any, texts: Iterable[str]) -> Iterator[tuple[LetterPlace, bytes, bytes]]:
    """Read the dead letters whose key or value contains one of these texts, in any case: place, key and value."""
    needles = sorted({text for text in texts if text})
    if not needles:
        return
    query = """
        SELECT topic, partition, offset, key_base64, value_base64 FROM dead_letters FINAL
        WHERE arrayExists(
            text -> positionCaseInsensitiveUTF8(
                concat(tryBase64Decode(key_base64), ' ', tryBase64Decode(value_base64)), text
            ) > 0,
            {texts:Array(String)}
        )
    """
    for topic, partition, offset, key, value in client.query(query, {"texts": needles}).result_rows:
        yield LetterPlace(topic, partition, offset), b64decode(key), b64decode(value)


def delete_letters(client: Any, places: Iterable[LetterPlace]) -> int:
    """Delete dead letters; return the number of deleted rows."""
    deleted = 0
    for part in _parts(sorted(places)):
        parameters = {"places": [tuple(place) for place in part]}
        condition = "(topic, partition, offset) IN {places:Array(Tuple(String, Int32, Int64))}"
        deleted += int(client.query(f"SELECT count() FROM dead_letters WHERE {condition}", parameters).first_row[0])  # noqa: S608
        client.command(f"ALTER TABLE dead_letters DELETE WHERE {condition}", parameters, settings=_SYNCHRONOUS)
    return deleted


def _tables(client: Any) -> list[tuple[str, set[str]]]:
    """List the tables (no views) with a column `profile_id`, and the names of their columns."""
    rows = client.query(
        """
        SELECT table, groupArray(name) FROM system.columns
        WHERE database = currentDatabase()
            AND table IN (
                SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'
            )
        GROUP BY table HAVING has(groupArray(name), 'profile_id')
        """
    ).result_rows
    return [(table, set(columns)) for table, columns in rows]


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _KEYS_AT_ONCE):
        yield items[start : start + _KEYS_AT_ONCE]
