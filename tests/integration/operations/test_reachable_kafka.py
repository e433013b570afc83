"""A worker that starts before its broker, as after a reboot of the host."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from deploy.local.broker import Tansu
from deploy.local.ports import LOOPBACK, free_port
from deploy.operations.reachable_kafka import wait_for_kafka
from deploy.settings import Settings


def test_a_worker_waits_for_a_broker_that_starts_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    settings = Settings(kafka_bootstrap=f"{LOOPBACK}:{port}")
    waiting = threading.Thread(target=wait_for_kafka, args=("record", settings), kwargs={"pause_s": 0.1}, daemon=True)
    waiting.start()
    deadline = time.monotonic() + 20
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.05)
    waited = waiting.is_alive()
    broker = Tansu("kafka", tmp_path / "data", tmp_path / "kafka.log", port)
    try:
        broker.start()
        waiting.join(20)
    finally:
        broker.stop()

    assert (True, False) == (waited, waiting.is_alive())
    assert 1 == sum(f"waiting for Kafka at {LOOPBACK}:{port}" in record.message for record in caplog.records)
