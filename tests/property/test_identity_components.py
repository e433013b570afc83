"""Laws of identity on the real server.

Without limits, profiles are the connected components, whatever the order. With limits, the script answers what a plain
model answers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from redis.asyncio import Redis

from deploy.settings import Settings
from schemas.identity.policy import IdentifierRule, IdentityPolicy
from sinks.redis.identity import RedisIdentityStore
from tests.oracles.identity_audit import Audit, answer_of, partition
from tests.oracles.identity_model import RECEIVED_MS, IdentityModel, identifier_hash, request
from tests.support.identity_workload import Delivery, components, deliver, workload

pytestmark = pytest.mark.integration

EVENTS, FEW_EVENTS = 100_000, 5_000
PROCESSES = 4


@pytest.fixture
async def client(stack: Settings) -> AsyncIterator[Redis]:
    async with Redis.from_url(stack.redis_url, socket_timeout=60) as client:
        yield client


def deliver_in_a_process(redis_url: str, namespace: str, partitions: list[list[Delivery]], seed: int) -> int:
    async def run() -> list[int]:
        return await asyncio.gather(
            *(deliver(redis_url, namespace, records, seed + number) for number, records in enumerate(partitions))
        )

    return sum(asyncio.run(run()))


async def assert_components(client: Redis, namespace: str, partitions: list[list[Delivery]]) -> None:
    audit = Audit(client, namespace, IdentityPolicy.unlimited())
    owners = await audit.check()
    await audit.wipe()
    assert components(partitions) == partition(owners)


async def test_concurrent_clients_find_the_connected_components(client: Redis, stack: Settings) -> None:
    partitions = workload(1, FEW_EVENTS)

    delivered = await asyncio.gather(
        *(deliver(stack.redis_url, stack.redis_namespace, records, number) for number, records in enumerate(partitions))
    )

    assert sum(delivered) > FEW_EVENTS
    await assert_components(client, stack.redis_namespace, partitions)


async def test_concurrent_processes_find_the_connected_components(client: Redis, stack: Settings) -> None:
    partitions = workload(2, EVENTS)

    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as processes:
        running = [
            processes.submit(
                deliver_in_a_process, stack.redis_url, stack.redis_namespace, partitions[share::PROCESSES], share
            )
            for share in range(PROCESSES)
        ]
        delivered = sum(await asyncio.gather(*map(asyncio.wrap_future, running)))

    assert delivered > EVENTS
    await assert_components(client, stack.redis_namespace, partitions)


async def test_delivering_everything_once_more_changes_nothing(client: Redis, stack: Settings) -> None:
    partitions = workload(4, 2000)
    audit = Audit(client, stack.redis_namespace, IdentityPolicy.unlimited())
    policy = IdentityPolicy.unlimited()
    store = RedisIdentityStore(client, stack.redis_namespace, policy)
    records = [
        request(one.event_id, *one.named, policy=policy, origin=one.origin, occurred_ms=one.occurred_ms)
        for one in (one for records in partitions for one in records)
    ]
    await store.resolve(records)
    once = await audit.snapshot()

    again = await store.resolve(random.Random(4).sample(records, len(records)))

    assert once == await audit.snapshot()
    owners = await audit.owners()
    for resolution in again:
        assert ((), ()) == (resolution.merged, resolution.refused)
        assert resolution.profile_id in {None, *owners.values()}


LIMITED = IdentityPolicy(
    types=(
        IdentifierRule(type="user_id", limit=1, known=True),
        IdentifierRule(type="email", limit=2, known=True),
        IdentifierRule(type="*", limit=2),
        IdentifierRule(type="device_id", limit=3),
        IdentifierRule(type="anonymous_id", limit=4),
    ),
    cap=8,
)


@pytest.mark.parametrize("seed", range(12))
async def test_under_limits_the_script_answers_what_the_model_answers(
    client: Redis, stack: Settings, seed: int
) -> None:
    chance = random.Random(seed)
    kinds = ("user_id", "email", "card", "tag", "device_id", "anonymous_id")
    asked = []
    for number in range(400):
        named = [(chance.choice(kinds), str(chance.randrange(12))) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 5)))]
        occurred_ms = RECEIVED_MS + chance.randrange(-50, 50)
        one = request(f"e{number}", *named, policy=LIMITED, origin=("t", 0, number), occurred_ms=occurred_ms)
        copy = request(f"e{number}", *named, policy=LIMITED, origin=("t", 1, number), occurred_ms=occurred_ms)
        asked += [one, *([chance.choice((one, copy))] if chance.random() < 0.1 else [])]
    model = IdentityModel(LIMITED)
    store = RedisIdentityStore(client, stack.redis_namespace, LIMITED)
    audit = Audit(client, stack.redis_namespace, LIMITED)

    expected = [model.resolve(one) for one in asked]
    answered = await store.resolve(asked)

    assert expected == [answer_of(one) for one in answered]
    assert model.owners() == await audit.check()


async def test_under_limits_concurrent_clients_never_join_two_logins(client: Redis, stack: Settings) -> None:
    policy = IdentityPolicy()
    chance = random.Random(6)

    async def visit(client_number: int) -> None:
        store = RedisIdentityStore(client, stack.redis_namespace, policy)
        for number in range(40):
            event_id = f"c{client_number}-{number}"
            shared = [("device_id", str(chance.randrange(5))), ("anonymous_id", str(chance.randrange(40)))]
            login = [("user_id", str(chance.randrange(20)))] if chance.random() < 0.5 else []
            await store.resolve([request(event_id, *login, *shared)])

    await asyncio.gather(*map(visit, range(8)))

    owners = await Audit(client, stack.redis_namespace, policy).check()
    logins = [owners[one] for one in (identifier_hash("user_id", str(user)) for user in range(20)) if one in owners]
    assert len(logins) == len(set(logins)) == 20
