"""A device id that a whole model shares joins nobody, on the real server; a device that is one joins its installs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from schemas.durations import DAY_MS
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Resolution
from sinks.redis.identity import RedisIdentityStore
from tests.oracles.identity_audit import Audit
from tests.oracles.identity_model import RECEIVED_MS, identifier_hash, request

pytestmark = pytest.mark.integration

MODEL = ("device_id", "b2761ec9-shared-by-the-model")
MOST = 10


@pytest.fixture
async def redis(stack: Settings) -> AsyncIterator[Redis]:
    async with async_redis_client(stack, timeout_s=10) as client:
        yield client


@pytest.fixture
def store(stack: Settings, redis: Redis) -> RedisIdentityStore:
    return RedisIdentityStore(redis, stack.redis_namespace, IdentityPolicy())


async def opened(store: RedisIdentityStore, *installs: int, after_ms: int = 0) -> list[Resolution]:
    """The app is opened on these installs, all of one model."""
    return await store.resolve(
        [
            request(
                f"md-{n}-{after_ms}", MODEL, ("anonymous_id", f"inst-{n}"),
                occurred_ms=RECEIVED_MS + after_ms + n, received_ms=RECEIVED_MS + after_ms + n,
            )
            for n in installs
        ]
    )  # fmt: skip


async def login(store: RedisIdentityStore, n: int) -> Resolution:
    """Install n logs in."""
    at = RECEIVED_MS + 1_000_000 + n
    named = [("user_id", f"c-{n}"), MODEL, ("anonymous_id", f"inst-{n}")]
    (answer,) = await store.resolve([request(f"login-{n}", *named, occurred_ms=at, received_ms=at)])
    return answer


async def owner(store: RedisIdentityStore, n: int) -> str | None:
    return await store.owner(identifier_hash("anonymous_id", f"inst-{n}"))


async def test_the_installs_of_a_whole_model_are_as_many_visitors(
    store: RedisIdentityStore, redis: Redis, stack: Settings
) -> None:
    await opened(store, *range(1, 301))
    again = await opened(store, *range(1, 301), after_ms=500_000)
    customers = [(await login(store, n)).profile_id for n in (5, 50, 250)]

    assert 300 == len({answer.profile_id for answer in again})
    assert 3 == len(set(customers))
    assert customers == [await owner(store, n) for n in (5, 50, 250)]
    assert 300 == len({await owner(store, n) for n in range(1, 301)})
    for customer in customers:
        assert customer is not None
        assert ["anonymous_id", "user_id"] == sorted(kind for _, kind in await store.members(customer))
    await Audit(redis, stack.redis_namespace, IdentityPolicy()).check()
    (named,) = await store.most_refused(5)
    assert ("device_id", True) == (named[1], named[3])


async def test_a_person_who_installs_a_few_times_is_one(store: RedisIdentityStore) -> None:
    await opened(store, *range(MOST))

    assert 1 == len({await owner(store, n) for n in range(MOST)})


async def test_installs_over_years_are_of_one_device(store: RedisIdentityStore) -> None:
    for n in range(2 * MOST):
        await opened(store, n, after_ms=n * 20 * DAY_MS)

    assert 1 == len({await owner(store, n) for n in range(2 * MOST)})
    assert [] == await store.most_refused(5)


async def test_a_customers_other_browser_stays_when_the_device_turns_out_to_be_none(store: RedisIdentityStore) -> None:
    person = (await login(store, 1)).profile_id
    browser = request("web", ("user_id", "c-1"), ("anonymous_id", "browser"))
    await store.resolve([browser])

    await opened(store, *range(2, 30))

    assert person == await store.owner(identifier_hash("anonymous_id", "browser"))
    assert person == await owner(store, 1)
    assert person not in {await owner(store, n) for n in range(2, 30)}
    assert 28 == len({await owner(store, n) for n in range(2, 30)})


async def test_what_was_recorded_before_stays_and_a_late_event_goes_there(store: RedisIdentityStore) -> None:
    (first, *_) = await opened(store, *range(1, 30))
    late = request("late", ("anonymous_id", "inst-1"), occurred_ms=RECEIVED_MS + 2, received_ms=RECEIVED_MS + 900_000)

    (answer,) = await store.resolve([late])

    assert first.profile_id == answer.profile_id
    assert first.profile_id != await owner(store, 1)
