"""The command group `broadcasts`: one message to the members of a segment, at one time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from deploy.cli.acts import noted_act
from deploy.cli.arguments import AsJson, TimeoutS
from deploy.cli.journeys_control import WAIT_S, Person, change, print_change
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.stores import WaitNotice, clickhouse, exit_on_store_error, with_deployment
from schemas.time import clock_ms, text_of_ms

if TYPE_CHECKING:
    from deploy.operations.broadcast_forecast import Forecast
    from deploy.operations.definitions_report import DefinitionsReport
    from deploy.operations.deployment import Deployment
    from deploy.operations.engines import Finding

Result = TypeVar("Result")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the broadcast.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Broadcasts.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    broadcasts = typer.Typer(help="Broadcasts: one message to a segment, at one time.", no_args_is_help=True)
    for name, command in (
        ("list", broadcasts_list),
        ("lint", broadcasts_lint),
        ("forecast", broadcasts_forecast),
        ("test", broadcasts_test),
        ("start", broadcasts_start),
        ("pause", broadcasts_pause),
        ("resume", broadcasts_resume),
        ("cancel", broadcasts_cancel),
        ("results", broadcasts_results),
    ):
        broadcasts.command(name)(command)
    app.add_typer(broadcasts, name="broadcasts")


def broadcasts_list(as_json: AsJson = False) -> None:
    """List broadcasts: planned, running, paused, cancelled and done; with how many people have entered."""
    from deploy.operations.broadcasts import read_shares, statuses
    from sinks.clickhouse.definitions import read_runs_under_way

    async def read(deployment: Deployment, report: DefinitionsReport) -> list[Any]:
        shares = await read_shares(deployment.broadcasts, report)
        runs = {name: sum(steps.values()) for name, steps in read_runs_under_way(deployment.tables).items()}
        return statuses(report, shares, runs, clock_ms())

    found = _with_report(read)
    rows = [
        {
            "name": one.name,
            "state": one.state,
            "segment": one.broadcast.segment if one.broadcast else None,
            "send": _when(one.broadcast.send.at) if one.broadcast else None,
            "started": text_of_ms(one.control.started_ms) if one.control else None,
            "audience": one.control.audience if one.control else None,
            "entered": round(one.entered_share, 4),
            "winner": one.control.winner if one.control else "",
        }
        for one in found
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("broadcast", "state", "segment", "sent at", "winner", "people", "entered"),
        [
            (
                row["name"],
                row["state"],
                row["segment"] or "–",
                row["send"] or "–",
                row["winner"] or "–",
                "–" if row["audience"] is None else f"{row['audience']:,}",
                "–" if row["audience"] is None else f"{row['entered']:.0%}",
            )
            for row in rows
        ],
        text_columns=5,
    )


def broadcasts_lint(as_json: AsJson = False) -> None:
    """Check all files of broadcasts: all errors at once, each with its place. Exit code 1 if there is one."""
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.engines import lint_all, lint_what_loads, load_definitions
    from deploy.settings import settings

    try:
        definitions = load_definitions(settings())
    except DefinitionError as error:
        fail("\n".join([str(error), *(str(one) for one in lint_what_loads(settings()) if _is_of_broadcast(one))]))
    findings = [one for one in lint_all(definitions) if _is_of_broadcast(one)]
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            print(f"{finding}" if finding.serious else f"{finding} (a hint)")
    serious = sum(finding.serious for finding in findings)
    typer.echo(f"{len(definitions.broadcasts)} broadcasts, {serious} errors, {len(findings) - serious} hints", err=True)
    if serious:
        raise typer.Exit(1)


def broadcasts_forecast(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A broadcast in force, or a file of one.")],
    people: Annotated[int, typer.Option(min=100, help="The most people that are looked at.")] = 20_000,
    as_json: AsJson = False,
) -> None:
    """Say whom a broadcast would reach, by channel, after every gate, and what it would cost. Nothing is sent.

    Each person is taken through it as they are now: consent, suppression, holdout, addresses, quiet hours, caps. Of
    more people than --people a sample is taken; the numbers are then of all, with the margin of 19 in 20 samples.
    """
    from deploy.operations.broadcast_forecast import forecast
    from deploy.operations.broadcasts import find_broadcast
    from deploy.operations.engines import load_broadcasts

    async def read(deployment: Deployment, report: DefinitionsReport) -> Forecast:
        if name.endswith((".yaml", ".yml")):
            (broadcast,), _ = load_broadcasts([Path(name)])
        else:
            broadcast = find_broadcast(report, name)
        return await forecast(deployment, report, broadcast, clock_ms(), most=people)

    found = _with_report(read)
    if as_json:
        print_json(found.as_json())
        return
    _print_forecast(found)


def broadcasts_test(
    name: Name,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Your own e-mail address.")],
    person: Annotated[str, typer.Option("--as", metavar="WHO", help="Render it for this person; else a sample.")] = "",
    variant: Annotated[str, typer.Option(help="A variant of its split; else the first.")] = "",
    by: Person = "",
) -> None:
    """Send a broadcast to yourself, by e-mail: no gate is asked, no cap used, no coupon taken."""
    from deploy.operations.broadcast_tests import send_broadcast_test
    from deploy.operations.message_tests import NotSentError

    if "@" not in to or any(char.isspace() for char in to):
        raise typer.BadParameter("write your own e-mail address", param_hint="--to")

    async def send(deployment: Deployment, report: DefinitionsReport) -> str:
        return await send_broadcast_test(deployment, report, name, to, who=person, variant=variant)

    with noted_act("send a test", name, by=by):
        try:
            sent = _with_report(send)
        except NotSentError as error:
            fail(error.said)
    print(f"sent: {sent}")


def broadcasts_start(name: Name, by: Person = "", timeout_s: TimeoutS = 60, as_json: AsJson = False) -> None:
    """Start a broadcast: its people are listed now, and each gets it when their time comes. It is started once.

    It may be started days before its time. Until a person's message is sent, `pause` and `cancel` hold it back.
    """
    import getpass

    from deploy.operations.broadcasts import start
    from deploy.operations.publication import Publication, wait_for_workers

    async def run(deployment: Deployment, report: DefinitionsReport) -> Any:
        publication = Publication(deployment.settings, deployment.definitions, by or getpass.getuser(), clock_ms)
        changed = await start(
            deployment, publication, report, name, timeout_s=timeout_s, clock=clock_ms, progress=WaitNotice()
        )
        return changed, *await wait_for_workers(deployment.definitions, changed.state.number, WAIT_S, clock_ms)

    with noted_act("start", name, by=by):
        changed, taken, late = _with_report(run)
    audience = changed.state.journeys[name].audience
    print_change(changed, taken, late, as_json, f"started for {audience:,} people")


def broadcasts_pause(names: Names, by: Person = "", as_json: AsJson = False) -> None:
    """Hold back broadcasts: within a second nothing of them is sent any more, until `resume`."""
    change(lambda publication: publication.control("pause", names), ("pause", names), by, as_json, "paused")


def broadcasts_resume(names: Names, by: Person = "", as_json: AsJson = False) -> None:
    """Let paused broadcasts go on, at their rate. What has expired meanwhile is not sent."""
    change(lambda publication: publication.control("resume", names), ("resume", names), by, as_json, "resumed")


def broadcasts_cancel(names: Names, by: Person = "", as_json: AsJson = False) -> None:
    """Cancel broadcasts for good: within a second nothing of them is sent any more.

    Whoever waited in one has a row in v_decisions, `suppressed` by the gate `stopped`.
    """
    change(lambda publication: publication.stop(names), ("cancel", names), by, as_json, "cancelled")


def broadcasts_results(name: Name, as_json: AsJson = False) -> None:
    """Show what became of a broadcast: by variant sent, delivered, clicked; by outcome and gate; and the comparison."""
    from deploy.operations.broadcast_results import read_comparison, read_results

    with clickhouse() as client:
        found, compared = read_results(client, name), read_comparison(client, name)
    if as_json:
        print_json({**found.as_json(), "comparison": compared.as_json()})
        return
    print(f"{found.totals.entered:,} people have entered, {found.totals.under_way:,} wait")
    print_table(
        ("variant", "channel", "sent", "delivered", "opened", "clicked", "failed", "unsubscribed"),
        [
            (
                one.variant or "–", one.channel,
                *(f"{n:,}" for n in (one.sent, one.delivered, one.opened, one.clicked, one.failed, one.unsubscribed)),
            )
            for one in found.variants
        ],
        text_columns=2,
    )  # fmt: skip
    for outcome, gate, count in found.not_sent:
        print(f"{outcome}{f' by {gate}' if gate else ''}: {count:,}")
    for line in compared.lines:
        print(line)


def _is_of_broadcast(finding: Finding) -> bool:
    return Path(finding.file).parent.name == "broadcasts"


def _with_report(task: Callable[[Deployment, DefinitionsReport], Awaitable[Result]]) -> Result:
    """Run a coroutine on the stores and on what is in force; a refusal ends the command."""
    from deploy.operations.definitions_report import read_in_force
    from deploy.operations.publication import NotPublishedError

    async def run(deployment: Deployment) -> Result:
        return await task(deployment, await read_in_force(deployment.settings))

    with exit_on_store_error():
        try:
            return with_deployment(run)
        except NotPublishedError as error:
            fail(str(error))


def _when(at: datetime | None) -> str:
    return "at once" if at is None else f"{at:%Y-%m-%d %H:%M}"


def _print_forecast(found: Forecast) -> None:
    margin = f" (± {found.margin(found.reached):,})" if found.margin(found.reached) else ""
    print(f"{found.name}: {found.audience:,} people; {found.whole(found.reached):,}{margin} would get a message")
    if found.looked_at < found.audience:
        print(f"  by a sample of {found.looked_at:,}")
    if found.beyond_budget:
        print(f"  {found.beyond_budget:,} further members are left out by the budget")
    rows = [(f"sent by {name}", found.whole(count)) for name, count in found.sent.most_common()]
    rows += [("held out", found.whole(found.held_out))] if found.held_out else []
    rows += [(f"not sent: {gate}", found.whole(count)) for gate, count in found.gates.most_common()]
    rows += [(f"left out: {reason}", found.whole(count)) for reason, count in found.left_out.most_common()]
    print_table(("", "people"), [(what, f"{count:,}") for what, count in rows], text_columns=1)
    if found.hours:
        hours = sorted(found.hours)
        print(f"sent from {hours[0]} to {hours[-1]}")
    print(f"cost: {found.as_json()['cost']:,.2f}")
    if found.failed:
        typer.echo(f"{found.failed:,} people cannot be read", err=True)
