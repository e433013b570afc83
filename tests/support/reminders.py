"""A shop that reminds people of their carts, and who was reminded although the order was in the log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from deploy.connections.redis import redis_client
from deploy.settings import Settings
from schemas.topics import DECISIONS, JOURNEY_EVENTS
from sinks.redis.outbox import waiting_in_shards
from tests.support.builders import touchpoint
from tests.support.pipeline import Pipeline
from tests.support.topic_reader import distinct_records

WAIT_S = 8.0
"""How long a cart waits for its order until the reminder is due."""
FILES = {
    "journeys/reminder.yaml": f"""
name: reminder
description: Reminds of a cart that was left.
entry: {{event: Product Added, key: cart_id}}
exit_when: [{{event: Order Completed, key: cart_id}}]
steps:
  - delay: {WAIT_S:.0f}s
  - {{message: hello, channel: email}}
""",
    "templates/hello.yaml": """
description: Says hello.
channels:
  email: {en: {subject: Hello, html: <p>Hello</p>, text: Hello}}
""",
    "policy.yaml": 'holdout: {share: 0}\nquiet_hours: {"*": null}\ncaps: []\n',
    "delivery.yaml": "sender: Shop <news@shop.example>\nchannels: {email: {through: smtp}}\n",
}


@dataclass
class Reminders:
    """Carts and orders, and the reminders that went out.

    Attributes:
        pipeline: Runs the workers.
        carts: How many carts were filled.
        due_from: When the first reminder is due, by `time.time()`.
        ordered: Numbers of the carts whose order Kafka had confirmed before the reminder was due.
    """

    pipeline: Pipeline
    carts: int = 0
    due_from: float = 0.0
    ordered: set[int] = field(default_factory=set)

    def warm_up(self) -> None:
        """Let one event through all workers."""
        self.pipeline.publish(touchpoint())
        self.pipeline.wait(lambda: not self.pipeline.behind("identify") and not self.pipeline.behind("profile"), 60)

    def wait_until_reading(self, *names: str) -> None:
        """Wait until each of these workers has partitions."""

        def reads(name: str) -> bool:
            log = (self.pipeline.home / "logs" / f"{name}.log").read_text("utf-8")
            _, _, latest = log.rpartition("Setting newly assigned partitions")
            return "partitions |" in latest

        for name in names:
            self.pipeline.wait(partial(reads, name), 60, partial("{} reads nothing".format, name))

    def fill_carts(self, count: int) -> None:
        """Let people fill carts, and wait until each has its timer."""
        self.due_from = time.time() + WAIT_S
        self._happen("Product Added", range(count), product_id="lamp")
        self.carts = count
        self.pipeline.wait(lambda: self.timers() == count)

    def order(self, numbers: Iterable[int]) -> None:
        """Let people order; returns when Kafka has confirmed all, before a reminder is due."""
        self.ordered.update(numbers)
        self._happen("Order Completed", sorted(self.ordered), revenue="1.10", currency="EUR")
        assert time.time() < self.due_from, "too slow: the orders come after the reminders"

    def look_at_lamps(self, people: int, turn: int) -> None:
        """Let people look at a product."""
        self._happen("Product Viewed", range(people), turn=str(turn), product_id="lamp")

    def segment_changes(self, segment: str) -> dict[str, list[str]]:
        """What became of each person in a segment: kinds of changes, in order, by profile id."""
        found: dict[str, list[str]] = {}
        for row in sorted(self.published(JOURNEY_EVENTS), key=lambda row: str(row["at"])):
            if row.get("segment") == segment:
                found.setdefault(row["profile_id"], []).append(row["kind"])
        return found

    def sleep_until_due(self, and_s: float = 4.0) -> None:
        """Sleep until all reminders are due, and so many seconds more."""
        time.sleep(max(0.0, self.due_from + and_s - time.time()))

    def timers(self) -> int:
        """How many people have a timer."""
        with redis_client(self.pipeline.settings, timeout_s=10) as client:
            return waiting_in_shards(client, self.pipeline.settings.redis_namespace, "ZCARD", "timers")

    def reminded(self) -> list[int]:
        """Numbers of the carts of which people were reminded, in order."""
        carts = {
            row["run_id"]: int(row["key"]) for row in self.published(JOURNEY_EVENTS) if row.get("run_id") and row["key"]
        }
        return sorted(carts[row["run_id"]] for row in self.published(DECISIONS) if row["outcome"] == "sent")

    def wrongly_reminded(self) -> list[int]:
        """Let everything come to its end; return the carts of which people were reminded in spite of their order.

        Those who did not order must be reminded, each once.
        """
        expected = [number for number in range(self.carts) if number not in self.ordered]
        self.pipeline.wait(
            lambda: not self.timers() and {*expected} <= {*self.reminded()},
            90,
            lambda: f"{self.timers()} timers left; reminded {self.reminded()}, expected {expected}",
        )
        reminded = self.reminded()
        assert expected == [number for number in reminded if number not in self.ordered]
        return [number for number in reminded if number in self.ordered]

    def published(self, topic: str) -> list[dict[str, Any]]:
        """Every record of a topic; copies, which the relay may make, count once."""
        return distinct_records(self.pipeline.settings, topic)

    def _happen(self, name: str, numbers: Iterable[int], **properties: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.pipeline.publish(
            *(
                touchpoint(
                    name,
                    identifiers={"email": f"p{number}@shop.example"},
                    event_id=f"{name} {number} {properties.get('turn', '')}",
                    occurred_at=now,
                    consent={"marketing": True, "channels": {"email": True}},
                    properties={"cart_id": str(number), "order_id": f"o{number}", **properties},
                )
                for number in numbers
            )
        )


def definitions(folder: Path, **more: str) -> dict[str, Path]:
    """Write the shop's definitions, and return the settings that name them; `more` are further files."""
    for name, text in {**FILES, **more}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return {
        "definitions_dir": folder,
        "policy_file": folder / "policy.yaml",
        "delivery_file": folder / "delivery.yaml",
    }


@contextmanager
def reminders(
    settings: Settings,
    home: Path,
    roles: Sequence[str] = ("identify", "profile"),
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Reminders]:
    """Open the shop with these workers; `changes` are settings."""
    changed = settings.model_copy(update={**definitions(home / "definitions"), **changes})
    with Pipeline(changed, home, roles=roles) as pipeline:
        yield Reminders(pipeline)
