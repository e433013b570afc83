"""Messages that were decided before their journey was paused or stopped, and have not left yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from processors.delivery.stage import HELD_MS, LEASE_MS
from processors.profiles.document import new_profile
from schemas import metrics
from schemas.delivery.outbound import OutboundMessage, SendResult
from sinks.redis.delivery import RedisDeliveryLedger
from tests.support.delivery import ANN, MINUTE, NOON, Killed, World, action, counted, told

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

PHONE = {"type": "phone", "value": "+493012345"}
SMS = {"channel": "sms", "address": PHONE, "identifiers": [PHONE]}


@pytest.fixture
async def world(stack: Settings) -> AsyncIterator[World]:
    async with async_redis_client(stack, timeout_s=10) as redis:
        ann = {**new_profile(ANN), "traits": {"name": ["Ann", NOON]}}
        yield World(redis, stack.redis_namespace, people={ANN: ann}, journeys={"welcome": "paused"})


async def test_a_message_of_a_paused_journey_is_held_and_sent_once_when_it_goes_on(world: World) -> None:
    worker = world.worker(retries={"tries": 1})
    assert [] == await worker([action()])
    for _ in range(3):  # it is looked at, which is no attempt
        world.now += HELD_MS
        assert [] == await worker.send_due()
    assert [] == await worker([action()])
    assert [] == world.sent

    world.journeys, world.now = {}, world.now + HELD_MS

    assert [("Email Sent", "")] == told(await worker.send_due())
    assert 1 == len(world.sent)
    world.now += LEASE_MS
    assert [] == await worker.send_due()


async def test_a_held_message_expires_as_it_would(world: World) -> None:
    worker = world.worker()
    await worker([action(expires_at="2026-11-22T12:00:04.000Z")])
    world.now += HELD_MS

    assert [("Email Failed", "it expired before it could be sent")] == told(await worker.send_due())
    assert [] == world.sent


@pytest.mark.parametrize("fields", [{}, SMS], ids=["by an adapter", "by a topic"])
async def test_a_message_of_a_stopped_journey_fails(world: World, fields: dict[str, Any]) -> None:
    world.journeys = {"welcome": "stopped"}
    ((_, reason),) = told(await world.worker()([action(**fields)]))

    assert "its journey was stopped before it could be sent" == reason
    assert [] == world.sent
    assert {(fields.get("channel", "email"), "stopped"): 1} == counted(world, metrics.MESSAGES)


@pytest.mark.parametrize("dies", ["", "deliver:published"])
async def test_a_message_for_a_topic_is_held_and_published_when_it_goes_on(world: World, dies: str) -> None:
    worker = world.worker()
    assert [] == await worker([action(**SMS)])
    world.journeys, world.now, world.die_at = {}, world.now + HELD_MS, dies
    if dies:
        with pytest.raises(Killed):
            await worker.send_due()
        worker.out.records.clear()
        world.die_at, world.now = "", world.now + LEASE_MS
    (handed,) = await worker.send_due()

    assert ("deliver.sms", "m1") == (handed.topic, orjson.loads(handed.value)["message_id"])
    world.now += LEASE_MS + MINUTE
    assert [] == await worker.send_due()


async def test_a_message_that_a_pause_holds_back_at_the_last_moment_is_counted_when_it_is_handed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.journeys = {}
    send = world.send

    async def pause_and_send(message: OutboundMessage, now_ms: int) -> SendResult:
        world.journeys = {"welcome": "paused"}  # the other message of the batch is rendered by now
        return await send(message, now_ms)

    monkeypatch.setattr(world, "send", pause_and_send)
    worker = world.worker()
    await worker([action(**SMS), action(idempotency_key="m2")])
    assert {("email", "sent"): 1} == counted(world, metrics.MESSAGES)
    world.journeys, world.now = {}, world.now + HELD_MS
    await worker.send_due()

    assert {("email", "sent"): 1, ("sms", "handed_over"): 1} == counted(world, metrics.MESSAGES)


async def test_a_message_for_a_topic_that_fails_is_counted_as_failed(world: World) -> None:
    world.journeys = {}
    await world.worker()([action(**SMS, expires_at="2026-11-22T12:00:00.000Z")])

    assert {("sms", "failed"): 1} == counted(world, metrics.MESSAGES)


async def test_messages_of_other_journeys_leave(world: World) -> None:
    world.journeys = {"other": "paused"}

    assert [("Email Sent", "")] == told(await world.worker()([action()]))


async def test_a_message_of_a_paused_journey_to_somebody_who_was_erased_is_not_kept(world: World) -> None:
    world.people[ANN] = None
    assert [] == await world.worker()([action()])
    kept: Any = await world.redis.hgetall(f"{{{world.namespace}}}:delivered:m1")

    assert {b"state": b"told", b"attempt": b"1"} == kept


async def test_after_an_erasure_nothing_is_kept_of_messages_that_wait(world: World) -> None:
    await world.worker()([action(), action(idempotency_key="m2", profile_id="another")])
    ledger = RedisDeliveryLedger(world.redis, world.namespace)

    assert (1, 0) == (await ledger.forget([ANN]), await ledger.forget([ANN]))
    world.journeys, world.now, world.people["another"] = {}, world.now + HELD_MS, new_profile("another")
    assert ["m2"] == [orjson.loads(one.value)["properties"]["message_id"] for one in await world.worker().send_due()]
