"""`make bench-peers`: stream frameworks at the same job as Throughline, on the same lines, with the same outcome.

Prints one table and writes `bench-peers.json`. `tests/benchmarks/peers/README.md` tells how to read it.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from deploy.local.process import ROOT
from deploy.local.servers import Broker, Servers
from deploy.settings import Settings
from tests.benchmarks.peers.contenders import (
    LACKS,
    PEERS,
    PYTHON,
    Peer,
    code_lines,
    measure_peer,
    measure_throughline,
    shared_lines,
    warm_up_line,
)
from tests.benchmarks.peers.oracle import Outcome, expected
from tests.benchmarks.race import lines, read_input

console = Console(stderr=True)
THROUGHLINE = "throughline"
SERVERS = {"kafka": "broker", "redis": "Valkey", "clickhouse": "ClickHouse"}


class Contender(NamedTuple):
    """A row of the table: a peer with a number of workers; without a peer, Throughline."""

    peer: Peer | None
    workers: int

    @property
    def name(self) -> str:
        """Its name in the JSON."""
        return f"{self.peer.name}-{self.workers}" if self.peer else THROUGHLINE

    def measure(self, broker: Broker, events: list[bytes], wanted: Outcome) -> dict[str, Any]:
        """Measure it on servers of its own, whose memory is then its doing."""
        with tempfile.TemporaryDirectory() as scratch, Servers(Path(scratch), broker=broker) as servers:
            home = Path(scratch) / "home"
            if self.peer is None:
                return measure_throughline(servers, home, events, wanted)
            return measure_peer(self.peer, servers, home, self.workers, events, wanted)

    def described(self) -> dict[str, Any]:
        """Describe it: what is written for it, and what it lacks."""
        if self.peer is None:
            return {"title": "Throughline", "lines_to_write": 0, "lines_of_the_product": _product_lines(), "lacks": []}
        written = self.peer.lines_of_code() + shared_lines()
        return {"title": self.peer.title, "lines_to_write": written, "lacks": [LACKS[one] for one in self.peer.lacks]}


def _product_lines() -> int:
    return sum(
        code_lines(path)
        for layer in ("schemas", "processors", "sinks", "deploy")
        for path in (ROOT / layer).rglob("*")
        if path.suffix in (".py", ".lua")
    )


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Choose the round in the middle by events a second, and keep the speed of all."""
    ordered = sorted(rounds, key=lambda one: one["events_per_s"])
    middle = ordered[(len(ordered) - 1) // 2]
    workers = [name for name in middle["cpu_us_per_event"] if name not in SERVERS]
    cpu, peak = middle["cpu_us_per_event"], middle["peak_mb"]
    return {
        **middle,
        "processes": len(workers),
        "workers_cpu_us_per_event": round(sum(cpu[name] for name in workers), 1),
        "total_cpu_us_per_event": round(sum(cpu.values()), 1),
        "workers_peak_mb": sum(peak.get(name, 0) for name in workers),
        "events_per_s_of_rounds": [one["events_per_s"] for one in rounds],
    }


def show(found: dict[str, dict[str, Any]], events: int) -> None:
    """Print the table."""
    table = Table(title=f"{events:,} events, the same outcome each; everything on this machine")
    for column in ("", "processes", "events/s", "workers", *SERVERS.values(), "total", "peak MB", "lines", "lacks"):
        table.add_column(column, justify="left" if column in ("", "lacks") else "right")
    for one in found.values():
        cpu = one["cpu_us_per_event"]
        table.add_row(
            one["title"], str(one["processes"]), f"{one['events_per_s']:,}", str(one["workers_cpu_us_per_event"]),
            *(str(cpu[name]) for name in SERVERS), str(one["total_cpu_us_per_event"]), f"{one['workers_peak_mb']:,}",
            str(one["lines_to_write"]), "".join(key for key, text in LACKS.items() if text in one["lacks"]) or "–",
        )  # fmt: skip
    Console(width=140).print(table)
    print("From workers to total: CPU µs an event. Peak: the workers'. Lines: of code that a team writes.")
    for key, text in LACKS.items():
        print(f"lacks {key}: {text}")


def main() -> None:
    """Measure the contenders in turn, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=200_000, help="events of each race")
    parser.add_argument("--rounds", type=int, default=1, help="races of each contender; the one in the middle counts")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="numbers of workers of the peers")
    parser.add_argument("--only", nargs="*", choices=[THROUGHLINE, *(peer.name for peer in PEERS)])
    parser.add_argument("--input", type=Path, help="JSON lines to measure, such as those of `throughline simulate`")
    parser.add_argument("--broker", choices=["tansu", "kafka"], default="tansu")
    parser.add_argument("--out", type=Path, default=Path("bench-peers.json"))
    chosen = parser.parse_args()
    if not PYTHON.exists():
        sys.exit(f"the peers are not installed in {PYTHON.parents[1]}: `make bench-peers` does it")
    read_input(chosen.input)
    events = [warm_up_line(), *lines(chosen.events)]
    wanted = expected(events, Settings())
    console.print(f"{chosen.events:,} events are {wanted.rows:,} rows of {wanted.people:,} people")
    contenders = [Contender(peer, workers) for peer in PEERS for workers in chosen.workers]
    contenders = [
        one for one in [Contender(None, 1), *contenders]
        if not chosen.only or (one.peer.name if one.peer else THROUGHLINE) in chosen.only
    ]  # fmt: skip
    measured: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contenders}
    for number in range(1, chosen.rounds + 1):
        for one in contenders:
            console.print(f"round {number}: {one.name} …")
            measured[one.name].append(one.measure(chosen.broker, events, wanted))
    found = {one.name: {**one.described(), **summary(measured[one.name])} for one in contenders}
    listed = subprocess.run([PYTHON, "-m", "pip", "list", "--format=json"], check=True, capture_output=True).stdout
    versions = {one["name"]: one["version"] for one in json.loads(listed)}
    used = ("quixstreams", "bytewax", "faust-streaming", "confluent-kafka", "redis", "clickhouse-connect")
    result = {
        "machine": {"cpus": psutil.cpu_count(), "python": platform.python_version(), "broker": chosen.broker},
        "events": chosen.events,
        "outcome": {"people": wanted.people, "rows": wanted.rows},
        "versions": {name: versions[name] for name in used},
        "contenders": found,
    }
    chosen.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    show(found, chosen.events)


if __name__ == "__main__":
    main()
