"""The command group `journeys`: list, check, simulate, and explain decisions about one person."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from deploy.cli import journeys_control, journeys_show
from deploy.cli.arguments import AsJson, Source, Who, instant
from deploy.cli.output import fail
from deploy.cli.stores import Stores, clickhouse, exit_on_store_error, with_stores
from deploy.operations.person_lookup import find_person


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    journeys = typer.Typer(help="Journeys: messages to people, and the reasons.", no_args_is_help=True)
    journeys_show.register(journeys)
    journeys.command("lint")(journeys_lint)
    journeys.command("simulate")(journeys_simulate)
    journeys.command("why")(journeys_why)
    journeys_control.register(journeys)
    app.add_typer(journeys, name="journeys")


def journeys_lint(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Journey files, or folders of them; else all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check journeys: their structure, and what they refer to. Exit code 1 if one of them cannot work."""
    from dataclasses import replace

    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.engines import lint_all, lint_what_loads, load_definitions, load_journeys
    from deploy.operations.plans import load_plan, plan_files
    from deploy.settings import settings

    try:
        plan = load_plan(plan_files(settings()))
    except DefinitionError as error:
        fail(str(error))
    try:
        definitions = load_definitions(settings(), without_journeys=paths is not None)
    except DefinitionError as error:
        fail("\n".join([str(error), *map(str, lint_what_loads(settings(), plan) if paths is None else ())]))
    if paths is not None:
        try:
            journeys, files = load_journeys(_files(paths))
        except DefinitionError as error:
            fail(str(error))
        definitions = replace(definitions, journeys=journeys, files=files)
    findings = lint_all(definitions, plan)
    serious = sum(finding.serious for finding in findings)
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            print(f"{finding}" if finding.serious else f"{finding} (a hint)")
    checked = len(definitions.journeys)
    typer.echo(f"{checked} journeys, {serious} errors, {len(findings) - serious} hints", err=True)
    if serious:
        raise typer.Exit(1)


def journeys_simulate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A journey; it need not be in force.")],
    first: Annotated[str, typer.Option("--from", help="First day, or an RFC 3339 time.")],
    last: Annotated[str, typer.Option("--to", help="Last day, or the RFC 3339 time it ends at.")],
    timely: Annotated[
        bool,
        typer.Option("--as-it-happened", help="Take events as received when they happened: for imported history."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a journey over history without sending: entries, messages, and messages held back by a gate.

    It competes for frequency caps with the other journeys in force, and is compared with its own version in force.
    """
    from deploy.operations.catalogue_history import read_catalogue
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.definitions_report import read_in_force
    from deploy.operations.engines import load_journeys
    from deploy.settings import settings
    from processors.journeys.simulate import Simulation, difference, received_when_happened
    from schemas.time import ms_of_time
    from sinks.clickhouse.history import read_people

    zone = ZoneInfo(settings().timezone)
    start, stop = instant(first, zone, "--from"), instant(last, zone, "--to", through=True)
    with exit_on_store_error():
        definitions = asyncio.run(read_in_force(settings())).definitions
    try:
        (draft,), _ = load_journeys([file])
    except DefinitionError as error:
        fail(str(error))
    others = [journey for journey in definitions.journeys if journey.name != draft.name]
    live = next((journey for journey in definitions.journeys if journey.name == draft.name), None)

    def simulation(*chosen: Any) -> Simulation:
        decider = definitions.decider([*others, *chosen])
        return Simulation(decider, [draft.name], ms_of_time(start), ms_of_time(stop), settings().timezone)

    runs = [simulation(draft)] + ([simulation(live)] if live and live.version != draft.version else [])
    people = events = 0
    with clickhouse() as client:
        catalogue = read_catalogue(client, definitions.decider([*others, draft]).segments)
        for profile_id, events_of in read_people(client, datetime.now(UTC) if timely else stop):
            theirs = catalogue.around(profile_id, events_of, "occurred_at" if timely else "received_at")
            people, events = people + 1, events + len(theirs)
            for run in runs:
                run.replay(profile_id, received_when_happened(theirs) if timely else theirs)
            if people % 1000 == 0:
                typer.echo(f"{people:,} people, {events:,} events", err=True)
    summaries = [run.tallies[draft.name].summary() for run in runs]
    report = {
        "journey": draft.name,
        "version": draft.version,
        "live_version": live.version if live else None,
        "from": start.isoformat(),
        "to": stop.isoformat(),
        "people_replayed": people,
        "events_replayed": events,
        "draft": summaries[0],
        "live": summaries[-1] if live else None,
        "difference": difference(summaries[0], summaries[-1]) if live else None,
    }
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _print_report(report)


def journeys_why(who: Who, source: Source = "", as_json: AsJson = False) -> None:
    """Explain why a person was sent a message, or was not: every decision with its gates."""
    from deploy.settings import settings
    from processors.decisions.explain import story
    from sinks.clickhouse.decisions import read_decisions, read_journey_events

    async def read(stores: Stores) -> str:
        return (await find_person(stores, who, source)).profile_id

    profile_id = with_stores(read)
    with clickhouse() as client:
        decisions, events = read_decisions(client, profile_id), read_journey_events(client, profile_id)
    if as_json:
        for row in decisions:
            row["gates"] = json.loads(row["gates"])
        for row in events:
            row["detail"] = json.loads(row.get("detail") or "{}")
        answer = {"profile_id": profile_id, "decisions": decisions, "journey_events": events}
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    for line in story(decisions, events, settings().timezone):
        print(line)
    if not decisions and not events:
        print(f"no decision and no journey event of {profile_id} yet")


def _files(paths: list[Path]) -> list[Path]:
    from deploy.operations.definition_files import yaml_files

    return [file for path in paths for file in (yaml_files(path) if path.is_dir() else [path])]


def _print_report(report: dict[str, Any]) -> None:
    from rich.table import Table

    from deploy.reporting.terminal.text import plain_console

    console = plain_console()
    print(f"{report['journey']} {report['version']}, {report['from']} to {report['to']}: nothing was sent")
    print(f"{report['people_replayed']:,} people and {report['events_replayed']:,} events replayed")
    table = Table("", "this file", "in force", "difference")
    live, change = report["live"] or {}, report["difference"] or {}
    rows = {"people": "people who enter", "runs": "runs", "messages": "messages", "caps_hit": "times a cap was hit",
            "goals": "goals reached"}  # fmt: skip
    for name, heading in rows.items():
        more = f"{change[name]:+,}" if change else "–"
        table.add_row(heading, f"{report['draft'][name]:,}", f"{live[name]:,}" if live else "–", more)
    for group in ("holdout_people", "held_back_by_gate", "messages_by_channel"):
        for name in sorted({*report["draft"][group], *live.get(group, {})}):
            mine, theirs = report["draft"][group].get(name, 0), live.get(group, {}).get(name, 0)
            heading = f"{group.replace('_', ' ')}: {name}"
            more = f"{mine - theirs:+,}" if live else "–"
            table.add_row(heading, f"{mine:,}", f"{theirs:,}" if live else "–", more)
    console.print(table)
    days = Table("day", "channel", "messages")
    for row in report["draft"]["messages_by_day"]:
        days.add_row(row["day"], row["channel"], f"{row['messages']:,}")
    console.print(days)
