"""The command `budget`: response curves of spend, and the best split of a day's budget."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson, Markets, asked_markets
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("budget")(budget)


def budget(
    total: Annotated[
        float | None, typer.Option("--total", min=0, help="A day's budget to split; else as much as now.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="The attribution model whose credited revenue is fitted to spend.")
    ] = "linear",
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="First day; else the first with spend.")] = "",
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day; else the last with spend.")] = "",
    market: Markets = None,
    as_json: AsJson = False,
) -> None:
    """Show what the next unit of spend would bring on each channel, and the best split of a day's budget.

    A curve with diminishing returns is fitted to each channel's days, from the first to the last day on which any
    channel spent; what spend brings on later days is counted. Intervals are of 95 %, from resampled weeks. No
    channel gets more than twice its present budget, because there is no data beyond it.
    """
    from processors.attribution.response import allocate, expected_revenue, fit
    from sinks.clickhouse.behaviour import spend_and_revenue
    from sinks.clickhouse.spend import missing_rates

    with clickhouse() as client:
        markets = asked_markets(client, market)
        days = spend_and_revenue(client, model, _day(first, "--from"), _day(last, "--to"), markets)
        warnings = missing_rates(client, days[0].first_day, len(days[0].spend), markets) if days else []
    if not days:
        where = f" in {', '.join(markets)}" if markets else ""
        fail(f"no spend is known for these days{where}: `throughline import spend FILE.csv` brings it in")
    first_day, last_day = days[0].first_day, days[0].first_day + timedelta(days=len(days[0].spend) - 1)
    curves = [curve for one in days if (curve := fit(one.channel, one.spend, one.revenue)) is not None]
    now = {curve.channel: curve.spend for curve in curves}
    split = allocate(curves, sum(now.values()) if total is None else total)
    before, after = expected_revenue(curves, now), expected_revenue(curves, split)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(
            {
                "model": model, "from": first_day, "to": last_day, "days": len(days[0].spend),
                "revenue_now": before, "revenue_then": after, "not_converted": warnings,
                "channels": [{**curve._asdict(), "best_spend": split[curve.channel]} for curve in curves],
            }
        )  # fmt: skip
        return
    print_table(
        ("channel", "a day now", "next unit brings", "95 % interval", "R²", "best a day", ""),
        [
            (
                curve.channel, f"{curve.spend:,.2f}", f"{curve.marginal:,.2f}",
                f"{curve.marginal_low:,.2f} to {curve.marginal_high:,.2f}", f"{curve.r_squared:.2f}",
                f"{split[curve.channel]:,.2f}", curve.warning,
            )
            for curve in sorted(curves, key=lambda curve: -curve.marginal)
        ],
        text_columns=1,
    )  # fmt: skip
    typer.echo(f"spend and revenue of {len(days[0].spend)} days, {first_day} to {last_day}")
    typer.echo(
        f"credited revenue a day: {before:,.2f} now, {after:,.2f} with the best split of {sum(split.values()):,.2f}"
    )
    typer.echo(
        "Spend that follows demand looks more effective than it is: test a change before you rely on it.", err=True
    )


def _day(text: str, option: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day such as 2026-11-01", param_hint=option) from None
