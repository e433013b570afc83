"""The whole pipeline for tests: real workers as processes, on the servers that the settings name."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import orjson
import pytest
from confluent_kafka import Producer
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.kafka import kafka_connection
from deploy.connections.redis import redis_client
from deploy.local.process import ChildProcess
from deploy.operations.completion import drain, pending
from deploy.operations.lag import LagReader
from deploy.operations.provision import apply_topics, migrate
from deploy.operations.publish import publish
from deploy.operations.roles import ROLES
from deploy.settings import Settings
from schemas.topics import touchpoint_topic
from sinks.kafka.producer import producer_config
from tests.support.databases import create_database


def environment(settings: Settings) -> dict[str, str]:
    """Write settings as the environment variables that a worker reads."""
    found = {}
    for name, value in settings:
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, tuple):
            value = ",".join(value)
        found[f"THROUGHLINE_{name.upper()}"] = str(value)
    return found


class Pipeline:
    """Topics, tables and workers of one test; `with` starts it and ends it."""

    def __init__(self, settings: Settings, home: Path, roles: Sequence[str] = ROLES) -> None:
        self.settings = settings
        self.home = home
        self.workers: dict[str, ChildProcess] = {}
        self._roles = roles
        self._producer = Producer(producer_config(kafka_connection(settings), **{"linger.ms": 5}))

    def __enter__(self) -> Self:
        apply_topics(self.settings)
        create_database(self.settings.clickhouse_url, self.settings.clickhouse_database)
        with ThreadPoolExecutor(
            max_workers=1
        ) as apart:  # it starts an event loop, as a command may, and a test may not
            apart.submit(migrate, self.settings).result()
        for role in self._roles:
            self.start(role)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            worker.stop(5)

    def start(self, role: str, name: str = "", **extra: str) -> ChildProcess:
        """Start a worker; `extra` are settings of this one alone, such as `crash_at`."""
        name = name or role
        worker = ChildProcess(
            name,
            [sys.executable, "-m", "deploy.cli.main", "worker", role],
            self.home / "logs" / f"{name}.log",
            environment={
                **environment(self.settings),
                "THROUGHLINE_HOME": str(self.home),
                **{f"THROUGHLINE_{key.upper()}": value for key, value in extra.items()},
            },
        )
        worker.launch()
        self.workers[name] = worker
        return worker

    def publish(self, *events: Mapping[str, Any], key: str = "") -> None:
        """Send events to their channels' topics and wait until the broker has them."""
        for event in events:
            self.send(str(event["channel"]), orjson.dumps(event), key or _key(event))
        self.flush()

    def send(self, channel: str, value: bytes | None, key: str = "") -> None:
        """Put one raw value on a channel's topic."""
        topic = self.settings.topic_prefix + touchpoint_topic(channel)
        while True:
            try:
                self._producer.produce(topic, value, key.encode())
                return
            except BufferError:
                self._producer.poll(0.1)

    def publish_lines(self, lines: Iterable[bytes]) -> int:
        """Send JSON lines as `throughline publish` does; returns how many the broker has confirmed."""
        outcome = publish(lines, self.settings)
        assert outcome.ok, outcome.problems
        return outcome.published

    def poll(self) -> None:
        """Let the producer send what is waiting, without waiting for it."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has everything."""
        left = self._producer.flush(60)
        assert left == 0, f"{left} records not delivered"

    def drain(self, timeout_s: float = 60.0) -> None:
        """Wait until everything published is processed and visible in ClickHouse."""
        with redis_client(self.settings, timeout_s=30) as client, LagReader(self.settings) as reader:
            left = drain(lambda: pending(self.settings, reader, client), timeout_s, progress=lambda _: self.check())
        assert left.empty, f"not drained after {timeout_s} s: {left.summary()}"

    def check_segments(self) -> dict[str, Any]:
        """Compare the members of segments, as `throughline segments check` does."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("deploy.settings.settings", lambda: self.settings)
            result = CliRunner().invoke(app, ["segments", "check", "--json"])
        assert result.stdout, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def check(self) -> None:
        """Fail at once, with the end of its log, if a worker has died that nobody killed."""
        for name, worker in self.workers.items():
            assert worker.alive or worker.exit_code in (-9, -15, 0, 137), f"{name} died:\n{worker.last_log_lines(40)}"

    def wait(
        self, condition: Callable[[], Any], timeout_s: float = 60.0, said: Callable[[], str] | None = None
    ) -> None:
        """Wait until something holds; `said` tells what is missing when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.check()
            assert time.monotonic() < deadline, said() if said else f"it has not happened after {timeout_s} s"
            time.sleep(0.1)

    def behind(self, role: str) -> int:
        """Records that the workers of a role have not committed."""
        with LagReader(self.settings) as reader:
            return sum(lag.records for lag in reader.lags() if lag.role == role)

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Ask ClickHouse."""
        client = clickhouse_client(self.settings)
        try:
            return [tuple(row) for row in client.query(sql, parameters=parameters).result_rows]
        finally:
            client.close()

    def value(self, sql: str, **parameters: Any) -> Any:
        """Ask ClickHouse for one value."""
        return self.rows(sql, **parameters)[0][0]


def _key(event: Mapping[str, Any]) -> str:
    identifiers = event.get("identifiers")
    if isinstance(identifiers, Mapping) and identifiers:
        return str(next(iter(identifiers.values())))
    if isinstance(identifiers, list) and identifiers and isinstance(identifiers[0], Mapping):
        return str(identifiers[0].get("value", ""))
    return str(event.get("event_id", ""))
