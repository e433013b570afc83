"""A race: events are published before the clock starts; it stops when ClickHouse and the profiles hold them all."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from deploy.demo.simulator import Options, Simulation
from deploy.local.process import ChildProcess
from deploy.local.servers import Servers
from sinks.clickhouse.client import connect
from tests.support.pipeline import Pipeline


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


_input: list[Path] = []


def read_input(file: Path | None) -> None:
    """Take the events from a file of JSON lines, so that versions with other simulators are measured on one input."""
    _input[:] = [file] if file else []


def lines(count: int) -> Iterator[bytes]:
    """`count` events of the input file, else of the simulated retailer, as JSON lines that reach a topic."""
    if _input:
        found = _input[0].read_bytes().splitlines()[:count]
        if len(found) < count:
            raise ValueError(f"{_input[0]} has {len(found):,} events, and {count:,} are measured: simulate more people")
        return iter(found)
    return itertools.islice(Simulation(Options(people=count // 20 + 100, seed=7)).lines(), count)


class Progress:
    """How far a pipeline has come, asked so that the question does not weigh on the race.

    One connection and the number of rows, which the server knows without reading any. Only when that says that all may
    be there are rows told apart, since some may have come twice.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._client = connect(pipeline.settings.clickhouse_url, pipeline.settings.clickhouse_database)

    def stored(self) -> int:
        """Rows of events, each at least once, whatever became of them."""
        return self._sum("count()", "count()")

    def has(self, events: int) -> bool:
        """Whether so many events are visible in ClickHouse."""
        return self.stored() >= events and self.events() >= events

    def events(self) -> int:
        """Events that are visible in ClickHouse, whatever became of them."""
        return self._sum("uniqExact(event_id)", "uniqExact(topic, partition, offset)")

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _sum(self, touchpoints: str, others: str) -> int:
        return int(
            self._client.command(
                f"SELECT (SELECT {touchpoints} FROM touchpoints) + (SELECT {others} FROM dropped_touchpoints)"
                f" + (SELECT {others} FROM dead_letters)"
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


def race(
    pipeline: Pipeline, servers: Servers, events: Iterable[bytes], workers: Mapping[str, ChildProcess]
) -> dict[str, Any]:
    """Publish while `identify` is frozen, let it go, and stop the clock when all is stored and in the profiles."""
    progress = Progress(pipeline)
    before = progress.events()
    workers["identify"].pause()
    published = pipeline.publish_lines(events)
    usage = Usage(
        {server.name: server.pid for server in servers if server.pid}
        | {name: worker.pid for name, worker in workers.items() if worker.pid}
    )
    usage.start()
    started = time.monotonic()
    workers["identify"].resume()

    def done() -> bool:
        pipeline.check()
        return progress.has(before + published) and not pipeline.behind("profile")

    def nearly_done() -> bool:
        pipeline.check()
        return progress.stored() >= before + 0.8 * published

    wait(nearly_done, 600, every_s=1)  # a look costs the server some milliseconds: often only near the end
    wait(done, 600)
    seconds = time.monotonic() - started
    usage.stop()
    progress.close()
    return figures(usage, published, seconds)


def figures(usage: Usage, published: int, seconds: float) -> dict[str, Any]:
    """Write what a race has taken: events a second, CPU time an event and highest memory of each process."""
    return {
        "events": published,
        "seconds": round(seconds, 2),
        "events_per_s": round(published / seconds),
        "cpu_us_per_event": {name: round(cpu / published * 1e6, 1) for name, cpu in usage.cpu_s.items()},
        "peak_mb": {name: round(peak) for name, peak in usage.peak_mb.items()},
    }


def wait(condition: Any, timeout_s: float, *, every_s: float = 0.25) -> None:
    """Look every so many seconds until something holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {timeout_s:.0f} s")
        time.sleep(every_s)
