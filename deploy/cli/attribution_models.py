"""Commands of the group `attribution` that compare models: fit the learned ones, show where they differ and drift."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, timedelta
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from deploy.cli.arguments import AsJson, By, Markets, asked_markets, instant
from deploy.cli.stores import clickhouse

if TYPE_CHECKING:
    from deploy.reporting.comparison import Disagreement, Drift

Goal = Annotated[str, typer.Option(help="A conversion type, or all; else the first goal of the touches file.")]


def fit(
    model: Annotated[str, typer.Option(help="Models that learn from all journeys, comma-separated, or all.")] = "all",
    by: By = "channel",
    goal: Goal = "",
    days: Annotated[float, typer.Option(min=0, help="Only conversions of the last so many days; 0: all.")] = 0,
    lookback_days: Annotated[float, typer.Option(min=0, max=36_500, help="How long before it a touch counts.")] = 30,
    bootstrap: Annotated[int, typer.Option(min=0, help="Replicates for 95 % intervals; 0: none.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    if_older_h: Annotated[float, typer.Option("--if-older-h", min=0, help="Do nothing if a run is younger.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compute Markov and Shapley credit, with intervals, and store it: v_attribution_markov, v_attribution_shapley.

    Run it as often as the numbers need to be fresh, such as nightly by cron; every run is kept.
    """
    from deploy.reporting.attribution import (
        UnknownModelError,
        database_paths,
        learned_rows,
        select_models,
        unreliable_keys,
    )
    from processors.attribution.learned import TooManyKeysError, shares
    from schemas.durations import HOUR_MS
    from schemas.time import clock_ms, time_of_ms
    from sinks.clickhouse.attribution import insert_learned, latest_run
    from sinks.clickhouse.reports import FIRST, LAST, AttributionOptions
    from sinks.clickhouse.spend import missing_rates

    run = clock_ms()
    start = time_of_ms(run) - timedelta(days=days) if days else FIRST
    options = AttributionOptions(by=by, goal=goal, start=start, stop=LAST, lookback_days=lookback_days)
    try:
        models = select_models(model).learned
        if not models:
            raise UnknownModelError(f"{model}: nothing to fit, it is a rule model")
        with clickhouse() as client:
            wanted = goal or _goal(client)
            if run - latest_run(client, wanted, by) < if_older_h * HOUR_MS:
                typer.echo("the latest run is younger than that", err=True)
                return
            found = shares(database_paths(client, options), models, replicates=bootstrap, seed=seed)
            insert_learned(client, run, wanted, options, learned_rows(found))
            warnings = missing_rates(client, start.date() if days else None, ceil(days) + 2)
    except (UnknownModelError, TooManyKeysError) as error:
        raise typer.BadParameter(str(error), param_hint="--model") from None
    few = unreliable_keys(found)
    if few:
        typer.echo(f"fewer than 30 converting journeys, so not reliable: {', '.join(few)}", err=True)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        fitted = {"run": run, "rows": [row._asdict() for row in found], "not_converted": warnings}
        print(json.dumps(fitted, indent=2, ensure_ascii=False))
    else:
        print(f"run {run}: {len(found):,} rows of {', '.join(models)}")


def disagreement(
    by: By = "channel",
    goal: Goal = "",
    days: Annotated[float, typer.Option(min=0, help="Only conversions of the last so many days; 0: all.")] = 0,
    market: Markets = None,
    as_json: AsJson = False,
) -> None:
    """Show where models differ most: there the credit depends on the choice of the model.

    Shares are association, not effect. The experiments are listed below: their effect, measured by a holdout, needs no
    model.
    """
    from deploy.reporting.attribution import report, select_models
    from deploy.reporting.comparison import disagreements
    from sinks.clickhouse.attribution import experiments

    with clickhouse() as client:
        options = replace(_period(by, goal, days), markets=asked_markets(client, market))
        found = disagreements(report(client, options, select_models("all")))
        lifts = experiments(client)
    if as_json:
        rows = {"keys": [asdict(row) for row in found], "experiments": lifts}
        print(json.dumps(rows, indent=2, ensure_ascii=False, default=str))
        return
    print_comparison(
        "share of conversions", (by, "least", "by", "most", "by"), [_disagreement_cells(row) for row in found]
    )
    for lift in lifts:
        print(", ".join(f"{name} {value}" for name, value in lift.items()))


def drift(
    days: Annotated[float, typer.Option(min=0.01, help="Length of the two periods to compare.")] = 28,
    until: Annotated[
        str,
        typer.Option(help="Last day of the later period, or the RFC 3339 time it ends; else when credits are settled."),
    ] = "",
    by: By = "channel",
    goal: Goal = "",
    model: Annotated[str, typer.Option(help="Models, comma-separated, or all.")] = "all",
    market: Markets = None,
    as_json: AsJson = False,
) -> None:
    """Show how shares changed from one period to the next, largest first; days that may still change are left out."""
    from deploy.reporting.attribution import UnknownModelError, report, select_models
    from deploy.reporting.comparison import drifts
    from deploy.settings import settings
    from sinks.clickhouse.attribution import settled
    from sinks.clickhouse.reports import AttributionOptions

    try:
        models = select_models(model)
    except UnknownModelError as error:
        raise typer.BadParameter(str(error), param_hint="--model") from None
    stop = instant(until, ZoneInfo(settings().timezone), "--until", through=True) if until else None
    with clickhouse() as client:
        stop = stop or settled(client).settled_until.replace(tzinfo=UTC)
        markets = asked_markets(client, market)
        later = AttributionOptions(by=by, goal=goal, start=stop - timedelta(days=days), stop=stop, markets=markets)
        earlier = replace(later, start=later.start - timedelta(days=days), stop=later.start)
        found = drifts(report(client, earlier, models), report(client, later, models))
    if as_json:
        print(json.dumps([asdict(row) for row in found], indent=2, ensure_ascii=False))
        return
    print_comparison(
        f"{days:g} days until {stop:%Y-%m-%d %H:%M} UTC, and those before",
        ("model", by, "share", "then", "change"), [_drift_cells(row) for row in found],
    )  # fmt: skip


def _period(by: Literal["channel", "campaign", "creative", "product"], goal: str, days: float) -> Any:
    from schemas.time import clock_ms, time_of_ms
    from sinks.clickhouse.reports import FIRST, AttributionOptions

    start = time_of_ms(clock_ms()) - timedelta(days=days) if days else FIRST
    return AttributionOptions(by=by, goal=goal, start=start)


def _goal(client: Any) -> str:
    return str(client.query("SELECT goal FROM v_attribution_settings").first_row[0])


def _disagreement_cells(row: Disagreement) -> tuple[str, ...]:
    return row.key or "(none)", f"{row.least:.1%}", row.least_by, f"{row.most:.1%}", row.most_by


def _drift_cells(row: Drift) -> tuple[str, ...]:
    return row.model, row.key or "(none)", f"{row.before:.1%}", f"{row.after:.1%}", f"{row.after - row.before:+.1%}"


def print_comparison(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table with names in the first column and numbers in the others."""
    from rich.table import Table

    from deploy.reporting.terminal.text import plain_console

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 else "right", overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    plain_console().print(table)
