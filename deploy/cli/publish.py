"""The command `publish`: JSON Lines to Kafka."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.output import fail
from deploy.cli.streams import progress_bar, reading

if TYPE_CHECKING:
    from deploy.operations.publish import PublishSummary

EventFile = Annotated[
    str, typer.Argument(metavar="FILE|-", help="JSON Lines, one touchpoint a line; - reads standard input.")
]
SummaryAsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on standard output.")]


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("publish")(publish_command)


def publish_command(
    file: EventFile,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Send no event that the pipeline would refuse; report its field and the rule."),
    ] = False,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Maximum rate, events a second.")] = None,
    as_json: SummaryAsJson = False,
) -> None:
    """Publish events to Kafka: each line to the topic of its channel.

    A line that is not an object with a known channel is reported with its number and not sent; the rest goes on, and
    the exit code is 1. Other mistakes reach the pipeline, which keeps such events as dead letters with the reason.
    """
    with reading(file) as (lines, size):
        publish_lines(lines, size, strict=strict, rate=rate, as_json=as_json)


def publish_lines(
    lines: Iterator[bytes], size: int | None, *, strict: bool = False, rate: float | None = None, as_json: bool = False
) -> PublishSummary:
    """Publish with a progress bar and a summary; exit code 1 when an event did not reach Kafka."""
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
