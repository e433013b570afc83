"""The command `state migrate`: brings what Redis has of profiles into the layout of this release."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.output import fail
from deploy.cli.stores import exit_on_store_error


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    state = typer.Typer(help="The layout of what Redis has of profiles.", no_args_is_help=True)
    state.command("migrate")(migrate)
    app.add_typer(state, name="state")


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be moved.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move the profiles of a release without shards into 192 shards, once.

    Stop all workers first. It renames keys, so it needs no memory, and takes about a second for 20,000 people. Repeat
    the command if it broke off: it goes on. At its end it compares the shards with what there was. A second run does
    nothing. There is no way back: keep a copy of the server's files if you may want the former release again.
    """
    from deploy.operations.state_migration import migrate_state
    from deploy.settings import settings
    from sinks.redis.migration import NotMigratedError

    with exit_on_store_error():
        try:
            counts = migrate_state(settings(), lambda line: typer.echo(f"  {line}", err=True), dry_run=dry_run)
        except NotMigratedError as error:
            fail(str(error))
    if as_json:
        print(json.dumps(counts and counts._asdict()))
    elif counts is None:
        print("nothing to do")
    else:
        said = ", ".join(f"{count:,} {name}" for name, count in counts._asdict().items())
        print(f"{'to be moved' if dry_run else 'in shards'}: {said}")
