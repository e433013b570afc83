"""The share of refused records outlives the worker that counted it."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from deploy.settings import Settings
from sinks.redis.refused_share import KEPT_S, RedisRefusedShare

pytestmark = pytest.mark.integration


async def test_what_one_worker_saves_the_next_one_loads(stack: Settings) -> None:
    redis = Redis.from_url(stack.redis_url)
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
