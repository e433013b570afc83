"""The command `segments backfill`: history is taken into new and changed segments."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.arguments import AsJson, TimeoutS
from deploy.cli.output import fail, print_table
from deploy.cli.stores import exit_on_store_error, with_deployment
from schemas.durations import parse_duration
from schemas.time import clock_ms

if TYPE_CHECKING:
    from deploy.operations.deployment import Deployment
    from deploy.operations.segment_backfill import BackfillResult

LOOK_S = 5.0
"""The longest pause between two heartbeats of a process that has nothing to do, in seconds."""


def segments_backfill(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Segments, or journey:NAME; else what is new or changed."),
    ] = None,
    late: Annotated[
        bool,
        typer.Option(
            "--late", help="Date all segments anew for people whose events arrived over a day late, as by an import."
        ),
    ] = False,
    every: Annotated[
        str,
        typer.Option("--every", metavar="DURATION", help="Look again and again, and do what is due: 10s, 5m."),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would change.")] = False,
    timeout_s: TimeoutS = 300,
    as_json: AsJson = False,
) -> None:
    """Take history into new and changed segments: who fits already becomes a member, and counts begin in the past.

    Memberships are dated by when the events happened, also for days before the segment was defined or the events were
    imported. Without names, people whose events have arrived over a day late since the last call have all their
    memberships dated so. Nothing is sent, and no journey begins but those with `existing: true` in their entry. Events
    may keep coming. If it breaks off, the next call goes on where it was. `throughline up` and Compose run it by
    themselves; elsewhere run it with --every. Of several, one works at a time.
    """
    if late and names:
        raise typer.BadParameter("it takes all segments, so no names", param_hint="--late")
    if not every:
        raise typer.Exit(_fill(names or (), late=late, dry_run=dry_run, timeout_s=timeout_s, as_json=as_json))
    if names or late or dry_run:
        raise typer.BadParameter("it does what is due, so no names, --late or --dry-run", param_hint="--every")
    _fill_as_due(_seconds(every), timeout_s=timeout_s, as_json=as_json)


def _seconds(written: str) -> float:
    """Read `--every`."""
    try:
        length_ms = parse_duration(written)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--every") from None
    if not isinstance(length_ms, int) or length_ms <= 0:
        raise typer.BadParameter("it should be longer than nothing", param_hint="--every")
    return length_ms / 1000


def _fill_as_due(look_each_s: float, *, timeout_s: float, as_json: bool) -> None:
    """Run a backfill whenever one is due, until the process is stopped."""
    from deploy.home import Home, home
    from deploy.operations.backfill_schedule import BackfillSchedule
    from deploy.settings import settings

    heartbeat = Home(home()).heartbeat("backfill")
    heartbeat.parent.mkdir(parents=True, exist_ok=True)
    schedule = BackfillSchedule(look_each_s)
    while True:
        try:
            if schedule.is_due(settings(), time.monotonic(), clock_ms()):
                _fill((), timeout_s=timeout_s, as_json=as_json, note_progress=heartbeat.touch)
            heartbeat.touch()
        except typer.Exit:
            pass  # the reason is on standard error; it is due again
        time.sleep(min(look_each_s, LOOK_S))


def _fill(
    names: Sequence[str],
    *,
    late: bool = False,
    dry_run: bool = False,
    timeout_s: float,
    as_json: bool,
    note_progress: Callable[[], None] = lambda: None,
) -> int:
    """Run one backfill, print its outcome and return the exit code."""
    from deploy.operations.definitions_report import read_in_force
    from deploy.operations.rebuild import load_rebuild_decider
    from deploy.operations.segment_backfill import BackfillRefusedError, backfill, fingerprints
    from deploy.settings import settings
    from schemas.spelling import nearest_names
    from schemas.time import time_of_ms
    from sinks.clickhouse.audiences import late_arrivals

    with exit_on_store_error():
        in_force = asyncio.run(read_in_force(settings()))
    found = in_force.definitions
    known = fingerprints(found.segments, in_force.running(), found.territory, found.policy.address_types)
    for name in names:
        if name not in known:
            near = nearest_names(name, list(known))
            fail(f"there is no segment {name!r}{f': did you mean {near[0]}?' if near else ''}")

    def report(done: int, parts: int, result: BackfillResult) -> None:
        note_progress()
        typer.echo(f"  part {done:,} of {parts:,}: {result.people:,} people, {result.changed:,} changed", err=True)

    async def fill(deployment: Deployment) -> tuple[BackfillResult, BackfillResult | None]:
        decider = await load_rebuild_decider(settings())
        run = partial(backfill, deployment, known, decider, dry_run=dry_run, timeout_s=timeout_s, report=report)
        filled = await run(names=names, late=late)
        if names or late or dry_run:
            return filled, None
        since_ms = await deployment.backfills.dated_ms()
        if await asyncio.to_thread(late_arrivals, deployment.tables, time_of_ms(since_ms)) is None:
            return filled, None
        return filled, await run(late=True, since_ms=since_ms)

    try:
        result, dated = with_deployment(fill)
    except BackfillRefusedError as error:
        fail(str(error))
    if as_json:
        print(json.dumps(asdict(result) | {"dated": None if dated is None else asdict(dated)}, indent=2))
    else:
        _show(result, dry_run=dry_run)
        if dated:
            print(f"{dated.people:,} people had late events, by which {dated.changed:,} have their memberships dated")
    return 1 if result.failed or (dated and dated.failed) else 0


def _show(result: BackfillResult, *, dry_run: bool) -> None:
    if not (result.segments or result.journeys):
        print("Every segment has taken in history.")
        return
    counts = (result.members, result.entered, result.left)
    rows = [(name, *(f"{found.get(name, 0):,}" for found in counts)) for name in result.segments]
    if rows:
        print_table(("segment", "members", "entered", "left"), rows, text_columns=1)
    for journey in result.journeys:
        print(f"{journey}: {result.entries.get(journey, 0):,} members entered")
    for profile_id, reason in list(result.failed.items())[:5]:
        typer.echo(f"{profile_id}: not filled: {reason}", err=True)
    would = "would change" if dry_run else "changed"
    print(f"{result.people:,} people, of which {result.changed:,} {would}, {result.rebuilt:,} rebuilt")
