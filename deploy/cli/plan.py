"""The command group `plan`: lint the tracking plan, check events against it, and print the catalogue of events."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.arguments import AsJson, FirstDay, LastDay, OutFile, period
from deploy.cli.output import fail, print_json, print_table, write_text
from deploy.cli.stores import clickhouse
from deploy.cli.streams import reading

if TYPE_CHECKING:
    from schemas.intake.plan import PlanDefinitions

PlanPaths = Annotated[
    list[Path] | None, typer.Option("--plan", exists=True, help="A file or folder of the plan; else the one in force.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    plan = typer.Typer(help="The tracking plan, and the catalogue of events.", no_args_is_help=True)
    plan.command("lint")(plan_lint)
    plan.command("check")(plan_check)
    plan.command("catalogue")(plan_catalogue)
    plan.command("export")(plan_export)
    app.add_typer(plan, name="plan")


def plan_lint(
    paths: Annotated[
        list[Path] | None, typer.Argument(exists=True, help="Files or folders; else those in force.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the files of the tracking plan, and name what is probably misspelt."""
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.plans import lint_plan, load_plan
    from deploy.operations.sources import load_sources
    from deploy.settings import settings

    files = _files(paths)
    try:
        hints = lint_plan(files, load_sources(settings()))
        definitions = load_plan(files)
    except DefinitionError as error:
        fail(str(error))
    if as_json:
        print_json({"events": len(definitions.events), "hints": [one._asdict() for one in hints]})
        return
    for hint in hints:
        print(f"hint: {hint}")
    print(f"{len(definitions.events):,} events planned in {len(files):,} files, {len(hints):,} hints")


def plan_check(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE|-", help="JSON Lines, one touchpoint a line; without it: history.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Check the events that ClickHouse has.")] = False,
    first: FirstDay = None,
    last: LastDay = None,
    plan: PlanPaths = None,
    as_json: AsJson = False,
) -> None:
    """Check events against the tracking plan before it is put in force; exit code 1 if one breaks it.

    The modes play no part in what is found; how many events they would cost is said.
    """
    from deploy.operations.plans import check_events
    from deploy.settings import settings
    from sinks.clickhouse.catalogue import event_lines

    if history == (file is not None):
        raise typer.BadParameter("give either a file or --history")
    definitions = _definitions(_files(plan))
    if file is not None:
        with reading(file) as (lines, _):
            found = check_events(definitions, lines, settings())
    else:
        with clickhouse() as client:
            found = check_events(definitions, event_lines(client, *period(first, last)), settings())
    rows = found.rows()
    if as_json:
        counts = {"events": found.events, "unreadable": found.unreadable, "would_refuse": found.costs}
        print_json({**counts, "broken": rows})
    else:
        names = ("event", "source", "field", "rule")
        if rows:
            cells = [[*(row[name] for name in names), f"{row['events']:,}", row["examples"][0]] for row in rows]
            print_table([*names, "events", "example"], cells, text_columns=4)
        unreadable = f", {found.unreadable:,} of them no valid events" if found.unreadable else ""
        print(f"{found.events:,} events{unreadable}; the plan would refuse {found.costs:,}")
    if rows:
        raise typer.Exit(1)


def plan_catalogue(
    event: Annotated[str, typer.Option(help="The properties of this event.")] = "",
    as_json: AsJson = False,
) -> None:
    """Print every event that was seen or planned, by source: first and last seen, volume, and whether it is planned.

    With `--event`, its properties with their types and fill rates; no values.
    """
    from sinks.clickhouse.catalogue import read_catalogue, read_properties

    with clickhouse() as client:
        rows = read_properties(client, event) if event else read_catalogue(client)
    if as_json:
        print_json(rows)
    elif event:
        headings = ["source", "property", "status", "types", "events", "fill rate"]
        print_table(headings, [_property_cells(row) for row in rows], text_columns=4)
    else:
        headings = ["event", "source", "status", "owner", "first seen", "last seen", "events", "7 days", "against plan"]
        print_table(headings, [_event_cells(row) for row in rows], text_columns=4)


def plan_export(
    typescript: Annotated[bool, typer.Option("--typescript", help="Interfaces.")] = False,
    kotlin: Annotated[bool, typer.Option("--kotlin", help="Data classes.")] = False,
    swift: Annotated[bool, typer.Option("--swift", help="Structures.")] = False,
    source: Annotated[str, typer.Option(help="As this source is planned; else as those that do not differ.")] = "",
    plan: PlanPaths = None,
    out: OutFile = None,
) -> None:
    """Print the planned events as types of a language, so that a compiler finds a misspelt property."""
    from deploy.operations.plan_types import LANGUAGES, PlanExportError

    chosen = [name for name, wanted in zip(LANGUAGES, (typescript, kotlin, swift), strict=True) if wanted]
    if len(chosen) != 1:
        raise typer.BadParameter("give one of --typescript, --kotlin and --swift")
    try:
        text = LANGUAGES[chosen[0]](_definitions(_files(plan)), source)
    except PlanExportError as error:
        fail(str(error))
    if out is None:
        print(text, end="")
    else:
        write_text(text, out)


def _event_cells(row: dict[str, Any]) -> list[str]:
    numbers = [f"{row[name]:,}" for name in ("events", "events_last_week", "against_plan")]
    texts = [row[name] for name in ("event", "source", "status", "owner")]
    return [*texts, _day(row["first_seen"]), _day(row["last_seen"]), *numbers]


def _property_cells(row: dict[str, Any]) -> list[str]:
    types = ", ".join(row["types"]) or row["planned_type"]
    return [row["source"], row["property"], row["status"], types, f"{row['events']:,}", f"{row['fill_rate']:.1%}"]


def _day(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d}"


def _files(paths: list[Path] | None) -> list[Path]:
    from deploy.operations.definition_files import yaml_files
    from deploy.operations.plans import plan_files
    from deploy.settings import settings

    if not paths:
        return plan_files(settings())
    return [file for path in paths for file in (yaml_files(path) if path.is_dir() else [path])]


def _definitions(files: list[Path]) -> PlanDefinitions:
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.plans import load_plan

    try:
        return load_plan(files)
    except DefinitionError as error:
        fail(str(error))
