"""The tables and views: created once, with a comment on everything, from migrations that never change."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.doctor import examine
from deploy.settings import Settings
from sinks.clickhouse.client import connect
from sinks.clickhouse.migrate import MigrationError, SchemaMismatchError, check_schema, migrate, migrations
from tests.support.databases import create_database

pytestmark = pytest.mark.integration

CONTRACT = {
    "touchpoints", "conversions", "spend", "messages", "identity_overrides", "identity_log", "profiles", "dead_letters",
    "dropped_touchpoints", "v_touchpoints", "v_conversions", "v_attribution", "v_attribution_default",
    "v_attribution_by_channel", "v_attribution_by_campaign", "v_attribution_by_creative", "v_attribution_by_product",
    "v_paths", "v_accounting", "v_missing_offsets",
}  # fmt: skip


@pytest.fixture
def client(stack: Settings) -> Iterator[Any]:
    found = connect(stack.clickhouse_url)
    yield found
    found.close()


def tables(client: Any, database: str) -> dict[str, str]:
    rows = client.query(
        "SELECT name, create_table_query FROM system.tables WHERE database = {database:String}",
        parameters={"database": database},
    )
    return dict(rows.result_rows)


def test_a_second_run_does_nothing(client: Any, stack: Settings) -> None:
    first = migrate(client, stack.clickhouse_database)
    before = tables(client, stack.clickhouse_database)

    second = migrate(client, stack.clickhouse_database)

    assert [one.name for one in migrations()] == [one.name for one in first]
    assert [] == second
    assert before == tables(client, stack.clickhouse_database)


def test_a_dry_run_creates_nothing(client: Any, stack: Settings) -> None:
    planned = migrate(client, stack.clickhouse_database, dry_run=True)

    assert len(migrations()) == len(planned)
    assert {} == tables(client, stack.clickhouse_database)


def test_a_database_of_other_tests_is_as_a_migrated_one(client: Any, stack: Settings) -> None:
    copy = f"{stack.clickhouse_database}_copy"
    migrate(client, stack.clickhouse_database)
    create_database(stack.clickhouse_url, copy)
    try:
        assert [] == migrate(client, copy)
        assert tables(client, stack.clickhouse_database) == {
            name: statement.replace(copy, stack.clickhouse_database) for name, statement in tables(client, copy).items()
        }
    finally:
        client.command(f"DROP DATABASE {copy} SYNC")


def test_the_tables_of_the_contract_are_there(client: Any, stack: Settings) -> None:
    create_database(stack.clickhouse_url, stack.clickhouse_database)

    assert set() == CONTRACT - tables(client, stack.clickhouse_database).keys()


def test_a_month_without_new_events_for_three_days_becomes_one_part(client: Any, stack: Settings) -> None:
    create_database(stack.clickhouse_url, stack.clickhouse_database)
    statement = tables(client, stack.clickhouse_database)["touchpoints"]

    assert "min_age_to_force_merge_seconds = 259200" in statement
    assert "min_age_to_force_merge_on_partition_only = 1" in statement


def test_every_column_and_every_table_has_a_comment(client: Any, stack: Settings) -> None:
    create_database(stack.clickhouse_url, stack.clickhouse_database)
    of = {"database": stack.clickhouse_database}

    # The server keeps no columns of a view with parameters; its header names the view that has them.
    silent_columns = client.query(
        "SELECT table, name FROM system.columns WHERE database = {database:String} AND comment = ''"
        " AND table NOT LIKE '%_to_%'",
        parameters=of,
    ).result_rows
    silent_tables = client.query(
        "SELECT name FROM system.tables WHERE database = {database:String} AND comment = ''"
        " AND engine != 'MaterializedView'",
        parameters=of,
    ).result_rows

    assert ([], []) == (list(silent_columns), list(silent_tables))


def test_two_runs_at_once_end_in_the_same_schema(stack: Settings) -> None:
    def run(_: int) -> list[str]:
        client = connect(stack.clickhouse_url)
        try:
            return [one.name for one in migrate(client, stack.clickhouse_database)]
        finally:
            client.close()

    with ThreadPoolExecutor(2) as both:
        list(both.map(run, range(2)))

    assert [] == run(0)


def test_an_interrupted_run_is_taken_up_again(client: Any, stack: Settings, tmp_path: Path) -> None:
    good = "CREATE TABLE IF NOT EXISTS {{database}}.one (a Int8) ENGINE = {{replicated}}MergeTree ORDER BY a;"
    file = tmp_path / "0001_one.sql"
    file.write_text(good + "SELECT no_such_function();", "utf-8")
    with pytest.raises(Exception, match="no_such_function"):
        migrate(client, stack.clickhouse_database, folder=tmp_path)

    file.write_text(good + "SELECT 1;", "utf-8")

    assert ["0001_one.sql"] == [one.name for one in migrate(client, stack.clickhouse_database, folder=tmp_path)]


def test_a_file_that_changed_after_it_was_applied_is_an_error(client: Any, stack: Settings, tmp_path: Path) -> None:
    file = tmp_path / "0001_one.sql"
    file.write_text("SELECT 1", "utf-8")
    migrate(client, stack.clickhouse_database, folder=tmp_path)
    file.write_text("SELECT 2", "utf-8")

    with pytest.raises(MigrationError, match=r"0001_one.sql was changed after it had been applied"):
        migrate(client, stack.clickhouse_database, folder=tmp_path)


def test_a_worker_starts_on_the_tables_of_its_release_alone(client: Any, stack: Settings, tmp_path: Path) -> None:
    of = stack.clickhouse_database
    (tmp_path / "0001_one.sql").write_text("SELECT 1", "utf-8")
    with pytest.raises(SchemaMismatchError, match=r"lacks 1 of 1 migrations, the first is 0001_one\.sql: run"):
        check_schema(client, of, folder=tmp_path)
    migrate(client, of, folder=tmp_path)
    check_schema(client, of, folder=tmp_path)

    (newer := tmp_path / "newer").mkdir()
    (newer / "0001_one.sql").write_text("SELECT 1", "utf-8")
    (newer / "0002_two.sql").write_text("-- Adds what the former release need not know.\nSELECT 2", "utf-8")
    migrate(client, of, folder=newer)
    check_schema(client, of, folder=tmp_path)  # the former release goes on while its workers are replaced

    (newer / "0003_three.sql").write_text("-- Removes what it writes.\n-- needs: 0002\nSELECT 3", "utf-8")
    migrate(client, of, folder=newer)
    check_schema(client, of, folder=newer)
    with pytest.raises(SchemaMismatchError, match=r"newer release \(0003_three\.sql\).*start those of that release"):
        check_schema(client, of, folder=tmp_path)


def test_a_database_that_an_older_release_migrated_is_read(client: Any, stack: Settings, tmp_path: Path) -> None:
    of = stack.clickhouse_database
    file = tmp_path / "0001_one.sql"
    file.write_text("SELECT 1", "utf-8")
    migrate(client, of, folder=tmp_path)
    client.command(f"ALTER TABLE {of}.schema_migrations DROP COLUMN needs")

    check_schema(client, of, folder=tmp_path)
    (tmp_path / "0002_two.sql").write_text("-- needs: 0002\nSELECT 2", "utf-8")
    migrate(client, of, folder=tmp_path)

    check_schema(client, of, folder=tmp_path)
    (tmp_path / "0002_two.sql").unlink()
    with pytest.raises(SchemaMismatchError, match="newer release"):
        check_schema(client, of, folder=tmp_path)


def test_a_recorder_says_which_migration_is_missing_and_doctor_too(
    client: Any, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    create_database(stack.clickhouse_url, stack.clickhouse_database)
    client.command(f"DELETE FROM {stack.clickhouse_database}.schema_migrations WHERE number = 12")

    run = CliRunner().invoke(app, ["worker", "record"])
    (check,) = (check for check in examine(stack) if check.name == "clickhouse")

    assert 1 == run.exit_code
    assert "lacks 1 of" in run.output
    assert "throughline migrate" in run.output
    assert (False, True) == (check.ok, "the first is 0012_" in check.hint)
