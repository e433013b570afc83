"""The contenders: how each is started, how it is measured, and what it does less than Throughline."""

from __future__ import annotations

import io
import subprocess
import time
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml
from confluent_kafka import Producer

from deploy.connections.kafka import kafka_connection
from deploy.local.ports import free_port
from deploy.local.process import ROOT, ChildProcess
from deploy.local.servers import Servers
from deploy.settings import Settings
from processors.intake.routing import routing_key
from schemas.identity.policy import IdentityPolicy
from schemas.topics import Topic
from sinks.clickhouse.client import connect
from sinks.kafka.producer import create_topics, producer_config
from tests.benchmarks.peers.oracle import Outcome, of_peer, of_throughline
from tests.benchmarks.race import Usage, figures, page_view, race, wait
from tests.support.pipeline import Pipeline
from tests.support.stack import corner

PYTHON = ROOT / ".peers/bin/python"
"""The interpreter that has the peers' packages, which do not agree with Throughline's on versions of others."""
HERE = Path(__file__).parent
TABLE = "events"
SESSION_TIMEOUT_S = 60
"""Longer than it takes to publish all events, since the workers stand still meanwhile."""

LACKS = {
    "a": "dead letters: what is not valid is left out",
    "b": "limits of identity: a shared browser makes one person of a household",
    "c": "restated history: rows keep the person that they were inserted with, whatever is merged later",
    "d": "splits and erasure",
    "e": "waiting for a store that is down: the process ends, and somebody starts it again",
    "f": "an account of every record: received = stored + dropped + refused",
    "g": "devices, places, bots and touches in rows, and a check of each event's own properties",
    "h": "sharing out partitions while it runs: another number of workers is a new start",
}
"""What a contender does not do, by the letter that the table shows."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer.

    Attributes:
        name: Its name in options and results.
        title: Its name in the table.
        module: Its module in this folder.
        lacks: Letters of `LACKS`.
    """

    name: str
    title: str
    module: str
    lacks: str

    def commands(self, python: Path, workers: int, scratch: Path) -> list[list[str]]:
        """Write the command of each worker, for a run that keeps its files in `scratch`."""
        module = f"tests.benchmarks.peers.{self.module}"
        scratch.mkdir(parents=True, exist_ok=True)
        if self.name == "faust":
            return [[str(python), "-m", module, str(scratch / f"data-{number}")] for number in range(workers)]
        if self.name != "bytewax":
            return [[str(python), "-m", module]] * workers
        recovery = scratch / "recovery"
        recovery.mkdir()
        subprocess.run([python, "-m", "bytewax.recovery", recovery, str(workers)], check=True, timeout=60)
        run = [str(python), "-m", "bytewax.run", module, "-r", str(recovery), "-s", "1", "-b", "0"]
        addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(workers))
        return [[*run, "-i", str(number), "-a", addresses] for number in range(workers)] if workers > 1 else [run]

    def lines_of_code(self) -> int:
        """Count the lines of its own code, as `code_lines`."""
        return code_lines(HERE / f"{self.module}.py")


PEERS = (
    Peer("confluent", "confluent-kafka loop", "confluent_loop", "abcdefg"),
    Peer("quix", "Quix Streams", "quix_app", "abcdefg"),
    Peer("bytewax", "Bytewax", "bytewax_flow", "abcdefgh"),
    Peer("faust", "Faust", "faust_app", "abcdfg"),
)


def code_lines(path: Path) -> int:
    """Count the lines of a file that hold code: neither blank nor only comment or docstring."""
    if path.suffix == ".lua":
        lines = map(str.strip, path.read_text("utf-8").splitlines())
        return sum(1 for line in lines if line and not line.startswith("--"))
    found: set[int] = set()
    at_start = True
    blank = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENCODING}
    for token in tokenize.tokenize(io.BytesIO(path.read_bytes()).readline):
        if token.type in blank or token.type == tokenize.ENDMARKER:
            at_start = at_start or token.type in (tokenize.NEWLINE, tokenize.INDENT)
            continue
        if not (at_start and token.type == tokenize.STRING):
            found.update(range(token.start[0], token.end[0] + 1))
        at_start = False
    return len(found)


def shared_lines() -> int:
    """Count the lines of the job, which all peers share."""
    return sum(code_lines(HERE / name) for name in ("job.py", "resolve.lua"))


class Run:
    """One peer at work on a topic and a database of its own."""

    def __init__(self, settings: Settings, workers: Sequence[ChildProcess]) -> None:
        self.settings = settings
        self.workers = workers
        self._topic = f"{settings.topic_prefix}events"
        self._producer = Producer(producer_config(kafka_connection(settings), **{"linger.ms": 50}))
        self._clickhouse = connect(settings.clickhouse_url, settings.clickhouse_database)

    def publish(self, lines: Iterable[bytes]) -> int:
        """Publish lines under the keys that `throughline publish` gives them; returns their number."""
        secret = self.settings.identity_secret.get_secret_value().encode()
        count = 0
        for line in lines:
            self._producer.produce(self._topic, line, routing_key(orjson.loads(line), secret))
            count += 1
            if count % 1000 == 0:
                self._producer.poll(0)
        left = self._producer.flush(60)
        assert left == 0, f"{left} records not delivered"
        return count

    def stored(self) -> int:
        """Rows in ClickHouse, some of which may have come twice."""
        return int(self._clickhouse.command(f"SELECT count() FROM {TABLE}"))

    def has(self, rows: int) -> bool:
        """Whether so many different events are in ClickHouse."""
        self.check()
        return (
            self.stored() >= rows <= int(self._clickhouse.command(f"SELECT uniqExact(source, event_id) FROM {TABLE}"))
        )

    def command(self, sql: str) -> None:
        """Tell ClickHouse to do something."""
        self._clickhouse.command(sql)

    def check(self) -> None:
        """Fail, with the end of its log, if a worker has ended."""
        for worker in self.workers:
            assert worker.alive, f"{worker.name} ended:\n{worker.last_log_lines(40)}"

    def outcome(self) -> Outcome:
        """Read what it has made of the lines."""
        return of_peer(self.settings, prefix(self.settings), TABLE)


