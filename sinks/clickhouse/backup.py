"""Backs up a database, and restores it, by ClickHouse's own BACKUP and RESTORE.

A backup has tables with all columns as they were stored, TTLs and views. It goes where the server may write: a path
below its `backups.allowed_path`, a disk, or an object store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.offsets import Offsets
from sinks.clickhouse.client import without_deduplication
from sinks.clickhouse.migrate import LEDGER, newer_migration

_ENGINE = re.compile(r"^(File|Disk|S3|AzureBlobStorage|Memory)\(.*\)$", re.DOTALL)
_ELSEWHERE = re.compile(r"://|\(")
"""What a path on the server's own disk does not have, and an object store that is written otherwise does."""
_WHOLE = {"max_execution_time": 0}


class BackupNote(NamedTuple):
    """What a restore has to know.

    Attributes:
        made_at: When the backup was begun.
        events: Rows of touchpoints then.
        cluster: Id of the Kafka cluster.
        secret_check: Keyed hash that tells one identity secret from another.
        offsets: How far the recorder had come; topics without the deployment's prefix.
    """

    made_at: datetime
    events: int
    cluster: str
    secret_check: str
    offsets: Offsets


def destination(written: str) -> str:
    """Return ClickHouse's expression for where a backup is: a path becomes a file, an expression stays.

    Raises:
        ValueError: It is neither: as a path, `s3://shop/monday` would be a folder on the server's own disk.
    """
    if _ENGINE.match(written):
        return written
    if _ELSEWHERE.search(written):
        raise ValueError(
            "neither a path nor File('…'), Disk('name', 'path'), S3('https://…', 'key', 'secret'),"
            " AzureBlobStorage(…), which are written with these capitals"
        )
    escaped = written.replace("\\", "\\\\").replace("'", "\\'")
    return f"File('{escaped}')"


def take_note(client: Any, made_at: datetime, cluster: str, secret_check: str, offsets: Offsets) -> BackupNote:
    """Store what a restore has to know, so that the backup has it."""
    events = int(client.query("SELECT count() FROM touchpoints").first_row[0])
    places = [(topic, partition, offset) for (topic, partition), offset in sorted(offsets.items())]
    client.insert(
        "backups",
        [[made_at, events, cluster, secret_check, places]],
        column_names=["made_at", "events", "cluster", "secret_check", "offsets"],
        settings=without_deduplication(),
    )
    return BackupNote(made_at, events, cluster, secret_check, dict(offsets))


def back_up(client: Any, database: str, where: str) -> None:
    """Back up a database; returns when all of it is there.

    Raises:
        ClickHouseError: The server may not write there, something is there already, or a table cannot be read.
    """
    client.command(f"BACKUP DATABASE {database} TO {destination(where)}", settings=_WHOLE)


def has_events(client: Any, database: str) -> bool:
    """Return whether a database has an event or a change of identity; False: it is empty, or there is none."""
    known = {
        name
        for (name,) in client.query(
            "SELECT name FROM system.tables WHERE database = {database:String}"
            " AND name IN ('touchpoints', 'identity_log', 'dead_letters')",
            {"database": database},
        ).result_rows
    }
    return any(client.query(f"SELECT 1 FROM {database}.{name} LIMIT 1").result_rows for name in sorted(known))  # noqa: S608


def read_note(client: Any, database: str, where: str) -> BackupNote:
    """Read what a backup knows of itself, without touching what there is.

    Raises:
        ClickHouseError: There is no such backup, it cannot be read, or it is of a database with another name.
        LookupError: It was made in another way, and has no note.
    """
    with _copy(client, database, "backups", where) as copy:
        return _last_note(client, f"{database}.{copy}")


def read_newer_migration(client: Any, database: str, where: str) -> str:
    """Return the migration in a backup that this release would have to know; empty: it may be restored.

    Raises:
        ClickHouseError: As `read_note`.
    """
    with _copy(client, database, LEDGER, where) as copy:
        return newer_migration(client, database, copy)


def restore(client: Any, database: str, where: str) -> int:
    """Put a backup in the place of a database; return how many rows touchpoints has then.

    What there was is renamed (`aside`) and stays until all of the backup is there; if that cannot be read, it comes
    back. If this dies in between, a repeated restore does the rest.

    Raises:
        ClickHouseError: The backup cannot be read.
    """
    before = aside(database)
    if _exists(client, before):
        client.command(f"DROP DATABASE IF EXISTS {database} SYNC")  # a part of a backup: a restore died
    elif _exists(client, database):
        client.command(f"RENAME DATABASE {database} TO {before}")
    try:
        client.command(f"RESTORE DATABASE {database} FROM {destination(where)}", settings=_WHOLE)
    except ClickHouseError:
        client.command(f"DROP DATABASE IF EXISTS {database} SYNC")
        if _exists(client, before):
            client.command(f"RENAME DATABASE {before} TO {database}")
        raise
    client.command(f"DROP DATABASE IF EXISTS {before} SYNC")
    return int(client.query(f"SELECT count() FROM {database}.touchpoints").first_row[0])  # noqa: S608


def aside(database: str) -> str:
    """Return the name of what there was, while a backup is restored in its place."""
    return f"{database}_before_restore"


def _exists(client: Any, database: str) -> bool:
    query = "SELECT count() FROM system.databases WHERE name = {database:String}"
    return bool(client.query(query, {"database": database}).first_row[0])


@contextmanager
def _copy(client: Any, database: str, table: str, where: str) -> Iterator[str]:
    """Have a table of a backup beside the one of now, for as long as it is read; yield its name."""
    copy = f"{table}_of_a_backup"
    client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
    client.command(f"DROP TABLE IF EXISTS {database}.{copy} SYNC")
    try:
        client.command(f"RESTORE TABLE {database}.{table} AS {database}.{copy} FROM {destination(where)}")
        yield copy
    finally:
        client.command(f"DROP TABLE IF EXISTS {database}.{copy} SYNC")


def _last_note(client: Any, table: str) -> BackupNote:
    query = "SELECT made_at, events, cluster, secret_check, offsets"
    rows = client.query(f"{query} FROM {table} FINAL ORDER BY made_at DESC LIMIT 1").result_rows
    if not rows:
        raise LookupError("it has no note of a `throughline backup`, hence not how far the recorder had come")
    made_at, events, cluster, secret_check, places = rows[0]
    offsets = {(topic, partition): offset for topic, partition, offset in map(_place, places)}
    return BackupNote(made_at, int(events), cluster, secret_check, offsets)


def _place(written: Any) -> tuple[str, int, int]:
    """Return a named tuple of ClickHouse, which is a dict."""
    topic, partition, offset = written.values() if isinstance(written, Mapping) else written
    return topic, partition, offset
