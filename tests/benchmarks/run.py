"""`make bench`: how fast the whole pipeline is on this machine, with everything running on it.

Prints a table and writes `bench.json`. Its parts run one after the other, so that they can be compared:

- `end_to_end`: events are published before the clock starts; it stops when ClickHouse and the profiles hold them all.
- `plain_faust`: the same stages, written the way Faust's guide shows, one event at a time (`plain_faust.py`).
- `identity`: what one client of the identity store gets through, and what an identifier costs in memory.
- `attribution`: reports over ten million touches.
- `latency`: at a steady rate, from publishing to the profile in Redis and to the row in ClickHouse.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psutil
import redis.asyncio
from rich.console import Console
from rich.table import Table

from deploy.configuration import identity_policy
from deploy.lag import ROLES
from deploy.local.process import ChildProcess
from deploy.local.servers import Servers
from deploy.settings import Settings
from deploy.simulate import Options, Simulation
from processors.identity import leaf_of
from sinks.redis_identity import RedisIdentityStore
from sinks.redis_profiles import RedisProfileStore
from tests.benchmarks.attribution import measure as attribution
from tests.benchmarks.identity import identity
from tests.pipeline import Pipeline, environment
from tests.stack import corner

console = Console(stderr=True)
PARTS = ("end_to_end", "plain_faust", "identity", "latency", "attribution")


@dataclass
class Usage:
    """CPU seconds and peak memory of named processes between `start` and `stop`."""

    pids: dict[str, int]
    cpu_s: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    _halt: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Note the CPU time so far and begin to watch memory."""
        self._processes = {name: psutil.Process(pid) for name, pid in self.pids.items()}
        self._before = {name: _cpu(process) for name, process in self._processes.items()}
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()

    def _sample(self) -> None:
        while not self._halt.wait(0.5):
            for name, process in self._processes.items():
                self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), process.memory_info().rss / 2**20)

    def stop(self) -> None:
        """Take the differences."""
        self.cpu_s = {name: _cpu(process) - self._before[name] for name, process in self._processes.items()}
        self._halt.set()
        self._watch.join()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def lines(count: int) -> Iterator[bytes]:
    """`count` events of the simulated retailer, as JSON lines that reach a topic."""
    return itertools.islice(Simulation(Options(people=count // 20 + 100, seed=7)).lines(), count)


def progress(pipeline: Pipeline) -> int:
    """Events that are visible in ClickHouse, whatever became of them."""
    return int(
        pipeline.value(
            "SELECT (SELECT uniqExact(event_id) FROM touchpoints) + (SELECT uniqExact(topic, partition, offset)"
            " FROM dropped_touchpoints) + (SELECT uniqExact(topic, partition, offset) FROM dead_letters)"
        )
    )


def warm_up(pipeline: Pipeline) -> None:
    """Send one event through, so that every worker has joined its group and compiled its scripts."""
    pipeline.publish(page_view("warm-up"))
    pipeline.drain(60)


def page_view(name: str) -> dict[str, Any]:
    """An event of a visitor that nobody else is."""
    return {
        "event_id": name,
        "event": "Page Viewed",
        "channel": "web",
        "occurred_at": datetime.now(UTC).isoformat(),
        "identifiers": {"anonymous_id": name},
    }


def end_to_end(servers: Servers, home: Path, count: int) -> dict[str, Any]:
    """The product itself: three workers, three servers, two cores."""
    with corner(servers.settings) as found:
        settings = Settings(**{**dict(found), "session_timeout_s": 60})
        with Pipeline(settings, home) as pipeline:
            warm_up(pipeline)
            measured = _race(pipeline, servers, count, pipeline.workers)
            pipeline.drain(60)
            measured["profiles"] = pipeline.value("SELECT uniqExact(profile_id) FROM profiles")
            measured["difference"] = pipeline.value("SELECT sum(difference) FROM v_accounting")
            return measured


def plain_faust(servers: Servers, home: Path, count: int) -> dict[str, Any]:
    """The baseline: one event at a time through Faust, the stores and Faust's producer."""
    with corner(servers.settings) as found:
        settings = Settings(**{**dict(found), "session_timeout_s": 60})
        with Pipeline(settings, home, roles=()) as pipeline:
            for role in ROLES:
                worker = ChildProcess(
                    f"plain-{role}",
                    [sys.executable, "-m", "tests.benchmarks.plain_faust", role],
                    home / "logs" / f"plain-{role}.log",
                    environment={**environment(settings), "THROUGHLINE_HOME": str(home)},
                )
                worker.launch()
                pipeline.workers[role] = worker
            pipeline.publish(page_view("warm-up"))
            _wait(lambda: progress(pipeline) >= 1, 60)
            return _race(pipeline, servers, count, pipeline.workers)


def _race(pipeline: Pipeline, servers: Servers, count: int, workers: dict[str, ChildProcess]) -> dict[str, Any]:
    """Publish while `identify` is frozen, let it go, and stop the clock when all is stored and in the profiles."""
    before = progress(pipeline)
    workers["identify"].pause()
    published = pipeline.publish_lines(lines(count))
    usage = Usage(
        {server.name: server.pid for server in servers if server.pid}
        | {name: worker.pid for name, worker in workers.items() if worker.pid}
    )
    usage.start()
    started = time.monotonic()
    workers["identify"].resume()

    def done() -> bool:
        pipeline.check()
        return progress(pipeline) >= before + published and not pipeline.behind("profile")

    _wait(done, 600)
    seconds = time.monotonic() - started
    usage.stop()
    return {
        "events": published,
        "seconds": round(seconds, 2),
        "events_per_s": round(published / seconds),
        "cpu_us_per_event": {name: round(cpu / published * 1e6, 1) for name, cpu in usage.cpu_s.items()},
        "peak_mb": {name: round(peak) for name, peak in usage.peak_mb.items()},
    }


def _wait(condition: Any, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {timeout_s:.0f} s")
        time.sleep(0.25)


def latency(servers: Servers, home: Path, rate: int, seconds: int) -> dict[str, Any]:
    """Milliseconds from publishing to the profile and to the row, at `rate` events a second."""
    with corner(servers.settings) as settings, Pipeline(settings, home) as pipeline:
        warm_up(pipeline)
        sent: dict[str, float] = {}
        to_profile = asyncio.run(_steady(pipeline, settings, rate, seconds, sent))
        pipeline.drain(60)
        rows = pipeline.rows(
            "SELECT event_id, toUnixTimestamp64Milli(stored_at) FROM touchpoints WHERE startsWith(event_id, 'probe-')"
        )
        to_row = [stored - sent[event_id] * 1000 for event_id, stored in rows if event_id in sent]
        return {"rate": rate, "to_profile_ms": _percentiles(to_profile), "to_clickhouse_ms": _percentiles(to_row)}


async def _steady(
    pipeline: Pipeline, settings: Settings, rate: int, seconds: int, sent: dict[str, float]
) -> list[float]:
    client = redis.asyncio.Redis.from_url(settings.redis_url)
    identities = RedisIdentityStore(client, settings.redis_namespace, identity_policy(settings))
    profiles = RedisProfileStore(client, settings.redis_namespace)
    secret = settings.identity_secret.get_secret_value().encode()
    found: list[float] = []
    waiting: list[asyncio.Task[None]] = []

    async def probe(name: str, started: float) -> None:
        wanted = leaf_of("anonymous_id", name, secret)
        while (owner := await identities.owner(wanted)) is None or (await profiles.get(owner)) is None:
            await asyncio.sleep(0.003)
        found.append((time.time() - started) * 1000)

    load = lines(rate * seconds)
    begun = time.monotonic()
    for tick in range(seconds * 20):
        for line in itertools.islice(load, rate // 20 - 1):
            pipeline.send(orjson.loads(line)["channel"], line)
        name = f"probe-{tick}"
        sent[name] = time.time()
        pipeline.send("web", orjson.dumps(page_view(name)), name)
        pipeline.poll()
        waiting.append(asyncio.create_task(probe(name, sent[name])))
        await asyncio.sleep(max(0.0, begun + (tick + 1) / 20 - time.monotonic()) + random.random() * 0.001)
    await asyncio.wait_for(asyncio.gather(*waiting), 60)
    await client.aclose()
    return found


def _percentiles(values: list[float]) -> dict[str, float]:
    cut = statistics.quantiles(values, n=100)
    return {"p50": round(cut[49], 1), "p99": round(cut[98], 1), "samples": len(values)}


def main() -> None:
    """Run the parts that were asked for, print the table, write `bench.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=300_000, help="events of the end-to-end race")
    parser.add_argument("--baseline-events", type=int, default=20_000, help="events of the plain Faust race")
    parser.add_argument("--rate", type=int, default=1000, help="events a second of the latency part")
    parser.add_argument("--seconds", type=int, default=20, help="length of the latency part")
    parser.add_argument("--only", nargs="*", choices=PARTS)
    parser.add_argument("--broker", choices=["tansu", "kafka"], default="tansu")
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    chosen = parser.parse_args()
    parts = chosen.only or PARTS
    result: dict[str, Any] = {"machine": {"cpus": psutil.cpu_count(), "python": platform.python_version()}}
    with tempfile.TemporaryDirectory() as scratch, Servers(Path(scratch), broker=chosen.broker) as servers:
        home = Path(scratch) / "home"
        if "end_to_end" in parts:
            console.print(f"end to end, {chosen.events:,} events …")
            result["end_to_end"] = end_to_end(servers, home, chosen.events)
        if "plain_faust" in parts:
            console.print(f"plain Faust, {chosen.baseline_events:,} events …")
            result["plain_faust"] = plain_faust(servers, home, chosen.baseline_events)
        if "identity" in parts:
            console.print("identity …")
            with corner(servers.settings) as found:
                result["identity"] = identity(found, servers["redis"].pid)
        if "latency" in parts:
            console.print(f"latency at {chosen.rate:,} events/s for {chosen.seconds} s …")
            result["latency"] = latency(servers, home, chosen.rate, chosen.seconds)
        if "attribution" in parts:
            console.print("attribution over ten million touches …")
            result["attribution"] = attribution(Settings.model_validate(dict(servers.settings)))
    if "end_to_end" in result and "plain_faust" in result:
        baseline = result["plain_faust"]["events_per_s"]
        result["end_to_end"]["plain_faust_events_per_s"] = baseline
        result["end_to_end"]["times_plain_faust"] = round(result["end_to_end"]["events_per_s"] / baseline, 1)
    chosen.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    show(result)


def show(result: dict[str, Any]) -> None:
    """Print what was measured."""
    table = Table(title="Throughline, everything on this machine")
    for column in ("", "end to end", "plain Faust"):
        table.add_column(column, justify="left" if not column else "right")
    ours, plain = result.get("end_to_end", {}), result.get("plain_faust", {})
    for name in ("events", "seconds", "events_per_s"):
        table.add_row(name, *(f"{part[name]:,}" if part else "" for part in (ours, plain)))
    for kind, unit in (("cpu_us_per_event", "CPU µs an event"), ("peak_mb", "peak MB")):
        for process in ours.get(kind) or plain.get(kind) or {}:
            table.add_row(f"{process}: {unit}", *(str(part.get(kind, {}).get(process, "")) for part in (ours, plain)))
    if "times_plain_faust" in ours:
        table.add_row("times plain Faust", f"{ours['times_plain_faust']}", "1")
    Console().print(table)
    for name, figure in result.get("attribution", {}).items():
        print(f"attribution, {name}: {figure}")
    if "identity" in result:
        for name, figure in result["identity"].items():
            print(f"identity, {name}: {figure}")
    if "latency" in result:
        found = result["latency"]
        print(f"at {found['rate']:,} events/s, ms: to profile {found['to_profile_ms']}")
        print(f"                      to ClickHouse {found['to_clickhouse_ms']}")


if __name__ == "__main__":
    main()
