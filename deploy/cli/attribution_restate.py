"""The command `attribution restate`: stored events are classified as touches by today's rules."""

from __future__ import annotations

import json
from datetime import UTC, date
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.arguments import AsJson, instant
from deploy.cli.stores import with_deployment

if TYPE_CHECKING:
    from deploy.operations.deployment import Deployment
    from deploy.operations.restatement import RestatementResult


def restate(
    first: Annotated[str, typer.Option("--from", help="First day (UTC), or an RFC 3339 time.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last day (UTC), or an RFC 3339 time.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Classify stored events as touches by today's touches.yaml, such as after a change of the rules or a new release.

    Writes the rows that change and no others: it may be stopped, repeated, and continued with --from the last day that
    it has named. Conversions, profiles and the producers' records stay as they are.
    """
    from deploy.operations.restatement import restate as restate_events
    from sinks.clickhouse.reports import FIRST, LAST

    start = instant(first, UTC, "--from") if first else FIRST
    stop = instant(last, UTC, "--to", through=True) if last else LAST

    def done(day: date, events: int) -> None:
        typer.echo(f"  {day}: {events:,} events", err=True)

    async def task(deployment: Deployment) -> RestatementResult:
        return await restate_events(deployment, start, stop, dry_run=dry_run, done=done)

    result = with_deployment(task)
    changes = [
        {"touch": before[0], "channel": before[1], "new_touch": after[0], "new_channel": after[1], "events": events}
        for (before, after), events in result.changes.most_common()
    ]
    if as_json:
        print(json.dumps({"events": result.events, "restated": result.restated, "changes": changes}))
        return
    for one in changes:
        before, after = (" ".join(str(one[name]) for name in (a, b) if one[name]) or "none" for a, b in _SHOWN)
        print(f"{one['events']:>12,}  {before} -> {after}")
    would = "would be restated" if dry_run else "restated"
    print(f"{result.restated:,} of {result.events:,} events {would}")


_SHOWN = (("touch", "channel"), ("new_touch", "new_channel"))
