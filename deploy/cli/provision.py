"""Commands that prepare the servers: `topics apply`, `topics list` and `migrate`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.stores import exit_on_store_error


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    topics = typer.Typer(help="Kafka topics.", no_args_is_help=True)
    topics.command("apply")(topics_apply)
    topics.command("list")(topics_list)
    app.add_typer(topics, name="topics")
    app.command("migrate")(migrate_command)


def topics_apply(
    shorten: Annotated[
        bool, typer.Option("--shorten-retention", help="Shorten how long topics keep events, where it is too long.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create the Kafka topics that are missing; run it as often as you like.

    Topics of former releases keep events for 30 days, longer than events are recognised. --shorten-retention lets Kafka
    delete what is older than in new topics: all workers should have read it, so that `throughline status` shows no lag.
    """
    from deploy.operations.provision import apply_topics
    from deploy.operations.retention import shorten_retention
    from deploy.settings import settings

    with exit_on_store_error():
        outcome = apply_topics(settings())
        if shorten:
            outcome |= dict.fromkeys(shorten_retention(settings()), "shortened")
    if as_json:
        print(json.dumps(outcome, indent=2))
    else:
        created = sum(state == "created" for state in outcome.values())
        print(f"{created} topics created, {len(outcome) - created} were there")
        if shortened := sum(state == "shortened" for state in outcome.values()):
            print(f"{shortened} topics keep events less long now")


def topics_list(as_json: AsJson = False) -> None:
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


def migrate_command(as_json: AsJson = False) -> None:
    """Create or update the ClickHouse tables and views; a second run does nothing."""
    from deploy.operations.provision import migrate
    from deploy.settings import settings

    with exit_on_store_error():
        applied = migrate(settings(), lambda advice: typer.echo(advice, err=True))
    if as_json:
        print(json.dumps(applied))
    else:
        print("\n".join(applied) or "nothing to do")
