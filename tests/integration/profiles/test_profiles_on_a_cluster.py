"""Profiles on a Valkey Cluster of three masters: every script stays in one slot, and each event counts once."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from processors.profiles.stage import update
from schemas.profiles.document import ProfileWrite
from schemas.records import Outgoing
from schemas.shards import SHARDS, shard_of
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.keys import shard_prefix
from sinks.redis.outbox import RedisProfileOutbox
from tests.integration.profiles.test_merges_across_shards import (
    STEPS,
    DiedError,
    Event,
    Place,
    apart,
    of,
)
from tests.support.profiles import added

pytestmark = pytest.mark.integration

NOW_MS = 1_790_000_000_000


@pytest.fixture
async def place(cluster: str, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with async_redis_client(Settings(redis_url=cluster), timeout_s=10) as client:
        yield Place(client, f"test{abs(hash(request.node.name))}")


async def test_shards_are_spread_over_the_masters(place: Place) -> None:
    cluster: Any = place.redis
    found = {cluster.get_node_from_key(f"{shard_prefix(place.namespace, shard)}shard").port for shard in range(SHARDS)}

    assert 3 == len(found)


@pytest.mark.parametrize("step", STEPS)
async def test_a_merge_goes_on_wherever_it_broke_off(place: Place, step: str) -> None:
    before, joining = await apart(place)
    with pytest.raises(DiedError):
        await update(place.mortal(step), [joining])
    await update(place.profiles, [*before, joining])
    again = await update(place.profiles, [*before, joining])

    assert of(joining["profile_id"], *before, joining) == await place.person(joining["profile_id"])
    assert (0, 3) == (again.applied, again.repeated)


@pytest.mark.parametrize("seed", range(3))
async def test_people_who_are_merged_while_processes_die_have_each_of_their_events_once(
    place: Place, seed: int
) -> None:
    chance = random.Random(seed)
    names = [("anonymous_id", f"{seed} {number}") for number in range(40)]
    events: list[Event] = []
    for number in range(200):
        named = chance.sample(names, 2 if chance.random() < 0.1 else 1)
        events.append(await place.identified(added(f"p{number}", number % 24), *named))
        if number % 5 == 4:
            try:
                await update(place.mortal(chance=chance), [*events[-5:], *chance.sample(events, min(5, len(events)))])
            except DiedError:
                continue
    await update(place.profiles, events)
    live = await place.profiles.live({event["profile_id"] for event in events})
    theirs: dict[str, list[Event]] = {}
    for event in events:
        theirs.setdefault(str(live[event["profile_id"]]), []).append(event)

    for profile_id, some in theirs.items():
        assert of(profile_id, *some) == await place.person(profile_id)


async def test_timers_records_snapshots_and_held_people_are_found_in_all_shards(place: Place) -> None:
    people = [f"person {number}" for number in range(400)]
    writes = [
        ProfileWrite(
            *(one, 0, b"{}", (), (), None, NOW_MS + number),
            (Outgoing("decisions", one.encode(), b"{}"),),
            held=("welcome",),
        )
        for number, one in enumerate(people)
    ]
    conflicts = await place.profiles.write(writes, 3)
    refused = await place.profiles.write([writes[0]._replace(expected_version=1)], 2)
    odd = [shard for shard in range(SHARDS) if shard % 2]
    due = await place.profiles.due(NOW_MS + 199, 1000, odd)
    first = await place.profiles.due(NOW_MS + 1000, 7)
    outbox = RedisProfileOutbox(place.redis, place.namespace)
    pending = await outbox.pending(1000)
    await outbox.acknowledge([one for one, _ in pending], "token")
    changed = await place.profiles.changed(1000)
    await place.profiles.mark_exported([(profile_id, version) for profile_id, version, *_ in changed])
    released = await RedisDefinitions(place.redis, place.namespace).release("welcome", NOW_MS - 1)
    erased = await place.profiles.erase(people[0])

    assert ([], [people[0]]) == (conflicts, refused)
    assert [one for one in people[:200] if shard_of(one.encode()) % 2] == due
    assert 7 == len(first)
    assert {one.encode() for one in people} == {record.key for _, record in pending}
    assert (0, []) == (await outbox.size(), await outbox.pending(10))
    assert (set(people), []) == ({one for one, *_ in changed}, (await place.profiles.changed(10))[1:])
    assert (400, 1) == (released, erased)
    assert 399 == len(await place.profiles.due(NOW_MS - 1, 1000))
