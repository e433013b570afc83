"""Commands of the local stack and of any deployment: up, down, status, drain, doctor."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.output import fail
from deploy.connections.redis import redis_client

if TYPE_CHECKING:
    from rich.table import Table

    from deploy.operations.lag import PartitionLag
    from deploy.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    for command in (up, down, status, drain, doctor):
        app.command()(command)


def up(
    servers_only: Annotated[
        bool, typer.Option("--servers-only", help="Kafka, Redis and ClickHouse alone: no topics, tables, workers.")
    ] = False,
    workers: Annotated[bool, typer.Option(help="Run the workers, the collector and the console.")] = True,
    broker: Annotated[
        str,
        typer.Option(
            envvar="THROUGHLINE_BROKER", help="tansu (in memory, quick) or kafka (Java and Maven; keeps data)."
        ),
    ] = "tansu",
    redis_cluster: Annotated[
        bool, typer.Option("--redis-cluster", help="Three masters of Redis; a home that has them keeps them.")
    ] = False,
) -> None:
    """Start the local stack, unless it runs; returns when it is ready."""
    from typing import cast, get_args

    from rich.console import Console

    from deploy.home import home
    from deploy.local.control import StackFailedError
    from deploy.local.control import up as start
    from deploy.local.servers import Broker
    from deploy.local.state import LocalHome
    from deploy.settings import Settings

    Settings()  # a wrong one is said before anything starts
    if broker not in get_args(Broker):
        raise typer.BadParameter(f"{broker!r}: expected {' or '.join(get_args(Broker))}", param_hint="--broker")
    here = LocalHome(home())
    try:
        with Console(stderr=True).status("starting") as spinner:
            state, started = start(
                here,
                broker=cast("Broker", broker),
                servers_only=servers_only,
                workers=workers,
                redis_cluster=redis_cluster,
                progress=lambda step: spinner.update(f"starting {step}"),
            )
    except StackFailedError as error:
        fail(f"The stack did not start: {error}")
    if not started:
        typer.echo(f"The stack in {here.path} was already up.", err=True)
        _warn_of_other_stack(state, broker=broker, workers=workers and not servers_only)
        if redis_cluster and "redis-2" not in state["processes"]:
            typer.echo("It runs one Redis; `throughline down` first for a cluster.", err=True)
    _print_console(state)
    Console().print(_addresses(state))
    _print_write_keys(state)
    if workers and not servers_only:
        _advise_to_publish(started=started)
    _warn_of_overriding_environment(state)


def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove its data and logs, too.")] = False,
) -> None:
    """Stop the local stack; what Redis and ClickHouse hold stays, without --wipe."""
    from deploy.home import home
    from deploy.local.control import StackFailedError
    from deploy.local.control import down as stop
    from deploy.local.state import LocalHome

    here = LocalHome(home())
    state = here.read()
    if state is not None and state["broker"] == "tansu" and not wipe:
        _warn_of_lost_records(state)
    try:
        stopped = stop(here)
    except StackFailedError as error:
        fail(str(error))
    if wipe:
        here.wipe()
    typer.echo(("Stopped" if stopped else "No stack ran") + (f", and {here.path} is empty." if wipe else "."), err=True)


def status(as_json: AsJson = False) -> None:
    """Show addresses, processes, versions and the lag of each worker; exit code 1 when nothing answers."""
    from deploy.home import home
    from deploy.local.state import LocalHome
    from deploy.operations.conditions import conditions, read
    from deploy.operations.lag import measure_lags
    from deploy.operations.lost_people import check_layout
    from deploy.operations.metrics import addresses
    from deploy.settings import settings
    from sinks.redis.layout import UnmigratedStateError

    state = LocalHome(home()).read()
    lags = measure_lags(settings(), timeout_s=3)
    readings = read(settings(), lags)
    report: dict[str, Any] = {
        "home": str(home()),
        "running": state is not None,
        "settings": _addresses_of(settings(), with_collector="collector" in (state or {}).get("processes", {})),
        **{
            key: state[key]
            for key in ("ready", "broker", "started_at", "versions", "write_keys", "console", "notices")
            if state
        },
        "processes": _processes(state) if state else [],
        "metrics": addresses(state["processes"]) if state else {},
        "kafka_answers": lags is not None,
        "lag": _by_topic(lags.partitions if lags else ()),
        "measured": [{"metric": name, "labels": labels, "value": value} for name, labels, value in readings.named()],
        "conditions": [one._asdict() for one in conditions(readings)],
        "definitions": _definitions(settings()),
        "predictions": _predictions(settings()),
        "kept": _kept(settings()),
    }
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_status(report, state)
    try:
        check_layout(settings())
    except UnmigratedStateError as error:
        typer.echo(str(error), err=True)
    if state is None and lags is None:
        raise typer.Exit(1)


def drain(
    timeout: Annotated[float, typer.Option(min=0, help="Longest wait, in seconds.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Wait until everything that was published is processed and stored in ClickHouse."""
    import redis
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from rich.console import Console

    from deploy.operations.bots import judge_all_bots
    from deploy.operations.completion import drain as wait
    from deploy.operations.completion import pending
    from deploy.operations.lag import KafkaUnreachableError, LagReader
    from deploy.operations.lost_people import check_layout
    from deploy.settings import settings
    from sinks.clickhouse.client import StoreDown
    from sinks.redis.layout import UnmigratedStateError

    try:
        check_layout(settings())  # what waits is not in shards, where it is counted
        with (
            LagReader(settings()) as reader,
            redis_client(settings(), timeout_s=10) as client,
            Console(stderr=True).status("checking") as spinner,
        ):
            left = wait(
                lambda: pending(settings(), reader, client),
                timeout,
                progress=lambda found: spinner.update(f"pending: {found.summary()}"),
            )
            if left.empty:
                spinner.update("judging which events are bots'")
                judge_all_bots(settings(), timeout_s=timeout)
    except UnmigratedStateError as error:
        fail(str(error))
    except (KafkaUnreachableError, redis.RedisError) as error:
        fail(f"Cannot measure what is pending: {error}. `throughline doctor` says more.")
    except (StoreDown, ClickHouseError) as error:
        fail(f"Everything is processed, but ClickHouse does not answer: {error}. `throughline doctor` says more.")
    if as_json:
        behind = _by_topic(left.behind)
        print(
            json.dumps(
                {
                    "drained": left.empty,
                    "lag": behind,
                    "identity_changes": left.identity_changes,
                    "profiles": left.profiles,
                },
                indent=2,
            )
        )
    elif left.empty:
        typer.echo("Everything is processed.", err=True)
    if not left.empty:
        if not as_json:
            typer.echo(
                f"Still pending after {timeout:g} s: {left.summary()}. `throughline status` shows the workers.",
                err=True,
            )
        raise typer.Exit(1)


