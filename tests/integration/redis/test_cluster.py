"""A cluster whose slots move and whose masters die: nothing is decided by a part of a slot, and no write is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis.exceptions
from redis.asyncio import Redis

from deploy.connections.redis import async_redis_client, redis_client
from deploy.operations.doctor import examine
from deploy.settings import Settings
from deploy.workers.wiring import REDIS_DOWN
from schemas.identity.policy import IdentityPolicy
from sinks.redis.durability import LostWritesError, RedisDurability
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.keys import shard_prefixes, shared_prefix
from sinks.redis.measures import memory
from sinks.redis.outbox import RedisProfileOutbox
from tests.oracles.identity_model import identifier_hash, request
from tests.support.stack import Addresses
from tests.support.valkey_cluster import (
    ClusterNodes,
    client_of,
    move_at_once,
    move_key_by_key,
    other_than,
    slot_of,
    valkey_cluster,
)

pytestmark = pytest.mark.integration

PEOPLE = 60


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterNodes]:
    with valkey_cluster(tmp_path_factory.mktemp("moving"), durable=True) as found:
        yield found


@pytest.fixture
def settings(nodes: ClusterNodes, request: pytest.FixtureRequest) -> Settings:
    return Settings(redis_url=nodes.url, redis_namespace=request.node.name.partition("[")[0])


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Redis]:
    async with async_redis_client(settings, timeout_s=10) as found:
        yield found


@pytest.fixture
def store(client: Redis, settings: Settings) -> RedisIdentityStore:
    return RedisIdentityStore(client, settings.redis_namespace, IdentityPolicy())


async def come(store: RedisIdentityStore, turn: int) -> list[str | None]:
    """Resolve an event of each person, who also brings a device that is new."""
    events = [
        request(f"{turn}-{number}", ("user_id", f"user {number}"), ("device_id", f"device {turn} {number}"))
        for number in range(PEOPLE)
    ]
    return [one.profile_id for one in await store.resolve(events)]


async def test_who_is_who_is_not_decided_while_half_of_the_keys_are_elsewhere(
    nodes: ClusterNodes, settings: Settings, client: Redis, store: RedisIdentityStore
) -> None:
    slot = slot_of(shared_prefix(settings.redis_namespace))
    people = await come(store, 0)
    refused = []
    for left in move_key_by_key(nodes, slot, other_than(nodes, slot)):
        with pytest.raises(REDIS_DOWN):
            await come(store, 1)
        refused.append(left)
        # A key alone is found wherever it is.
        assert people == await store.owners([identifier_hash("user_id", f"user {number}") for number in range(PEOPLE)])
    again, moved = await come(store, 1), await client.hgetall(f"{shared_prefix(settings.redis_namespace)}p:{people[0]}")

    assert people == again
    assert refused[0] > refused[-1] == 0
    assert len(moved) > 2


async def test_slots_that_are_moved_at_once_refuse_nothing(
    nodes: ClusterNodes, settings: Settings, store: RedisIdentityStore
) -> None:
    slot = slot_of(shared_prefix(settings.redis_namespace))
    people = await come(store, 0)
    moving = asyncio.create_task(asyncio.to_thread(move_at_once, nodes, [slot], other_than(nodes, slot)))
    turns = 0
    while not moving.done() or turns < 3:
        turns += 1
        assert people == await come(store, turns)
    await moving


async def test_a_master_that_came_back_may_have_lost_what_was_written(
    nodes: ClusterNodes, settings: Settings, client: Redis
) -> None:
    durability = RedisDurability(client, settings.redis_namespace, "disk", 5)
    before = await durability.begin()
    await durability.reached(before)
    other = RedisDurability(client, settings.redis_namespace, "disk", 5)
    since = await other.begin()
    nodes.masters[1].restart()  # by this thread, with which it would end
    for _ in range(200):
        try:
            with pytest.raises(LostWritesError):
                await other.reached(since)
            break
        except REDIS_DOWN:
            await asyncio.sleep(0.05)

    assert 2 == before.count(",")


async def test_a_poll_finds_the_records_of_a_shard_that_is_moving_and_that_has_moved(
    nodes: ClusterNodes, settings: Settings, client: Redis
) -> None:
    prefixes = shard_prefixes(settings.redis_namespace)
    outbox = RedisProfileOutbox(client, settings.redis_namespace)
    for prefix in prefixes:
        await client.xadd(f"{prefix}outbox", {"t": "decisions", "k": prefix, "v": "{}"})
    found = [len(await outbox.pending(1000))]
    slot = slot_of(prefixes[7])
    for _ in move_key_by_key(nodes, slot, other_than(nodes, slot)):
        with suppress(*REDIS_DOWN):
            found.append(len(await outbox.pending(1000)))
    found += [len(await outbox.pending(1000)), len(await outbox.pending(1000))]

    assert {len(prefixes)} == set(found)
    assert len(found) >= 3


async def test_a_cluster_of_which_nobody_answers_is_a_store_that_is_down(tmp_path: Path) -> None:
    nowhere = Settings(redis_url="redis+cluster://127.0.0.1:1,127.0.0.1:2")
    with pytest.raises(redis.exceptions.ConnectionError), redis_client(nowhere, timeout_s=1):
        pass
    client = async_redis_client(nowhere, timeout_s=1)
    with pytest.raises(redis.exceptions.ConnectionError):
        await client.get("{throughline}:people")


async def test_doctor_and_measures_look_at_each_master(
    nodes: ClusterNodes, settings: Settings, servers: Addresses
) -> None:
    durable = settings.model_copy(update={**servers, "redis_url": nodes.url, "redis_durability": "disk"})
    checks = {one.name: one for one in await asyncio.to_thread(examine, durable)}
    with client_of(nodes.masters[2]) as third:
        third.config_set("appendonly", "no")
        third.config_set("maxmemory", "1gb")
        try:
            bad = {one.name: one for one in await asyncio.to_thread(examine, durable)}
            with redis_client(settings, timeout_s=5) as tool:
                fullest = memory(tool, settings.redis_namespace)
        finally:
            third.config_set("appendonly", "yes")
            third.config_set("maxmemory", "0")

    assert (True, True) == (checks["redis"].ok, checks["durability"].ok)
    assert "a cluster of 3 masters" in checks["redis"].found
    assert (True, False) == ("appendonly" in bad["redis"].hint, bad["durability"].ok)
    assert 1024**3 == fullest.limit_bytes
