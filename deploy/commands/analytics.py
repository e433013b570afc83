"""Commands that ask ClickHouse: what marketing brought, and where every record ended."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO
from zoneinfo import ZoneInfo

import typer

from deploy.commands.clients import clickhouse

if TYPE_CHECKING:
    from sinks.reports import AttributionReport, AttributionRow

CSV_COLUMNS = ("model", "key", "conversions", "revenue")
COUNTS = ("received", "stored", "duplicate", "suppressed", "dead_lettered", "difference")


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    attribution = typer.Typer(help="What led to conversions.", no_args_is_help=True)
    attribution.callback()(_group)
    attribution.command("report")(attribution_report)
    app.add_typer(attribution, name="attribution")
    app.command("accounting")(accounting)


def _group() -> None:
    """Keep a group with one command a group."""


def attribution_report(
    model: Annotated[str, typer.Option(help="Models, comma-separated, or all.")] = "all",
    by: Annotated[
        Literal["channel", "campaign", "creative", "product"], typer.Option(help="What gets the credit.")
    ] = "channel",
    goal: Annotated[str, typer.Option(help="A conversion type, or all; else the first goal of the touches file.")] = "",
    first: Annotated[str, typer.Option("--from", help="First day, or an RFC 3339 time; else the beginning.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last day, or the RFC 3339 time it ends at; else the end.")] = "",
    lookback_days: Annotated[float, typer.Option(min=0, max=36_500, help="How long before it a touch counts.")] = 30,
    half_life_days: Annotated[float, typer.Option(min=0.001, max=36_500, help="Of time_decay.")] = 7,
    scope: Annotated[
        Literal["all", "since_previous"],
        typer.Option(help="Every touch, or only those since the person's previous conversion of the goal."),
    ] = "all",
    repeats: Annotated[
        Literal["keep", "collapse"], typer.Option(help="Whether a run of touches of one channel counts once.")
    ] = "keep",
    csv_file: Annotated[str, typer.Option("--csv", metavar="FILE|-", help=f"Write {','.join(CSV_COLUMNS)}.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of rows as JSON.")] = False,
) -> None:
    """Credit conversions and their revenue to what led to them, next to what it cost.

    Days are those of THROUGHLINE_TIMEZONE. Exit code 1 if the credits do not add up to the conversions.
    """
    from deploy.settings import settings
    from sinks.reports import FIRST, LAST, AttributionOptions, attribution, models

    zone = ZoneInfo(settings().timezone)
    with clickhouse() as client:
        options = AttributionOptions(
            by=by,
            models=_chosen(model, models(client)),
            goal=goal,
            start=_instant(first, zone, "--from") if first else FIRST,
            stop=_instant(last, zone, "--to", through=True) if last else LAST,
            lookback_days=lookback_days,
            half_life_days=half_life_days,
            scope=scope,
            repeats=repeats,
            timezone=settings().timezone,
        )
        report = attribution(client, options)
    if csv_file:
        _write_csv(report.rows, csv_file)
    if as_json:
        print(json.dumps([asdict(row) for row in report.rows], indent=2, ensure_ascii=False, default=str))
    elif not csv_file:
        _show(report, by)
    problems = report.discrepancies()
    for problem in problems:
        typer.echo(f"does not add up: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


def accounting(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show where every record of the producers ended: stored, duplicate, suppressed or dead-lettered."""
    from sinks.reports import accounting as account

    with clickhouse() as client:
        found = account(client)
    total = found.total()
    if as_json:
        counts = {name: getattr(total, name) for name in COUNTS}
        print(
            json.dumps(
                {**counts, "missing": found.missing, "sources": [asdict(row) for row in found.sources]}, indent=2
            )
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("source")
    for name in COUNTS:
        table.add_column(name.replace("_", "-"), justify="right")
    for row in [*found.sources, total]:
        table.add_row(row.source or "(not readable)", *(f"{getattr(row, name):,}" for name in COUNTS))
    Console().print(table)
    print(f"{found.missing:,} records have no outcome (yet); v_missing_offsets lists them")


def _chosen(model: str, known: list[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in model.split(",") if name.strip())
    if names == ("all",):
        return ()
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise typer.BadParameter(
            f"{', '.join(unknown) or 'nothing'}: expected all or some of {', '.join(known)}", param_hint="--model"
        )
    return names


def _instant(text: str, zone: tzinfo, option: str, *, through: bool = False) -> datetime:
    """Read a day (its beginning; with `through` its end) or a time with an offset."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        pass
    else:
        return datetime.combine(day + timedelta(days=through), time(), zone)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise typer.BadParameter(f"{text!r}: expected 2026-11-22 or 2026-11-22T10:15:30Z", param_hint=option)
    return instant


def _write_csv(rows: list[AttributionRow], target: str) -> None:
    def write(file: TextIO) -> None:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(CSV_COLUMNS)
        lines.writerows([row.model, row.key, repr(row.conversions), repr(row.revenue)] for row in rows)

    if target == "-":
        write(sys.stdout)
        return
    with Path(target).open("w", newline="", encoding="utf-8") as file:
        write(file)
    typer.echo(f"{len(rows):,} rows written to {target}", err=True)


def _show(report: AttributionReport, by: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for model in dict.fromkeys(row.model for row in report.rows):
        table = Table(by, title=model, title_justify="left")
        for heading in ("conversions", "revenue", "spend", "ROAS", "ROMI", "CPA", "CAC"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in report.rows:
            if row.model == model:
                amounts = (row.revenue, row.spend or None, row.roas, row.romi)
                costs = (row.cpa, row.cac) if row.spend else (None, None)
                table.add_row(row.key or "(none)", f"{row.conversions:,.2f}", *map(_amount, (*amounts, *costs)))
        console.print(table)
    spend = "" if report.spend is None else f", {_amount(report.spend)} spent"
    currencies = ", ".join(report.currencies) or "no currency"
    print(f"{report.conversions:,} conversions, {_amount(report.revenue)} revenue{spend} ({currencies})")
    if len(report.currencies) > 1:
        print("Several currencies are added up as they are: convert them first if you compare amounts.")
    if not report.discrepancies():
        print("Every additive model adds up to these conversions and, to the cent, to this revenue.")


def _amount(value: float | Decimal | None) -> str:
    return "–" if value is None else f"{value:,.2f}"
