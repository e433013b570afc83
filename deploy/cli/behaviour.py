"""Commands that answer what people do: funnel, frequency, reachability, budget, lifetime value, and the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn
from zoneinfo import ZoneInfo

import typer

from deploy.cli.connections import clickhouse

if TYPE_CHECKING:
    from processors.attribution.frequency import Best

GROUPS = 200
"""Groups of people that are drawn anew for an interval."""

_DAY = ["%Y-%m-%d"]
From = Annotated[datetime | None, typer.Option("--from", formats=_DAY, help="First day; else the beginning.")]
To = Annotated[datetime | None, typer.Option("--to", formats=_DAY, help="Last day; else the end.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    app.command("funnel")(funnel)
    app.command("frequency")(frequency)
    app.command("reachability")(reachability)
    app.command("budget")(budget)
    lifetime = typer.Typer(help="What customers will bring.", no_args_is_help=True)
    lifetime.callback()(_group)
    lifetime.command("fit")(ltv_fit)
    app.add_typer(lifetime, name="ltv")
    app.command("report")(report)


def _group() -> None:
    """Keep a group with one command a group."""


def funnel(
    step: Annotated[list[str] | None, typer.Argument(help="Events in order, or event@channel.")] = None,
    window_days: Annotated[float, typer.Option(min=0, max=3650, help="From the first step to the last.")] = 7,
    by: Annotated[
        Literal["all", "segment", "channel", "marketing_channel"], typer.Option(help="What people are told apart by.")
    ] = "all",
    first: From = None,
    last: To = None,
    as_json: AsJson = False,
) -> None:
    """Show how many people reach each step in order, where they drop off and how long it takes.

    Without steps: Product Viewed, Product Added, Checkout Started, Order Completed.
    """
    from sinks.clickhouse.behaviour import funnel as ask

    steps = step or ["Product Viewed", "Product Added", "Checkout Started", "Order Completed"]
    start, stop = _period(first, last)
    with clickhouse() as client:
        rows = ask(client, steps, window_days=window_days, by="" if by == "all" else by, start=start, stop=stop)
    if as_json:
        _print_json([row._asdict() for row in rows])
        return
    _table(
        ("", "step", "people", "of previous", "of first", "dropped", "median h", "90 % h"),
        [
            (
                row.key if row.step == 1 else "", row.name, f"{row.people:,}", _share(row.from_previous),
                f"{row.from_first:.1%}", f"{row.dropped:,}", _number(row.median_hours), _number(row.p90_hours),
            )
            for row in rows
        ],
        texts=2,
    )  # fmt: skip


def frequency(
    segment: Annotated[str, typer.Option(help="Only this segment; (all) is everybody.")] = "",
    channel: Annotated[str, typer.Option(help="Only this channel of messages; (all) is all together.")] = "",
    objective: Annotated[
        Literal["revenue", "margin", "conversions", "responses"], typer.Option(help="What is to be highest.")
    ] = "revenue",
    unsubscribe_cost: Annotated[float, typer.Option(min=0, help="What losing a reader costs.")] = 0,
    least_weeks: Annotated[int, typer.Option(min=1, help="Person-weeks without which a number cannot win.")] = 100,
    first: From = None,
    last: To = None,
    as_json: AsJson = False,
) -> None:
    """Show what so many messages a week bring, by segment and channel, and how many are best.

    Intervals are of 95 %, from drawing people anew. Who gets many messages is not who gets few: take the answer as the
    beginning of an experiment with a holdout.
    """
    from processors.attribution.frequency import Counted, best
    from sinks.clickhouse.behaviour import message_frequency

    start, stop = _period(first, last)
    with clickhouse() as client:
        rows = message_frequency(client, segment=segment, channel=channel, start=start, stop=stop, groups=GROUPS)
    answers = [
        (key, best([Counted(*row[2:]) for row in found], objective,
                   unsubscribe_cost=unsubscribe_cost, least_person_weeks=least_weeks))
        for key, found in groupby(rows, key=lambda row: (row.segment, row.channel))
    ]  # fmt: skip
    if as_json:
        _print_json(
            [
                {
                    "segment": key[0], "channel": key[1], "best": answer.messages, "best_low": answer.low,
                    "best_high": answer.high, "certainty": answer.certainty,
                    "curve": [rate._asdict() for rate in answer.curve],
                }
                for key, answer in answers
            ]
        )  # fmt: skip
        return
    for (named, on), answer in answers:
        _show_frequency(named, on, answer, objective)


def reachability(
    segment: Annotated[str, typer.Option(help="Only this segment.")] = "(all)",
    day: Annotated[datetime | None, typer.Option(formats=_DAY, help="State at its end; else the newest day.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how many people can and may be written to on each channel, and why not the others."""
    with clickhouse() as client:
        found = client.query(
            """
            SELECT * FROM v_channel_reachability
            WHERE segment = {segment:String} AND {day:String} IN ('', toString(day))
            ORDER BY day DESC, reachable DESC, channel
            LIMIT 1 BY channel
            """,
            parameters={"segment": segment, "day": f"{day:%Y-%m-%d}" if day else ""},
        )
    rows = list(found.named_results())
    if as_json:
        _print_json(rows)
        return
    reasons = ("people", "reachable", "opted_out", "no_address", "bounced", "not_asked", "stale")
    _table(
        ("channel", "day", *(name.replace("_", " ") for name in reasons), "share"),
        [
            (row["channel"], str(row["day"]), *(f"{row[name]:,}" for name in reasons), f"{row['reachable_share']:.1%}")
            for row in rows
        ],
        texts=2,
    )


