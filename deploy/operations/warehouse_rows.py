"""Reads the rows of a query, batch by batch: of ClickHouse, or of any database that SQLAlchemy reaches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.sql import sql_connection
from deploy.settings import Settings
from schemas.intake.syncs import SyncDefinition
from schemas.time import text_of_time, utc
from sinks.clickhouse.bounded_sql import bare_message
from sinks.clickhouse.client import StoreDown

ROWS_PER_BATCH = 5_000

WarehouseRow = dict[str, Any]


class WarehouseError(Exception):
    """The query has no rows to be read; the message says why, and has no address and no password."""


@contextmanager
def warehouse_rows(definition: SyncDefinition, settings: Settings) -> Iterator[Iterator[list[WarehouseRow]]]:
    """Run the query of a sync, and give its rows as JSON values by column, in batches.

    Raises:
        WarehouseError: The database is not known or does not answer, or refuses the query.
    """
    opened = _of_clickhouse if definition.database == "clickhouse" else _of_sqlalchemy
    with opened(definition, settings) as batches:
        yield batches


@contextmanager
def _of_clickhouse(definition: SyncDefinition, settings: Settings) -> Iterator[Iterator[list[WarehouseRow]]]:
    try:
        client = clickhouse_client(settings)
        try:
            with client.query_row_block_stream(
                definition.query, settings={"max_block_size": ROWS_PER_BATCH, "readonly": 1}
            ) as stream:
                names = list(stream.source.column_names)
                yield ([_json_row(names, row) for row in block] for block in stream)
        finally:
            client.close()
    except ClickHouseError as error:
        raise WarehouseError(f"ClickHouse refuses the query: {bare_message(error)}") from None
    except StoreDown as error:
        raise WarehouseError(str(error)) from None


@contextmanager
def _of_sqlalchemy(definition: SyncDefinition, settings: Settings) -> Iterator[Iterator[list[WarehouseRow]]]:
    try:
        from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    except ModuleNotFoundError:
        raise WarehouseError("other databases need the extra: pip install 'throughline[sql]'") from None
    url = sync_databases(settings).get(definition.database)
    if url is None:
        raise WarehouseError(f"THROUGHLINE_SYNC_DATABASES has no {definition.database}=URL")
    try:
        with sql_connection(url, ROWS_PER_BATCH) as connection:
            result = connection.exec_driver_sql(definition.query)
            if not result.returns_rows:
                raise WarehouseError("the query returns no rows: write a SELECT")
            names = list(result.keys())
            yield ([_json_row(names, row) for row in part] for part in result.partitions(ROWS_PER_BATCH))
    except ModuleNotFoundError as error:
        raise WarehouseError(f"the URL of {definition.database} needs the package {error.name}") from None
    except ArgumentError:
        form = "dialect+driver://user@host/database"
        raise WarehouseError(f"the URL of {definition.database} is not of the form {form}") from None
    except SQLAlchemyError as error:
        reason = (str(getattr(error, "orig", None) or "") or type(error).__name__).splitlines()[0][:500]
        raise WarehouseError(f"{definition.database} refuses the query: {reason}") from None


def sync_databases(settings: Settings) -> dict[str, str]:
    """Return the URLs of `THROUGHLINE_SYNC_DATABASES` by name."""
    entries = settings.sync_databases.get_secret_value().split()
    return {name: url for name, _, url in (entry.partition("=") for entry in entries)}


def _json_row(names: list[str], values: Any) -> WarehouseRow:
    return {name: _json_value(value) for name, value in zip(names, values, strict=True)}


def _json_value(value: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if -(1 << 63) <= value < 1 << 64 else str(value)  # JSON is written with 64 bits
        case float():
            return value if value - value == 0 else None  # not a number, or infinite
        case Decimal():
            return str(value) if value.is_finite() else None
        case datetime():
            return text_of_time(utc(value))
        case date() | UUID():
            return str(value)
        case list() | tuple() | set():
            return [_json_value(one) for one in value]
        case dict():
            return {str(name): _json_value(one) for name, one in value.items()}
        case bytes() | memoryview():
            return bytes(value).hex()
    return str(value)
