"""Traffic of a shop, by a producer of its own that keeps a ledger of what it sent and what Kafka acknowledged."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self

import orjson
from confluent_kafka import Producer

REMINDED_AFTER_S = 6
"""Delay of the journey: a cart without an order gets a message then."""
_ORDERED_AFTER_S = 1.0
_TICK_S = 0.2
_PEOPLE_A_TICK = 4
_UNDELIVERED_S = 600


@dataclass(slots=True)
class Sent:
    """One event of the ledger.

    Attributes:
        person: Whom it is of.
        at: When it was made, monotonic seconds.
        acknowledged: When Kafka had it; None: it never said so.
        revenue: Of an order; 0 of other events.
        in_cart: Whether it fills a cart, which the journey begins with.
        signs_in: Whether it says that a browser and an address are of one person.
    """

    person: str
    at: float
    acknowledged: float | None = None
    revenue: Decimal = Decimal(0)
    in_cart: bool = False
    signs_in: bool = False


@dataclass
class Ledger:
    """Event id → what was sent."""

    events: dict[str, Sent] = field(default_factory=dict)


class Traffic:
    """Four people each fifth of a second: they look, sign in, fill a cart; half of them order, all look again.

    Args:
        bootstrap: Kafka.
        topic_prefix: Of the deployment's topics.
        name: Begins the ids and addresses of all that it sends.
        twice: Each event is sent again a second later.
        hot: One person more looks at as many pages as all others together.

    Attributes:
        ledger: What was sent so far.
    """

    def __init__(self, bootstrap: str, topic_prefix: str, name: str, *, twice: bool = False, hot: bool = False) -> None:
        self.name = name
        self.ledger = Ledger()
        self._prefix = topic_prefix
        self._twice, self._hot = twice, hot
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 5,
                "message.timeout.ms": _UNDELIVERED_S * 1000, "log_level": 0,
            }
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._producer.flush(_UNDELIVERED_S + 10)

    def send_raw(self, value: bytes | None, key: str) -> None:
        """Put a record that is no event on the topic of web, beside the others; the ledger has none of it."""
        self._producer.produce(f"{self._prefix}touchpoints.web", value, key.encode())

    def _run(self) -> None:
        later: list[tuple[float, list[dict[str, Any]]]] = []  # when → events, in order of time
        people = itertools.count()
        while not self._ends.is_set() or later:
            now = time.monotonic()
            if not self._ends.is_set():
                for number in itertools.islice(people, _PEOPLE_A_TICK):
                    self._send(self._arrival(number))
                    later.append((now + _ORDERED_AFTER_S, self._return(number)))
            while later and later[0][0] <= now:
                self._send(later.pop(0)[1])
            self._producer.poll(0)
            time.sleep(_TICK_S)
        if self._twice:
            self._again()

    def _arrival(self, number: int) -> list[dict[str, Any]]:
        browser, email = f"{self.name}-browser-{number}", self._email(number)
        consent = {"marketing": True, "channels": {"email": True}}
        cart = {"cart_id": f"{self.name}-{number}", "product_id": "lamp"}
        found = [
            self._event("view", number, "Page Viewed", {"anonymous_id": browser}),
            self._event("sign-in", number, "Signed In", {"anonymous_id": browser, "email": email}),
            self._event("cart", number, "Product Added", {"email": email}, properties=cart, consent=consent),
        ]
        if self._hot:
            found += [
                self._event(f"hot{one}", number, "Page Viewed", {"email": self._email(-1)}, person=-1)
                for one in range(3)
            ]
        return found

    def _return(self, number: int) -> list[dict[str, Any]]:
        browser, email = f"{self.name}-browser-{number}", self._email(number)
        order = {
            "cart_id": f"{self.name}-{number}", "order_id": f"{self.name}-{number}", "currency": "EUR",
            "revenue": f"{number % 90 + 1}.{number % 10}5",
        }  # fmt: skip
        ordered = [self._event("order", number, "Order Completed", {"email": email}, properties=order)]
        return [*ordered[: number % 2], self._event("back", number, "Page Viewed", {"anonymous_id": browser})]

    def _email(self, number: int) -> str:
        return f"{self.name}-{number}@shop.example"

    def _event(
        self, kind: str, number: int, event: str, identifiers: dict[str, str], person: int | None = None, **more: Any
    ) -> dict[str, Any]:
        owner = number if person is None else person
        return {
            "event_id": f"{self.name}-{kind}-{number}", "event": event, "channel": "web", "source": "faults",
            "identifiers": identifiers, "person": self._email(owner), **more,
        }  # fmt: skip

    def _send(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            person = event.pop("person")
            properties = event.get("properties", {})
            event["occurred_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.ledger.events[event["event_id"]] = Sent(
                person,
                time.monotonic(),
                revenue=Decimal(properties.get("revenue", 0)),
                in_cart=event["event"] == "Product Added",
                signs_in=event["event"] == "Signed In",
            )
            self._produce(event["event_id"], orjson.dumps(event), person)
            if self._twice:
                self._produce(event["event_id"], orjson.dumps(event), person)

    def _again(self) -> None:
        """What was sent first is sent a third time, to another partition, as a producer that lost its memory does."""
        for event_id, sent in list(self.ledger.events.items())[:100]:
            repeated = {
                "event_id": event_id, "event": "Page Viewed", "channel": "web", "source": "faults",
                "identifiers": {"email": sent.person}, "occurred_at": datetime.now(UTC).isoformat(),
            }  # fmt: skip
            self._produce(event_id, orjson.dumps(repeated), event_id)

    def _produce(self, event_id: str, value: bytes, key: str) -> None:
        sent = self.ledger.events[event_id]

        def acknowledged(error: object, _: object) -> None:
            if error is None and sent.acknowledged is None:
                sent.acknowledged = time.monotonic()

        while True:
            try:
                self._producer.produce(f"{self._prefix}touchpoints.web", value, key.encode(), on_delivery=acknowledged)
                return
            except BufferError:
                self._producer.poll(0.1)