def budget(
    total: Annotated[
        float | None, typer.Option("--total", min=0, help="A day's budget to split; else as much as now.")
    ] = None,
    model: Annotated[str, typer.Option(help="The attribution model whose revenue answers to spend.")] = "linear",
    as_json: AsJson = False,
) -> None:
    """Show what the next unit of spend would bring on each channel, and the best split of a day's budget.

    A curve with diminishing returns is fitted to each channel's days. Intervals are of 95 %, from drawing weeks anew.
    No channel gets more than twice what it has now, since nothing is known of what was never tried.
    """
    from processors.attribution.response import allocate, fit, what_if
    from sinks.clickhouse.behaviour import spend_and_revenue

    with clickhouse() as client:
        days = spend_and_revenue(client, model)
    curves = [curve for one in days if (curve := fit(one.channel, one.spend, one.revenue)) is not None]
    now = {curve.channel: curve.spend for curve in curves}
    split = allocate(curves, sum(now.values()) if total is None else total)
    before, after = what_if(curves, now), what_if(curves, split)
    if as_json:
        _print_json(
            {
                "model": model, "revenue_now": before, "revenue_then": after,
                "channels": [{**curve._asdict(), "best_spend": split[curve.channel]} for curve in curves],
            }
        )  # fmt: skip
        return
    _table(
        ("channel", "a day now", "next unit brings", "95 % interval", "R²", "best a day", ""),
        [
            (
                curve.channel, f"{curve.spend:,.2f}", f"{curve.marginal:,.2f}",
                f"{curve.marginal_low:,.2f} to {curve.marginal_high:,.2f}", f"{curve.r_squared:.2f}",
                f"{split[curve.channel]:,.2f}", curve.warning,
            )
            for curve in sorted(curves, key=lambda curve: -curve.marginal)
        ],
        texts=1,
    )  # fmt: skip
    typer.echo(
        f"credited revenue a day: {before:,.2f} now, {after:,.2f} with the best split of {sum(split.values()):,.2f}"
    )
    typer.echo("Spend that follows demand looks more effective than it is: try a change before you trust it.", err=True)


