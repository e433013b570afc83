"""Commands beside the attribution report: learned models and stored credits kept up to date, checked and compared."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from deploy.cli.connections import clickhouse
from deploy.cli.times import instant

if TYPE_CHECKING:
    from deploy.reporting.comparison import Disagreement, Drift

By = Annotated[Literal["channel", "campaign", "creative", "product"], typer.Option(help="What gets the credit.")]
Goal = Annotated[str, typer.Option(help="A conversion type, or all; else the first goal of the touches file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(group: typer.Typer) -> None:
    """Add the commands to `throughline attribution`."""
    for command in (fit, refresh, check, changes, disagreement, drift):
        group.command()(command)


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
    """Work out Markov and Shapley credit, with intervals, and store it: v_attribution_markov, v_attribution_shapley.

    Run it as often as the numbers need to be fresh, such as nightly by cron; every run is kept.
    """
    from deploy.reporting.attribution import UnknownModelError, chosen, database_paths, learned_rows, thin
    from processors.attribution.learned import TooManyKeysError, shares
    from schemas.durations import HOUR_MS
    from schemas.time import clock_ms, time_of_ms
    from sinks.clickhouse.attribution import insert_learned, latest_run
    from sinks.clickhouse.reports import FIRST, LAST, AttributionOptions

    run = clock_ms()
    start = time_of_ms(run) - timedelta(days=days) if days else FIRST
    options = AttributionOptions(by=by, goal=goal, start=start, stop=LAST, lookback_days=lookback_days)
    try:
        models = chosen(model).learned
        if not models:
            raise UnknownModelError(f"{model}: nothing to work out, a rule model needs no fit")
        with clickhouse() as client:
            wanted = goal or _goal(client)
            if run - latest_run(client, wanted, by) < if_older_h * HOUR_MS:
                typer.echo("the latest run is younger than that", err=True)
                return
            found = shares(database_paths(client, options), models, replicates=bootstrap, seed=seed)
            insert_learned(client, run, wanted, options, learned_rows(found))
    except (UnknownModelError, TooManyKeysError) as error:
        raise typer.BadParameter(str(error), param_hint="--model") from None
    few = thin(found)
    if few:
        typer.echo(f"fewer than 30 converting journeys, so hardly more than chance: {', '.join(few)}", err=True)
    if as_json:
        print(json.dumps({"run": run, "rows": [row._asdict() for row in found]}, indent=2, ensure_ascii=False))
    else:
        print(f"run {run}: {len(found):,} rows of {', '.join(models)}")


def refresh(
    days: Annotated[float, typer.Option(min=0, help="Only conversions of the last so many days; 0: all.")] = 0,
    anew: Annotated[bool, typer.Option("--anew", help="Add up every day anew, also where nothing changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the stored credits up to date: v_attribution_stored, v_attribution_stored_by_day.

    Late touches, merges, splits, refunds and withdrawn consent change credits of the past; only conversions whose
    credits changed get a new version.
    """
    from schemas.time import clock_ms, time_of_ms
    from sinks.clickhouse.attribution import refresh as bring_up_to_date
    from sinks.clickhouse.reports import FIRST, LAST

    version = clock_ms()
    start = time_of_ms(version) - timedelta(days=days) if days else FIRST
    with clickhouse() as client:
        changed = bring_up_to_date(client, version, start, LAST, anew=anew)
    if as_json:
        print(json.dumps({"version": version, "changed": changed}))
    else:
        print(f"version {version}: credits of {changed:,} conversions changed")


