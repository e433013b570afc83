"""Databases with all tables and views in a second or two: copies of one that was migrated.

The migrations are some three hundred statements; a test of views has no interest in how the schema came about. The
copy is a backup in the server's memory, made once for each server and set of migrations.
"""

from __future__ import annotations

import re
import secrets
from graphlib import TopologicalSorter
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError

from sinks.clickhouse.migrate import migrate, migrations

_BACKUP = "Memory('migrated')"  # lives as long as the session that made it
_SESSION_S = 3_600


class _Original(NamedTuple):
    """A migrated database that was backed up.

    Attributes:
        client: The client whose session has the backup.
        database: Its name.
        callers: The statements of the views that call views with parameters, callers last: a restore does not replace
            the database's name in such calls.
    """

    client: Any
    database: str
    callers: list[str]


_originals: dict[tuple[str, tuple[str, ...]], _Original] = {}


def create_database(url: str, database: str, folder: Path | None = None) -> None:
    """Create a database as `migrate` would; one that exists is left as it is.

    Args:
        url: The server.
        database: The name of the new database.
        folder: The migrations; the package's own by default.
    """
    key = url, tuple(one.name for one in migrations(folder or files("sinks") / "migrations"))
    if key not in _originals:
        _originals[key] = _original(url, folder)
    try:
        _copy(_originals[key], database)
    except DatabaseError:  # the server was started anew, or forgot the session
        _originals[key] = _original(url, folder)
        _copy(_originals[key], database)


def _copy(original: _Original, database: str) -> None:
    if int(original.client.command(f"EXISTS DATABASE {database}")):
        return
    original.client.command(f"RESTORE DATABASE {original.database} AS {database} FROM {_BACKUP}")
    for statement in original.callers:
        original.client.command(statement.replace(original.database, database))


def _original(url: str, folder: Path | None) -> _Original:
    client = clickhouse_connect.get_client(dsn=url, session_id=secrets.token_hex(8))
    client.set_client_setting("session_timeout", _SESSION_S)
    database = f"original_{secrets.token_hex(4)}"
    migrate(client, database, folder=folder)
    client.command(f"BACKUP DATABASE {database} TO {_BACKUP}")
    callers = dict(
        client.query(
            "SELECT name, replaceOne(create_table_query, 'CREATE VIEW', 'CREATE OR REPLACE VIEW') FROM system.tables"
            " WHERE database = {database:String} AND position(create_table_query, concat('`', database, '.')) > 0",
            parameters={"database": database},
        ).result_rows
    )
    client.command(f"DROP DATABASE {database} SYNC")
    called = re.compile(rf"`?{database}`?\.`?(\w+)")
    needs = {name: callers.keys() & {*called.findall(statement)} - {name} for name, statement in callers.items()}
    return _Original(client, database, [callers[name] for name in TopologicalSorter(needs).static_order()])