def prefix(settings: Settings) -> str:
    """Return what a peer's keys in Valkey begin with."""
    return f"{{{settings.redis_namespace}}}:"


@contextmanager
def running(
    peer: Peer, settings: Settings, home: Path, workers: int = 1, *, python: Path = PYTHON, batch: int = 1000,
    session_timeout_s: int = SESSION_TIMEOUT_S,
) -> Iterator[Run]:  # fmt: skip
    """Make the topic and the table and start the peer's workers; end them afterwards."""
    topic = Topic("events", key="the strongest identifier", retention_ms=-1)
    create_topics(
        kafka_connection(settings), [topic], prefix=settings.topic_prefix, partitions=settings.partitions, replicas=1
    )
    ddl = subprocess.run(
        [python, "-c", "from tests.benchmarks.peers.job import CREATE_TABLE; print(CREATE_TABLE)"],
        check=True, capture_output=True, text=True, cwd=ROOT, timeout=60,
    ).stdout  # fmt: skip
    client = connect(settings.clickhouse_url)
    client.command(f"CREATE DATABASE {settings.clickhouse_database}")
    client.close()
    client = connect(settings.clickhouse_url, settings.clickhouse_database)
    client.command(ddl)
    client.close()
    environment = {
        "PEER_BOOTSTRAP": settings.kafka_bootstrap,
        "PEER_TOPIC": f"{settings.topic_prefix}events",
        "PEER_GROUP": f"{settings.topic_prefix}people",
        "PEER_SESSION_TIMEOUT_S": str(session_timeout_s),
        "PEER_REDIS_URL": settings.redis_url,
        "PEER_PREFIX": prefix(settings),
        "PEER_CLICKHOUSE_URL": settings.clickhouse_url,
        "PEER_DATABASE": settings.clickhouse_database,
        "PEER_BATCH": str(batch),
    }
    scratch = home / f"{peer.name}-{settings.redis_namespace}"
    started = [
        ChildProcess(
            f"{peer.name}-{number}", command, scratch / f"{number}.log", directory=ROOT, environment=environment
        )
        for number, command in enumerate(peer.commands(python, workers, scratch), 1)
    ]
    try:
        for worker in started:
            worker.launch()
        yield Run(settings, started)
    finally:
        for worker in started:
            worker.stop(10)


def measure_peer(
    peer: Peer, servers: Servers, home: Path, workers: int, lines: Sequence[bytes], wanted: Outcome
) -> dict[str, Any]:
    """Let a peer run on lines that are published while it stands still, `warm_up_line` among them."""
    with corner(servers.settings) as settings, running(peer, settings, home, workers) as run:
        run.publish(lines[:1])
        wait(lambda: run.has(1), 120)
        if workers > 1:  # the group may have let one in before the other
            time.sleep(SESSION_TIMEOUT_S / 2 + 5)
        for worker in run.workers:
            worker.pause()
        published = run.publish(lines[1:])
        measured = _timed(servers, run.workers, published, lambda: run.has(wanted.rows))
        return _checked(measured, run.outcome(), wanted)


def _timed(
    servers: Servers, workers: Sequence[ChildProcess], published: int, done: Callable[[], bool]
) -> dict[str, Any]:
    usage = Usage({server.name: server.pid for server in servers if server.pid} | {
        worker.name: worker.pid for worker in workers if worker.pid
    })  # fmt: skip
    usage.start()
    started = time.monotonic()
    for worker in workers:
        worker.resume()
    wait(done, 900, every_s=0.5)
    seconds = time.monotonic() - started
    usage.stop()
    return figures(usage, published, seconds)


def measure_throughline(servers: Servers, home: Path, lines: Sequence[bytes], wanted: Outcome) -> dict[str, Any]:
    """Measure Throughline, as `end_to_end` of `make bench` without segments and journeys, and here without limits."""
    nothing = home / "nothing"
    nothing.mkdir(parents=True, exist_ok=True)
    policy = home / "unlimited.yaml"
    policy.write_text(yaml.safe_dump(IdentityPolicy.unlimited().model_dump(mode="json")), "utf-8")
    with corner(servers.settings) as found:
        settings = Settings(
            **{
                **dict(found),
                "session_timeout_s": SESSION_TIMEOUT_S,
                "definitions_dir": nothing,
                "identity_file": policy,
            }
        )
        with Pipeline(settings, home) as pipeline:
            pipeline.publish_lines(lines[:1])
            pipeline.drain(120)
            measured = race(pipeline, servers, lines[1:], pipeline.workers)
            pipeline.drain(120)
            return _checked(measured, of_throughline(settings), wanted)


def _checked(measured: dict[str, Any], found: Outcome, wanted: Outcome) -> dict[str, Any]:
    if difference := found.difference(wanted):
        raise AssertionError(f"not the outcome that the lines lead to: {difference}")
    return {**measured, "people": found.people, "rows": found.rows}


def warm_up_line() -> bytes:
    """Write the event that comes before the others, so that workers have joined their group."""
    person = {"type": "anonymous_id", "value": "warm-up"}
    return orjson.dumps({**page_view("warm-up"), "identifiers": [person]})
