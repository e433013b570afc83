"""The command `report`: all marketing reports on one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.arguments import FirstDay, LastDay, Markets, asked_markets, period
from deploy.cli.output import fail, write_text
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("report")(report)


def report(
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="Where to write the page.")],
    model: Annotated[str, typer.Option(help="The attribution model of ROMI.")] = "linear",
    first: FirstDay = None,
    last: LastDay = None,
    market: Markets = None,
) -> None:
    """Write all marketing reports as one page: attribution, paths, funnel, cohorts, frequency, reach, ROMI.

    With --from, --to and --market everything on it is of these days and markets: orders by the market that they are
    of, spend by what its rows say, people by theirs. The page says how much spend is of no market.

    The file needs nothing else: open it offline, send it, print it. Needs the extra: pip install 'throughline[report]'.
    """
    from deploy.reporting.html.page import render
    from deploy.reporting.html.queries import query_report

    start, stop = period(first, last)
    with clickhouse() as client:
        data = query_report(client, model, start=start, stop=stop, markets=asked_markets(client, market))
    try:
        page = render(data)
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed: pip install 'throughline[report]'")
    write_text(page, html)
    typer.echo(f"wrote {html}, {len(page) / 1000:,.0f} kB", err=True)