def check(as_json: AsJson = False) -> None:
    """Compare orders, conversions and credits, and stored credits with live ones; exit code 1 if they differ."""
    from sinks.clickhouse.attribution import check as compare
    from sinks.clickhouse.attribution import settled

    with clickhouse() as client:
        found = compare(client)
        until = settled(client)
    if as_json:
        print(json.dumps({**asdict(found), "settled": asdict(until)}, indent=2, default=str))
    else:
        for row in found.alerts:
            typer.echo(
                f"{row.day} {row.conversion_type or '(no conversion)'} {row.model}: {row.orders:,} orders,"
                f" {row.conversions:,} conversions, {row.credits:,.6f} credited; {row.revenue:,.2f} revenue,"
                f" {row.credited_revenue:,.2f} credited",
                err=True,
            )
        print(f"{found.days:,} days of a goal and model compared, {len(found.alerts):,} do not add up")
        if found.version:
            print(f"{found.conversions:,} conversions, {found.outdated:,} stored otherwise than they are now")
            if found.days_off:
                print(f"{found.days_off:,} days added up wrongly: `throughline attribution refresh --anew`")
        else:
            print("nothing is stored yet: `throughline attribution refresh`")
        print(f"credits of conversions before {until.settled_until:%Y-%m-%d %H:%M} UTC hardly change any more")
    if found.alerts or found.outdated or found.days_off:
        raise typer.Exit(1)


def changes(
    from_version: Annotated[int | None, typer.Option(min=0, help="The earlier version; else the one before.")] = None,
    to_version: Annotated[int | None, typer.Option(min=0, help="The later version; else the last.")] = None,
    by: By = "channel",
    model: Annotated[str, typer.Option(help="A model, or all.")] = "linear",
    as_json: AsJson = False,
) -> None:
    """Show what restating changed: stored credits at one version and at a later one."""
    from sinks.clickhouse.attribution import changes as compare
    from sinks.clickhouse.attribution import versions

    with clickhouse() as client:
        known = [version for version, _ in versions(client)]
        after = next(iter(known), 0) if to_version is None else to_version
        before = next((one for one in known if one < after), 0) if from_version is None else from_version
        rows = [row for row in compare(client, before, after, by) if model in ("all", row.model)]
    if as_json:
        found = {"from": before, "to": after, "changes": [asdict(row) for row in rows]}
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    _table(
        f"{model}: version {before} to {after}",
        (by, "conversions", "then", "revenue", "then"),
        [
            (row.key if model != "all" else f"{row.model} {row.key}", f"{row.conversions_before:,.2f}",
             f"{row.conversions_after:,.2f}", f"{row.revenue_before:,.2f}", f"{row.revenue_after:,.2f}")
            for row in rows
        ],
    )  # fmt: skip


def disagreement(
    by: By = "channel",
    goal: Goal = "",
    days: Annotated[float, typer.Option(min=0, help="Only conversions of the last so many days; 0: all.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show where models differ most: what a key's credit depends on is the choice of the model, not the data.

    Shares are association, not effect. Below are the experiments: what a holdout says needs no model.
    """
    from deploy.reporting.attribution import chosen, report
    from deploy.reporting.comparison import disagreements
    from sinks.clickhouse.attribution import experiments

    with clickhouse() as client:
        found = disagreements(report(client, _period(by, goal, days), chosen("all")))
        lifts = experiments(client)
    if as_json:
        rows = {"keys": [asdict(row) for row in found], "experiments": lifts}
        print(json.dumps(rows, indent=2, ensure_ascii=False, default=str))
        return
    _table("share of conversions", (by, "least", "by", "most", "by"), [_disagreement_cells(row) for row in found])
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
    as_json: AsJson = False,
) -> None:
    """Show how shares moved from one period to the next, most first; recent days that may still change are left out."""
    from dataclasses import replace

    from deploy.reporting.attribution import UnknownModelError, chosen, report
    from deploy.reporting.comparison import drifts
    from deploy.settings import settings
    from sinks.clickhouse.attribution import settled
    from sinks.clickhouse.reports import AttributionOptions

    try:
        models = chosen(model)
    except UnknownModelError as error:
        raise typer.BadParameter(str(error), param_hint="--model") from None
    stop = instant(until, ZoneInfo(settings().timezone), "--until", through=True) if until else None
    with clickhouse() as client:
        stop = stop or settled(client).settled_until.replace(tzinfo=UTC)
        later = AttributionOptions(by=by, goal=goal, start=stop - timedelta(days=days), stop=stop)
        earlier = replace(later, start=later.start - timedelta(days=days), stop=later.start)
        found = drifts(report(client, earlier, models), report(client, later, models))
    if as_json:
        print(json.dumps([asdict(row) for row in found], indent=2, ensure_ascii=False))
        return
    _table(
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


def _table(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 else "right", overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