def ltv_fit(
    horizon_days: Annotated[int, typer.Option(min=7, max=3650, help="Days to look ahead.")] = 90,
    holdout_days: Annotated[
        int | None, typer.Option(min=0, help="Days at the end to judge a fit by that has not seen them; 0: none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit how often customers will buy again and for how much; v_ltv then has it for each person.

    Needs the extra: pip install 'throughline[ltv]'. Says how far a fit that had not seen the last days was off.
    """
    from processors.attribution.lifetime import MODEL, Order, TooFewError, fit
    from sinks.clickhouse.behaviour import customer_orders, last_day, store_ltv

    with clickhouse() as client:
        orders = [Order(*row) for row in customer_orders(client)]
        until = last_day(client)
        if until is None:
            _fail("there are no events yet")
        try:
            found = fit(orders, until, horizon_days=horizon_days, holdout_days=holdout_days)
        except TooFewError as error:
            _fail(str(error))
        except ModuleNotFoundError as error:
            _fail(f"{error.name} is not installed: pip install 'throughline[ltv]'")
        judged = found.judged
        run = {
            "fitted_at": datetime.now(UTC), "model": MODEL, "observed_until": until, "horizon_days": horizon_days,
            "customers": len(found.expected), "parameters": found.parameters, "holdout_days": judged.days,
            "holdout_orders": judged.orders, "predicted_orders": judged.predicted,
            "mean_absolute_error": judged.mean_absolute_error, "naive_absolute_error": judged.naive_absolute_error,
        }  # fmt: skip
        run_id = store_ltv(client, run, ((*one, one.revenue) for one in found.expected))
    revenue = sum(one.revenue for one in found.expected)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        _print_json({"run_id": run_id, **run, "revenue": revenue})
        return
    typer.echo(f"{len(found.expected):,} customers, {revenue:,.2f} expected within {horizon_days} days (run {run_id})")
    if judged.days:
        off = judged.predicted / judged.orders - 1 if judged.orders else 0.0
        typer.echo(
            f"judged by the last {judged.days} days: {judged.predicted:,.1f} orders predicted, {judged.orders:,} came"
            f" ({off:+.1%}); for a customer off by {judged.mean_absolute_error:.3f}, by"
            f" {judged.naive_absolute_error:.3f} if everybody had gone on as before"
        )
    else:
        typer.echo("not judged: the history is too short to hold days back")


def report(
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="Where to write the page.")],
    model: Annotated[str, typer.Option(help="The attribution model of ROMI.")] = "linear",
) -> None:
    """Write one page with everything that marketing asks: attribution, paths, funnel, cohorts, frequency, reach, ROMI.

    The file needs nothing else: open it offline, send it, print it. Needs the extra: pip install 'throughline[report]'.
    """
    from deploy.reporting.html.page import render
    from deploy.reporting.html.questions import ask

    with clickhouse() as client:
        answers = ask(client, model)
    try:
        page = render(answers)
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed: pip install 'throughline[report]'")
    try:
        html.write_text(page, "utf-8")
    except OSError as error:
        _fail(f"cannot write {html}: {error.strerror}")
    typer.echo(f"wrote {html}, {len(page) / 1000:,.0f} kB", err=True)


def _show_frequency(segment: str, channel: str, answer: Best, objective: str) -> None:
    title = f"{segment} × {channel}: "
    if answer.messages is None:
        title += "too few weeks to tell what is best"
    else:
        title += (
            f"best {answer.messages} a week ({answer.low} to {answer.high}; first in {answer.certainty:.0%} of draws)"
        )
    _table(
        ("messages", "people", "person-weeks", f"{objective} a week", "95 % interval", "unsubscribes", ""),
        [
            (
                str(rate.messages), f"{rate.people:,}", f"{rate.person_weeks:,}", f"{rate.value:,.3f}",
                f"{rate.low:,.3f} to {rate.high:,.3f}", f"{rate.unsubscribe_rate:.2%}",
                "best" if rate.messages == answer.messages else "" if rate.counts else "too few",
            )
            for rate in answer.curve
        ],
        title=title,
    )  # fmt: skip


def _period(first: datetime | None, last: datetime | None) -> tuple[datetime, datetime]:
    from deploy.settings import settings
    from sinks.clickhouse.reports import FIRST, LAST

    zone = ZoneInfo(settings().timezone)
    start = first.replace(tzinfo=zone) if first else FIRST
    stop = (last + timedelta(days=1)).replace(tzinfo=zone) if last else LAST
    return start, stop


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 0, title: str | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, header_style="dim", padding=(0, 1))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < texts else "right", no_wrap=number >= texts)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
