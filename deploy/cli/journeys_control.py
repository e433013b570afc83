"""Commands of `journeys` that change what is in force: publish, rollback, pause, resume, stop; and its history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from deploy.cli.acts import noted_act
from deploy.cli.arguments import AsJson
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.stores import clickhouse, exit_on_store_error
from deploy.connections.redis import async_redis_client

if TYPE_CHECKING:
    from deploy.operations.publication import Changed, Publication

Result = TypeVar("Result")

WAIT_S = 10.0
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Journeys.")]
All = Annotated[bool, typer.Option("--all", help="All journeys.")]
Person = Annotated[str, typer.Option("--by", help="Who does it, for the history; else the user of this machine.")]


def register(journeys: typer.Typer) -> None:
    """Add the commands to `throughline journeys`."""
    for name, command in (
        ("publish", journeys_publish),
        ("rollback", journeys_rollback),
        ("pause", journeys_pause),
        ("resume", journeys_resume),
        ("stop", journeys_stop),
        ("history", journeys_history),
    ):
        journeys.command(name)(command)


def journeys_publish(names: Names = None, everything: All = False, by: Person = "", as_json: AsJson = False) -> None:
    """Put the files in force, on all workers within a second: journeys, segments, templates and the message policy.

    They are checked first, and refused with all errors at once. With names, only these journeys and the templates that
    they send are taken from the files. Runs under way go on in the version that they entered with.
    """
    _not_both(names, everything)
    change(lambda publication: publication.publish(names or ()), ("publish", names), by, as_json, "published")


def journeys_rollback(
    names: Names = None,
    everything: All = False,
    to: Annotated[str, typer.Option("--to", help="A version of `journeys history`; else the one before.")] = "",
    by: Person = "",
    as_json: AsJson = False,
) -> None:
    """Put an earlier version in force again: of some journeys, with the templates that they send, or of everything.

    Runs under way go on in the version that they entered with; `stop` ends them. A paused or stopped journey stays so.
    """
    _some(names, everything)
    change(lambda publication: publication.roll_back(names or (), to), ("roll back", names), by, as_json, "rolled back")


def journeys_pause(names: Names = None, everything: All = False, by: Person = "", as_json: AsJson = False) -> None:
    """Hold back journeys: people enter and wait, but nothing is sent, posted or set until `resume`.

    What is held has a row in v_decisions, `postponed` by the gate `paused`. Messages expire meanwhile as they would.
    """
    _some(names, everything)
    change(lambda publication: publication.control("pause", names or ()), ("pause", names), by, as_json, "paused")


def journeys_resume(names: Names = None, everything: All = False, by: Person = "", as_json: AsJson = False) -> None:
    """Let paused journeys go on with what they hold; let stopped ones take in people again."""
    _some(names, everything)
    change(lambda publication: publication.control("resume", names or ()), ("resume", names), by, as_json, "resumed")


def journeys_stop(names: Names = None, everything: All = False, by: Person = "", as_json: AsJson = False) -> None:
    """End all runs of journeys; nobody enters until `resume`, or until the journey is published by its name.

    The message that a run would have come to has a row in v_decisions, `suppressed` by the gate `stopped`.
    """
    _some(names, everything)
    change(lambda publication: publication.stop(names or ()), ("stop", names), by, as_json, "stopped")


def journeys_history(as_json: AsJson = False) -> None:
    """List who published, paused, resumed, stopped or rolled back what, the last change first."""
    from zoneinfo import ZoneInfo

    from deploy.settings import settings
    from schemas.time import readable_text, text_of_ms, time_of_ms
    from sinks.clickhouse.definitions import read_changes

    with clickhouse() as tables:
        changes = read_changes(tables)
    if as_json:
        rows = [{**one._asdict(), "at": text_of_ms(one.at_ms)} for one in changes]
        print_json(
            [{name: row[name] for name in ("number", "at", "by", "kind", "journeys", "version")} for row in rows]
        )
        return
    zone = ZoneInfo(settings().timezone)
    print_table(
        ["version", "what", "journeys", "by", "when"],
        [
            (
                one.version or "folder",
                one.kind,
                ", ".join(one.journeys) or "all",
                one.by,
                readable_text(time_of_ms(one.at_ms, zone)),
            )
            for one in changes
        ],
        text_columns=5,
    )


def change(
    task: Callable[[Publication], Awaitable[Changed]],
    act: tuple[str, list[str] | None],
    by: str,
    as_json: bool,
    done: str,
) -> None:
    """Make a change of what is in force, note it in the audit log, and print what became of it.

    Args:
        task: The change.
        act: The verb of the audit log, and the journeys or broadcasts; none: all.
        by: Who does it; empty: the user of this machine.
        as_json: Print JSON.
        done: The verb of what is printed.
    """
    with noted_act(act[0], act[1] or [], by=by):
        changed, taken, late = _run(task, by)
    print_change(changed, taken, late, as_json, done)


def print_change(
    changed: Changed, taken: list[dict[str, Any]], late: list[dict[str, Any]], as_json: bool, done: str
) -> None:
    """Print a change of what is in force, and which workers have taken it up; exit code 1 if one has not."""
    state = changed.state
    refused = [report for report in taken if report["refused"]]
    if as_json:
        print_json(
            {
                "number": state.number,
                "version": state.version,
                "journeys": {name: control._asdict() for name, control in state.journeys.items()},
                "changes": changed.difference.lines() if changed.difference else [],
                "recorded": changed.recorded,
                "workers": [*taken, *late],
            }
        )
    else:
        if changed.difference:
            lines = changed.difference.lines()
            print(f"version {state.version} is in force" + ("" if lines else "; nothing has changed"))
            for line in lines:
                print(f"  {line}")
        else:
            print(f"{done}: {', '.join(changed.journeys) or 'none'}")
        if changed.difference and [*changed.difference.new["segments"], *changed.difference.changed["segments"]]:
            print("  `throughline segments backfill` takes in the people who are in these segments already")
        held = sorted(name for name, one in state.journeys.items() if one.state != "running" and not one.is_cancelled)
        if changed.difference and held:
            print(f"  not running: {', '.join(f'{name} ({state.journeys[name].state})' for name in held)}")
        print(f"  taken up by {len(taken) - len(refused)} workers" if taken or late else "  no worker runs")
    for report in late:
        typer.echo(f"  a {report['role']} worker has not taken it up within {WAIT_S:g} s", err=True)
    for report in refused:
        typer.echo(f"  a {report['role']} worker has refused it: {report['refused']}", err=True)
    if not changed.recorded:
        typer.echo("  in force, but not in the history: ClickHouse does not answer", err=True)
    if late or refused:
        raise typer.Exit(1)


def _run(
    task: Callable[[Publication], Awaitable[Changed]], by: str
) -> tuple[Changed, list[dict[str, Any]], list[dict[str, Any]]]:
    """Make a change, and wait until the workers have taken it up."""
    import asyncio
    import getpass

    from deploy.operations.publication import NotPublishedError, Publication, wait_for_workers
    from deploy.settings import settings
    from schemas.time import clock_ms
    from sinks.redis.definitions import RedisDefinitions

    async def run() -> tuple[Changed, list[dict[str, Any]], list[dict[str, Any]]]:
        async with async_redis_client(settings(), timeout_s=10) as redis:
            store = RedisDefinitions(redis, settings().redis_namespace)
            publication = Publication(settings(), store, by or getpass.getuser(), clock_ms)
            changed = await task(publication)
            return changed, *await wait_for_workers(store, changed.state.number, WAIT_S, clock_ms)

    with exit_on_store_error():
        try:
            return asyncio.run(run())
        except NotPublishedError as error:
            fail(str(error))


def _some(names: list[str] | None, everything: bool) -> None:
    _not_both(names, everything)
    if not names and not everything:
        raise typer.BadParameter("name the journeys, or say --all", param_hint="NAME")


def _not_both(names: list[str] | None, everything: bool) -> None:
    if names and everything:
        raise typer.BadParameter("names and --all exclude each other", param_hint="--all")
