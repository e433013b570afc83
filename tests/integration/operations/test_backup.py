"""A backup is restored as a whole or refused before anything is dropped."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from deploy.operations import backup as backups
from deploy.operations.backup import NotRestoredError, back_up, restore
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from sinks.clickhouse import backup as tables_of_backup
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import LEDGER, MigrationError
from tests.support.warehouse import Warehouse, resolved, warehouse

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)


@pytest.fixture
def tables(stack: Settings) -> Iterator[Warehouse]:
    apply_topics(stack)
    with warehouse(stack) as found:
        found.store(resolved("a", 1, NOW), resolved("b", 2, NOW))
        yield found


@pytest.fixture
def where() -> str:
    return f"backup-{secrets.token_hex(4)}"


def events(tables: Warehouse) -> list[tuple[str, ...]]:
    return tables.rows("SELECT event_id FROM touchpoints FINAL ORDER BY ALL")


def test_events_that_were_stored_twice_and_merged_meanwhile_are_no_loss(
    tables: Warehouse, stack: Settings, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.client.command("SYSTEM STOP MERGES touchpoints")
    tables.client.command("INSERT INTO touchpoints SELECT * FROM touchpoints SETTINGS insert_deduplicate = 0")
    take = tables_of_backup.back_up

    def merged_before(*arguments: str) -> None:
        tables.client.command("SYSTEM START MERGES touchpoints")
        tables.client.command("OPTIMIZE TABLE touchpoints FINAL")
        take(*arguments)

    monkeypatch.setattr(tables_of_backup, "back_up", merged_before)
    note = back_up(stack, where)
    found = restore(stack, where, replace=True)

    assert (4, 2) == (note.events, found.events)
    assert [("a",), ("b",)] == events(tables)


def test_the_backup_of_a_newer_release_is_refused_while_everything_is_there(
    tables: Warehouse, stack: Settings, where: str
) -> None:
    newer = ["number", "name", "checksum", "needs"]
    tables.client.insert(LEDGER, [[9001, "9001_of_the_future.sql", "", 9001]], column_names=newer)
    back_up(stack, where)
    tables.store(resolved("c", 1, NOW))

    with pytest.raises(NotRestoredError, match=r"newer release \(9001_of_the_future\.sql\).*with that release"):
        restore(stack, where, replace=True)
    assert [("a",), ("b",), ("c",)] == events(tables)


def test_a_backup_without_a_note_is_refused_while_everything_is_there(
    tables: Warehouse, stack: Settings, where: str
) -> None:
    tables_of_backup.back_up(tables.client, stack.clickhouse_database, where)

    with pytest.raises(NotRestoredError, match="no note of a `throughline backup`"):
        restore(stack, where, replace=True)
    assert [("a",), ("b",)] == events(tables)


def test_a_restore_that_dies_has_put_the_recorder_back_before(
    tables: Warehouse, stack: Settings, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(stack, where)
    before = backups._committed(stack)[1]

    def dies(_: Settings) -> list[str]:
        raise MigrationError("died")

    with monkeypatch.context() as dying:
        dying.setattr("deploy.operations.provision.migrate", dies)
        with pytest.raises(MigrationError):
            restore(stack, where, replace=True)
    assert before == backups._committed(stack)[1]
    assert [("a",), ("b",)] == events(tables)


def test_a_backup_of_which_a_part_cannot_be_read_leaves_everything_as_it_was(
    tables: Warehouse, stack: Settings, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(stack, where)
    tables.store(resolved("c", 1, NOW))
    put, before = tables_of_backup.restore, f"{stack.clickhouse_database}_before_restore"

    with monkeypatch.context() as damaged:
        damaged.setattr(tables_of_backup, "restore", lambda client, database, _: put(client, database, "no-data"))
        with pytest.raises(NotRestoredError, match="no-data"):
            restore(stack, where, replace=True)
    assert [("a",), ("b",), ("c",)] == events(tables)

    # It died while the backup was read: what there was is kept, and what is half there is no reason to begin anew.
    with connect(stack.clickhouse_url) as server:
        server.command(f"RENAME DATABASE {stack.clickhouse_database} TO {before}")
        server.command(f"CREATE DATABASE {stack.clickhouse_database}")
    with pytest.raises(NotRestoredError, match="--replace"):
        restore(stack, where)
    assert 2 == restore(stack, where, replace=True).events
    assert [("a",), ("b",)] == events(tables)
    assert [] == tables.rows(f"SELECT name FROM system.databases WHERE name = '{before}'")


def test_a_backup_that_the_server_calls_made_is_read_before_it_is_relied_on(
    tables: Warehouse, stack: Settings, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables_of_backup, "back_up", lambda *_: None)  # as ClickHouse on a full disk

    with pytest.raises(NotRestoredError, match="is its disk full"):
        back_up(stack, where)


@pytest.mark.parametrize(
    "written", ["s3://shop/monday", "s3('https://shop.example/monday', 'key', 'secret')", "S3(shop"]
)
def test_what_looks_like_an_object_store_is_no_folder_of_the_server(written: str, stack: Settings) -> None:
    with pytest.raises(NotRestoredError, match="neither a path nor") as refused:
        back_up(stack, written)
    assert "shop" not in str(refused.value)  # what was written may have a secret
