"""The stage `record`: stores a batch of records as rows of ClickHouse.

    Record ─▶ Built ─▶ rows by table ─▶ outcomes

A record that cannot be stored is rejected; its neighbours are stored. Left out are rows of erased people, and events
that were sent again after weeks (`processors/recording/late_duplicates.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from processors.recording.erasure_filter import Erasures
from processors.recording.late_duplicates import Delivery, forgotten_before, late_keys, later_deliveries
from processors.recording.recorders import Recorder, RowsOf
from processors.recording.rows import Row
from processors.stream.batches import Batch
from processors.stream.ports import Tables
from schemas.dead_letters import Reason
from schemas.identity.erasure import Trace
from schemas.metrics import NO_METER, SOURCE_EVENTS, SOURCE_LAST_EVENT, Meter
from schemas.outcomes import Ok, Outcome, Reject, rejected_for_bug
from schemas.records import Record
from schemas.time import ms_of_text
from schemas.topics import DEAD_LETTERS

SOURCE_LABEL = re.compile(r"[a-z][a-z_.-]{0,39}[0-9]{0,3}", re.IGNORECASE | re.ASCII)
"""The names of sources that metrics show; any other, which may be an address or an id, is `other` there."""
MIN_PAUSE_S = 0.5
MAX_PAUSE_S = 10.0
MAX_LINGERS = 3
"""How many times the shortest linger the longest one is."""

_STORED = Ok(None)
_NO_TRACE = Trace()


class Built(NamedTuple):
    """A record as rows.

    Attributes:
        rows: Its rows, or the rejection.
        trace: The ids of its person, for the check of erasures.
        delivery: The delivery of an event that it is, if it is one.
    """

    rows: list[Row] | Reject
    trace: Trace
    delivery: Delivery | None = None


class Linger:
    """How long the recorders of a worker wait for their inserts to fill: longer, the longer inserts take.

    An insert costs the server some ten milliseconds of CPU time however few rows it has, and a table that few records
    come for costs as much as the others. So all recorders wait as long as the slowest one of them needs for its turns
    to take a tenth of the time; at most `MAX_LINGERS` times as long as they wait on an idle machine.

    Args:
        least_s: The shortest linger, seconds.
    """

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._turn_s = 0.0

    def seconds(self) -> float:
        """Return how long to wait for a batch to fill, in seconds."""
        return min(max(self._least_s, 9 * self._turn_s), MAX_LINGERS * self._least_s)

    def note(self, turn_s: float) -> None:
        """Note how long a recorder has taken for a batch, in seconds: a slow turn counts for some turns to come."""
        self._turn_s = max(turn_s, 0.8 * self._turn_s)


async def store(
    tables: Tables, erasures: Erasures, batch: Batch, recorder: Recorder, meter: Meter = NO_METER
) -> list[Outcome[None]]:
    """Insert the rows of a batch, table by table.

    Args:
        tables: Inserts rows.
        erasures: Reads the traces of erased people.
        batch: The records.
        recorder: How records of their topic are stored.
        meter: Counts the events of each source.

    Returns:
        For each record in order: `Ok` when all its rows are stored or left out, or why one of them cannot be.

    Raises:
        RuntimeError: A dead letter cannot be stored. It must not become another one for ever, so the worker stops.
    """
    built = [_build(record, recorder) for record in batch.records]  # one pass, while a parsed value is in the CPU cache
    if recorder.delivery is not None:
        await _leave_out_duplicates(built, batch.records, recorder, tables)
        await tables.note_source_starts(_source_starts(built))  # before the events: one of them may come again at once
    if recorder.erasure_trace is not None:
        await _leave_out_erased(built, batch.records, recorder, erasures)
    outcomes: list[Outcome[None]] = [_STORED] * len(built)
    by_table: dict[str, tuple[list[bytes], list[int]]] = {}
    for place, (rows, _, _) in enumerate(built):
        if isinstance(rows, Reject):
            outcomes[place] = rows
            continue
        for table, row in rows:
            inserted, places = by_table.setdefault(table, ([], []))
            inserted.append(row)
            places.append(place)
    for table, (inserted, places) in by_table.items():
        for index, message in await tables.insert_all(table, inserted, f"{table}:{batch.token}"):
            outcomes[places[index]] = Reject(Reason.REFUSED_BY_STORE, "", f"{table}: {message}")
    if recorder.delivery is not None:
        _count_sources(built, meter)
    if recorder.topic == DEAD_LETTERS:
        _stop_if_rejected(batch.records, outcomes)
    return outcomes


def snapshot_pause_s(turn_s: float) -> float:
    """Return the pause after a turn of snapshots, in seconds: turns take at most a fifth of the time.

    Never longer than `MAX_PAUSE_S`: the length of a turn that waited for a store says nothing about the load.
    """
    return min(max(MIN_PAUSE_S, 4 * turn_s), MAX_PAUSE_S)


def _build(record: Record, recorder: Recorder) -> Built:
    try:
        value = orjson.loads(record.value or b"")
        trace = _NO_TRACE if recorder.erasure_trace is None else recorder.erasure_trace(value)
        delivery = None if recorder.delivery is None else recorder.delivery(value)
    except Exception as error:  # noqa: BLE001 - a bug costs this record, not its neighbours
        return Built(rejected_for_bug(error), _NO_TRACE)
    return Built(_rows(recorder.rows, value), trace, delivery)


async def _leave_out_duplicates(
    built: list[Built], records: Sequence[Record], recorder: Recorder, tables: Tables
) -> None:
    """Replace the rows of events that were sent again after their marks had expired."""
    deliveries = [one.delivery for one in built]
    keys = late_keys(deliveries)
    if not keys:
        return
    old = await tables.sources_heard_by({source for source, _ in keys}, forgotten_before(deliveries))
    asked = [key for key in keys if key[0] in old]
    recorded = await tables.first_deliveries(asked) if asked else {}
    for place in later_deliveries(deliveries, keys, recorded):
        kept = recorder.rows_of_duplicate
        rows = [] if kept is None else _rows(kept, orjson.loads(records[place].value or b""))
        built[place] = built[place]._replace(rows=rows)


def _source_starts(built: Sequence[Built]) -> dict[str, str]:
    """Return when the first event of each source was received."""
    starts: dict[str, str] = {}
    for source, at in ((one.delivery.key[0], one.delivery.received_at) for one in built if one.delivery is not None):
        if type(source) is str and (source not in starts or at < starts[source]):
            starts[source] = at
    return starts


def _count_sources(built: Sequence[Built], meter: Meter) -> None:
    """Count the events of each source, and note when the last one was received."""
    events: Counter[str] = Counter()
    last: dict[str, str] = {}
    for source, at in ((one.delivery.key[0], one.delivery.received_at) for one in built if one.delivery is not None):
        if type(source) is not str:
            continue
        events[source] += 1
        if at > last.get(source, ""):
            last[source] = at
    for source, number in events.items():
        shown = source if SOURCE_LABEL.fullmatch(source) else "other"
        meter.add(SOURCE_EVENTS, number, shown)
        with suppress(ValueError):  # a time that cannot be read is the stage's to judge
            meter.set(SOURCE_LAST_EVENT, ms_of_text(last[source]) / 1000, shown)


async def _leave_out_erased(
    built: list[Built], records: Sequence[Record], recorder: Recorder, erasures: Erasures
) -> None:
    """Replace the rows of erased people by those that stay."""
    erased = await erasures.are_erased([one.trace for one in built])
    for place, gone in enumerate(erased):
        if gone:
            kept = recorder.rows_kept_after_erasure
            rows = [] if kept is None else _rows(kept, orjson.loads(records[place].value or b""))
            built[place] = built[place]._replace(rows=rows)


def _rows(rows_of: RowsOf, value: dict[str, Any]) -> list[Row] | Reject:
    try:
        return rows_of(value)
    except Exception as error:  # noqa: BLE001 - the same
        return rejected_for_bug(error)


def _stop_if_rejected(letters: Sequence[Record], outcomes: Sequence[Outcome[None]]) -> None:
    for letter, outcome in zip(letters, outcomes, strict=True):
        if isinstance(outcome, Reject):
            raise RuntimeError(f"dead letter {letter.partition}:{letter.offset} cannot be stored: {outcome.message}")
