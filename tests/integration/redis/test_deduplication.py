"""Marks of seen events on the real server: an event counts once, however and whenever it is delivered again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from schemas.identity.policy import IdentityPolicy
from sinks.redis.deduplication import BUCKETS, GENERATION_MS
from sinks.redis.identity import RedisIdentityStore
from tests.oracles.identity_model import RECEIVED_MS, request

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

BROWSER = ("anonymous_id", "b1")


@pytest.fixture
async def store(stack: Settings) -> AsyncIterator[RedisIdentityStore]:
    async with async_redis_client(stack, timeout_s=10) as client:
        yield RedisIdentityStore(client, stack.redis_namespace, IdentityPolicy())


async def test_a_duplicate_is_found_in_the_generation_before(store: RedisIdentityStore) -> None:
    border = RECEIVED_MS // GENERATION_MS * GENERATION_MS

    first, copy = await store.resolve(
        [
            request("e1", BROWSER, received_ms=border - 1),
            request("e1", BROWSER, received_ms=border, origin=("touchpoints.app", 3, 9)),
        ]
    )

    assert (False, True) == (first.duplicate, copy.duplicate)


async def test_an_event_and_its_duplicate_are_found_when_both_are_redelivered_in_the_next_generation(
    store: RedisIdentityStore,
) -> None:
    border = RECEIVED_MS // GENERATION_MS * GENERATION_MS
    first = request("e1", BROWSER, received_ms=border - 1)
    copies = [request("e1", BROWSER, received_ms=border, origin=("touchpoints.app", 3, n)) for n in range(2)]
    await store.resolve([first])

    again, *others = await store.resolve([first, *copies])

    assert (False, [True, True]) == (again.duplicate, [copy.duplicate for copy in others])


async def test_the_mark_of_two_copies_is_in_the_generation_of_the_first(
    store: RedisIdentityStore,
) -> None:
    border = RECEIVED_MS // GENERATION_MS * GENERATION_MS
    first = request("e1", BROWSER, received_ms=border - 1)
    await store.resolve([first, request("e1", BROWSER, received_ms=border, origin=("touchpoints.app", 3, 9))])

    (another,) = await store.resolve([request("e1", BROWSER, received_ms=border - 1, origin=("touchpoints.app", 3, 1))])

    assert another.duplicate


async def test_more_events_than_the_fields_of_one_command_are_each_marked_once(store: RedisIdentityStore) -> None:
    events = [request(f"e{number}", ("anonymous_id", f"b{number % 7}")) for number in range(1_200)]
    copies = [request(f"e{number}", BROWSER, origin=("touchpoints.app", 3, number)) for number in range(1_200)]

    assert 7 == len({resolution.profile_id for resolution in await store.resolve(events)})
    assert {True} == {copy.duplicate for copy in await store.resolve(copies)}


async def test_an_id_belongs_to_its_source(store: RedisIdentityStore) -> None:
    answers = await store.resolve(
        [
            request("17", ("loyalty_id", "L-1"), source="pos"),
            request("17", ("phone", "+4915112345678"), source="pbx", origin=("touchpoints.call_center", 0, 1)),
            request("17", ("phone", "+4915112345678"), source="pbx", origin=("touchpoints.call_center", 0, 2)),
        ]
    )

    assert [False, False, True] == [answer.duplicate for answer in answers]
    assert answers[0].profile_id != answers[1].profile_id


@pytest.mark.parametrize(
    ("again", "conflict"),
    [
        pytest.param(b"sale", False, id="the same content"),
        pytest.param(b"call", True, id="another content"),
        pytest.param(bytes(4), False, id="a content that is not known"),
    ],
)
async def test_another_event_under_the_id_of_its_own_source_is_a_conflict(
    store: RedisIdentityStore, again: bytes, conflict: bool
) -> None:
    _, copy, last = await store.resolve(
        [
            request("17", BROWSER, content=b"sale"),
            request("17", BROWSER, content=again, origin=("touchpoints.store", 0, 2)),
            request("17", BROWSER, content=b"sale", origin=("touchpoints.store", 0, 3)),
        ]
    )

    assert (True, conflict) == (copy.duplicate, copy.conflict)
    assert (True, False) == (last.duplicate, last.conflict)


async def test_a_mark_of_a_release_that_knew_no_source_still_finds_the_duplicate(
    store: RedisIdentityStore, stack: Settings
) -> None:
    seen = request("e1", BROWSER)
    key, field = seen.event_key, seen.event_key[2:12]
    former = f"{{{stack.redis_namespace}}}:seen:{RECEIVED_MS // GENERATION_MS - 1}:{key[0] % BUCKETS}"
    async with async_redis_client(stack, timeout_s=10) as client:
        await client.hset(former, field, seen.origin)

    own, copy, another = await store.resolve(
        [
            seen,
            request("e1", BROWSER, origin=("touchpoints.app", 3, 9)),
            request("e2", BROWSER, origin=("touchpoints.app", 3, 10)),
        ]
    )

    assert (False, True, False) == (own.duplicate, copy.duplicate, another.duplicate)
