"""The command group `segments`: list, show, preview, export for advertising networks, and score."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import typer

from deploy.cli.acts import noted_act
from deploy.cli.arguments import AsJson, Markets, asked_markets, instant
from deploy.cli.output import fail
from deploy.cli.scores import segments_score
from deploy.cli.segment_backfill import segments_backfill
from deploy.cli.stores import clickhouse
from deploy.connections.redis import redis_client

if TYPE_CHECKING:
    from deploy.settings import Settings
    from processors.segments.preview import Preview
    from schemas.segments.definitions import Segment, SegmentDefinitions
    from schemas.territory import Territory

At = Annotated[str, typer.Option("--at", help="A day (its end) or an RFC 3339 time; else now.")]

_ON_THEIR_WAY_S = 2.0
"""A change of a profile is in ClickHouse so soon, seconds, unless something stands still."""


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    segments = typer.Typer(help="Segments: groups of people, kept up to date with every event.", no_args_is_help=True)
    segments.command("list")(segments_list)
    segments.command("show")(segments_show)
    segments.command("attributes")(segments_attributes)
    segments.command("preview")(segments_preview)
    segments.command("export")(segments_export)
    segments.command("score")(segments_score)
    segments.command("check")(segments_check)
    segments.command("backfill")(segments_backfill)
    app.add_typer(segments, name="segments")


def segments_list(
    counts: Annotated[bool, typer.Option("--counts", help="Count their members, from ClickHouse.")] = False,
    market: Markets = None,
    as_json: AsJson = False,
) -> None:
    """List the segments with their descriptions and, with --counts, the number of their members.

    Says which of them have not taken in history yet, if Redis answers.
    """
    from deploy.operations.segment_backfill import fingerprints, waiting_segments
    from sinks.clickhouse.audiences import count_members

    at, definitions, address_types, territory = _in_force()
    known = fingerprints(definitions, (), territory, address_types)
    waiting = waiting_segments(at, known)
    members: dict[str, int] | None = None
    if market and not counts:
        raise typer.BadParameter("members are counted with --counts alone", param_hint="--market")
    if counts:
        with clickhouse() as client:
            members = count_members(client, datetime.now(UTC), asked_markets(client, market))
    rows = [
        {
            "name": segment.name,
            "description": segment.description,
            **({} if members is None else {"members": members.get(segment.name, 0)}),
            **({} if waiting is None else {"filled": segment.name not in waiting}),
        }
        for segment in definitions.segments
    ]
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    _table(["segment", "members", "who they are"] if counts else ["segment", "who they are"], rows)
    if waiting:
        typer.echo(
            f"Not filled with history yet: {', '.join(waiting)}. `throughline segments backfill` does it.", err=True
        )


def segments_show(name: str, as_json: AsJson = False) -> None:
    """Show one segment: its condition and the number of its members."""
    from deploy.operations.segment_lists import condition_as_written
    from sinks.clickhouse.audiences import count_members

    found = _in_force()
    segment = _segment(found.definitions, name)
    with clickhouse() as client:
        members = count_members(client, datetime.now(UTC)).get(name, 0)
    when = condition_as_written(segment, found.settings)
    if as_json:
        shown = {"name": name, "description": segment.description, "when": when, "members": members}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    import yaml

    print(f"{name}: {segment.description}\n{members:,} people are in it now.\n")
    print(yaml.safe_dump({"when": when}, sort_keys=False, allow_unicode=True), end="")


def segments_attributes(
    like: Annotated[str, typer.Argument(help="Part of a name or a meaning.")] = "", as_json: AsJson = False
) -> None:
    """List the attributes of conditions: name, type, unit, meaning and an example of each."""
    from schemas.segments.attributes import ATTRIBUTES, OPEN_FAMILIES, Attribute

    computed = [
        Attribute(f"computed.{trait.name}", "any", "", trait.description, None)
        for trait in _in_force().definitions.traits
    ]
    rows = [
        one._asdict()
        for one in (*ATTRIBUTES.values(), *OPEN_FAMILIES, *computed)
        if like.lower() in f"{one.name} {one.meaning}".lower()
    ]
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    _table(["attribute", "type", "unit", "meaning", "example"], rows)
    typer.echo(f"{len(rows)} attributes", err=True)


def segments_preview(
    what: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A file of segments, or the name of a segment.")],
    at: At = "",
    as_json: AsJson = False,
) -> None:
    """Evaluate a segment over all history: members, people who entered and left by day, and examples."""
    from deploy.operations.catalogue_history import read_catalogue
    from processors.segments.engine import SegmentEngine
    from processors.segments.preview import preview
    from schemas.time import ms_of_time
    from sinks.clickhouse.history import read_people

    in_force = _in_force()
    moment = _evaluation_time(at, in_force.territory.zone)
    chosen, definitions = _to_preview(what, in_force)
    with clickhouse() as client:
        found, people = preview(
            definitions,
            read_people(client, moment),
            ms_of_time(moment),
            territory=in_force.territory,
            address_types=in_force.address_types,
            catalogue=read_catalogue(client, SegmentEngine(definitions)),
        )
    shown = {name: found[name] for name in chosen}
    for hint in _name_hints(definitions):
        typer.echo(f"note: {hint}", err=True)
    if as_json:
        print(
            json.dumps(
                {"people": people, "segments": {name: _preview_json(one) for name, one in shown.items()}}, indent=2
            )
        )
        return
    for name, one in shown.items():
        print(f"{name}: {one.members:,} of {people:,} people")
        for day in sorted({*one.entered, *one.left})[-14:]:
            print(f"  {day}  {one.entered[day]:>6,} entered  {one.left[day]:>6,} left")
        if one.examples:
            print(f"  for example {', '.join(one.examples)}")


def segments_export(
    name: str,
    network: Annotated[Literal["google", "meta", "tiktok"], typer.Option("--for", help="The advertising network.")],
    hashing: Annotated[Literal["sha256"], typer.Option("--hash", help="How addresses are hashed.")] = "sha256",
    change: Annotated[
        Literal["all", "entered", "left"], typer.Option(help="All members, or those who entered or left since a time.")
    ] = "all",
    since: Annotated[str, typer.Option(help="That time: a day, or an RFC 3339 time.")] = "",
    out: Annotated[str, typer.Option("--out", metavar="FILE|-", help="Where to write the list.")] = "-",
) -> None:
    """Write hashed e-mail addresses and telephone numbers of a segment as a CSV file of an advertising network.

    People without consent are left out, and counted on standard error. `entered` lists whom to add to the network's
    list: people who entered the segment since then, or gave consent. `left` lists whom to remove: people who left the
    segment, or withdrew consent.
    """
    from deploy.operations.segment_lists import read_list
    from schemas.time import ms_of_time, time_of_ms

    in_force = _in_force()
    _segment(in_force.definitions, name)
    if (change == "all") != (not since):
        raise typer.BadParameter("entered and left need --since, and only they do", param_hint="--since")
    then = time_of_ms(ms_of_time(instant(since, in_force.territory.zone, "--since"))) if since else None
    with clickhouse() as client:
        found = read_list(client, name, network, datetime.now(UTC), change=change, since=then)
    with noted_act("export", name, detail=f"{len(found.rows)} rows for {network}"):
        _write(out, found.columns, found.rows)
    typer.echo(
        f"{len(found.rows):,} rows of {name} ({hashing}); {found.refused:,} people left out without consent", err=True
    )


def segments_check(as_json: AsJson = False) -> None:
    """Compare the members of all segments in the profiles, in ClickHouse and by an evaluation of all history.

    Names each segment whose members differ, with example people; exit code 1 if there is one. What is on its way
    between the stores differs too, so a difference is looked at twice; `throughline drain` waits for events. History
    knows no traits that a journey has set. `doctor` shows the latest outcome, so run it on a schedule.
    """
    from deploy.cli.output import print_table
    from deploy.cli.stores import Stores, exit_on_store_error, with_stores
    from deploy.operations.catalogue_history import read_catalogue
    from deploy.operations.rebuild import load_rebuild_decider
    from deploy.operations.segment_check import CheckResult, check_segments
    from deploy.settings import settings
    from schemas.time import ms_of_time, text_of_time
    from sinks.clickhouse.audiences import members_by_person
    from sinks.clickhouse.history import read_people
    from sinks.clickhouse.retention import whole_since
    from sinks.redis.segment_backfill import note_check

    deployed = settings()
    with exit_on_store_error():
        engine = asyncio.run(load_rebuild_decider(deployed)).segments  # what is in force, whatever the files say

    def look(now: datetime) -> CheckResult:
        with clickhouse() as client:
            members = members_by_person(client, now)

            catalogue = read_catalogue(client, engine)

            async def check(stores: Stores) -> CheckResult:
                people, at_ms = read_people(client, now), ms_of_time(now)
                since_ms = ms_of_time(since) if (since := whole_since(client)) else 0
                return await check_segments(stores.profiles, engine, members, people, at_ms, catalogue, since_ms)

            return with_stores(check)

    result = look(now := datetime.now(UTC))
    if result.differences:
        time.sleep(_ON_THEIR_WAY_S)
        result = look(now := datetime.now(UTC))
    outcome = {"at": text_of_time(now), "people": result.people, "differences": len(result.differences)}
    with exit_on_store_error(), redis_client(deployed, timeout_s=10) as client:
        note_check(client, deployed.redis_namespace, outcome)
    if as_json:
        print(json.dumps(asdict(result), indent=2))
    else:
        if result.differences:
            print_table(
                ("segment", "compared with", "for example", "only in profiles", "only there"),
                [
                    (
                        one.segment, one.place, "\n".join(one.examples), f"{one.only_in_profiles:,}",
                        f"{one.only_there:,}",
                    )
                    for one in result.differences
                ],
                text_columns=3,
            )  # fmt: skip
        verdict = "differ in these segments" if result.differences else "are in the same segments everywhere"
        why = "because something of them is under way or has expired"
        print(f"{result.people:,} people {verdict}; {result.skipped:,} left out {why}")
    if result.differences:
        raise typer.Exit(1)


def _write(out: str, columns: tuple[str, str], rows: list[tuple[str, str]]) -> None:
    if out == "-":
        csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *rows])
        return
    with Path(out).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


class _InForce(NamedTuple):
    """What is in force; if Redis does not answer, what is in the folder.

    Attributes:
        settings: By which it is read.
        definitions: The segments.
        address_types: The identifier types that messages of each channel are sent to.
        territory: The markets, and the time zone of the deployment.
    """

    settings: Settings
    definitions: SegmentDefinitions
    address_types: dict[str, tuple[str, ...]]
    territory: Territory


def _in_force() -> _InForce:
    """Read what is in force, once a command: two readings may be of two versions."""
    from deploy.operations.definition_files import DefinitionError, load_territory
    from deploy.operations.definitions_report import settings_or_folder
    from deploy.operations.engines import load_address_types, load_segments
    from deploy.settings import settings

    at = asyncio.run(settings_or_folder(settings()))
    try:
        return _InForce(at, load_segments(at), load_address_types(at), load_territory(at))
    except DefinitionError as error:
        fail(str(error))


def _segment(definitions: SegmentDefinitions, name: str) -> Segment:
    from schemas.spelling import nearest_names

    names = [segment.name for segment in definitions.segments]
    if name not in names:
        near = nearest_names(name, names)
        fail(f"there is no segment {name!r}{f': did you mean {near[0]}?' if near else ''}")
    return definitions.segments[names.index(name)]


def _to_preview(what: str, in_force: _InForce) -> tuple[list[str], SegmentDefinitions]:
    """Return the segments to preview, and definitions of these and of all segments that they refer to."""
    from deploy.operations.definition_files import DefinitionError, load
    from schemas.segments.definitions import SegmentDefinitions

    known = in_force.definitions
    by_name = {segment.name: segment for segment in known.segments}
    changes: dict[str, Any] = {}
    if what in by_name:
        chosen = [what]
    else:
        try:
            file = load(Path(what), SegmentDefinitions)
        except DefinitionError as error:
            fail(str(error))
        chosen = [segment.name for segment in file.segments]
        by_name |= {segment.name: segment for segment in file.segments}
        traits = {trait.name: trait for trait in (*known.traits, *file.traits)}
        given = file.model_fields_set - {"segments", "traits"}
        changes = {"traits": tuple(traits.values()), **{name: getattr(file, name) for name in given}}
    definitions = known.model_copy(update={**changes, "segments": tuple(by_name.values())}).selection(chosen)
    if problems := definitions.problems(in_force.address_types):
        fail("\n".join(f"{what}: {name}: {problem}" for name, problem in problems))
    return chosen, definitions


def _name_hints(definitions: SegmentDefinitions) -> list[str]:
    """Warn of custom event names that are close to a standard name: they may be misspelt, and never happen."""
    from schemas.events.touchpoint import EVENT_NAMES
    from schemas.spelling import nearest_names

    found = []
    for segment in definitions.segments:
        for one in segment.when.walk():
            steps = [name for step in one.sequence or () for name in step.event]
            for name in (*(one.performed or ()), *(one.not_performed or ()), *(one.event or ()), *steps):
                near = [] if name in EVENT_NAMES else nearest_names(name, EVENT_NAMES, 0.8)
                if near:
                    found.append(f"{segment.name}: {name!r} is a custom event; did you mean {near[0]}?")
    return found


def _evaluation_time(at: str, zone: ZoneInfo) -> datetime:
    return instant(at, zone, "--at", through=True) if at else datetime.now(UTC)


def _preview_json(one: Preview) -> dict[str, Any]:
    return {
        "members": one.members,
        "entered": dict(sorted(one.entered.items())),
        "left": dict(sorted(one.left.items())),
        "examples": one.examples,
    }


def _table(columns: list[str], rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from deploy.reporting.terminal.text import plain_console

    table = Table(*columns)
    order = {"segment": "name", "attribute": "name", "who they are": "description"}
    for row in rows:
        table.add_row(*(_cell(row[order.get(column, column)]) for column in columns))
    plain_console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:,}" if type(value) is int else str(value)
