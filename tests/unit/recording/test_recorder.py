"""What the recorder stores of a batch, and what it leaves out because its person was erased."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, cast

import orjson
import pytest

from processors.recording.erasure_filter import (
    change_remains,
    event_remains,
    letter_trace,
    person_trace,
)
from processors.recording.late_duplicates import EventKey, delivery
from processors.recording.recorders import Recorder, recorders
from processors.recording.rows import Row, dead_letter_rows, dropped_rows, identity_rows
from processors.recording.stage import Linger, snapshot_pause_s, store
from processors.recording.touch_rules import TouchRules
from processors.stream.batches import Batch
from schemas.dead_letters import Reason
from schemas.durations import DAY_MS
from schemas.identity.erasure import Trace
from schemas.outcomes import Ok, Reject
from schemas.records import Headers
from schemas.time import ms_of_text, ms_of_time
from schemas.topics import DEAD_LETTERS
from tests.support.builders import DAY_ONE
from tests.support.warehouse import instant, merged, person, resolved

GONE = Trace(person(1), person(10), "touchpoints.web/0/7")


class Arrived(NamedTuple):
    value: bytes
    offset: int
    topic: str = "a-topic"
    partition: int = 0
    timestamp: int = 0
    key: bytes = b""
    headers: Headers = ()


class Tables:
    """Keeps every row."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Any]] = []
        self.recorded: dict[EventKey, int] = {}
        self.starts: dict[str, int] = {}
        self.asked: list[list[EventKey]] = []
        self.noted: list[dict[str, str]] = []

    async def insert_all(self, table: str, rows: Sequence[bytes], token: str) -> list[tuple[int, str]]:
        self.rows += [(table, orjson.loads(row)) for row in rows]
        return []

    async def note_source_starts(self, starts: Mapping[str, str]) -> None:
        self.noted.append(dict(starts))

    async def sources_heard_by(self, sources: Collection[str], received_ms: int) -> set[str]:
        return {one for one in sources if one in self.starts and self.starts[one] <= received_ms}

    async def first_deliveries(self, events: Sequence[EventKey]) -> dict[EventKey, int]:
        self.asked.append(list(events))
        return {key: found for key, found in self.recorded.items() if key in events}


class Erasures:
    """Knows of one profile, its anchors and one dead letter that they were erased."""

    async def are_erased(self, traces: Sequence[Trace]) -> list[bool]:
        return [
            trace.anchor in (GONE.anchor, GONE.profile_id)
            if trace.anchor
            else trace.profile_id == GONE.profile_id or trace.letter == GONE.letter
            for trace in traces
        ]


class OneBatch:
    token = "t"

    def __init__(self, values: Sequence[bytes]) -> None:
        self.records = [Arrived(value, offset) for offset, value in enumerate(values)]


async def stored(
    values: Sequence[Any],
    build: Callable[[dict[str, Any]], list[Row]],
    trace: Callable[[dict[str, Any]], Trace] | None,
    remains: Callable[[dict[str, Any]], list[Row]] | None = None,
) -> tuple[list[tuple[str, Any]], int]:
    """The rows that a batch became, and how many of its records were refused."""
    tables = Tables()
    batch = OneBatch([value if isinstance(value, bytes) else orjson.dumps(value) for value in values])
    outcomes = await store(tables, Erasures(), cast(Batch, batch), Recorder("a-topic", build, trace, remains))
    assert len(values) == len(outcomes)
    return tables.rows, sum(isinstance(outcome, Reject) for outcome in outcomes)


def as_row(event: dict[str, Any]) -> list[Row]:
    return [("touchpoints", orjson.dumps({"event_id": event["event_id"]}))]


async def test_events_of_erased_people_are_suppressed_with_their_place_in_the_log() -> None:
    mine, theirs = resolved("mine", 1, DAY_ONE), resolved("theirs", 2, DAY_ONE)
    left_with_a_split = {**resolved("moved", 2, DAY_ONE), "anchor": GONE.anchor}
    rows, refused = await stored([mine, theirs, left_with_a_split], as_row, person_trace, event_remains)

    assert ([("touchpoints", "theirs"), ("dropped_touchpoints", "mine"), ("dropped_touchpoints", "moved")], 0) == (
        sorted([(table, row["event_id"]) for table, row in rows], key=lambda row: (row[0] != "touchpoints", row[1])),
        refused,
    )
    dropped = dict(rows)["dropped_touchpoints"]
    assert ("erased", "touchpoints.web", "web") == (dropped["reason"], dropped["topic"], dropped["channel"])


