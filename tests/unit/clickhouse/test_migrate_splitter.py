"""Migration files are cut into statements where ClickHouse would end one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sinks.clickhouse.migrate import MigrationError, migrate, migrations, split


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        pytest.param("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"], id="two statements"),
        pytest.param("SELECT 1;\n\n;;", ["SELECT 1"], id="empty statements"),
        pytest.param("", [], id="nothing"),
        pytest.param("-- only; a comment\n/* and; another */", [], id="only comments"),
        pytest.param("SELECT 'a;b'; SELECT 2", ["SELECT 'a;b'", "SELECT 2"], id="single quotes"),
        pytest.param(r"SELECT 'it\'s; \\'; SELECT 2", [r"SELECT 'it\'s; \\'", "SELECT 2"], id="escaped quote"),
        pytest.param("SELECT 'it''s; so'; SELECT 2", ["SELECT 'it''s; so'", "SELECT 2"], id="doubled quote"),
        pytest.param('SELECT 1 AS "a;b"; SELECT 2', ['SELECT 1 AS "a;b"', "SELECT 2"], id="double quotes"),
        pytest.param("SELECT 1 AS `a;b`; SELECT 2", ["SELECT 1 AS `a;b`", "SELECT 2"], id="backquotes"),
        pytest.param("SELECT 1 -- one; two\n; SELECT 2", ["SELECT 1 -- one; two", "SELECT 2"], id="line comment"),
        pytest.param("SELECT 1 # one; two\n; SELECT 2", ["SELECT 1 # one; two", "SELECT 2"], id="hash comment"),
        pytest.param(
            "SELECT 1 /* a; /* b; */ c; */; SELECT 2", ["SELECT 1 /* a; /* b; */ c; */", "SELECT 2"], id="nested"
        ),
        pytest.param("SELECT 1 -- it's\n; SELECT 2", ["SELECT 1 -- it's", "SELECT 2"], id="quote in a comment"),
        pytest.param("SELECT '-- no'; SELECT 2", ["SELECT '-- no'", "SELECT 2"], id="comment in quotes"),
        pytest.param("SELECT $x$ it's; $y$ $x$; SELECT 2", ["SELECT $x$ it's; $y$ $x$", "SELECT 2"], id="heredoc"),
        pytest.param("SELECT $$a;b$$; SELECT 2", ["SELECT $$a;b$$", "SELECT 2"], id="nameless heredoc"),
        pytest.param("-- why\nSELECT 1", ["-- why\nSELECT 1"], id="a comment before stays"),
    ],
)
def test_a_semicolon_ends_a_statement_only_outside_of_everything(sql: str, statements: list[str]) -> None:
    assert statements == split(sql)


def files(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.sql").write_text(text, "utf-8")
    return folder


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    files(tmp_path, **{"0010_ten": "SELECT 10", "0002_two": "SELECT 2"})

    assert [(2, "0002_two.sql"), (10, "0010_ten.sql")] == [(one.number, one.name) for one in migrations(tmp_path)]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        pytest.param(["1_one"], "1_one.sql: expected NNNN_name.sql", id="short number"),
        pytest.param(["0001_one", "0001_two"], "0001_two.sql: number 0001 is taken by 0001_one.sql", id="number twice"),
    ],
)
def test_a_file_that_has_no_place_in_the_order_is_refused(tmp_path: Path, names: list[str], said: str) -> None:
    files(tmp_path, **dict.fromkeys(names, "SELECT 1"))

    with pytest.raises(MigrationError, match=said):
        migrations(tmp_path)


class EmptyServer:
    """A server without any database."""

    def query(self, *_: Any, **__: Any) -> Any:
        return type("Answer", (), {"first_row": (0,)})


def test_a_dry_run_tells_what_would_be_sent_and_sends_nothing(tmp_path: Path) -> None:
    files(
        tmp_path, **{"0001_one": "CREATE TABLE {{database}}.t {{on_cluster}} (a Int8) ENGINE = {{replicated}}MergeTree"}
    )
    cluster = {"replicated": "Replicated", "on_cluster": "ON CLUSTER shop"}

    planned = migrate(EmptyServer(), "shop", cluster, folder=tmp_path, dry_run=True)

    assert ("CREATE TABLE shop.t ON CLUSTER shop (a Int8) ENGINE = ReplicatedMergeTree",) == planned[0].statements


def test_an_unknown_placeholder_is_an_error_that_names_it(tmp_path: Path) -> None:
    files(tmp_path, **{"0001_one": "SELECT {{nobody}}"})

    with pytest.raises(MigrationError, match=r"0001_one.sql: no value for \{\{nobody\}\}"):
        migrate(EmptyServer(), "shop", folder=tmp_path)


def test_a_database_name_that_is_no_plain_name_is_refused() -> None:
    with pytest.raises(MigrationError, match="database name"):
        migrate(EmptyServer(), "shop; DROP DATABASE shop")


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        pytest.param("-- needs: 0001", 1, id="an earlier one"),
        pytest.param("--needs:0002", 2, id="itself, without blanks"),
        pytest.param("-- Needs: 0002 \n-- needs: 0001", 2, id="two"),
        pytest.param("-- It needs more: nothing.", 0, id="a sentence"),
    ],
)
def test_a_migration_says_which_one_a_release_has_to_have(tmp_path: Path, line: str, needs: int) -> None:
    (tmp_path / "0001_one.sql").write_text("SELECT 1", "utf-8")
    (tmp_path / "0002_two.sql").write_text(f"{line}\nSELECT 2", "utf-8")

    assert [0, needs] == [one.needs for one in migrations(tmp_path)]


@pytest.mark.parametrize("written", ["0003", "1", "0001_one", ""])
def test_a_migration_that_no_release_could_meet_is_an_error(tmp_path: Path, written: str) -> None:
    (tmp_path / "0001_one.sql").write_text("SELECT 1", "utf-8")
    (tmp_path / "0002_two.sql").write_text(f"-- needs: {written}\nSELECT 2", "utf-8")

    with pytest.raises(MigrationError, match=rf"0002_two\.sql: needs '{written}': expected the number"):
        migrations(tmp_path)
