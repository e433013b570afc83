"""Delivery with its real ledger: time, people, one way out, and points at which the worker may die."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis

from deploy.operations.metrics import PrometheusMeter
from processors.delivery.rendering import MessageRenderer
from processors.delivery.stage import Deliver, SendingRules
from processors.delivery.templates import Templates
from schemas import metrics
from schemas.delivery.outbound import DeliveryDefinitions, OutboundMessage, SendResult
from schemas.delivery.templates import TemplateDefinition
from schemas.journeys.control import JourneyControl, JourneyState
from schemas.records import Outgoing, Record
from sinks.redis.coupons import RedisCoupons
from sinks.redis.delivery import RedisDeliveryLedger

NOON = 1_795_348_800_000
MINUTE = 60_000
ANN = "4ad3f1c0-0000-4000-8000-000000000001"
ADDRESS = {"type": "email", "value": "Ann@Shop.Example"}
TEMPLATES = {
    "hello": {
        "description": "Says hello.",
        "channels": {
            "email": {"en": {"subject": "Hello", "html": "<p>Hello</p>", "text": "Hello {{ profile.traits.name }}"}},
            "sms": {"en": {"text": "Hello {{ profile.traits.name }}"}},
        },
    },
    "gift": {
        "description": "Gives a coupon.",
        "channels": {
            "email": {
                "en": {
                    "subject": "Hello",
                    "html": "<p>Hello</p>",
                    "text": "{% if coupon %}{{ coupon.code }}{% endif %}.",
                }
            },
            "sms": {"en": {"text": "{{ coupon.code }} until {{ coupon.expires_at }}"}},
        },
    },
}


class Killed(BaseException):
    """The worker is gone."""


class Told:
    """What was published."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.records += records


@dataclass
class Worker:
    """The stage; a call answers what it has published."""

    stage: Deliver
    out: Told

    async def __call__(self, records: Sequence[Record]) -> list[Outgoing]:
        await self.stage(records)
        return self._published()

    async def send_due(self) -> list[Outgoing]:
        await self.stage.send_due()
        return self._published()

    def _published(self) -> list[Outgoing]:
        found, self.out.records = self.out.records, []
        return found


@dataclass
class World:
    """Time, people, one way out, and points at which the worker may die."""

    redis: Redis
    namespace: str
    now: int = NOON
    outcomes: list[SendResult] = field(default_factory=list)
    sent: list[OutboundMessage] = field(default_factory=list)
    people: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    passed_on: bool = False
    die_at: str = ""
    hold: asyncio.Event | None = None
    journeys: dict[str, JourneyState] = field(default_factory=dict)
    meter: PrometheusMeter = field(default_factory=PrometheusMeter)

    @property
    def coupons(self) -> RedisCoupons:
        return RedisCoupons(self.redis, self.namespace)

    async def current(self) -> SendingRules:
        """The texts, and which journeys are paused or stopped now."""
        templates = Templates({name: TemplateDefinition.model_validate(one) for name, one in TEMPLATES.items()})
        return SendingRules(templates, {name: JourneyControl(state, self.now) for name, state in self.journeys.items()})

    async def document(self, profile_id: str) -> dict[str, Any] | None:
        return self.people[profile_id]

    async def reached_at(self, profile_id: str, address: Mapping[str, str]) -> bool:
        return not self.passed_on

    async def recommend(self, document: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        return []

    async def card(self, context: Mapping[str, Any], *_: Any) -> dict[str, Any] | None:
        return None

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        self.sent.append(message)
        if self.hold:
            await self.hold.wait()
        return self.outcomes.pop(0) if self.outcomes else SendResult("sent")

    def at(self, point: str) -> None:
        if point == self.die_at:
            raise Killed

    def worker(self, **definitions: Any) -> Worker:
        routes = {"sender": "shop@shop.example", "channels": {"email": {"through": "smtp"}}, **definitions}
        out = Told()
        stage = Deliver(
            RedisDeliveryLedger(self.redis, self.namespace),
            out,
            people=self,
            renderer=MessageRenderer(self, self),
            coupons=self.coupons,
            rules=self,
            definitions=DeliveryDefinitions.model_validate(routes),
            adapters={"smtp": self},
            clock=lambda: self.now,
            failpoint=self.at,
            meter=self.meter,
        )
        return Worker(stage, out)


class Arrived:
    """A record of the topic `actions`."""

    topic, partition, offset, timestamp, key, headers = "actions", 0, 7, NOON, b"k", ()

    def __init__(self, value: bytes) -> None:
        self.value = value


def action(**fields: Any) -> Arrived:
    return Arrived(
        orjson.dumps(
            {
                "idempotency_key": "m1", "decision_id": "d1", "profile_id": ANN, "journey": "welcome", "run_id": "r1",
                "step": "1", "channel": "email", "address": ADDRESS, "template": "hello", "language": "",
                "context": {"event": {}, "run": {}}, "tags": [], "campaign": {"name": "autumn"}, "variant": "",
                "expires_at": "2026-11-23T12:00:00.000Z", "identifiers": [ADDRESS], **fields,
            }
        )
    )  # fmt: skip


def told(found: list[Outgoing]) -> list[tuple[str, str]]:
    """Names and reasons of receipts."""
    values = [orjson.loads(one.value) for one in found]
    return [(value["event"], value["properties"].get("reason", "")) for value in values]


def counted(world: World, metric: metrics.Counter) -> dict[tuple[str, ...], float]:
    """What the worker's process has counted, by the values of the labels."""
    return {
        tuple(sample.labels[label] for label in metric.labels): sample.value
        for family in world.meter.registry.collect()
        for sample in family.samples
        if sample.name == metric.name
    }
