"""Commands that run the pipeline: topics, migrations, workers and their health."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

HEALTHY_S = 30


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    topics = typer.Typer(help="Kafka topics.", no_args_is_help=True)
    topics.command("apply")(topics_apply)
    topics.command("list")(topics_list)
    app.add_typer(topics, name="topics")
    app.command("migrate")(migrate_command)
    app.command("worker")(worker)
    app.command("collector")(collector)
    app.command("health")(health)


def topics_apply(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Create the Kafka topics that are missing; run it as often as you like."""
    from deploy.operations.provision import apply_topics
    from deploy.settings import settings

    outcome = apply_topics(settings())
    if as_json:
        print(json.dumps(outcome, indent=2))
    else:
        created = sum(state == "created" for state in outcome.values())
        print(f"{created} topics created, {len(outcome) - created} were there")


def topics_list(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the topics of this deployment: name, key, how long records are kept."""
    from deploy.settings import settings
    from schemas.topics import topics

    rows = [
        {"name": settings().topic_prefix + topic.name, "key": topic.key, "retention_ms": topic.retention_ms}
        for topic in topics(settings().channels)
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{row['name']:32} {row['key']}")


def migrate_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Create or update the ClickHouse tables and views; a second run does nothing."""
    from deploy.operations.provision import migrate
    from deploy.settings import settings

    applied = migrate(settings())
    if as_json:
        print(json.dumps(applied))
    else:
        print("\n".join(applied) or "nothing to do")


def worker(
    role: Annotated[str, typer.Argument(help="identify, profile, record, or all.")],
) -> None:
    """Run a worker until it is stopped; start more of a role to share its work."""
    from deploy.operations.lag import ROLES
    from deploy.settings import settings

    if role == "all":
        from deploy.local.supervisor import run_workers

        run_workers(settings())
    elif role in ROLES:
        from deploy.operations.definition_files import DefinitionError
        from deploy.workers.app import run

        try:
            run(role, settings())
        except DefinitionError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error
    else:
        raise typer.BadParameter(f"{role!r}: expected {', '.join(ROLES)} or all")


def collector() -> None:
    """Take events over HTTP, from Segment-compatible SDKs, browsers and curl, until it is stopped.

    It listens at THROUGHLINE_COLLECTOR_URL. Who may publish is in THROUGHLINE_SOURCES_FILE and THROUGHLINE_WRITE_KEYS.
    """
    import asyncio
    import logging

    from deploy.collector.server import serve
    from deploy.operations.definition_files import DefinitionError
    from deploy.settings import settings

    logging.basicConfig(level=settings().log_level, format="[%(asctime)s] %(levelname)s %(message)s")
    try:
        asyncio.run(serve(settings()))
    except (DefinitionError, OSError) as error:
        typer.echo(f"The collector cannot run: {error}", err=True)
        raise typer.Exit(1) from error


def health(
    role: Annotated[str, typer.Argument(help="identify, profile, record, deliver or collector.")],
) -> None:
    """Exit 0 if the worker of this home polled Kafka in the last 30 seconds, else 1; for container health checks."""
    from deploy.home import Home
    from deploy.settings import home

    path = Home(home()).heartbeat(role)
    age_s = time.time() - path.stat().st_mtime if path.exists() else None
    if age_s is None or age_s > HEALTHY_S:
        typer.echo(f"{role}: " + ("no heartbeat" if age_s is None else f"last heartbeat {age_s:.0f} s ago"), err=True)
        raise typer.Exit(1)
    print(f"{role}: ok")
