"""Connections of commands: what goes wrong with one ends the command with a line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer


@contextmanager
def clickhouse() -> Iterator[Any]:
    """A client of the deployment's database; exit code 1 and advice when the server or a table is not there."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from deploy.settings import settings
    from sinks.clickhouse.client import StoreDown, connect

    try:
        client = connect(settings().clickhouse_url, settings().clickhouse_database)
        try:
            yield client
        finally:
            client.close()
    except (StoreDown, ClickHouseError) as error:
        reason = str(error).strip().partition("\n")[0]
        advice = (
            "Is it running? `throughline status` tells, THROUGHLINE_CLICKHOUSE_URL says where, `throughline up` starts"
            " a local stack, and `throughline migrate` creates the tables."
        )
        typer.echo(f"{reason}\n{advice}", err=True)
        raise typer.Exit(1) from error
