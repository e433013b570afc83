"""The command group `attribution`: the report is here, the commands beside it in the two modules that it imports."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO, TypeVar
from zoneinfo import ZoneInfo

import typer

from deploy.cli import attribution_credits, attribution_models, attribution_restate
from deploy.cli.arguments import Markets, asked_markets, instant
from deploy.cli.output import fail
from deploy.cli.stores import clickhouse

if TYPE_CHECKING:
    from deploy.reporting.attribution import ModelSelection
    from sinks.clickhouse.reports import AttributionOptions, AttributionReport, AttributionRow

T = TypeVar("T")

CSV_COLUMNS = ("model", "key", "conversions", "revenue")


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    attribution = typer.Typer(help="What led to conversions.", no_args_is_help=True)
    attribution.command("report")(attribution_report)
    attribution.command("fit")(attribution_models.fit)
    attribution.command("refresh")(attribution_credits.refresh)
    attribution.command("check")(attribution_credits.check)
    attribution.command("restate")(attribution_restate.restate)
    attribution.command("changes")(attribution_credits.changes)
    attribution.command("disagreement")(attribution_models.disagreement)
    attribution.command("drift")(attribution_models.drift)
    app.add_typer(attribution, name="attribution")


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
    milestone: Annotated[str, typer.Option(help="Goal with a role of its own in w_shaped; else the file's.")] = "",
    contacts: Annotated[
        Literal["all", "clicks", "views"], typer.Option(help="Views were only seen or sent; clicks are all others.")
    ] = "all",
    only: Annotated[list[str] | None, typer.Option(help="Look at this marketing channel; may be repeated.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave out this marketing channel; likewise.")] = None,
    market: Markets = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Replicates for the intervals of Markov and Shapley.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    paths: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file of paths: no database.")
    ] = None,
    events: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file of timed events: no database.")
    ] = None,
    separator: Annotated[str, typer.Option(help="Between the channels of a path in --paths.")] = " > ",
    csv_file: Annotated[str, typer.Option("--csv", metavar="FILE|-", help=f"Write {','.join(CSV_COLUMNS)}.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of rows as JSON.")] = False,
) -> None:
    """Credit conversions and their revenue to what led to them, next to what it cost.

    Days are those of THROUGHLINE_TIMEZONE. With --market only conversions and spend of that market count, and what was
    spent of no market is said. Every row of --json has the currency and the amounts that are in no sum, since there is
    no rate. Exit code 1 if the credits do not add up to the conversions.

    A file of --paths has the columns path, conversions and, if known, revenue and null; one of --events person, time,
    channel, conversion and, if known, revenue, goal, event_id. Both are CSV or JSON Lines. A path is text with a
    separator, or a JSON array of channels.
    """
    from deploy.reporting.attribution import UnknownModelError, report, select_models
    from deploy.reporting.terminal.attribution import show
    from deploy.settings import settings
    from processors.attribution.learned import TooManyKeysError
    from sinks.clickhouse.reports import FIRST, LAST, AttributionOptions

    zone = ZoneInfo(settings().timezone)
    options = AttributionOptions(
        by=by,
        goal=goal,
        start=instant(first, zone, "--from") if first else FIRST,
        stop=instant(last, zone, "--to", through=True) if last else LAST,
        lookback_days=lookback_days,
        half_life_days=half_life_days,
        scope=scope,
        repeats=repeats,
        timezone=settings().timezone,
        milestone=milestone,
        contacts=contacts,
        only=tuple(only or ()),
        without=tuple(without or ()),
    )
    try:
        models = select_models(model)
        if paths or events:
            if market:
                raise typer.BadParameter("a file has no markets: leave it out", param_hint="--market")
            if by != "channel" or (paths and events):
                raise typer.BadParameter("a file has channels only, and one file is enough", param_hint="--by")
            found = _file_report(paths, events, separator, options, models, bootstrap, seed)
        else:
            with clickhouse() as client:
                options = replace(options, markets=asked_markets(client, market))
                found = report(client, options, models, replicates=bootstrap, seed=seed)
    except (UnknownModelError, TooManyKeysError) as error:
        raise typer.BadParameter(str(error), param_hint="--model") from None
    if csv_file:
        _write_csv(found.rows, csv_file)
    if as_json:
        said = {
            "currency": ", ".join(found.currencies),
            "not_converted": list(found.not_converted),
            "spend_of_no_market": found.spend_of_no_market,
        }
        print(json.dumps([{**asdict(row), **said} for row in found.rows], indent=2, ensure_ascii=False, default=str))
    elif not csv_file:
        show(found, by)
    for warning in found.not_converted:
        typer.echo(f"warning: {warning}", err=True)
    problems = found.discrepancies()
    for problem in problems:
        typer.echo(f"does not add up: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


def _file_report(
    paths: Path | None,
    events: Path | None,
    separator: str,
    options: AttributionOptions,
    models: ModelSelection,
    replicates: int,
    seed: int,
) -> AttributionReport:
    from deploy.operations.definition_files import touch_rules
    from deploy.operations.importers.journeys import read_events, read_paths
    from deploy.reporting.attribution import report_of_events, report_of_paths
    from deploy.settings import settings
    from processors.attribution.rules import ModelParameters

    rules = touch_rules(settings()).definitions
    parameters = ModelParameters(timedelta(days=options.half_life_days), rules.direct_channels)
    if events:
        goal = options.goal or rules.goals[0].name
        options = replace(options, goal=goal, milestone=options.milestone or rules.milestone)
        touches, conversions = _read_file(events, lambda lines: read_events(lines, rules.goals[0].name))
        there = sorted({one.conversion_type for one in conversions})
        if there and goal not in ("all", *there):
            typer.echo(f"no conversion of the goal {goal}: the file has {', '.join(there)}, see --goal", err=True)
        return report_of_events(touches, conversions, options, models, parameters, replicates=replicates, seed=seed)
    assert paths
    if "time_decay" in models.rules:
        typer.echo("a file of paths has no times: time_decay is left out", err=True)
    rows = _read_file(paths, lambda lines: read_paths(lines, separator))
    collapse = options.repeats == "collapse"
    return report_of_paths(rows, models, parameters, collapse=collapse, replicates=replicates, seed=seed)


def _read_file(file: Path, read: Callable[[TextIO], T]) -> T:
    from deploy.operations.importers.tables import TableError

    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return read(lines)
    except (TableError, UnicodeDecodeError) as error:
        fail(f"{file}: {error}")


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
