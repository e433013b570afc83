"""A collector of a test's own, as a process, and a plain client for it."""

from __future__ import annotations

import base64
import json
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.process import ChildProcess
from deploy.settings import Settings
from tests.support.pipeline import environment
from tests.support.topic_reader import everything

KEYS = "web=web-key,server=server-key"

Ids = Callable[[], str]
"""Makes ids that no other test has."""


class Answer(NamedTuple):
    """An HTTP answer of the collector: status, headers, and the body, parsed if it is JSON, bytes of an image."""

    status: int
    body: Any
    headers: Mapping[str, str]


class RunningCollector:
    """A running collector.

    Attributes:
        url: Where it listens.
        process: Its process.
    """

    def __init__(self, settings: Settings, home: Path, **extra: str) -> None:
        self.url = f"http://{LOOPBACK}:{free_port()}"
        self.process = ChildProcess(
            "collector",
            [sys.executable, "-m", "deploy.cli.main", "collector"],
            home / "logs" / "collector.log",
            environment={
                **environment(settings),
                "THROUGHLINE_HOME": str(home),
                "THROUGHLINE_COLLECTOR_URL": self.url,
                "THROUGHLINE_WRITE_KEYS": KEYS,
                "THROUGHLINE_COLLECTOR_CONFIRM_S": "20",  # the machine may be busy
                **{f"THROUGHLINE_{key.upper()}": value for key, value in extra.items()},
            },
        )

    def start(self) -> None:
        """Start it and wait until it takes events."""
        self.process.launch()
        deadline = time.monotonic() + 30
        while True:
            try:
                if self.get("/ready").status == 200:
                    return
            except OSError:
                assert self.process.alive, self.process.last_log_lines()
            assert time.monotonic() < deadline, self.process.last_log_lines()
            time.sleep(0.05)

    def connect(self) -> socket.socket:
        """Open a connection, to send bytes that no HTTP client sends."""
        host = urlsplit(self.url)
        return socket.create_connection((str(host.hostname), host.port or 0), timeout=20)

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.request("GET", path, None, headers)

    def post(self, path: str, content: Any, key: str = "server-key", **headers: str) -> Answer:
        """POST a value as JSON, or bytes as they are, with a write key."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        authorization = {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()} if key else {}
        return self.request("POST", path, body, {**authorization, **headers})

    def request(self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout_s: float = 20) -> Answer:
        """Any request; the body may be an iterable, then it is sent in chunks of unknown number."""
        request = urllib.request.Request(self.url + path, data=body, headers=dict(headers), method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                return _answer(response)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error)


def _answer(response: Any) -> Answer:
    raw, form = response.read(), response.headers.get_content_type()
    body = None if not raw else json.loads(raw) if form == "application/json" else raw
    if isinstance(body, bytes) and not form.startswith("image/"):
        body = body.decode()
    return Answer(response.status, body, dict(response.headers))


@contextmanager
def collector(settings: Settings, home: Path, **extra: str) -> Iterator[RunningCollector]:
    """Run a collector; `extra` are settings of its own."""
    service = RunningCollector(settings, home, **extra)
    try:
        service.start()
        yield service
    finally:
        service.process.stop(10)


def track(event_id: str, **more: Any) -> dict[str, Any]:
    """A call of an SDK."""
    return {"type": "track", "userId": "u1", "event": "Seen", "messageId": event_id, **more}


def stored(settings: Settings, *wanted: str) -> list[dict[str, Any]]:
    """The events of these ids in Kafka, in the order of the ids and as often as they are there."""
    found = [json.loads(value) for _, _, _, value in everything(settings)]
    return sorted((one for one in found if one["event_id"] in wanted), key=lambda one: wanted.index(one["event_id"]))
