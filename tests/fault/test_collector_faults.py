"""Whatever happens to the collector or its broker, what an SDK sends arrives, and no producer waits for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from deploy.local.servers import Servers
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from tests.support.collector import RunningCollector, collector
from tests.support.topic_reader import everything

pytestmark = [pytest.mark.fault, pytest.mark.timed]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Servers]:
    """A broker of the test's own."""
    with Servers(tmp_path / "servers", only=("kafka",)) as servers:
        yield servers


@pytest.fixture
def settings(broker: Servers) -> Settings:
    """A deployment of few topics on it."""
    found = Settings(kafka_bootstrap=broker["kafka"].address, channels=("web", "app", "api"), partitions=1)
    apply_topics(found)
    return found


class Shop:
    """An application that uses an SDK."""

    def __init__(self, service: RunningCollector) -> None:
        from segment.analytics.client import Client

        self.failures: list[Any] = []
        self.sent: set[str] = set()
        self._client = Client(
            "server-key", host=service.url, timeout=5, upload_size=20, upload_interval=0.1,
            on_error=lambda error, _: self.failures.append(error),
        )  # fmt: skip

    def send(self, count: int, pause_s: float = 0.0) -> None:
        for _ in range(count):
            name = f"m{len(self.sent)}"
            self.sent.add(name)
            self._client.track(f"u{len(self.sent) % 50}", "Seen", message_id=name)
            time.sleep(pause_s)

    def finish(self) -> None:
        self._client.flush()
        self._client.join()


def arrived(settings: Settings) -> set[str]:
    return {orjson.loads(value)["event_id"] for _, _, _, value in everything(settings)}


def test_kill_9_of_the_collector_under_load_loses_nothing(settings: Settings, tmp_path: Path) -> None:
    with collector(settings, tmp_path) as service:
        shop = Shop(service)
        for _ in range(3):
            shop.send(300, 0.002)
            service.process.kill()
            service.start()
        shop.send(300)
        shop.finish()

        assert ([], 1200) == (shop.failures, len(shop.sent))
        assert shop.sent == arrived(settings)


def test_a_frozen_broker_is_reported_within_seconds_and_costs_neither_events_nor_memory(
    settings: Settings, broker: Servers, tmp_path: Path
) -> None:
    with collector(settings, tmp_path, collector_confirm_s="2") as service:
        shop = Shop(service)
        shop.send(50)
        memory = psutil.Process(service.process.pid).memory_info().rss
        broker["kafka"].pause()
        large = {"batch": [{"type": "track", "userId": "u", "event": "Big", "properties": {"x": "y" * 8_000}}] * 100}
        waits = []
        for _ in range(3):
            started = time.monotonic()
            answer = service.post("/v1/batch", large)
            waits.append(time.monotonic() - started)
            assert (503, "2", "kafka_not_confirmed") == (
                answer.status, answer.headers["Retry-After"], answer.body["code"]
            )  # fmt: skip
        shop.send(200)
        grown = psutil.Process(service.process.pid).memory_info().rss - memory
        assert (200, 503) == (service.get("/health").status, _until(lambda: service.get("/ready").status, 503))
        broker["kafka"].resume()
        assert 200 == _until(lambda: service.get("/ready").status, 200)
        shop.finish()

        assert [] == shop.failures
        assert shop.sent <= arrived(settings)
    assert max(waits) < 8  # 2 s to confirm; the machine may be busy
    assert grown < 100e6


def test_a_broker_that_pauses_for_longer_than_a_send_takes_is_used_again_without_a_restart(
    settings: Settings, broker: Servers, tmp_path: Path
) -> None:
    with collector(settings, tmp_path, collector_confirm_s="2") as service:
        call = {"type": "track", "userId": "u", "event": "Seen", "messageId": "before"}
        assert 200 == service.post("/v1/batch", {"batch": [call]}).status
        broker["kafka"].pause()
        assert 503 == service.post("/v1/batch", {"batch": [call]}).status
        time.sleep(14)
        broker["kafka"].resume()
        after = {"batch": [{**call, "messageId": "after"}]}
        assert 200 == _until(lambda: service.post("/v1/batch", after).status, 200)
        assert 200 == _until(lambda: service.get("/ready").status, 200)

    assert {"before", "after"} == arrived(settings)
    log = (tmp_path / "logs" / "collector.log").read_text()
    assert ("Kafka confirms again" in log, "does not confirm: \n" in log) == (True, False)


def _until(look: Any, wanted: int) -> int:
    deadline = time.monotonic() + 60
    while (found := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    return int(found)
