"""Commands of `journeys` that show: list, show, preview."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.arguments import AsJson, Source
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.stores import exit_on_store_error, with_deployment
from deploy.connections.clickhouse import clickhouse_client
from deploy.operations.person_lookup import find_person

if TYPE_CHECKING:
    from deploy.operations.definitions_report import DefinitionsReport
    from deploy.operations.deployment import Deployment
    from deploy.operations.message_preview import Preview
    from schemas.journeys.definitions import Journey


def register(journeys: typer.Typer) -> None:
    """Add the commands to `throughline journeys`."""
    journeys.command("list")(journeys_list)
    journeys.command("show")(journeys_show)
    journeys.command("preview")(journeys_preview)


def journeys_list(as_json: AsJson = False) -> None:
    """List the journeys in force: how people enter, their messages, their state and the runs under way."""
    from schemas.journeys.definitions import MessageNode

    report = _in_force()
    runs = _runs()
    rows: list[dict[str, Any]] = [
        {
            "name": journey.name,
            "version": journey.version,
            "enabled": journey.enabled,
            **_state(report, journey),
            "under_way": sum(runs.get(journey.name, {}).values()) if runs is not None else None,
            "description": journey.description,
            "entry": _entry(journey),
            "messages": [step.template for _, step in journey.walk() if isinstance(step, MessageNode)],
            "goals": [goal.name for goal in journey.goals],
            "holdout": journey.holdout,
            "file": str(report.definitions.files[journey.name]),
        }
        for journey in report.definitions.journeys
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["journey", "state", "enters by", "messages", "what it does", "holdout", "under way"],
        [
            (
                row["name"],
                row["state"],
                row["entry"],
                ", ".join(row["messages"]),
                row["description"],
                f"{row['holdout']:.0%}",
                "–" if row["under_way"] is None else f"{row['under_way']:,}",
            )
            for row in rows
        ],
        text_columns=5,
    )
    _advise(report)


def journeys_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A journey.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as a picture, a page by itself.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a journey as a tree, with its state, its version, and the runs that are at each step now.

    With --html as a flow, with the people who wait, went on and left at each step.
    """
    from processors.journeys.drawing import tree

    report = _in_force()
    journey = _named(report, name)
    if html is not None:
        _write_page(report, journey, html)
        return
    every = _runs()
    runs = None if every is None else every.get(name, {})
    state = _state(report, journey)
    if as_json:
        drawn = tree(journey, runs or {})
        print_json({"name": name, "version": journey.version, **state, "runs": runs, "tree": drawn})
        return
    since = f" since {state['since']} by {state['by']}" if state["since"] else ""
    print(f"{name}: {journey.description}")
    definitions = report.state.version or "of the folder"
    print(f"{state['state']}{since}, version {journey.version} in definitions {definitions}")
    print("runs under way: " + ("unknown, ClickHouse does not answer" if runs is None else f"{sum(runs.values()):,}"))
    print()
    for line in tree(journey, runs or {}):
        print(line)
    _advise(report)


def journeys_preview(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A journey.")],
    step: Annotated[str, typer.Argument(metavar="STEP", help="A message step of `journeys show`, or its template.")],
    person: Annotated[str, typer.Option("--person", metavar="WHO", help="As of `profile show`.")],
    source: Source = "",
    draft: Annotated[bool, typer.Option("--draft", help="By the files of the folder, published or not.")] = False,
    as_json: AsJson = False,
) -> None:
    """Render a message of a journey for a person, on each of its channels, without sending it.

    The events that it is about are the last ones of the person that fit. The gates are not asked.
    """
    from deploy.operations.definitions_report import DefinitionsReport
    from deploy.operations.engines import load_definitions
    from deploy.operations.message_preview import UnknownStepError, preview_for
    from deploy.settings import settings

    with exit_on_store_error():
        report = DefinitionsReport.of_folder(load_definitions(settings())) if draft else asyncio.run(_read(settings()))
    journey = _named(report, name)

    async def render(deployment: Deployment) -> tuple[list[Preview], list[str]]:
        found = await find_person(deployment, person, source)
        return await preview_for(deployment, report, journey, step, found.profile_id)

    try:
        found, missing = with_deployment(render)
    except UnknownStepError as error:
        fail(str(error))
    if as_json:
        print_json(
            {
                "missing": missing,
                "messages": [
                    {**one._asdict(), "rendered": one.rendered._asdict() if one.rendered else None} for one in found
                ],
            }
        )
    else:
        for line in missing:
            typer.echo(line, err=True)
        for one in found:
            print(f"── {one.channel}{f', variant {one.variant}' if one.variant else ''}")
            print(f"cannot be sent: {one.error}" if one.rendered is None else _text(one.rendered._asdict()))
    if any(one.rendered is None for one in found):
        raise typer.Exit(1)


