"""The command group `profile`: show, export, rebuild and erase one person, and their time line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from deploy.cli.acts import noted_act
from deploy.cli.arguments import AsJson, OutFile, Source, TimeoutS, Who, Yes, instant
from deploy.cli.output import print_json, write_text
from deploy.cli.stores import Stores, WaitNotice, with_deployment, with_stores
from deploy.operations.person_lookup import find_erasure_request, find_person, find_person_or_erasure

if TYPE_CHECKING:
    from deploy.operations.deployment import Deployment
    from sinks.clickhouse.timeline import TimelinePage


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    profile = typer.Typer(help="The profile of one person.", no_args_is_help=True)
    profile.command("show")(profile_show)
    profile.command("timeline")(profile_timeline)
    profile.command("export")(profile_export)
    profile.command("rebuild")(profile_rebuild)
    profile.command("erase")(erase)
    app.add_typer(profile, name="profile")


def profile_show(who: Who, source: Source = "", as_json: AsJson = False) -> None:
    """Show a person: stage, segments, scores, interests, reach, channels, orders, cart, consent, messages, touches."""
    from deploy.settings import settings

    async def read(stores: Stores) -> dict[str, Any]:
        from deploy.operations.person_export import read_person

        return await read_person(stores, settings(), (await find_person(stores, who, source)).profile_id)

    person = with_stores(read)
    if as_json:
        print(json.dumps(person, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from deploy.reporting.terminal.profile import show

    show(person, Console())


def profile_timeline(
    who: Who,
    source: Source = "",
    first: Annotated[str, typer.Option("--from", help="First day, or an RFC 3339 time; else the beginning.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last day, or the RFC 3339 time it ends at; else now.")] = "",
    channel: Annotated[str, typer.Option(help="Only events and messages of this channel, such as email.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Entries on a page.")] = 50,
    page: Annotated[str, typer.Option(help="The page that the one before has named; else the newest.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what happened to a person on all channels, newest first: events, messages sent or not and why, merges.

    By any identifier: an e-mail address, a phone number, an id. Times are event times; what belonged to profiles that
    were merged into this one is included.
    """
    from deploy.cli.pages import page_name, read_page_name
    from deploy.settings import settings
    from sinks.clickhouse.timeline import TimelineFilter, read_timeline

    zone = ZoneInfo(settings().timezone)
    wanted = TimelineFilter(
        limit=limit,
        start=instant(first, zone, "--from") if first else None,
        stop=instant(last, zone, "--to", through=True) if last else None,
        channel=channel,
        after=read_page_name(page) if page else None,
    )

    async def read(deployment: Deployment) -> tuple[str, TimelinePage]:
        profile_id = (await find_person_or_erasure(deployment, who, source)).profile_id
        return profile_id, read_timeline(deployment.tables, profile_id, wanted)

    profile_id, found = with_deployment(read)
    following = page_name(found.last) if found.last else None
    if as_json:
        print_json({"profile_id": profile_id, "entries": found.entries, "next": following})
        return
    from rich.console import Console

    from deploy.reporting.terminal.timeline import show

    print(f"{profile_id}, times in {settings().timezone}")
    show(found.entries, zone, Console())
    if not found.entries:
        typer.echo(f"nothing {'more ' if page else ''}is known of this person in this period", err=True)
    elif following:
        typer.echo(f"\nolder entries follow: repeat the command with --page {following}", err=True)


def profile_export(
    who: Who,
    source: Source = "",
    out: OutFile = None,
) -> None:
    """Print all data of a person as JSON: profile, identifiers, identity changes, every event."""

    async def read(deployment: Deployment) -> dict[str, Any]:
        from deploy.operations.person_export import export_person

        profile_id = (await find_person(deployment, who, source)).profile_id
        with noted_act("export", profile_id):
            return await export_person(deployment, profile_id)

    written = json.dumps(with_deployment(read), indent=2, ensure_ascii=False)
    if out is None:
        print(written)
        return
    write_text(written + "\n", out)
    typer.echo(f"wrote {out}", err=True)


def profile_rebuild(
    who: Annotated[list[str], typer.Argument(metavar="WHO", help="Profile ids or identifiers such as user_id:42.")],
    after_split: Annotated[
        bool,
        typer.Option("--after-split", help="For people of an unmerge that broke off: replay journeys and messages."),
    ] = False,
    timeout_s: TimeoutS = 300,
    as_json: AsJson = False,
) -> None:
    """Rebuild profiles and segments from all stored events, while events keep coming; nothing is sent.

    Decisions that were taken stay: entries into journeys, runs under way, messages sent and caps.
    """

    async def rebuild(deployment: Deployment) -> dict[str, int]:
        from deploy.operations.rebuild import load_rebuild_decider, rebuild_people

        people = [(await find_person(deployment, one)).profile_id for one in who]
        with noted_act("rebuild", people):
            return await rebuild_people(
                deployment,
                dict.fromkeys(people),
                timeout_s=timeout_s,
                decider=await load_rebuild_decider(deployment.settings),
                split=after_split,
                progress=WaitNotice(),
            )

    rebuilt = with_deployment(rebuild)
    if as_json:
        print(json.dumps(rebuilt, indent=2))
        return
    for profile_id, events in rebuilt.items():
        print(f"{profile_id}  rebuilt from {events:,} events")


def erase(who: Who, source: Source = "", yes: Yes = False, timeout_s: TimeoutS = 120, as_json: AsJson = False) -> None:
    """Erase a person from every store and print a receipt; later events belong to a new person.

    Repeat the command if it broke off: it continues. No replay of any topic brings the person back.
    """

    async def prepare(deployment: Deployment) -> dict[str, Any]:
        from deploy.operations.erasure import erase_person, preview_erasure

        request = await find_erasure_request(deployment, who, source)
        if yes:
            with noted_act("erase", request.profile_id):
                return (await erase_person(deployment, request, timeout_s=timeout_s, progress=WaitNotice())).as_json()
        if request.erased is not None:
            return {"profile_id": request.profile_id, "identifiers": {}, "documents": 0, "rows": {}, "erased": True}
        return await preview_erasure(deployment, request.profile_id)

    answer = with_deployment(prepare)
    if as_json:
        print(json.dumps(answer, indent=2))
    elif yes:
        _print_receipt(answer)
    else:
        counted = ", ".join(f"{number} {kind}" for kind, number in answer["identifiers"].items())
        print(f"profile {answer['profile_id']}: {counted or 'no identifier'}; {answer['documents']} documents")
        for table, rows in answer["rows"].items():
            print(f"  {table:24} {rows:10,} rows")
    if not yes:
        typer.echo("nothing was erased: add --yes to do it; it cannot be undone", err=True)


def _print_receipt(receipt: dict[str, Any]) -> None:
    print(f"erased {receipt['profile_ids'][0]}, events up to {receipt['at']}")
    for former in receipt["profile_ids"][1:]:
        print(f"  which {former} had been merged into")
    stores = receipt["stores"]
    counted = ", ".join(f"{number:,} {what}" for what, number in stores["redis_identity"].items())
    print(f"  {'Redis':24} {counted}, {stores['redis_profiles']:,} documents")
    for what, number in stores["redis_traces"].items():
        print(f"  {'Redis ' + what:36} {number:10,}")
    for table, rows in stores["clickhouse"].items():
        print(f"  {'ClickHouse ' + table:36} {rows:10,} rows")
    for remains in receipt["remains"]:
        print(f"  remains: {remains}")
