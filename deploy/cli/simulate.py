"""The command `simulate`: events of a made-up retailer."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.streams import progress_bar, writing


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("simulate")(simulate_command)


def simulate_command(
    people: Annotated[int, typer.Option(min=1, help="How many people; one gives about 40 events in 60 days.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Seed of the random generator.")] = 1,
    days: Annotated[int, typer.Option(min=1, help="Days of simulated time.")] = 60,
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day.")] = datetime(2026, 9, 1),  # noqa: DTZ001
    spend: Annotated[
        Path | None, typer.Option(help="Write the marketing spend: CSV for `throughline import spend`.")
    ] = None,
    junk: Annotated[float, typer.Option(min=0, max=0.5, help="Share of lines that are broken.")] = 0.01,
    out: Annotated[str, typer.Option(metavar="FILE|-", help="Where the events go, JSON Lines.")] = "-",
    truth: Annotated[
        Path | None,
        typer.Option(help="Write the true identities: JSON Lines, for each person the identifiers that events link."),
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
