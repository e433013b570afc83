"""The command `replay`: stored events into profiles, without a message."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.acts import noted_act
from deploy.cli.arguments import AsJson, TimeoutS, instant
from deploy.cli.output import print_json
from deploy.cli.stores import with_deployment

if TYPE_CHECKING:
    from deploy.operations.deployment import Deployment
    from deploy.operations.replay import ReplayAccount


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("replay")(replay)


def replay(
    first: Annotated[str, typer.Option("--from", help="First day (UTC), or an RFC 3339 time.")],
    last: Annotated[str, typer.Option("--to", help="Last day (UTC), or an RFC 3339 time.")],
    into: Annotated[str, typer.Option("--into", help="The effect: profiles. Messages are none.")],
    source: Annotated[list[str] | None, typer.Option("--source", help="Of this source alone; may be repeated.")] = None,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="The most people of a second.")] = 50.0,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the events and people.")] = False,
    timeout_s: TimeoutS = 60,
    as_json: AsJson = False,
) -> None:
    """Replay stored events into the profiles of their people, without entering a journey or sending a message.

    Each person's profile is made anew from all their events by this release, and their segments are evaluated anew; the
    decisions that were taken stay. It may run beside the workers. Repeat the command if it broke off: it goes on.
    """
    from deploy.home import home
    from deploy.operations.rebuild import load_rebuild_decider
    from deploy.operations.replay import EFFECTS, ReplayOrder, ReplayProgress
    from deploy.operations.replay import replay as replay_events
    from sinks.clickhouse.replay import count_replayed

    effect = next((one for one in EFFECTS if one == into), None)
    if effect is None:
        why = ": a replay sends nothing" if into in ("messages", "journeys") else ""
        raise typer.BadParameter(f"{into!r}: expected {', '.join(EFFECTS)}{why}", param_hint="--into")
    start, stop = instant(first, UTC, "--from"), instant(last, UTC, "--to", through=True)
    order = ReplayOrder(start, stop, tuple(source or ()), effect)
    progress = ReplayProgress(Path(home()), order)
    if restart:
        progress.forget()

    def report(account: ReplayAccount) -> None:
        typer.echo(f"  {account.people:,} people, {account.events:,} events", err=True)

    if dry_run:

        async def count(deployment: Deployment) -> dict[str, int]:
            return count_replayed(deployment.tables, start, stop, order.sources)._asdict()

        found = with_deployment(count)
        if as_json:
            print_json(found)
        else:
            print(f"{found['events']:,} events of {found['people']:,} people, {found['unowned']:,} of nobody")
        return

    async def work(deployment: Deployment) -> ReplayAccount:
        decider = await load_rebuild_decider(deployment.settings)
        return await replay_events(
            deployment, order, decider, progress, people_a_second=rate, timeout_s=timeout_s, report=report
        )

    with noted_act("replay", "all", detail=f"{first} to {last}, {', '.join(order.sources) or 'all sources'}, {into}"):
        account = with_deployment(work)
    if as_json:
        print_json({**asdict(account), "difference": account.difference})
    else:
        print(
            f"{account.events:,} events = {account.replayed:,} replayed into {account.people:,} profiles"
            f" + {account.gone:,} of people who are gone + {account.failed:,} failed; {account.unowned:,} are of nobody"
        )
        for profile_id, why in (account.failures or {}).items():
            typer.echo(f"{profile_id}: {why}", err=True)
    if account.failed or account.difference:
        raise typer.Exit(1)
