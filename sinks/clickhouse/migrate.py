"""Migrates a ClickHouse database: numbered SQL files, each applied once, in order.

Files are `sinks/migrations/NNNN_name.sql`. ClickHouse has no transactions around DDL, so every statement is safe to
repeat (`IF NOT EXISTS`, `OR REPLACE`): an interrupted run, or two runs at once, end in the same schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from sinks.clickhouse.client import without_deduplication

LEDGER = "schema_migrations"

_BEFORE_ALL = "1970-01-01 00:00:00.000"
_NEEDS = re.compile(r"^--\s*needs\s*:(.*)$", re.MULTILINE | re.IGNORECASE)
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")

# One alternative for each token in which a semicolon is not the end of a statement. ClickHouse's lexer knows backslash
# escapes and doubled quotes, `--` and `# ` line comments, block comments that nest, and heredocs `$tag$ … $tag$`.
_TOKEN = re.compile(
    r"""
      (?P<quoted>  '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` )
    | (?P<heredoc> (?P<tag> \$\w*\$ ) .*? (?P=tag) )
    | (?P<line>    (?: -- | \#[\ !] ) [^\n]* )
    | (?P<block>   /\* )
    | (?P<end>     ; )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")


class MigrationError(Exception):
    """The migrations cannot be applied as they are; the message names the file and what to do."""


class SchemaMismatchError(Exception):
    """Workers of this release cannot write to a database; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of migrations.

    Attributes:
        number: Its place in the order.
        name: Its file name.
        sql: Its text, before substitution.
        needs: The migration that a release has to have for its workers to write to the database after this one, which a
            line `-- needs: 0190` says; 0, without one: workers of the former release go on while they are replaced.
    """

    number: int
    name: str
    sql: str
    needs: int = 0

    @property
    def checksum(self) -> str:
        """SHA-256 of the text before substitution, so that it is the same on a cluster and on one server."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """A migration that this run applied, or would apply.

    Attributes:
        number: Its place in the order.
        name: Its file name.
        statements: Its statements, in order.
    """

    number: int
    name: str
    statements: tuple[str, ...]


def migrate(
    client: Any,
    database: str,
    substitutions: Mapping[str, str] | None = None,
    *,
    folder: Traversable | None = None,
    dry_run: bool = False,
) -> list[AppliedMigration]:
    """Apply the migrations that the database does not have yet.

    Args:
        client: A clickhouse-connect client, connected to any database.
        database: The database to create or update: letters, digits and underscores.
        substitutions: Values of `{{name}}` in the files. `replicated` is put before every engine's name
            (`Replicated` on a cluster), `on_cluster` after every object's name (`ON CLUSTER shop`). `upgraded_at` is
            the time of this run, or 1970 in a new database: what was received before was written by another release.
        folder: Where the files are; the package's own by default.
        dry_run: Apply nothing; return what would be applied.

    Returns:
        The migrations of this run; empty when the database is up to date.

    Raises:
        MigrationError: An applied file was changed, a number is used twice, or a name or placeholder is unknown.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", database):
        raise MigrationError(f"database name {database!r}: use letters, digits and underscores")
    known = _ledger(client, database)
    values = {
        "replicated": "",
        "on_cluster": "",
        "upgraded_at": _now(client) if known else _BEFORE_ALL,
        **(substitutions or {}),
        "database": database,
    }
    todo: list[AppliedMigration] = []
    of = {migration.number: migration for migration in migrations(folder)}
    for migration in of.values():
        applied_before = known.get(migration.number)
        if applied_before is None:
            statements = split(_substitute(migration, values))
            todo.append(AppliedMigration(migration.number, migration.name, tuple(statements)))
        elif applied_before["checksum"] != migration.checksum:
            raise MigrationError(
                f"{migration.name} was changed after it had been applied to {database}: "
                "restore the file and put the change into a new one"
            )
    if todo and not dry_run:
        _prepare(client, values)
        for applied in todo:
            for statement in applied.statements:
                client.command(statement)
            client.insert(
                LEDGER,
                [[applied.number, applied.name, of[applied.number].checksum, of[applied.number].needs]],
                column_names=["number", "name", "checksum", "needs"],
                database=database,
                settings=without_deduplication(),
            )
    return todo


def check_schema(client: Any, database: str, *, folder: Traversable | None = None) -> None:
    """Return when workers of this release can write to a database.

    Args:
        client: A clickhouse-connect client, connected to any database.
        database: The database of the deployment.
        folder: Where the migrations of this release are; the package's own by default.

    Raises:
        SchemaMismatchError: A migration is missing, or a newer release has applied one that this one has to know.
    """
    applied, known = _ledger(client, database), migrations(folder)
    missing = [migration.name for migration in known if migration.number not in applied]
    if missing:
        raise SchemaMismatchError(
            f"the database {database} lacks {len(missing)} of {len(known)} migrations, the first is {missing[0]}:"
            " run `throughline migrate` of this release, then start the workers"
        )
    if newer := _newer(applied, known):
        raise SchemaMismatchError(
            f"the database {database} was migrated by a newer release ({newer}), and workers of this one cannot"
            " write to it: start those of that release"
        )


def newer_migration(client: Any, database: str, ledger: str = LEDGER, *, folder: Traversable | None = None) -> str:
    """Return the migration of a newer release that workers of this one would have to know; empty: there is none.

    Args:
        client: A clickhouse-connect client, connected to any database.
        database: Where the ledger is.
        ledger: The table of what was applied: of a database, or of a backup.
        folder: Where the migrations of this release are; the package's own by default.
    """
    return _newer(_ledger(client, database, ledger), migrations(folder))


def _newer(applied: Mapping[int, Mapping[str, Any]], known: Sequence[Migration]) -> str:
    newest = max(migration.number for migration in known)
    return max((row["name"] for row in applied.values() if row.get("needs", 0) > newest), default="")


def migrations(folder: Traversable | None = None) -> list[Migration]:
    """Read the files, in order.

    Raises:
        MigrationError: A file's name is not `NNNN_name.sql`, a number is used twice, or what it needs is not there.
    """
    found: dict[int, Migration] = {}
    for file in sorted((folder or _package_folder()).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        named = _NAME.fullmatch(file.name)
        if named is None:
            raise MigrationError(f"{file.name}: expected NNNN_name.sql, such as 0007_funnels.sql")
        number = int(named[1])
        if number in found:
            raise MigrationError(f"{file.name}: number {named[1]} is taken by {found[number].name}")
        sql = file.read_text("utf-8")
        found[number] = Migration(number, file.name, sql, _needs(file.name, sql, {*found, number}))
    return list(found.values())


def _needs(name: str, sql: str, known: set[int]) -> int:
    """Read which migration a release has to have; a line that none could meet, or that is misspelt, is an error."""
    needed = [written.strip() for written in _NEEDS.findall(sql)]
    for written in needed:
        if not re.fullmatch(r"\d{4}", written, re.ASCII) or int(written) not in known:
            raise MigrationError(f"{name}: needs {written!r}: expected the number of this migration or an earlier one")
    return max(map(int, needed), default=0)


def split(sql: str) -> list[str]:
    """Split SQL text into statements at the semicolons that end one.

    Comments between statements are dropped; comments inside a statement stay.
    """
    statements: list[str] = []
    start = position = 0
    empty = True  # only blanks and comments since `start`
    while token := _TOKEN.search(sql, position):
        empty = empty and not sql[position : token.start()].strip()
        position = token.end()
        if token["block"]:
            position = _block_end(sql, position)
        elif token["end"]:
            if not empty:
                statements.append(sql[start : token.start()].strip())
            start, empty = position, True
        elif not token["line"]:
            empty = False
    if not empty or sql[position:].strip():
        statements.append(sql[start:].strip())
    return statements


def _block_end(sql: str, position: int) -> int:
    depth = 1
    for edge in _BLOCK_EDGE.finditer(sql, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def _substitute(migration: Migration, values: Mapping[str, str]) -> str:
    def value(placeholder: re.Match[str]) -> str:
        name = placeholder[1]
        if name not in values:
            raise MigrationError(f"{migration.name}: no value for {{{{{name}}}}}; known: {', '.join(sorted(values))}")
        return values[name]

    return _PLACEHOLDER.sub(value, migration.sql)


def _ledger(client: Any, database: str, ledger: str = LEDGER) -> dict[int, dict[str, Any]]:
    """Read the applied migrations by number: `name`, `checksum`, and `needs`, which older releases did not write."""
    exists = client.query(
        "SELECT count() FROM system.tables WHERE database = {database:String} AND name = {name:String}",
        parameters={"database": database, "name": ledger},
    )
    if not exists.first_row[0]:
        return {}
    rows = client.query(f"SELECT * FROM {database}.{ledger} FINAL").named_results()  # noqa: S608
    return {row["number"]: row for row in rows}


def _now(client: Any) -> str:
    """Return the server's time: workers of the former release may write rows until now."""
    return str(client.query("SELECT toString(now64(3, 'UTC'))").first_row[0])


def _prepare(client: Any, values: Mapping[str, str]) -> None:
    client.command(f"CREATE DATABASE IF NOT EXISTS {values['database']} {values['on_cluster']}")
    client.command(
        f"""
        CREATE TABLE IF NOT EXISTS {values["database"]}.{LEDGER} {values["on_cluster"]}
        (
            number UInt32 COMMENT 'Place in the order: the digits of the file name',
            name String COMMENT 'File name',
            checksum String COMMENT 'SHA-256 of the file: an applied file must not change',
            applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied',
            needs UInt32 DEFAULT 0 COMMENT 'The migration that a release has to have to write after it; 0: none'
        )
        ENGINE = {values["replicated"]}ReplacingMergeTree(applied_at) ORDER BY number
        COMMENT 'Which migrations this database has'
        """
    )
    client.command(  # of a database that an older release migrated
        f"""
        ALTER TABLE {values["database"]}.{LEDGER} {values["on_cluster"]} ADD COLUMN IF NOT EXISTS
            needs UInt32 DEFAULT 0 COMMENT 'The migration that a release has to have to write after it; 0: none'
        """
    )


@cache
def _package_folder() -> Traversable:
    return files("sinks") / "migrations"