async def test_an_event_about_nobody_is_stored() -> None:
    rows, _ = await stored([resolved("price", None, DAY_ONE)], as_row, person_trace, event_remains)

    assert [("touchpoints", {"event_id": "price"})] == rows


async def test_of_an_erased_persons_changes_the_erasure_itself_stays() -> None:
    changes = [merged(1, 1, [10]), merged(2, 1, [10], kind="erase"), merged(3, 2, [20])]
    rows, _ = await stored(changes, identity_rows, person_trace, change_remains)

    assert [2, 3] == [row["version"] for table, row in rows if table == "identity_log"]
    assert [person(20)] == [row["anchor"] for table, row in rows if table == "identity_overrides"]


async def test_an_erased_dead_letter_stays_away() -> None:
    letters = [{"topic": "touchpoints.web", "partition": 0, "offset": offset} for offset in (6, 7)]
    rows, _ = await stored(letters, dead_letter_rows, letter_trace)

    assert [6] == [row["offset"] for _, row in rows]


async def test_what_is_not_ours_costs_no_neighbour_its_row() -> None:
    rows, refused = await stored([b"{", b"[]", {"event_id": "e1"}], dropped_rows, person_trace)

    assert ([("dropped_touchpoints", {"event_id": "e1"})], 2) == (rows, refused)


@pytest.mark.parametrize("name", ["profile_id", "anchor"])
async def test_a_person_of_another_form_costs_no_neighbour_its_row(name: str) -> None:
    rows, refused = await stored([{"event_id": "e1", name: {"shard": 7}}, {"event_id": "e2"}], as_row, person_trace)

    assert ([("touchpoints", {"event_id": "e2"})], 1) == (rows, refused)


async def test_records_that_name_nobody_are_not_asked_about() -> None:
    rows, _ = await stored([{"profile_id": GONE.profile_id}], dropped_rows, None)

    assert [("dropped_touchpoints", {"profile_id": GONE.profile_id})] == rows


def test_snapshots_take_a_fifth_of_the_time_and_an_outage_does_not_stop_them_for_long() -> None:
    assert [0.5, 0.5, 4.0, 10.0, 10.0] == [snapshot_pause_s(turn_s) for turn_s in (0.0, 0.1, 1.0, 2.5, 300.0)]


async def test_the_start_of_each_source_is_noted_whatever_else_is_in_the_batch() -> None:
    tables = Tables()
    events = [
        resolved("b", 1, DAY_ONE + timedelta(days=1), source="till"),
        resolved("a", 1, DAY_ONE, source="till"),
        resolved("c", 1, DAY_ONE, source="shop"),
        resolved("odd", 1, DAY_ONE, source={"name": "till"}),
    ]
    batch = OneBatch([*map(orjson.dumps, events), b"{"])
    await store(tables, Erasures(), cast(Batch, batch), Recorder("a-topic", as_row, delivery=delivery))

    assert [{"till": events[1]["received_at"], "shop": events[2]["received_at"]}] == tables.noted


@pytest.mark.parametrize(
    ("turn_s", "linger_s"),
    [
        pytest.param(0.05, 1.0, id="a quick insert waits no longer"),
        pytest.param(0.2, 1.8, id="a slow one takes a tenth of the time"),
        pytest.param(60.0, 3.0, id="an outage does not keep rows back"),
    ],
)
def test_recorders_wait_for_larger_inserts_while_inserts_are_slow(turn_s: float, linger_s: float) -> None:
    linger = Linger(1.0)
    linger.note(turn_s)

    assert pytest.approx(linger_s) == linger.seconds()


def test_a_slow_insert_is_forgotten_after_some_quick_ones() -> None:
    linger = Linger(1.0)
    linger.note(0.4)
    linger.note(0.01)  # of another recorder
    soon = linger.seconds()
    for _ in range(7):
        linger.note(0.01)

    assert (2.88, 1.0) == (round(soon, 9), linger.seconds())