def _write_page(report: DefinitionsReport, journey: Journey, file: Path) -> None:
    from deploy.cli.output import write_text
    from deploy.cli.stores import clickhouse
    from deploy.reporting.html.journey_flow import standalone_page
    from sinks.clickhouse.journeys import count_steps

    with clickhouse() as client:
        counts = count_steps(client, journey.name)
    write_text(standalone_page(journey, counts, _state(report, journey)["state"]), file)
    typer.echo(f"wrote {file}", err=True)


def _in_force() -> DefinitionsReport:
    """Read what is in force; if Redis does not answer, the files of the folder."""
    from deploy.settings import settings

    with exit_on_store_error():
        return asyncio.run(_read(settings()))


async def _read(settings: Any) -> DefinitionsReport:
    from redis import RedisError

    from deploy.operations.definitions_report import DefinitionsReport, read_in_force
    from deploy.operations.engines import load_definitions
    from sinks.clickhouse.client import StoreDown

    try:
        return await read_in_force(settings)
    except (RedisError, StoreDown, OSError):
        typer.echo("Redis does not answer: these are the files of the folder, and the states are not known.", err=True)
        return DefinitionsReport.of_folder(load_definitions(settings))


def _runs() -> dict[str, dict[str, int]] | None:
    """Return the runs under way by journey and step; None if ClickHouse does not answer."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from deploy.settings import settings
    from sinks.clickhouse.client import StoreDown
    from sinks.clickhouse.definitions import read_runs_under_way

    try:
        client = clickhouse_client(settings())
        try:
            return read_runs_under_way(client)
        finally:
            client.close()
    except (StoreDown, ClickHouseError):
        return None


def _named(report: DefinitionsReport, name: str) -> Journey:
    from schemas.spelling import nearest_names

    journeys = {journey.name: journey for journey in report.definitions.journeys}
    if name in journeys:
        return journeys[name]
    near = nearest_names(name, list(journeys))
    return fail(f"there is no journey {name!r} in force{f': did you mean {near[0]}?' if near else ''}")


def _state(report: DefinitionsReport, journey: Journey) -> dict[str, Any]:
    """Return the state of a journey, since when, and by whom; empty: nobody has changed it."""
    from schemas.time import text_of_ms

    control = report.state.journeys.get(journey.name)
    state = control.state if control else "running"
    return {
        "state": state if journey.enabled or state != "running" else "off",
        "since": text_of_ms(control.since_ms) if control else "",
        "by": control.by if control else "",
    }


def _advise(report: DefinitionsReport) -> None:
    """Say what of the folder is not in force."""
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.definitions_report import unpublished
    from deploy.settings import settings

    try:
        lines = unpublished(settings(), report)
    except DefinitionError:
        lines = ["files with errors: see `throughline journeys lint`"]
    if lines:
        typer.echo("Not published yet: " + "; ".join(lines) + ". `throughline journeys publish` does it.", err=True)


def _entry(journey: Any) -> str:
    entry = journey.entry
    if hasattr(entry, "segment"):
        return f"{entry.when} {entry.segment}"
    return " or ".join(entry.names) + (f", each {entry.key}" if entry.key else "")


def _text(rendered: dict[str, Any]) -> str:
    """Write the parts of a message, those of one line first; HTML is left out where there is a text."""
    parts = {name: value for name, value in rendered.items() if value and not (name == "html" and rendered.get("text"))}
    short = [f"{name}: {value}" for name, value in parts.items() if "\n" not in str(value).strip()]
    long = [f"{name}:\n{str(value).strip()}" for name, value in parts.items() if "\n" in str(value).strip()]
    return "\n".join([*short, *long])
