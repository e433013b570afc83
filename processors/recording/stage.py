"""Storing a batch: records become rows, rows go to their tables, and what cannot be stored becomes a dead letter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from processors.recording.erasure_filter import Erasures, no_trace
from processors.recording.rows import Row
from processors.stream.batches import Batch
from processors.stream.ports import Tables
from schemas.dead_letters import Reason, dead_letter
from schemas.identity.erasure import Trace
from schemas.records import Outgoing, Record
from schemas.topics import DEAD_LETTERS

SHORTEST_REST_S = 0.5
LONGEST_REST_S = 10.0

Build = Callable[[dict[str, Any]], list[Row]]
"""Makes the rows of a record's value."""


async def store(
    tables: Tables, erasures: Erasures, batch: Batch, build: Build, trace: Callable[[dict[str, Any]], Trace],
    remains: Build,
) -> list[Outgoing]:  # fmt: skip
    """Insert the rows of a batch, table by table; of an erased person, what `remains`.

    Returns:
        Dead letters for what the store refuses; a refused row never takes its neighbours with it.
    """
    built: list[tuple[Record, list[Row] | Exception]] = []  # one pass, while what a record says is at hand
    traces: list[Trace] = []
    refused: list[Outgoing] = []
    for record in batch.records:
        try:
            value = orjson.loads(record.value or b"")
            traces.append(trace(value))
        except Exception as error:  # noqa: BLE001 - a bug costs this record its way, not its neighbours theirs
            refused.append(_refuse(record, "record", Reason.BUG, f"{type(error).__name__}: {error}"))
        else:
            built.append((record, _rows(build, value)))
    erased = [False] * len(built) if trace is no_trace else await erasures.erased(traces)
    by_table: dict[str, tuple[list[bytes], list[Record]]] = {}
    for (record, rows), gone in zip(built, erased, strict=True):
        if gone:
            rows = _rows(remains, orjson.loads(record.value or b""))
        if isinstance(rows, Exception):
            refused.append(_refuse(record, "record", Reason.BUG, f"{type(rows).__name__}: {rows}"))
            continue
        for table, row in rows:
            into, origins = by_table.setdefault(table, ([], []))
            into.append(row)
            origins.append(record)
    for table, (into, origins) in by_table.items():
        for index, message in await tables.insert_all(table, into, f"{table}:{batch.token}"):
            refused.append(_refuse(origins[index], "record", Reason.REFUSED_BY_STORE, f"{table}: {message}"))
    return refused


def rest_after(turn_s: float) -> float:
    """How long to rest after a turn of snapshots, in seconds, so that they take at most a fifth of the time.

    Never longer than `LONGEST_REST_S`: a turn that sat out an outage of the store is no measure of the load.
    """
    return min(max(SHORTEST_REST_S, 4 * turn_s), LONGEST_REST_S)


def _rows(build: Build, value: dict[str, Any]) -> list[Row] | Exception:
    try:
        return build(value)
    except Exception as error:  # noqa: BLE001 - the same
        return error


def _refuse(record: Record, stage: str, reason: Reason, message: str) -> Outgoing:
    if record.topic.endswith(DEAD_LETTERS):
        # A dead letter that cannot be stored must not become another one, for ever: stop and let someone look.
        raise RuntimeError(f"dead letter {record.partition}:{record.offset} cannot be stored: {message}")
    return dead_letter(record, stage, reason, message)
