"""The command `mcp`: questions about the history for programs that speak the Model Context Protocol."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.output import fail


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("mcp")(mcp)


def mcp(
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Serve over HTTP at /mcp, on loopback only, instead of stdio.")
    ] = "",
    max_rows: Annotated[
        int, typer.Option(min=1, max=2_000, help="Rows of an answer, if it is not asked for less.")
    ] = 200,
    timeout_s: Annotated[int, typer.Option(min=1, max=120, help="Longest time of a query, seconds.")] = 30,
) -> None:
    """Serve questions about the history to a language model: read-only, as ClickHouse's user `analyst`.

    A client of the Model Context Protocol starts it and speaks over standard input and output. Its tools list views
    with their meaning, run one bounded SELECT or one of the shipped questions, and reconcile; every answer has the SQL
    that ran, as of when events are recorded, and the account of all records.

    Needs the extra: pip install 'throughline[mcp]'.
    """
    try:
        from deploy.mcp.server import NotLoopbackError, serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "mcp":
            raise
        fail("The server needs the official SDK: pip install 'throughline[mcp]'")
    from deploy.settings import settings
    from sinks.clickhouse.bounded_sql import Bounds

    try:
        serve(settings(), Bounds(max_rows=max_rows, timeout_s=timeout_s), http=http)
    except NotLoopbackError as error:
        raise typer.BadParameter(str(error), param_hint="--http") from None
    except OSError as error:
        fail(f"The server cannot run: {error}")
