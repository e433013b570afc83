"""The outbox and its relay on the real server: both layouts of entries, and one publisher at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import msgpack
import orjson
import pytest
from redis.asyncio import Redis

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from processors.stream.relay import relay_records
from schemas.identity.policy import IdentityPolicy
from schemas.records import Outgoing
from schemas.shards import SHARDS, shard_of
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.keys import person_prefix
from sinks.redis.outbox import OutboxKeys, RedisOutbox, RedisProfileOutbox, identity_outbox
from tests.oracles.identity_model import RECEIVED_MS, request

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

LEASE_MS = 3_000  # a busy machine may stop a process for a second
PROFILE, FORMER, ANCHOR = bytes(range(16)), bytes(range(16, 32)), b"\xff" * 16


class Publisher:
    """Keeps what was published; `during` runs while a send waits for the broker."""

    def __init__(self, during: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)) -> None:
        self.records: list[Outgoing] = []
        self.cancelled = False
        self._during = during

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.records += records
        try:
            await self._during()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@pytest.fixture
async def client(stack: Settings) -> AsyncIterator[Redis]:
    async with async_redis_client(stack, timeout_s=10) as client:
        yield client


@pytest.fixture
def keys(stack: Settings) -> OutboxKeys:
    return identity_outbox(stack.redis_namespace)


async def fill(client: Redis, keys: OutboxKeys, *values: str) -> list[Outgoing]:
    """Append records."""
    for value in values:
        await client.xadd(keys.stream, {"t": "decisions", "k": "p1", "v": value})
    return [Outgoing("decisions", b"p1", value.encode()) for value in values]


async def decide(client: Redis, namespace: str, *people: str) -> list[Outgoing]:
    """Append a record of each person as `write_profiles.lua` does: to the outbox of their shard."""
    for number, person in enumerate(people):
        outbox = f"{person_prefix(namespace, person)}outbox"
        await client.xadd(outbox, {"t": "decisions", "k": person, "v": str(number)})
    return [Outgoing("decisions", one.encode(), str(number).encode()) for number, one in enumerate(people)]


async def test_an_entry_that_an_earlier_version_left_becomes_the_same_record(client: Redis, keys: OutboxKeys) -> None:
    version, at_ms = 1_790_000_000_123_457, 1_767_225_600_007
    change = [version, "merge", PROFILE, FORMER, [ANCHOR, "email"], 'a "b"/é', at_ms, "shared_identifier"]
    orphan = [version + 1, "transfer", "", FORMER, [], "e2", 0, "oldest"]
    for entry in (change, orphan):
        await client.xadd(keys.stream, {"c": msgpack.packb(entry, use_bin_type=False)})
    await fill(client, keys, "1")

    (_, first), (_, second), (_, third) = await RedisOutbox(client, keys).pending(10)

    assert first == Outgoing(
        "identity-changes",
        b"00010203-0405-0607-0809-0a0b0c0d0e0f",
        (
            '{"version":1790000000123457,"kind":"merge","profile_id":"00010203-0405-0607-0809-0a0b0c0d0e0f",'
            '"from_profile_id":"10111213-1415-1617-1819-1a1b1c1d1e1f",'
            '"anchors":[["ffffffff-ffff-ffff-ffff-ffffffffffff","email"]],'
            '"event_id":"a \\"b\\"/é","occurred_at":"2026-01-01T00:00:00.007Z","rule":"shared_identifier"}'
        ).encode(),
    )
    assert (second.key, orjson.loads(second.value)) == (
        b"",
        {
            "version": version + 1,
            "kind": "transfer",
            "profile_id": "",
            "from_profile_id": "10111213-1415-1617-1819-1a1b1c1d1e1f",
            "anchors": [],
            "event_id": "e2",
            "occurred_at": "1970-01-01T00:00:00.000Z",
            "rule": "oldest",
        },
    )
    assert third == Outgoing("decisions", b"p1", b"1")


async def test_identity_and_profiles_are_relayed_independently(client: Redis, stack: Settings) -> None:
    identities = RedisIdentityStore(client, stack.redis_namespace, IdentityPolicy())
    await identities.resolve([request("e1", ("anonymous_id", "b1"), occurred_ms=RECEIVED_MS)])
    records = await decide(client, stack.redis_namespace, "p1")
    of_identity = RedisOutbox(client, identity_outbox(stack.redis_namespace))
    of_profiles = RedisProfileOutbox(client, stack.redis_namespace)
    changes, decisions = Publisher(), Publisher()

    assert await of_identity.acquire_relay("identify worker", 60_000)
    assert await relay_records(of_profiles, decisions, "profile worker") == 1
    assert await relay_records(of_identity, changes, "profile worker") == 0
    assert await relay_records(of_identity, changes, "identify worker") == 1

    assert records == decisions.records
    assert ["identity-changes"] == [record.topic for record in changes.records]


async def test_no_second_process_relays_while_a_send_outlasts_the_lease(client: Redis, keys: OutboxKeys) -> None:
    records = await fill(client, keys, "1", "2")
    outbox = RedisOutbox(client, keys)
    other = Publisher()

    async def slow_broker() -> None:
        for _ in range(10):
            await asyncio.sleep(LEASE_MS / 6000)  # in all longer than the lease by two thirds
            assert await relay_records(outbox, other, "second", lease_ms=LEASE_MS) == 0

    first = Publisher(slow_broker)

    assert await relay_records(outbox, first, "first", lease_ms=LEASE_MS) == 2
    assert (records, []) == (first.records, other.records)
    assert [] == await outbox.pending(10)


async def test_a_relay_that_lost_its_lease_stops_retrying_and_removes_nothing(client: Redis, keys: OutboxKeys) -> None:
    records = await fill(client, keys, "1", "2")
    outbox = RedisOutbox(client, keys)
    sent: list[int] = []

    async def lose_the_lease() -> None:
        await client.delete(keys.lease)  # as when the process was stopped for longer than the lease
        assert await outbox.acquire_relay("second", 60_000)
        await asyncio.sleep(60)  # the publisher retries

    first = Publisher(lose_the_lease)
    relayed = await relay_records(outbox, first, "first", lease_ms=LEASE_MS, after_send=lambda: sent.append(1))

    assert (0, True, []) == (relayed, first.cancelled, sent)
    second = Publisher()
    assert await relay_records(outbox, second, "second", lease_ms=60_000) == 2
    assert records == second.records


async def test_a_lease_that_is_lost_at_the_last_moment_removes_nothing(client: Redis, keys: OutboxKeys) -> None:
    await fill(client, keys, "1")
    outbox = RedisOutbox(client, keys)

    async def lose_the_lease() -> None:
        await client.set(keys.lease, "second")

    assert await relay_records(outbox, Publisher(lose_the_lease), "first", lease_ms=60_000) == 0
    assert 1 == len(await outbox.pending(10))


async def test_a_record_that_is_refused_ends_the_relay_and_stays(client: Redis, keys: OutboxKeys) -> None:
    await fill(client, keys, "1")
    outbox = RedisOutbox(client, keys)

    async def refuse() -> None:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        await relay_records(outbox, Publisher(refuse), "first")
    assert 1 == len(await outbox.pending(10))


async def test_shards_are_relayed_by_those_who_own_them_and_each_persons_records_in_order(
    client: Redis, stack: Settings
) -> None:
    people = [f"p{number % 40}" for number in range(200)]
    records = await decide(client, stack.redis_namespace, *people)
    halves = [[one for one in range(SHARDS) if one % 2 == half] for half in (0, 1)]
    outboxes = [RedisProfileOutbox(client, stack.redis_namespace, partial(list, own)) for own in halves]
    published = [Publisher(), Publisher()]
    for outbox, publisher in zip(outboxes, published, strict=True):
        while await relay_records(outbox, publisher, "token"):
            pass

    assert [] == await RedisProfileOutbox(client, stack.redis_namespace).pending(10)
    assert [[shard_of(one.key) % 2 for one in publisher.records] for publisher in published] == [
        [half] * len(publisher.records) for half, publisher in enumerate(published)
    ]
    for person in set(people):
        theirs = [one for one in records if one.key == person.encode()]
        assert theirs == [one for publisher in published for one in publisher.records if one.key == person.encode()]


async def test_two_who_relay_a_shard_lose_nothing(client: Redis, stack: Settings) -> None:
    records = await decide(client, stack.redis_namespace, *(["p1"] * 3))
    outbox = RedisProfileOutbox(client, stack.redis_namespace)
    other = Publisher()
    later: list[Outgoing] = []

    async def meanwhile() -> None:
        assert await relay_records(outbox, other, "the new owner") == 3
        later.extend(await decide(client, stack.redis_namespace, "p1"))

    first = Publisher(meanwhile)

    assert await relay_records(outbox, first, "the former owner") == 3
    assert (records, records) == (first.records, other.records)
    assert later == [record for _, record in await outbox.pending(10)]


async def test_who_owns_no_shard_relays_nothing(client: Redis, stack: Settings) -> None:
    await decide(client, stack.redis_namespace, "p1")
    none = RedisProfileOutbox(client, stack.redis_namespace, list)

    assert (False, 0, 1) == (
        await none.acquire_relay("token", 1000),
        await relay_records(none, Publisher(), "token"),
        await RedisProfileOutbox(client, stack.redis_namespace).size(),
    )


async def test_no_shard_waits_for_others_that_have_more_records_than_a_turn_takes(
    client: Redis, stack: Settings
) -> None:
    people = {shard_of(f"p{number}".encode()): f"p{number}" for number in range(400)}
    records = await decide(client, stack.redis_namespace, *people.values(), *people.values())
    outbox = RedisProfileOutbox(client, stack.redis_namespace, partial(list, people))
    turns = 2 * len(people)  # each master of a cluster has its turns, and not the same number of shards
    found = {record.key for _ in range(turns) for _, record in await outbox.pending(2)}

    assert {one.key for one in records} == found


async def test_a_process_that_relays_is_known_for_as_long_as_it_does(client: Redis, stack: Settings) -> None:
    outbox, sign = RedisProfileOutbox(client, stack.redis_namespace), f"{{{stack.redis_namespace}}}:outbox:relay"
    known = []
    for _ in range(20):
        assert await outbox.acquire_relay("token", 900)
        known.append(await client.get(sign))
        await asyncio.sleep(0.1)

    assert {b"token"} == set(known)
