"""The command `funnel`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deploy.cli.arguments import AsJson, FirstDay, LastDay, Markets, asked_markets, period
from deploy.cli.output import print_json, print_table
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("funnel")(funnel)


def funnel(
    step: Annotated[list[str] | None, typer.Argument(help="Events in order, or event@channel.")] = None,
    window_days: Annotated[float, typer.Option(min=0, max=3650, help="From the first step to the last.")] = 7,
    by: Annotated[
        Literal["all", "segment", "channel", "marketing_channel"], typer.Option(help="How people are grouped.")
    ] = "all",
    first: FirstDay = None,
    last: LastDay = None,
    market: Markets = None,
    as_json: AsJson = False,
) -> None:
    """Show how many people reach each step in order, where they drop off and how long it takes.

    Without steps: Product Viewed, Product Added, Checkout Started, Order Completed.
    """
    from sinks.clickhouse.behaviour import funnel as ask

    steps = step or ["Product Viewed", "Product Added", "Checkout Started", "Order Completed"]
    start, stop = period(first, last)
    with clickhouse() as client:
        rows = ask(
            client,
            steps,
            window_days=window_days,
            by="" if by == "all" else by,
            start=start,
            stop=stop,
            markets=asked_markets(client, market),
        )
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    print_table(
        ("", "step", "people", "of previous", "of first", "dropped", "median h", "90 % h"),
        [
            (
                row.key if row.step == 1 else "", row.name, f"{row.people:,}", _share(row.from_previous),
                f"{row.from_first:.1%}", f"{row.dropped:,}", _number(row.median_hours), _number(row.p90_hours),
            )
            for row in rows
        ],
        text_columns=2,
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
