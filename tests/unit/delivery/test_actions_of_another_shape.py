"""An action in another shape, or a profile that cannot be read, costs its own message: no worker, no neighbour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
import pytest

from processors.delivery.coupons import CouponPools
from processors.delivery.rendering import MessageRenderer
from processors.delivery.stage import ConstantSendingRules, Deliver, DeliveryLedger
from processors.delivery.templates import Templates
from processors.profiles.document import new_profile
from schemas.delivery.outbound import DeliveryClaim, DeliveryDefinitions, OutboundMessage, SendResult
from schemas.delivery.templates import TemplateDefinition
from schemas.records import Outgoing, UnloggedRecord

NOON = 1_795_348_800_000
ADDRESS = {"type": "email", "value": "ann@shop.example"}


class Surroundings:
    """Everything around the stage, in memory: ledger, people, adapter, publisher."""

    def __init__(self) -> None:
        self.settled: dict[str, tuple[bytes, bytes]] = {}
        self.sent: list[str] = []
        self.published: list[Outgoing] = []
        self.unreadable: set[str] = set()

    async def claim(self, key: str, action: bytes, _now_ms: int, _lease_ms: int) -> DeliveryClaim:
        return DeliveryClaim("claimed", 1, action)

    async def due(self, _now_ms: int, _lease_ms: int, _count: int) -> list[tuple[str, DeliveryClaim]]:
        return [(key, DeliveryClaim("settled", 1, *stored)) for key, stored in self.settled.items()]

    async def settle(self, key: str, action: bytes, settlement: bytes, _now_ms: int, _lease_ms: int) -> bool:
        self.settled[key] = action, settlement
        return True

    async def acknowledge(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.settled.pop(key, None)

    async def document(self, profile_id: str) -> dict[str, Any] | None:
        if profile_id in self.unreadable:
            raise ValueError("no profile")
        return new_profile(profile_id)

    async def reached_at(self, _profile_id: str, address: Mapping[str, str]) -> bool:
        return bool(address["type"] and address["value"])

    async def recommend(self, _document: Mapping[str, Any], _count: int) -> list[dict[str, Any]]:
        return []

    async def card(self, *_: Any) -> dict[str, Any] | None:
        return None

    async def send(self, records: Any, _now_ms: int = 0) -> Any:
        if isinstance(records, OutboundMessage):  # as the adapter
            self.sent.append(records.key)
            return SendResult("sent")
        self.published += records
        return None


def stage(around: Surroundings) -> Deliver:
    email = {"en": {"subject": "Hello", "html": "<p>Hello</p>", "text": "Hello"}}
    template = {"description": "Says hello.", "channels": {"email": email, "sms": {"en": {"text": "Hello"}}}}
    return Deliver(
        cast(DeliveryLedger, around),
        around,
        people=around,
        renderer=MessageRenderer(around, around),
        coupons=cast(CouponPools, around),
        rules=ConstantSendingRules(Templates({"hello": TemplateDefinition.model_validate(template)})),
        definitions=DeliveryDefinitions.model_validate(
            {"sender": "shop@shop.example", "channels": {"email": {"through": "smtp"}}}
        ),
        adapters={"smtp": around},
        clock=lambda: NOON,
    )


def record(number: int, **fields: Any) -> UnloggedRecord:
    value = {
        "idempotency_key": f"m{number}", "profile_id": "ann", "channel": "email", "address": ADDRESS,
        "template": "hello", "campaign": {}, "context": {}, "identifiers": [ADDRESS], **fields,
    }  # fmt: skip
    return UnloggedRecord("actions", 0, number, NOON, b"ann", orjson.dumps(value))


@pytest.mark.parametrize("channel", ["email", "sms", "webhook", "pigeon"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("address", "ann@shop.example"),
        ("address", {"value": "ann@shop.example"}),
        ("address", {"type": "email", "value": ["ann@shop.example"]}),
        ("campaign", "autumn"),
        ("context", ["event"]),
        ("identifiers", [{"type": "email"}]),
        ("identifiers", {"email": "ann@shop.example"}),
        ("identifiers", 7),
        ("expires_at", 7),
    ],
)
async def test_an_action_in_another_shape_becomes_a_dead_letter(name: str, value: Any, channel: str) -> None:
    around = Surroundings()
    deliver = stage(around)
    await deliver([record(1, channel=channel, **{name: value}), record(2)])
    await deliver.send_due()

    assert ["dead-letters", "touchpoints.email"] == [one.topic for one in around.published]
    assert (["m2"], {}) == (around.sent, around.settled)


@pytest.mark.parametrize("name", ["template", "language", "variant", "journey", "tags", "purpose", "step"])
@pytest.mark.parametrize("value", [7, ["x"], {"x": 1}])
async def test_a_field_of_another_shape_costs_at_most_its_own_message(name: str, value: Any) -> None:
    around = Surroundings()
    deliver = stage(around)
    await deliver([record(1, **{name: value}), record(2)])
    await deliver.send_due()

    assert "m2" in around.sent
    assert {} == around.settled


@pytest.mark.parametrize("channel", ["email", "sms"])
async def test_a_profile_that_cannot_be_read_costs_its_own_message(channel: str) -> None:
    around = Surroundings()
    around.unreadable.add("broken")
    await stage(around)([record(1, channel=channel, profile_id="broken"), record(2)])

    failed, sent = map(orjson.loads, (one.value for one in around.published))
    assert (f"{'Email' if channel == 'email' else 'SMS'} Failed", "m1") == (
        failed["event"],
        failed["properties"]["message_id"],
    )
    assert ("Email Sent", ["m2"]) == (sent["event"], around.sent)
