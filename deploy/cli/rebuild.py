"""The command `rebuild`: makes a lost Redis again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.arguments import AsJson, TimeoutS
from deploy.cli.stores import with_deployment

if TYPE_CHECKING:
    from deploy.operations.deployment import Deployment
    from deploy.operations.lost_store import RebuiltStore


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("rebuild")(rebuild)


def rebuild(
    wipe: Annotated[bool, typer.Option("--wipe", help="Delete what Redis has of people first.")] = False,
    timeout_s: TimeoutS = 300,
    as_json: AsJson = False,
) -> None:
    """Make everything in Redis again from ClickHouse and Kafka, after Redis was lost: with the same profile ids.

    Stop all workers but `record`, which brings the rest of Kafka into ClickHouse. Identities, erasures, separations,
    profiles with segments, runs, caps and timers, the catalogue and the marks of seen events come back; nothing is
    sent. Repeat the command if it broke off: it goes on.
    """

    async def work(deployment: Deployment) -> RebuiltStore:
        from deploy.connections.redis import async_redis_client
        from deploy.operations.lost_store import rebuild_store

        def report(line: str) -> None:
            typer.echo(f"  {line}", err=True)

        async with async_redis_client(deployment.settings, timeout_s=60) as redis:
            return await rebuild_store(deployment, redis, wipe=wipe, timeout_s=timeout_s, report=report)

    made = with_deployment(work)
    if as_json:
        print(json.dumps({name: getattr(made, name) for name in ("changes", "marks", "profiles", "made_anew")}))
        return
    print(f"{made.changes:,} changes of identity replayed, {made.marks:,} events marked as seen")
    print(f"{made.profiles:,} profiles as they were, {made.made_anew:,} made of their events; nothing was sent")
