"""An event is its source and its id, on the real stores: from the producers' records to the rows of the history."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, cast

import orjson
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.definition_files import touch_rules
from deploy.settings import Settings
from processors.identity.stage import Identify
from processors.recording.recorders import Recorder, recorders
from processors.recording.stage import store
from processors.stream.batches import Batch
from processors.stream.routing import route
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.identity.policy import IdentityPolicy
from schemas.outcomes import Ok
from schemas.records import Headers, Outgoing
from schemas.time import ms_of_time
from schemas.topics import RESOLVED_TOUCHPOINTS
from sinks.clickhouse.client import ClickHouseSink, connect
from sinks.clickhouse.migrate import migrate, migrations
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.keys import patterns
from tests.support.warehouse import Warehouse, warehouse

pytestmark = pytest.mark.integration

ARRIVAL = ms_of_time(datetime(2026, 11, 20, 12, 0, 1, tzinfo=UTC))
SALE = {
    "event_id": "17", "event": "Order Completed", "channel": "store", "source": "pos",
    "occurred_at": "2026-11-20T10:00:00Z", "identifiers": {"loyalty_id": "L-1"},
    "properties": {"order_id": "T-17", "revenue": "20.00", "currency": "EUR"},
}  # fmt: skip
CALL = {
    "event_id": "17", "event": "Call Ended", "channel": "call_center", "source": "pbx",
    "occurred_at": "2026-11-20T12:00:00Z", "identifiers": {"phone": "+4915112345678"}, "properties": {"duration_s": 90},
}  # fmt: skip
OPENED = {
    "event_id": "q-1", "event": "Application Opened", "channel": "app", "source": "phone",
    "identifiers": {"anonymous_id": "ph-1"},
}  # fmt: skip
FIRST = OPENED | {"occurred_at": "2026-10-31T23:59:59.900Z"}, datetime(2026, 11, 1, 0, 0, 0, 50_000, tzinfo=UTC)
RESENT = OPENED | {"occurred_at": "2026-11-01T00:00:00.100Z"}, datetime(2026, 11, 21, 0, 0, 0, 350_000, tzinfo=UTC)


class Arrived(NamedTuple):
    topic: str
    offset: int
    timestamp: int
    value: bytes
    partition: int = 0
    key: bytes = b""
    headers: Headers = ()


class OneBatch(NamedTuple):
    records: Sequence[Arrived]
    token: str


class Stages:
    """The stages identify and record, on real stores.

    Attributes:
        tables: The history.
        sink: Writes it.
        recorders: The recorded topics.
        log: Every record that was published, by topic.
    """

    def __init__(self, settings: Settings, redis: Redis, tables: Warehouse) -> None:
        self.tables = tables
        self.log: dict[str, list[Arrived]] = {}
        self._redis, self._namespace = redis, settings.redis_namespace
        self._settings = settings
        self.sink = ClickHouseSink(settings.clickhouse_url, settings.clickhouse_database)
        self._former_sinks: list[ClickHouseSink] = []
        self.recorders = recorders(touch_rules(settings))
        self._identify = Identify(
            RedisIdentityStore(redis, settings.redis_namespace, IdentityPolicy()),
            policy=IdentityPolicy(),
            secret=b"secret",
            channels=frozenset(TOUCHPOINT_CHANNELS),
            max_event_bytes=65_536,
        )
        self._arrivals = 0

    async def arrive(self, *events: dict[str, Any], at_ms: int = ARRIVAL) -> list[Outgoing]:
        """Identify events and record what comes of them."""
        batch: list[Arrived] = []
        for event in events:
            topic = f"touchpoints.{event['channel']}"
            batch.append(Arrived(topic, self._arrivals, at_ms + len(batch), orjson.dumps(event)))
            self._arrivals += 1
        published = route("identify", batch, await self._identify(batch))
        for recorder in self.recorders:
            values = [one.value for one in published if one.topic == recorder.topic]
            log = self.log.setdefault(recorder.topic, [])
            new = [Arrived(recorder.topic, len(log) + place, at_ms, value) for place, value in enumerate(values)]
            log += new
            await self.record(recorder, new)
        return published

    async def record(self, recorder: Recorder, records: Sequence[Arrived]) -> None:
        """Record a batch."""
        token = f"{recorder.topic}:{[record.offset for record in records]}"
        outcomes = await store(self.sink, Nobody(), cast(Batch, OneBatch(records, token)), recorder)
        assert {Ok(None)} >= set(outcomes)

    async def replay(self, *, backwards: bool = False) -> None:
        """Record the whole topic of resolved events again, in one batch."""
        log = self.log[RESOLVED_TOUCHPOINTS]
        await self.record(self.recorders[0], log[::-1] if backwards else log)

    def empty(self) -> None:
        """Let the history be lost, and the worker begin anew."""
        for table in ("touchpoints", "arrivals", "event_deliveries", "source_starts", "dropped_touchpoints"):
            self.tables.client.command(f"TRUNCATE TABLE {table}")
        self._former_sinks.append(self.sink)
        self.sink = ClickHouseSink(self._settings.clickhouse_url, self._settings.clickhouse_database)

    async def forget(self) -> None:
        """Let the marks of seen events expire."""
        for pattern in (patterns(self._namespace, "marks:*")[0], patterns(self._namespace, "applied:*")[1]):
            async for key in self._redis.scan_iter(match=pattern):
                await self._redis.delete(key)

    async def close(self) -> None:
        for sink in (*self._former_sinks, self.sink):
            await sink.close()


class Nobody:
    """Knows of no erasure."""

    async def are_erased(self, traces: Sequence[Any]) -> list[bool]:
        return [False] * len(traces)


@pytest.fixture
def tables(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    with warehouse(stack) as found:
        yield found


@pytest.fixture
async def stages(stack: Settings, tables: Warehouse) -> AsyncIterator[Stages]:
    async with Redis.from_url(stack.redis_url) as redis:
        found = Stages(stack, redis, tables)
        yield found
        await found.close()


STORED = "SELECT source, event_id, event FROM v_touchpoints ORDER BY source, event_id"
ACCOUNT = "SELECT sum(received), sum(stored), sum(duplicate), sum(difference) FROM v_accounting"
ONE_EACH = "SELECT count(), uniqExact(source, event_id), min(occurred_at) = max(occurred_at) FROM v_touchpoints"


async def test_two_sources_may_number_alike(stages: Stages) -> None:
    await stages.arrive(SALE, CALL, CALL)
    stages.tables.client.command("OPTIMIZE TABLE touchpoints FINAL")

    assert [("pbx", "17", "Call Ended"), ("pos", "17", "Order Completed")] == stages.tables.rows(STORED)
    assert [(3, 2, 1, 0)] == stages.tables.rows(ACCOUNT)
    assert [("pbx", "duplicate")] == stages.tables.rows("SELECT source, reason FROM dropped_touchpoints FINAL")
    assert 2 == len(set(stages.tables.rows("SELECT profile_id FROM v_touchpoints")))


async def test_two_events_of_one_day_under_one_id_do_not_multiply_an_order(stages: Stages) -> None:
    twin = SALE | {
        "source": "web", "channel": "web", "identifiers": {"user_id": "c-2"},
        "properties": {"order_id": "W-17", "revenue": "5.00", "currency": "EUR"},
        "context": {"session_id": "s1"},
    }  # fmt: skip
    await stages.arrive(SALE, twin)
    items = "SELECT order_id, revenue FROM v_order_items ORDER BY order_id"

    assert [("T-17", 20.0), ("W-17", 5.0)] == stages.tables.rows(items)
    assert [(5.0,)] == stages.tables.rows("SELECT sum(revenue) FROM v_sessions")
    assert [("store", 20.0), ("web", 5.0)] == stages.tables.rows("SELECT channel, revenue FROM v_engagement ORDER BY 1")


async def test_a_page_can_not_take_the_id_of_an_order_that_the_server_will_report(stages: Stages) -> None:
    taken = CALL | {"event": "Page Viewed", "channel": "web", "source": "page", "properties": {}}
    await stages.arrive(taken)
    await stages.arrive(SALE)

    assert [(20.0,)] == stages.tables.rows("SELECT toFloat64(sum(revenue)) FROM v_conversions")


async def test_another_event_under_an_id_of_its_source_is_said(stages: Stages) -> None:
    other = SALE | {"properties": {"order_id": "T-18", "revenue": "20.00", "currency": "EUR"}}
    resent = SALE | {"occurred_at": "2026-11-20T10:00:00.200Z", "context": {"app": {"version": "2"}}}
    await stages.arrive(SALE)
    await stages.arrive(other, resent)

    printed = CliRunner().invoke(app, ["accounting"])

    assert [("conflict",), ("duplicate",)] == stages.tables.rows("SELECT reason FROM dropped_touchpoints ORDER BY 1")
    assert [("pos", 1, "17")] == stages.tables.rows(
        "SELECT source, conflicts, example_event_id FROM v_event_id_conflicts"
    )
    assert [(3, 1, 2, 0)] == stages.tables.rows(ACCOUNT)
    assert "1 of the duplicates are other events under an id that their source had used" in printed.output
    assert 1 == json.loads(CliRunner().invoke(app, ["accounting", "--json"]).output)["conflicts"]


async def test_a_resend_after_weeks_on_another_day_is_the_same_event(stages: Stages) -> None:
    await stages.arrive(FIRST[0], at_ms=ms_of_time(FIRST[1]))
    await stages.forget()
    await stages.arrive(RESENT[0], at_ms=ms_of_time(RESENT[1]))

    assert [(1, 1, 1)] == stages.tables.rows(ONE_EACH)
    assert [("2026-10-31 23:59:59.900",)] == stages.tables.rows("SELECT toString(occurred_at) FROM v_touchpoints")
    assert [(2, 1, 1, 0)] == stages.tables.rows(ACCOUNT)
    await stages.replay()
    assert [(1, 1, 1)] == stages.tables.rows(ONE_EACH)
    assert [(2, 1, 1, 0)] == stages.tables.rows(ACCOUNT)


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_replay_into_an_empty_history_has_the_first_delivery_alone(stages: Stages, backwards: bool) -> None:
    await stages.arrive(FIRST[0], at_ms=ms_of_time(FIRST[1]))
    await stages.forget()
    await stages.arrive(RESENT[0], at_ms=ms_of_time(RESENT[1]))
    stages.empty()

    await stages.replay(backwards=backwards)

    assert [("2026-10-31 23:59:59.900",)] == stages.tables.rows("SELECT toString(occurred_at) FROM v_touchpoints")
    assert [(2, 1, 1, 0)] == stages.tables.rows(ACCOUNT)


async def test_a_replay_record_by_record_finds_the_first_delivery_again(stages: Stages) -> None:
    await stages.arrive(FIRST[0], at_ms=ms_of_time(FIRST[1]))
    await stages.forget()
    await stages.arrive(RESENT[0], at_ms=ms_of_time(RESENT[1]))
    stages.empty()

    for record in stages.log[RESOLVED_TOUCHPOINTS]:
        await stages.record(stages.recorders[0], [record])

    assert [("2026-10-31 23:59:59.900",)] == stages.tables.rows("SELECT toString(occurred_at) FROM v_touchpoints")
    assert [(2, 1, 1, 0)] == stages.tables.rows(ACCOUNT)


async def test_a_source_is_old_as_soon_as_an_earlier_event_of_it_is_recorded(stages: Stages) -> None:
    first_ms, resent_ms = ms_of_time(FIRST[1]), ms_of_time(RESENT[1])
    heard_by = partial(stages.sink.sources_heard_by, {"phone", "till"})
    await stages.arrive(RESENT[0], at_ms=resent_ms)
    before = await heard_by(resent_ms - 1), await heard_by(resent_ms)
    await stages.arrive(FIRST[0] | {"event_id": "q-2"}, at_ms=first_ms)  # a replay, also by another worker

    assert (set(), {"phone"}) == before
    assert (set(), {"phone"}) == (await heard_by(first_ms - 1), await heard_by(first_ms))


async def test_the_start_of_a_source_is_written_once_until_an_earlier_one_is_known(stages: Stages) -> None:
    written = []
    for at in ("2026-11-02T00:00:00.000Z", "2026-11-03T00:00:00.000Z", "2026-11-01T00:00:00.000Z", "yesterday"):
        await stages.sink.note_source_starts({"phone": at})
        written.append(stages.tables.rows("SELECT count() FROM source_starts")[0][0])

    starts = stages.tables.rows("SELECT source, toString(min(first_received_at)) FROM source_starts GROUP BY source")
    assert [("phone", "2026-11-01 00:00:00.000")] == starts
    assert [1, 1, 2, 2] == written


async def test_a_batch_that_comes_again_tells_what_a_crash_left_out(stages: Stages) -> None:
    await stages.arrive(FIRST[0], at_ms=ms_of_time(FIRST[1]))
    stages.empty()  # and as if the worker had ended before it acknowledged anything

    await stages.replay()

    assert [("phone",)] == stages.tables.rows("SELECT source FROM source_starts")


async def test_an_event_that_is_late_for_the_first_time_is_stored(stages: Stages) -> None:
    other = RESENT[0] | {"source": "tablet"}
    await stages.arrive(FIRST[0], at_ms=ms_of_time(FIRST[1]))
    await stages.arrive(other, at_ms=ms_of_time(RESENT[1]))

    assert [("phone",), ("tablet",)] == stages.tables.rows("SELECT source FROM v_touchpoints ORDER BY source")


def test_rows_of_a_release_that_knew_no_source_are_kept_and_replaced_by_their_replay(stack: Settings) -> None:
    client = connect(stack.clickhouse_url)
    database = stack.clickhouse_database
    before = [one for one in migrations() if one.name < "0024_event_keys.sql"]
    migrate(client, database, folder=cast(Any, Folder(before)))
    client.database = database
    columns = "(event_id, source, event, occurred_at, received_at)"
    old = "('17', 'pos', '{}', '2026-11-20 10:00:00', '2026-11-20 10:00:01')"
    client.command(f"INSERT INTO touchpoints {columns} VALUES {old.format('as stored')}")

    migrate(client, database)
    client.command(f"INSERT INTO touchpoints {columns} VALUES {old.format('as replayed')}")
    client.command(
        f"INSERT INTO touchpoints {columns} VALUES"
        " ('18', 'pos', 'new', now(), now() + 10), ('18', 'pbx', 'new', now(), now() + 10),"
        " ('18', 'pbx', 'new', now(), now() + 10)"
    )
    client.command("OPTIMIZE TABLE touchpoints FINAL")

    rows = client.query("SELECT source, event_id, event FROM touchpoints ORDER BY event_id, source").result_rows
    assert [("pos", "17", "as replayed"), ("pbx", "18", "new"), ("pos", "18", "new")] == [*map(tuple, rows)]
    assert 3 == client.query("SELECT uniqExact(event_hash) FROM event_deliveries").first_row[0]
    starts = client.query("SELECT source, toString(min(first_received_at)) FROM source_starts GROUP BY source")
    assert ("pos", "2026-11-20 10:00:01.000") in map(tuple, starts.result_rows)
    client.close()


class Folder:
    """The migrations of an earlier release."""

    def __init__(self, kept: Sequence[Any]) -> None:
        self._kept = kept

    def iterdir(self) -> list[Any]:
        return [File(one.name, one.sql) for one in self._kept]


class File(NamedTuple):
    name: str
    sql: str

    def is_file(self) -> bool:
        return True

    def read_text(self, _encoding: str = "utf-8") -> str:
        return self.sql
