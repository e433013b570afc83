"""The outcomes of an insert: stored once, refused row by row, or retried until the server is back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.local.ports import free_port
from deploy.local.servers import Servers
from deploy.settings import Settings
from sinks.clickhouse.client import ClickHouseSink, RowsRefused, StoreDown, connect
from tests.support.warehouse import person

pytestmark = pytest.mark.integration

KEPT = """(anchor UUID, version UInt64, at DateTime64(3, 'UTC'))
    ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY version
    SETTINGS non_replicated_deduplication_window = 100"""


@pytest.fixture
async def sink(stack: Settings) -> AsyncIterator[ClickHouseSink]:
    """A sink with a table that keeps every row that it is given, so that a repeated one would show."""
    client = connect(stack.clickhouse_url)
    client.command(f"CREATE DATABASE {stack.clickhouse_database}")
    client.command(f"CREATE TABLE {stack.clickhouse_database}.kept {KEPT}")
    client.close()
    found = ClickHouseSink(stack.clickhouse_url, stack.clickhouse_database)
    yield found
    await found.close()


def row(number: int, **fields: Any) -> bytes:
    return orjson.dumps({"anchor": person(number), "version": number, "at": "2026-11-22T10:15:30.123Z", **fields})


def stored(settings: Settings) -> list[int]:
    client = connect(settings.clickhouse_url, settings.clickhouse_database)
    try:
        return [version for (version,) in client.query("SELECT version FROM kept ORDER BY version").result_rows]
    finally:
        client.close()


async def test_rows_are_stored_in_full(stack: Settings, sink: ClickHouseSink) -> None:
    refused = await sink.insert_all("kept", [row(number) for number in range(5000)], "t:0:0-4999")

    assert [] == refused
    assert list(range(5000)) == stored(stack)


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        pytest.param({3: b'{"version": "three"}'}, [3], id="a value of another type"),
        pytest.param({0: b'{"anchor": "nobody"}'}, [0], id="the first row"),
        pytest.param({9: b'{"at": "yesterday"}'}, [9], id="the last row"),
        pytest.param({4: b'{"version": 4'}, [4], id="broken JSON, which swallows its neighbour"),
        pytest.param({4: b"[4]", 5: b"nonsense", 6: b'"{'}, [4, 5, 6], id="three in a row"),
        pytest.param(dict.fromkeys(range(10), b'{"version": -0.5e1000}'), list(range(10)), id="every row"),
    ],
)
async def test_a_refused_row_does_not_affect_its_neighbours(
    stack: Settings, sink: ClickHouseSink, bad: dict[int, bytes], where: list[int]
) -> None:
    rows = [bad.get(number, row(number)) for number in range(10)]

    refused = await sink.insert_all("kept", rows, "t:0:0-9")

    assert where == [index for index, _ in refused]
    assert all("DB::Exception" in message for _, message in refused)
    assert [number for number in range(10) if number not in bad] == stored(stack)


async def test_many_refused_rows_are_found_without_sending_the_batch_again_for_each(
    stack: Settings, sink: ClickHouseSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = set(range(0, 2000, 20))
    sent = 0
    insert = sink.insert

    async def counted(table: str, rows: Sequence[bytes], token: str) -> None:
        nonlocal sent
        sent += len(rows)
        await insert(table, rows, token)

    monkeypatch.setattr(sink, "insert", counted)
    rows = [b'{"version": "x"}' if number in bad else row(number) for number in range(2000)]

    refused = await sink.insert_all("kept", rows, "t:0:0-1999")

    assert sorted(bad) == [index for index, _ in refused]
    assert [number for number in range(2000) if number not in bad] == stored(stack)
    assert sent < 20 * len(rows)  # one by one it would be 100 times


async def test_an_insert_is_stored_once_however_often_it_is_repeated(stack: Settings, sink: ClickHouseSink) -> None:
    rows = [row(1), row(2)]

    for _ in range(3):
        await sink.insert("kept", rows, "t:0:1-2")

    assert [1, 2] == stored(stack)


async def test_a_log_that_starts_again_may_reuse_a_token(stack: Settings, sink: ClickHouseSink) -> None:
    await sink.insert("kept", [row(1)], "t:0:0-0")
    await sink.insert("kept", [row(2)], "t:0:0-0")

    assert [1, 2] == stored(stack)


async def test_without_a_token_every_insert_counts(stack: Settings, sink: ClickHouseSink) -> None:
    await sink.insert("kept", [row(1)], "")
    await sink.insert("kept", [row(1)], "")

    assert [1, 1] == stored(stack)


async def test_history_of_many_years_fits_into_one_insert(stack: Settings, sink: ClickHouseSink) -> None:
    months = [f"{year}-{month:02}-01T00:00:00Z" for year in range(2010, 2027) for month in range(1, 13)]

    assert [] == await sink.insert_all("kept", [row(n, at=month) for n, month in enumerate(months)], "t:0:0-203")
    assert 204 == len(stored(stack))


async def test_a_field_that_the_table_does_not_know_is_left_out(stack: Settings, sink: ClickHouseSink) -> None:
    await sink.insert("kept", [row(1, of_a_newer_version="x")], "t:0:1-1")

    assert [1] == stored(stack)


async def test_the_refusal_names_the_row(sink: ClickHouseSink) -> None:
    with pytest.raises(RowsRefused) as refusal:
        await sink.insert("kept", [row(0), row(1), b'{"version": "x"}'], "t:0:0-2")

    assert 2 == refusal.value.row


@pytest.mark.parametrize(
    "table", ["not_migrated_yet", "system.one"], ids=["a missing table", "a table it may not write"]
)
async def test_an_error_that_is_not_about_the_rows_is_retried(sink: ClickHouseSink, table: str) -> None:
    with pytest.raises(StoreDown):
        await sink.insert_all(table, [row(1)], "t:0:1-1")


async def test_an_unreachable_server_is_retried() -> None:
    sink = ClickHouseSink(f"http://127.0.0.1:{free_port()}", "shop")
    with pytest.raises(StoreDown):
        await sink.insert("kept", [row(1)], "t:0:1-1")
    await sink.close()


def test_a_client_names_the_server_that_does_not_answer() -> None:
    port = free_port()

    with pytest.raises(StoreDown, match=f"ClickHouse at 127.0.0.1:{port}"):
        connect(f"http://127.0.0.1:{port}")


async def test_a_server_that_was_killed_takes_the_same_insert_when_it_is_back(tmp_path: Path) -> None:
    async with Servers(tmp_path, only=("clickhouse",)) as servers:
        settings = Settings(clickhouse_url=servers.settings["clickhouse_url"], clickhouse_database="shop")
        client = connect(settings.clickhouse_url)
        client.command("CREATE DATABASE shop")
        client.command(f"CREATE TABLE shop.kept {KEPT}")
        client.close()
        sink = ClickHouseSink(settings.clickhouse_url, "shop")
        rows = [row(1), row(2)]
        await sink.insert("kept", rows, "t:0:1-2")

        servers["clickhouse"].kill()
        with pytest.raises(StoreDown):
            await sink.insert("kept", rows, "t:0:1-2")
        servers["clickhouse"].start()
        await sink.insert("kept", rows, "t:0:1-2")

        assert [1, 2] == stored(settings)
        await sink.close()
