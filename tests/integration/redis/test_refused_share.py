"""The share of refused records outlives the worker that counted it."""

from __future__ import annotations

import asyncio

import pytest

from deploy.connections.redis import async_redis_client
from deploy.operations.doctor import examine
from deploy.settings import Settings
from sinks.redis.refused_share import KEPT_S, RedisRefusedShare

pytestmark = pytest.mark.integration


async def test_what_one_worker_saves_the_next_one_loads(stack: Settings) -> None:
    redis = async_redis_client(stack, timeout_s=10)
    try:
        share = RedisRefusedShare(redis, stack.redis_namespace)
        assert (0, 0) == await share.load()

        await share.save(10_000, 6_000)
        await share.save(10_000, 7_000)

        assert (10_000, 7_000) == await RedisRefusedShare(redis, stack.redis_namespace).load()
        assert (0, 0) == await RedisRefusedShare(redis, stack.redis_namespace + "x").load()
        assert KEPT_S - 60 < await redis.ttl(f"{{{stack.redis_namespace}}}:identify:refused") <= KEPT_S
    finally:
        await redis.aclose()


async def test_doctor_says_that_identify_workers_stop_and_how_they_go_on(stack: Settings) -> None:
    redis = async_redis_client(stack, timeout_s=10)
    try:
        share = RedisRefusedShare(redis, stack.redis_namespace)

        await share.save(10_000, 5_000)
        few = await asyncio.to_thread(examine, stack)
        await share.save(10_000, 5_001)
        many = await asyncio.to_thread(examine, stack)
    finally:
        await redis.aclose()

    assert not [check for check in few if check.name == "dead-letter limit"]
    (check,) = (check for check in many if check.name == "dead-letter limit")
    assert not check.ok
    assert "5,001 of the latest 10,000 records were refused" in check.found
    assert "dead-letters list" in check.hint
    assert "THROUGHLINE_DEAD_LETTER_LIMIT_RATIO=1" in check.hint
