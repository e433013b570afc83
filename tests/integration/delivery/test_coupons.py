"""Coupons of messages: one code for each, whatever is delivered twice and wherever a worker dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from processors.delivery.stage import LEASE_MS
from processors.intake.decode import decode
from processors.profiles.document import new_profile
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.coupons import CouponCode
from schemas.delivery.outbound import SendResult
from schemas.outcomes import Reject
from schemas.records import Outgoing
from sinks.redis.coupons import AddedCodes, PoolLevel
from tests.support.delivery import (
    ANN,
    MINUTE,
    NOON,
    Arrived,
    Killed,
    World,
    action,
    told,
)

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]


@pytest.fixture
async def world(stack: Settings) -> AsyncIterator[World]:
    async with async_redis_client(stack, timeout_s=10) as redis:
        ann = {**new_profile(ANN), "traits": {"name": ["Ann", NOON]}}
        yield World(redis, stack.redis_namespace, people={ANN: ann})


def gift(key: str = "m1", **fields: Any) -> Arrived:
    choice = {"pool": "welcome", "valid_ms": None, "if_empty": "skip", **fields.pop("coupon", {})}
    return action(idempotency_key=key, template="gift", coupon=choice, **fields)


def issued(found: list[Outgoing]) -> list[tuple[str, str]]:
    values = [orjson.loads(one.value) for one in found]
    return [
        (value["properties"]["message_id"], value["properties"]["coupon_id"])
        for value in values
        if value.get("event") == "Coupon Issued"
    ]


def texts(world: World) -> list[str]:
    return [message.rendered.text for message in world.sent if message.rendered]


async def test_each_message_takes_a_code_of_its_own_and_reports_it(world: World) -> None:
    await world.coupons.add("welcome", [CouponCode("A-1"), CouponCode("A-2", NOON + MINUTE), CouponCode("OLD", NOON)])
    worker = world.worker()
    first, second = issued(await worker([gift("m1")])), issued(await worker([gift("m2")]))
    (third,) = told(await worker([gift("m3")]))

    assert ([("m1", "A-2")], [("m2", "A-1")], ["A-2.", "A-1."]) == (first, second, texts(world))
    assert ("Email Failed", True) == (third[0], third[1].startswith("the coupon pool welcome has no code left"))
    assert PoolLevel(free=0, expired=1) == await world.coupons.level("welcome", NOON)


async def test_a_message_may_go_without_a_coupon(world: World) -> None:
    found = told(await world.worker()([gift(coupon={"if_empty": "send"})]))

    assert ([("Email Sent", "")], ["."]) == (found, texts(world))


async def test_a_coupon_is_an_event_of_the_person_with_its_end(world: World) -> None:
    await world.coupons.add("welcome", [CouponCode("A-1", NOON + 10 * MINUTE)])
    _, record = await world.worker()([gift(coupon={"valid_ms": MINUTE})])
    event = decode(record.value, channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)

    assert not isinstance(event, Reject), event
    assert ("2026-11-22T12:01:00.000Z", "welcome") == (event["properties"]["expires_at"], event["properties"]["pool"])


@pytest.mark.parametrize("point", ["deliver:claimed", "deliver:sent", "deliver:settled", "deliver:published"])
async def test_a_worker_that_dies_uses_one_code_up_and_reports_it(world: World, point: str) -> None:
    await world.coupons.add("welcome", [CouponCode("A-1"), CouponCode("A-2")])
    world.die_at = point
    with pytest.raises(Killed):
        await world.worker()([gift()])
    world.die_at, world.now = "", world.now + LEASE_MS
    reported = issued(await world.worker().send_due())

    assert ([] if point == "deliver:claimed" else [("m1", "A-1")]) == reported
    assert 2 - len(reported) == (await world.coupons.level("welcome", NOON)).free


async def test_a_retried_message_has_its_code_again(world: World) -> None:
    await world.coupons.add("welcome", [CouponCode("A-1"), CouponCode("A-2")])
    world.outcomes = [SendResult("retry", "greylisted")]
    await world.worker()([gift()])
    world.now += MINUTE
    await world.worker().send_due()

    assert ["A-1.", "A-1."] == texts(world)


async def test_a_message_for_a_sender_of_ones_own_has_one_code_however_often_it_is_published(world: World) -> None:
    await world.coupons.add("welcome", [CouponCode("A-1"), CouponCode("A-2")])
    message = gift(channel="sms", coupon={"valid_ms": MINUTE})
    first = await world.worker()([message])
    world.now += MINUTE

    assert first == await world.worker()([message])
    assert [("m1", "A-1")] == issued(first)
    assert "A-1 until 2026-11-22T12:01:00.000Z" == orjson.loads(first[0].value)["text"]


async def test_a_code_is_added_once_to_one_pool(world: World) -> None:
    first = await world.coupons.add("welcome", [CouponCode("A-1"), CouponCode("A-2")])
    again = await world.coupons.add("welcome", [CouponCode("a-2 "), CouponCode("A-3")])
    elsewhere = await world.coupons.add("birthday", [CouponCode("A-1"), CouponCode("B-1")])

    assert (AddedCodes(2, 0, []), AddedCodes(1, 1, []), AddedCodes(1, 0, ["A-1"])) == (first, again, elsewhere)
    assert 3 == (await world.coupons.level("welcome", NOON)).free


async def test_a_pool_that_runs_empty_in_a_batch_gives_each_code_once_and_fails_the_rest(world: World) -> None:
    await world.coupons.add("welcome", [CouponCode("A-1"), CouponCode("A-2")])
    found = await world.worker()([gift(f"m{number}") for number in range(5)])
    codes, outcomes = issued(found), [step for step, _ in told(found) if step != "Coupon Issued"]
    await world.coupons.add("welcome", [CouponCode("A-3")])

    assert {"A-1", "A-2"} == {code for _, code in codes}
    assert [2, 3] == [outcomes.count("Email Sent"), outcomes.count("Email Failed")]
    assert [] == await world.worker().send_due()  # what has failed is not sent later, when its time has passed
