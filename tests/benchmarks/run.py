"""`make bench`: how fast the whole pipeline is on this machine, with everything running on it.

Prints a table and writes `bench.json`. Its parts run one after the other, so that they can be compared:

- `end_to_end`: events are published before the clock starts; it stops when ClickHouse and the profiles hold them all.
- `faust_loop`: a Faust loop that only counts: how fast this machine is at this hour (`faust_loop.py`).
- `plain_faust`: the same stages, written the way Faust's guide shows, one event at a time (`plain_faust.py`).
- `identity`: what one client of the identity store gets through, and what an identifier and a visitor cost in memory.
- `attribution`: reports over ten million touches.
- `latency`: at a steady rate, from publishing to the profile in Redis and to the row in ClickHouse.
- `collector`: events over HTTP, beside the Kafka client that publishes the same (`collector.py`).
- `journeys`: the end-to-end race on events of now, with all shipped segments and journeys and without (`journeys.py`).
- `questions`: the questions of analysts on the demo's events (`questions.py`); `attribution` asks them at size.
- `timers`: how late timers are when many are due within a minute.
- `broadcast`: what a broadcast costs the worker of profiles, and its memory (`broadcasts.py`).
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
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
from rich.console import Console
from rich.table import Table

from deploy.connections.redis import async_redis_client
from deploy.local.process import ChildProcess
from deploy.local.servers import Servers
from deploy.operations.definition_files import identity_policy
from deploy.settings import Settings
from processors.identity.claims import hash_identifier
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.profiles import RedisProfileStore
from tests.benchmarks import broadcasts, journeys
from tests.benchmarks.attribution import measure as attribution
from tests.benchmarks.collector import collecting
from tests.benchmarks.faust_loop import bare_loop
from tests.benchmarks.identity import identity
from tests.benchmarks.questions import questions_of_demo
from tests.benchmarks.race import Progress, lines, page_view, race, read_input, wait, warm_up
from tests.support.pipeline import Pipeline, environment
from tests.support.stack import corner

console = Console(stderr=True)
STAGES = ("identify", "profile", "record")  # of the baseline
PARTS = (
    "end_to_end",
    "faust_loop",
    "plain_faust",
    "identity",
    "latency",
    "collector",
    "journeys",
    "timers",
    "broadcast",
    "attribution",
    "questions",
)


def end_to_end(servers: Servers, home: Path, count: int) -> dict[str, Any]:
    """The spine: everything that runs, with no segments and journeys, as in the baseline; `journeys` adds those."""
    nothing = home / "nothing"
    nothing.mkdir(parents=True, exist_ok=True)
    with corner(servers.settings) as found:
        settings = Settings(**{**dict(found), "session_timeout_s": 60, "definitions_dir": nothing})
        with Pipeline(settings, home) as pipeline:
            warm_up(pipeline)
            measured = race(pipeline, servers, lines(count), pipeline.workers)
            pipeline.drain(60)
            measured["profiles"] = pipeline.value("SELECT uniqExact(profile_id) FROM profiles")
            measured["difference"] = pipeline.value("SELECT sum(difference) FROM v_accounting")
            return measured


def plain_faust(servers: Servers, home: Path, count: int) -> dict[str, Any]:
    """The baseline: one event at a time through Faust, the stores and Faust's producer."""
    with corner(servers.settings) as found:
        settings = Settings(**{**dict(found), "session_timeout_s": 60})
        with Pipeline(settings, home, roles=()) as pipeline:
            for role in STAGES:
                worker = ChildProcess(
                    f"plain-{role}",
                    [sys.executable, "-m", "tests.benchmarks.plain_faust", role],
                    home / "logs" / f"plain-{role}.log",
                    environment={**environment(settings), "THROUGHLINE_HOME": str(home)},
                )
                worker.launch()
                pipeline.workers[role] = worker
            pipeline.publish(page_view("warm-up"))
            progress = Progress(pipeline)
            wait(lambda: progress.has(1), 60)
            progress.close()
            return race(pipeline, servers, lines(count), pipeline.workers)


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
    client = async_redis_client(settings, timeout_s=30)
    identities = RedisIdentityStore(client, settings.redis_namespace, identity_policy(settings))
    profiles = RedisProfileStore(client, settings.redis_namespace)
    secret = settings.identity_secret.get_secret_value().encode()
    found: list[float] = []
    waiting: list[asyncio.Task[None]] = []

    async def probe(name: str, started: float) -> None:
        wanted = hash_identifier("anonymous_id", name, secret)
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


