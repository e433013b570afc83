"""The command `reachability`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from deploy.cli.arguments import DAY_FORMATS, AsJson, Markets, asked_markets
from deploy.cli.output import print_json, print_table
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("reachability")(reachability)


def reachability(
    segment: Annotated[str, typer.Option(help="Only this segment.")] = "(all)",
    day: Annotated[
        datetime | None, typer.Option(formats=DAY_FORMATS, help="State at its end; else the newest day.")
    ] = None,
    market: Markets = None,
    as_json: AsJson = False,
) -> None:
    """Show how many people can and may be written to on each channel, and why not the others."""
    with clickhouse() as client:
        found = client.query(
            """
            SELECT * FROM channel_reachability(markets = {markets:Array(String)})
            WHERE segment = {segment:String} AND {day:String} IN ('', toString(day))
            ORDER BY day DESC, reachable DESC, channel
            LIMIT 1 BY channel
            """,
            parameters={
                "segment": segment,
                "day": f"{day:%Y-%m-%d}" if day else "",
                "markets": list(asked_markets(client, market)),
            },
        )
    rows = list(found.named_results())
    if as_json:
        print_json(rows)
        return
    reasons = ("people", "reachable", "opted_out", "no_address", "bounced", "not_asked", "stale")
    print_table(
        ("channel", "day", *(name.replace("_", " ") for name in reasons), "share"),
        [
            (row["channel"], str(row["day"]), *(f"{row[name]:,}" for name in reasons), f"{row['reachable_share']:.1%}")
            for row in rows
        ],
        text_columns=2,
    )
