"""`make faults`: breaks the running pipeline under load in each known way, and prints what is missing and invented.

Each row has traffic with a ledger of its own (`traffic.py`), a fault (`faults.py`), and an oracle that recomputes from
the ledger what must be in ClickHouse, in the profiles of Valkey and in people's inboxes (`oracle.py`). Prints a table,
writes `faults.json`, and ends with 1 if anything is missing or invented.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.server import ServerFailedError
from tests.fault.table.faults import FAULTS, Fault
from tests.fault.table.oracle import compare
from tests.fault.table.scene import Scene, Stack, scene
from tests.fault.table.traffic import Traffic

_STACKS: tuple[Stack, ...] = ("local", "durable")
_AROUND_S = 2.0


@dataclass
class Row:
    """One row of the table.

    Attributes:
        fault: What was broken.
        stack: Of what.
        events: That Kafka acknowledged meanwhile.
        seen: What was done, in a few words.
        missing: What had to be there and is not.
        invented: What is there and had not to be.
        recovery_s: From the fault's end until all that came in was processed, and all letters were sent.
    """

    fault: str
    stack: Stack
    events: int = 0
    seen: str = ""
    missing: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    recovery_s: float = 0.0


def try_out(one: Scene, name: str, fault: Fault, seconds: float) -> Row:
    """Break something under load, wait until all is through, and compare."""
    settings = one.pipeline.settings
    ident = f"{one.stack}{list(FAULTS).index(name)}"
    row = Row(name, one.stack)
    with Traffic(settings.kafka_bootstrap, settings.topic_prefix, ident, **fault.traffic) as one.traffic:
        time.sleep(_AROUND_S)
        try:
            row.seen = fault.does(one, seconds)
        except (AssertionError, ServerFailedError) as error:
            row.missing.append(f"it could not be tried: {error}")
        ended = time.monotonic()
        time.sleep(_AROUND_S)
    row.events = sum(event.acknowledged is not None for event in one.traffic.ledger.events.values())
    try:
        one.wait_until_through()
        row.recovery_s = time.monotonic() - ended
        found = compare(one.traffic.ledger, one.see())
        row.missing += found.missing
        row.invented += found.invented
    except AssertionError as error:
        row.missing.append(f"it did not recover: {error}")
    return row


def markdown(rows: Sequence[Row]) -> str:
    """Write the table as README shows it."""
    lines = ["| fault | stack | events | what was done | missing | invented | through after |", "| --- " * 7 + "|"]
    lines += [
        f"| {row.fault} | {row.stack} | {row.events:,} | {row.seen} | {len(row.missing)} | {len(row.invented)}"
        f" | {row.recovery_s:.0f} s |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Try the faults that were asked for, print the table, write `faults.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--stack", nargs="*", choices=_STACKS, default=_STACKS)
    parser.add_argument("--only", nargs="*", choices=FAULTS, metavar="FAULT", help=f"of: {'; '.join(FAULTS)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a fault; a freeze lasts three of them")
    parser.add_argument("--out", type=Path, default=Path("faults.json"))
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown too")
    chosen = parser.parse_args()
    said, rows = Console(stderr=True), []
    for stack in chosen.stack:
        names = [name for name in chosen.only or FAULTS if stack in FAULTS[name].stacks]
        if not names:
            continue
        with tempfile.TemporaryDirectory() as scratch, scene(stack, Path(scratch)) as one:
            for name in names:
                said.print(f"{stack}: {name} …")
                rows.append(row := try_out(one, name, FAULTS[name], chosen.seconds))
                for kind, findings in (("missing", row.missing), ("invented", row.invented)):
                    for finding in findings[:10]:
                        said.print(f"  {kind}: {finding}", markup=False)
                chosen.out.write_text(json.dumps([asdict(found) for found in rows], indent=1))
    table = Table(title="make faults")
    for column in ("fault", "stack", "events", "what was done", "missing", "invented", "through after"):
        table.add_column(column, justify="right" if column in ("events", "missing", "invented") else "left")
    for row in rows:
        counts = (f"{row.events:,}", row.seen, str(len(row.missing)), str(len(row.invented)))
        table.add_row(row.fault, row.stack, *counts, f"{row.recovery_s:.0f} s")
    Console().print(table)
    if chosen.markdown:
        print(markdown(rows))
    sys.exit(any(row.missing or row.invented for row in rows))


if __name__ == "__main__":
    main()