def _analysts(servers: Servers, home: Path, parts: Collection[str]) -> dict[str, Any]:
    result = {}
    if "attribution" in parts:
        console.print("attribution over ten million touches …")
        result["attribution"] = attribution(Settings.model_validate(dict(servers.settings)))
    if "questions" in parts:
        console.print("questions of analysts on the demo …")
        with corner(servers.settings) as found:
            result["questions"] = questions_of_demo(found, home)
    return result


def _percentiles(values: list[float]) -> dict[str, float]:
    cut = statistics.quantiles(values, n=100)
    return {"p50": round(cut[49], 1), "p99": round(cut[98], 1), "samples": len(values)}


def main() -> None:
    """Run the parts that were asked for, print the table, write `bench.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=300_000, help="events of the end-to-end race")
    parser.add_argument("--baseline-events", type=int, default=20_000, help="events of the plain Faust race")
    parser.add_argument("--loop-events", type=int, default=60_000, help="events of the bare Faust loop")
    parser.add_argument("--rate", type=int, default=1000, help="events a second of the latency part")
    parser.add_argument("--seconds", type=int, default=20, help="length of the latency part")
    parser.add_argument("--collector-events", type=int, default=50_000, help="events of the collector part")
    parser.add_argument("--journey-events", type=int, default=100_000, help="events of each race of the journeys part")
    parser.add_argument("--broadcast-people", type=int, default=100_000, help="people who get a broadcast")
    parser.add_argument("--timers", type=int, default=10_000, help="timers due within a minute")
    parser.add_argument(
        "--input", type=Path, help="JSON lines to measure, such as an earlier version's `throughline simulate --seed 7`"
    )
    parser.add_argument("--only", nargs="*", choices=PARTS)
    parser.add_argument("--broker", choices=["tansu", "kafka"], default="tansu")
    parser.add_argument("--redis-cluster", action="store_true", help="three masters of Redis")
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    chosen = parser.parse_args()
    read_input(chosen.input)
    parts = chosen.only or PARTS
    result: dict[str, Any] = {"machine": {"cpus": psutil.cpu_count(), "python": platform.python_version()}}
    with (
        tempfile.TemporaryDirectory() as scratch,
        Servers(Path(scratch), broker=chosen.broker, redis_cluster=chosen.redis_cluster) as servers,
    ):
        home = Path(scratch) / "home"
        if "end_to_end" in parts:
            console.print(f"end to end, {chosen.events:,} events …")
            result["end_to_end"] = end_to_end(servers, home, chosen.events)
        if "faust_loop" in parts:
            console.print(f"a bare Faust loop, {chosen.loop_events:,} events …")
            result["faust_loop"] = bare_loop(servers, home, chosen.loop_events)
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
        if "collector" in parts:
            console.print(f"the collector, {chosen.collector_events:,} events …")
            result["collector"] = collecting(servers, home, chosen.collector_events)
        result |= _analysts(servers, home, parts)
        if "journeys" in parts:
            console.print(f"journeys, {chosen.journey_events:,} events with and without …")
            result["journeys"] = journeys.cost(servers, home, chosen.journey_events)
        if "timers" in parts:
            console.print(f"{chosen.timers:,} timers within a minute …")
            result["timers"] = journeys.timers(servers, home, chosen.timers)
        if "broadcast" in parts:
            console.print(f"a broadcast to {chosen.broadcast_people:,} people …")
            result["broadcast"] = broadcasts.broadcast(servers, chosen.broadcast_people, 1_000_000)
    if "end_to_end" in result and "plain_faust" in result:
        baseline = result["plain_faust"]["events_per_s"]
        result["end_to_end"]["plain_faust_events_per_s"] = baseline
        result["end_to_end"]["times_plain_faust"] = round(result["end_to_end"]["events_per_s"] / baseline, 1)
    if "end_to_end" in result and "faust_loop" in result:
        loop = result["faust_loop"]["events_per_s"]
        result["end_to_end"]["times_bare_faust_loop"] = round(result["end_to_end"]["events_per_s"] / loop, 2)
    chosen.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    show(result)


def _compared(result: dict[str, Any]) -> Iterator[str]:
    if "faust_loop" in result:
        yield f"a bare Faust loop that only counts: {result['faust_loop']}"
    if times := result.get("end_to_end", {}).get("times_bare_faust_loop"):
        yield f"the whole pipeline runs {times} times as fast as that"


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
    for line in _compared(result):
        print(line)
    for part in ("attribution", "questions", "identity", "collector"):
        for name, figure in result.get(part, {}).items():
            print(f"{part}, {name}: {figure}")
    if "latency" in result:
        found = result["latency"]
        print(f"at {found['rate']:,} events/s, ms: to profile {found['to_profile_ms']}")
        print(f"                      to ClickHouse {found['to_clickhouse_ms']}")
    for line in (*journeys.told(result), *broadcasts.told(result)):
        print(line)


if __name__ == "__main__":
    main()
