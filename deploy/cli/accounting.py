"""The command `accounting`: the outcome of every record."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.stores import clickhouse

COUNTS = ("received", "stored", "duplicate", "suppressed", "dead_lettered", "difference")


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("accounting")(accounting)


def accounting(as_json: AsJson = False) -> None:
    """Show where every record of the producers ended: stored, duplicate, suppressed or dead-lettered."""
    from sinks.clickhouse.reports import accounting as account

    with clickhouse() as client:
        found = account(client)
    total = found.total()
    if as_json:
        counts = {name: getattr(total, name) for name in COUNTS}
        print(
            json.dumps(
                {
                    **counts,
                    "missing": found.missing,
                    "conflicts": found.conflicts,
                    "mended": found.mended,
                    "doubtful": found.doubtful,
                    "profiles": asdict(found.profiles),
                    "sources": [asdict(row) for row in found.sources],
                },
                indent=2,
            )
        )
        return
    from rich.table import Table

    from deploy.reporting.terminal.text import plain_console

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("source", overflow="fold")  # what does not fit goes on in the next line
    for name in COUNTS:
        table.add_column(name.replace("_", "-"), justify="right", no_wrap=True)
    for row in [*found.sources, total]:
        table.add_row(row.source or "(not readable)", *(f"{getattr(row, name):,}" for name in COUNTS))
    plain_console().print(table)
    print(f"{found.missing:,} records have no outcome (yet); v_missing_offsets lists them")
    profiles = found.profiles
    print(
        f"{profiles.people:,} people have {profiles.stored:,} stored events; profiles have counted {profiles.counted:,}"
    )
    if profiles.differing:
        print(
            f"{profiles.differing:,} profiles differ though nothing has changed for ten minutes: they lack "
            f"{profiles.missing:,} events and have counted {profiles.excess:,} too often. If `throughline status` "
            "shows no lag, v_profile_accounting lists them, and `throughline profile rebuild` mends one"
        )
    if found.mended:
        print(f"{found.mended:,} of the stored events have a value that was mended; v_mended lists fields and rules")
    if found.doubtful:
        print(
            f"{found.doubtful:,} of the stored events are dated by their arrival, as their own time cannot be "
            "believed: they start nothing (touchpoints.time_doubtful)"
        )
    if found.conflicts:
        print(
            f"{found.conflicts:,} of the duplicates are other events under an id that their source had used: they are "
            "lost; v_event_id_conflicts names the sources"
        )