def doctor(
    role: Annotated[
        str, typer.Option("--role", help="Whose rights to check, such as record; by default an operator's.")
    ] = "operator",
    as_json: AsJson = False,
) -> None:
    """Check settings, packages, servers and rights, with a hint on how to correct each fault."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from deploy.operations.doctor import examine, public_settings
    from deploy.operations.permissions import GRANTEES
    from deploy.settings import settings

    if role not in GRANTEES:
        raise typer.BadParameter(f"{role!r}: expected {', '.join(GRANTEES)}", param_hint="--role")
    checks = examine(settings(), role)
    values = public_settings(settings())
    if as_json:
        found = [{"name": c.name, "ok": c.ok, "found": c.found, "hint": c.hint} for c in checks]
        print(json.dumps({"settings": values, "checks": found}, indent=2))
    else:
        table = Table("setting", Column("value", overflow="fold"), box=None)
        for name, value in values.items():
            table.add_row(f"THROUGHLINE_{name.upper()}", escape(value))
        Console().print(table, "")
        for check in checks:
            mark = "[green]ok[/]  " if check.ok else "[red]fail[/]"
            Console(highlight=False).print(f"{mark} {escape(f'{check.name}: {check.found}')}", soft_wrap=True)
            if check.hint:
                Console(highlight=False).print(f"       → {escape(check.hint)}", soft_wrap=True)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _definitions(settings: Settings) -> list[str]:
    """Describe what the workers have in force; empty if Redis does not answer."""
    import asyncio

    from redis import RedisError

    from deploy.operations.definitions_report import worker_lines

    try:
        return asyncio.run(worker_lines(settings))
    except (RedisError, OSError):
        return []


def _predictions(settings: Settings) -> str:
    """Describe how old the predictions of people are; empty if ClickHouse does not answer."""
    from deploy.operations.predictions import examine_predictions
    from schemas.time import clock_ms

    state = examine_predictions(settings, clock_ms())
    return state.found if state else ""


def _kept(settings: Settings) -> list[str]:
    """Describe how long what is kept; empty if ClickHouse does not answer."""
    from deploy.operations.kept_history import read_report

    report = read_report(settings)
    return [] if report is None else [report.summary()]


def _advise_to_publish(*, started: bool) -> None:
    """Say how files of definitions come in force that the workers have not read."""
    import asyncio

    from redis import RedisError

    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.definitions_report import folder_is_in_force
    from deploy.settings import settings

    try:
        same = asyncio.run(folder_is_in_force(settings()))
    except (RedisError, OSError, DefinitionError):
        return
    if same is False:
        typer.echo("The files of definitions differ from what is in force: `throughline journeys publish`.", err=True)
    elif same is None and not started:
        typer.echo("Definitions that you have changed since: `throughline journeys publish`.", err=True)


def _addresses_of(settings: Settings, *, with_collector: bool) -> dict[str, str]:
    from deploy.operations.doctor import without_password

    names = ("kafka_bootstrap", "redis_url", "clickhouse_url", *(("collector_url",) if with_collector else ()))
    return {name: without_password(getattr(settings, name)) for name in names}


def _addresses(state: dict[str, Any]) -> Table:
    from rich.table import Column, Table

    table = Table("", Column("address", overflow="fold"), "version", "pid", box=None)
    fields = {"kafka": "kafka_bootstrap", "redis": "redis_url", "clickhouse": "clickhouse_url"}
    for name, version in state["versions"].items():  # of the masters of a cluster, the first shows the address of all
        address = state["settings"][fields[name]] if name in fields else ""
        table.add_row(name, address, version, str(state["processes"][name]["pid"]))
    for name, process in state["processes"].items():
        if name not in state["versions"]:
            table.add_row(name, state["settings"].get(f"{name}_url", "worker"), "", str(process["pid"]))
    return table


def _print_console(state: dict[str, Any]) -> None:
    """Print where the console is, with the token that signs in: whoever can read the file of the home has it too."""
    if state.get("console"):
        print(f"Console: {state['console']}\n")


def _print_write_keys(state: dict[str, Any]) -> None:
    """Print the write keys that this home has made for its sources; none: the settings have them."""
    from rich.console import Console
    from rich.table import Column, Table

    if state["write_keys"]:
        table = Table("source", Column("write key of this home", overflow="fold"), box=None)
        for name, key in state["write_keys"].items():
            table.add_row(name, key)
        Console().print("", table)


def _processes(state: dict[str, Any]) -> list[dict[str, Any]]:
    import psutil

    rows = []
    for name, process in {"supervisor": {"pid": state["supervisor_pid"]}, **state["processes"]}.items():
        try:
            rss_mb = round(psutil.Process(process["pid"]).memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            rss_mb = None
        rows.append({"name": name, **process, "alive": rss_mb is not None, "rss_mb": rss_mb})
    return rows


def _by_topic(lags: list[PartitionLag] | tuple[PartitionLag, ...]) -> list[dict[str, Any]]:
    total: dict[tuple[str, str], int] = defaultdict(int)
    for lag in lags:
        total[lag.role, lag.topic] += lag.records
    return [{"role": role, "topic": topic, "records": records} for (role, topic), records in total.items()]


def _print_status(report: dict[str, Any], state: dict[str, Any] | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    console = Console(highlight=False)
    if state is None:
        console.print(escape(f"No local stack runs in {report['home']}; `throughline up` starts one."))
    else:
        _print_console(state)
        console.print(_addresses(state))
        _print_write_keys(state)
        console.print()
        table = Table("process", "pid", "restarts", "MB", Column("log", overflow="fold"), box=None)
        for row in report["processes"]:
            memory = "[red]ended[/]" if row["rss_mb"] is None else str(row["rss_mb"])
            table.add_row(
                row["name"], str(row["pid"]), str(row.get("restarts", "")), memory, escape(row.get("log", ""))
            )
        console.print(table, "")
        for notice in report["notices"]:
            console.print(f"[yellow]{escape(notice)}[/]", soft_wrap=True)
    if not report["kafka_answers"]:
        console.print(f"Kafka at {report['settings']['kafka_bootstrap']} does not answer.")
        return
    behind = Table("worker", "topic", "records behind", box=None)
    for row in report["lag"]:
        if row["records"]:
            behind.add_row(row["role"], row["topic"], f"{row['records']:,}")
    console.print(behind if behind.row_count else "No worker is behind.")
    for one in report["conditions"]:
        alert = f" [red]{one['alert']}[/]: see deploy/README.md" if one["alert"] else ""
        console.print(f"{one['name']}: {escape(one['found'])}{alert}", soft_wrap=True)
    for line in report["definitions"]:
        console.print(escape(line), soft_wrap=True)
    for line in report["kept"]:
        console.print(escape(line), soft_wrap=True)
    if report["predictions"]:
        console.print(f"predictions: {report['predictions']}", soft_wrap=True)


def _warn_of_other_stack(state: dict[str, Any], *, broker: str, workers: bool) -> None:
    """Warn when the running stack has another broker, or no workers."""
    if state["broker"] != broker:
        typer.echo(f"Its broker is {state['broker']}; `throughline down` first for {broker}.", err=True)
    if workers and "identify" not in state["processes"]:
        typer.echo("It runs without workers; `throughline down` and `throughline up` to have them.", err=True)


def _warn_of_overriding_environment(state: dict[str, Any]) -> None:
    """Warn when an environment variable makes later commands use another server."""
    from deploy.settings import Settings

    for name, address in state["settings"].items():
        if getattr(Settings(), name) != address:
            typer.echo(
                f"THROUGHLINE_{name.upper()} is set in your environment: other commands use that server.", err=True
            )


def _warn_of_lost_records(state: dict[str, Any]) -> None:
    """Print how many unprocessed records the broker loses when it stops."""
    from deploy.operations.lag import KafkaUnreachableError, LagReader
    from deploy.settings import Settings

    try:
        with LagReader(Settings(**state["settings"]), timeout_s=3) as reader:
            lost = sum(lag.records for lag in reader.lags())
    except KafkaUnreachableError:
        return
    if lost:
        print(f"Tansu keeps nothing: {lost:,} records that were not processed are gone.", file=sys.stderr)
