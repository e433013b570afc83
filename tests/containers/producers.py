"""Producers that send without a pause, through the collector and as a Kafka client, and know what was acknowledged."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any, Self

from confluent_kafka import KafkaError, Message, Producer

WRITE_KEY = "write-key-of-the-server"
_BATCH = 10
_PAUSE_S = 0.5


def event(source: str, number: int) -> dict[str, Any]:
    """The event with a number: a page view, or an order now and then, of one of 200 people."""
    order = number % 7 == 0
    properties = {"order_id": f"{source}-{number}", "revenue": "20.00", "currency": "EUR"} if order else {}
    return {
        "event_id": f"{source}-{number}",
        "event": "Order Completed" if order else "Page Viewed",
        "channel": "web",
        "source": source,
        "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "identifiers": {"anonymous_id": f"browser-{number % 200}"},
        "properties": properties,
    }


class Producers:
    """Two producers in the background; what one was not answered it sends again, as SDKs do.

    Attributes:
        acknowledged: The ids of events that were acknowledged, by source.
    """

    def __init__(self, collector: str, kafka: str) -> None:
        self._collector, self._kafka = collector, kafka
        self._stopped = threading.Event()
        self._ended: list[str] = []
        self.acknowledged: dict[str, set[str]] = {"server": set(), "kafka-client": set()}
        self._threads = [
            threading.Thread(target=self._work, args=(work,), daemon=True) for work in (self._post, self._produce)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End when all that was sent is acknowledged."""
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(120)

    @property
    def problem(self) -> str:
        """Why a producer ended before it was stopped, or did not end then; empty if all is well."""
        hangs = self._stopped.is_set() and any(thread.is_alive() for thread in self._threads)
        return "; ".join(self._ended) or ("a producer hangs" if hangs else "")

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  (shown by the test)
            self._ended.append(repr(error))

    def _post(self) -> None:
        authorization = "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
        numbers = count()
        while not self._stopped.wait(_PAUSE_S):
            events = [event("server", next(numbers)) for _ in range(_BATCH)]
            request = urllib.request.Request(
                f"{self._collector}/v1/touchpoints",
                json.dumps(events).encode(),
                {"Content-Type": "application/json", "Authorization": authorization},
            )
            while not self._posted(request):
                time.sleep(_PAUSE_S)
            self.acknowledged["server"] |= {one["event_id"] for one in events}

    @staticmethod
    def _posted(request: urllib.request.Request) -> bool:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return int(json.load(response)["accepted"]) == _BATCH
        except urllib.error.HTTPError as refused:
            if refused.code < 500 and refused.code != 429:
                raise
            return False
        except OSError:  # it is being started again
            return False

    def _produce(self) -> None:
        producer = Producer({
            "bootstrap.servers": self._kafka, "enable.idempotence": True, "log_level": 0,
            "message.timeout.ms": 600_000,
        })  # fmt: skip
        acknowledged, refused = self.acknowledged["kafka-client"], list[str]()

        def answered(error: KafkaError | None, message: Message) -> None:
            if error:
                refused.append(str(error))
            else:
                acknowledged.add(str(json.loads(message.value() or b"{}")["event_id"]))

        numbers = count()
        while not self._stopped.wait(_PAUSE_S):
            for _ in range(_BATCH):
                value = json.dumps(event("kafka-client", next(numbers)))
                producer.produce("touchpoints.web", value, on_delivery=answered)
            producer.poll(0)
        left = producer.flush(110)
        if left or refused:
            raise AssertionError(f"{left} records were not acknowledged, {refused[:1]}")
