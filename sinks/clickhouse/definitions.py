"""The history of what was in force: published definitions, pauses and stops, broadcasts that were started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from schemas.journeys.control import DefinitionChange
from schemas.time import ms_of_time, time_of_ms
from sinks.clickhouse.client import without_deduplication

_COLUMNS = ["number", "changed_at", "changed_by", "kind", "journeys", "version", "detail", "files"]


def insert_change(client: Any, change: DefinitionChange) -> None:
    """Store a change; the same one again replaces it.

    Args:
        client: A clickhouse-connect client, connected to the product's database.
        change: The change.
    """
    row = [change.number, time_of_ms(change.at_ms), change.by, change.kind, list(change.journeys), change.version]
    detail = orjson.dumps(dict(change.detail)).decode() if change.detail else ""
    rows = [[*row, detail, dict(change.files)]]
    client.insert("definition_changes", rows, column_names=_COLUMNS, settings=without_deduplication())


def read_changes(client: Any) -> list[DefinitionChange]:
    """Return all changes without their files, the last one first."""
    found = client.query(
        f"SELECT {', '.join(_COLUMNS[:-1])} FROM definition_changes FINAL ORDER BY number DESC"  # noqa: S608
    ).result_rows
    return [
        DefinitionChange(
            number,
            ms_of_time(at),
            by,
            kind,
            tuple(journeys),
            version,
            detail=orjson.loads(detail) if detail else {},
        )
        for number, at, by, kind, journeys, version, detail in found
    ]


def read_files(client: Any, version: str) -> dict[str, str] | None:
    """Return the files of a version, path → text; None: it was never published."""
    found = client.query(
        "SELECT files FROM definition_changes FINAL WHERE version = {version:String} AND notEmpty(files)"
        " ORDER BY number DESC LIMIT 1",
        {"version": version},
    ).result_rows
    return dict(found[0][0]) if found else None


def read_people_under_way(client: Any, journey: str) -> Iterator[str]:
    """Yield the ids of people with a run of a journey under way, as far as it is recorded yet."""
    query = (
        "SELECT DISTINCT toString(profile_id) FROM v_journey_runs WHERE journey = {journey:String} AND ended_at IS NULL"
    )
    with client.query_rows_stream(query, {"journey": journey}) as rows:
        for (profile_id,) in rows:
            yield profile_id


def read_runs_under_way(client: Any) -> dict[str, dict[str, int]]:
    """Return how many runs are under way: journey → step → runs."""
    found: dict[str, dict[str, int]] = {}
    query = "SELECT journey, step, count() FROM v_journey_runs WHERE ended_at IS NULL GROUP BY journey, step"
    for journey, step, runs in client.query(query).result_rows:
        found.setdefault(journey, {})[step] = runs
    return found