def late(event_id: str, source: str) -> bytes:
    """An event of day one that comes after eight days."""
    return orjson.dumps(resolved(event_id, 1, DAY_ONE, source=source, received_at=instant(DAY_ONE + timedelta(days=8))))


async def recorded_events(tables: Tables, *values: bytes) -> list[str]:
    """Record a batch; return the ids of the events that are stored, each with its day of arrival."""
    recorder = Recorder("a-topic", lambda event: [("touchpoints", orjson.dumps(event))], delivery=delivery)
    await store(tables, Erasures(), cast(Batch, OneBatch(values)), recorder)
    first = ms_of_time(DAY_ONE)
    return [f"{row['event_id']}+{(ms_of_text(row['received_at']) - first) // DAY_MS}" for _, row in tables.rows]


async def test_only_late_events_of_sources_that_were_heard_long_ago_are_looked_up() -> None:
    tables = Tables()
    day_one = ms_of_time(DAY_ONE)
    tables.starts = {"till": day_one, "phone": day_one + 2 * DAY_MS, "tablet": day_one + 2 * DAY_MS + 1}
    tables.recorded = {("till", "e1"): day_one}

    assert ["e1+8", "e2+8", "e2+8", "e1+8"] == await recorded_events(
        tables, late("e1", "till"), late("e1", "new"), late("e2", "phone"), late("e2", "tablet"), late("e1", "phone")
    )
    assert [[("till", "e1"), ("phone", "e2"), ("phone", "e1")]] == tables.asked


async def test_of_two_deliveries_in_one_batch_the_first_stays_though_their_source_is_new() -> None:
    first = orjson.dumps(resolved("e1", 1, DAY_ONE, source="till"))
    tables = Tables()

    assert ["e1+0"] == await recorded_events(tables, late("e1", "till"), first)
    assert [] == tables.asked


@pytest.mark.parametrize("question", ["sources_heard_by", "first_deliveries"])
async def test_nothing_is_stored_of_a_batch_that_cannot_be_looked_up(
    question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise ConnectionError

    tables = Tables()
    tables.starts = {"till": 0}
    monkeypatch.setattr(tables, question, fails)

    with pytest.raises(ConnectionError):
        await recorded_events(tables, late("e1", "till"))
    assert [] == tables.rows


class Picky(Tables):
    """Refuses rows of one event, in every table."""

    async def insert_all(self, table: str, rows: Sequence[bytes], token: str) -> list[tuple[int, str]]:
        await super().insert_all(table, rows, token)
        return [(index, "no such date") for index, row in enumerate(rows) if orjson.loads(row)["event_id"] == "bad"]


def in_two_tables(event: dict[str, Any]) -> list[Row]:
    row = orjson.dumps({"event_id": event["event_id"]})
    return [("touchpoints", row), ("conversions", row)]


async def test_a_record_of_which_two_rows_are_refused_has_one_outcome() -> None:
    batch = OneBatch([orjson.dumps({"event_id": name}) for name in ("good", "bad", "fine")])
    outcomes = await store(Picky(), Erasures(), cast(Batch, batch), Recorder("a-topic", in_two_tables))

    assert Ok(None) == outcomes[0] == outcomes[2]
    assert Reject(Reason.REFUSED_BY_STORE, "", "conversions: no such date") == outcomes[1]


async def test_a_dead_letter_that_cannot_be_stored_stops_the_worker() -> None:
    with pytest.raises(RuntimeError, match="dead letter 0:0 cannot be stored: "):
        await store(Tables(), Erasures(), cast(Batch, OneBatch([b"{"])), Recorder(DEAD_LETTERS, dead_letter_rows))


def test_every_topic_of_outcomes_is_recorded_once() -> None:
    recorded = [recorder.topic for recorder in recorders(cast(TouchRules, None))]

    assert {
        "resolved-touchpoints", "identity-changes", "dropped-touchpoints", "dead-letters", "decisions",
        "journey-events",
    } == set(recorded)  # fmt: skip
    assert len(recorded) == len(set(recorded))
