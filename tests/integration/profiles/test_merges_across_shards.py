"""Profiles of different shards that become one: wherever a process dies between two steps, each event counts once."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.settings import Settings
from processors.profiles.document import read_profile
from processors.profiles.stage import ProfileUpdate, update
from schemas.identity.policy import IdentityPolicy
from schemas.shards import shard_of
from schemas.time import ms_of_text
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.keys import patterns, person_prefix
from sinks.redis.lua import source
from sinks.redis.profiles import RedisProfileStore
from sinks.redis.scripts import Call, ScriptCalls
from tests.oracles.identity_model import request
from tests.support.builders import at
from tests.support.profiles import added, resolved, told

pytestmark = pytest.mark.integration

Event = dict[str, Any]
PHONE, LAPTOP, TABLET = ("anonymous_id", "phone"), ("anonymous_id", "laptop"), ("anonymous_id", "tablet")
READ, FENCED, WRITTEN, DROPPED, LEFT = "read", "fenced", "written", "dropped", "left"
STEPS = (READ, FENCED, WRITTEN, DROPPED, LEFT)
"""What a merge has done when its process dies; after `LEFT`, identity does not list the loser any more."""
STEP_OF_SCRIPT = {
    "read_profiles": READ, "take_profiles": FENCED, "write_profiles": WRITTEN, "drop_profiles": DROPPED,
}  # fmt: skip


class DiedError(Exception):
    """The process died."""


class Mortal(ScriptCalls):
    """Calls of a process that dies when a step of a merge is done, or at random."""

    def __init__(self, redis: Redis, dies_after: str | None, chance: random.Random | None = None) -> None:
        super().__init__(redis)
        self.dies_after, self.chance = dies_after, chance

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        if self.chance is not None and self.chance.random() < 0.1:
            raise DiedError
        answers = await super().run(calls)
        if self.dies_after in {step_of(call) for call in calls}:
            raise DiedError
        return answers


def step_of(call: Call) -> str | None:
    """The step that a call ends."""
    if call.script is None:
        return LEFT if call.args[0] == "SREM" and "}:absorb:" in call.args[1] else None
    return next((step for script, step in STEP_OF_SCRIPT.items() if source(script) in call.script.text), None)


class Place:
    """The stores of one test."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis, self.namespace = redis, namespace
        self.profiles = RedisProfileStore(redis, namespace)
        self.identities = RedisIdentityStore(redis, namespace, IdentityPolicy.unlimited())

    def mortal(self, dies_after: str | None = None, chance: random.Random | None = None) -> RedisProfileStore:
        """A store whose process dies."""
        store = RedisProfileStore(self.redis, self.namespace)
        store._calls = store._merged._calls = Mortal(self.redis, dies_after, chance)
        return store

    async def identified(self, event: Event, *named: tuple[str, str]) -> Event:
        """The event as the identify stage hands it on."""
        asked = request(event["event_id"], *named, received_ms=ms_of_text(event["received_at"]))
        (resolution,) = await self.identities.resolve([asked])
        return {**event, "profile_id": resolution.profile_id}

    async def person(self, profile_id: str) -> Any:
        """The profile as it is now."""
        stored = await self.profiles.get(profile_id)
        assert stored is not None
        return read_profile(stored)

    async def names(self, kind: str) -> list[bytes]:
        """All keys of one kind."""
        found = [self.redis.scan_iter(match=one) for one in patterns(self.namespace, f"{kind}:*")]
        return [key for some in found async for key in some]


@pytest.fixture
async def place(stack: Settings) -> AsyncIterator[Place]:
    async with Redis.from_url(stack.redis_url) as redis:
        yield Place(redis, stack.redis_namespace)


async def apart(place: Place) -> tuple[list[Event], Event]:
    """Two events of people in different shards, which are applied, and the event that shows that they are one."""
    first, number = await place.identified(added("lamp", 1), PHONE), 0
    second = await place.identified(added("rug", 2), LAPTOP)
    while shard_of(first["profile_id"].encode()) == shard_of(second["profile_id"].encode()):
        number += 1
        second = await place.identified(added("rug", 2), (LAPTOP[0], f"{LAPTOP[1]} {number}"))
    await update(place.profiles, [first, second])
    laptop = (LAPTOP[0], f"{LAPTOP[1]} {number}" if number else LAPTOP[1])
    return [first, second], await place.identified(resolved("Signed In", occurred_at=at(hours=3)), PHONE, laptop)


def of(profile_id: str, *events: Event) -> Any:
    return {**told(*events), "profile_id": profile_id}


@pytest.mark.parametrize("step", STEPS)
async def test_a_merge_goes_on_wherever_it_broke_off(place: Place, step: str) -> None:
    before, joining = await apart(place)
    with pytest.raises(DiedError):
        await update(place.mortal(step), [joining])
    done = await update(place.profiles, [*before, joining])
    again = await update(place.profiles, [*before, joining])

    assert of(joining["profile_id"], *before, joining) == await place.person(joining["profile_id"])
    assert (0, 3) == (again.applied, again.repeated)
    assert 3 == done.applied + done.repeated
    assert ([], 1) == (await place.names("absorb"), len(await place.names("profile")))


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
async def test_a_winner_that_is_merged_itself_before_its_merge_has_ended_brings_its_losers_along_once(
    place: Place, first: str, second: str
) -> None:
    before, joining = await apart(place)
    third = await place.identified(added("chair", 4), TABLET)
    await update(place.profiles, [third])
    with pytest.raises(DiedError):
        await update(place.mortal(first), [joining])
    last = await place.identified(resolved("Signed In", occurred_at=at(hours=5)), TABLET, PHONE)
    events = [*before, joining, third, last]
    with pytest.raises(DiedError):
        await update(place.mortal(second), events)
    await update(place.profiles, events)

    assert of(last["profile_id"], *events) == await place.person(last["profile_id"])
    assert ([], 1) == (await place.names("absorb"), len(await place.names("profile")))


async def test_whoever_read_the_loser_before_it_was_fenced_cannot_write_it(place: Place) -> None:
    before, joining = await apart(place)
    (loser,) = {event["profile_id"] for event in before} - {joining["profile_id"]}
    slow = ProfileUpdate(place.profiles)
    late = {**added("chair", 6), "profile_id": loser}
    await slow([{**added("vase", 5), "profile_id": loser}])  # it is cached from now on, as somebody else's
    await update(place.profiles, [joining])
    done = await slow([late])

    assert 1 == done.applied
    assert 5 == (await place.person(loser))["event_count"]
    assert 1 == len(await place.names("profile"))


@pytest.mark.parametrize("cached", [False, True], ids=["read", "cached"])
async def test_an_event_that_the_loser_had_counts_once_though_its_mark_is_in_another_shard(
    place: Place, cached: bool
) -> None:
    before, joining = await apart(place)
    stage = ProfileUpdate(place.profiles)
    if cached:
        await stage([joining])
    again = await stage([{**event, "profile_id": joining["profile_id"]} for event in before])

    assert (0, 2) == (again.applied, again.repeated)
    assert 2 + cached == (await place.person(joining["profile_id"]))["event_count"]


async def test_former_shards_are_forgotten_when_their_marks_have_expired(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, joining = await apart(place)
    monkeypatch.setattr("sinks.redis.profiles.clock_ms", lambda: 1_000)
    await update(place.profiles, [*before, joining])
    winner = joining["profile_id"]
    as_of_then = await place.profiles.get(winner)
    monkeypatch.undo()
    now = await place.profiles.get(winner)
    packed = await place.redis.hget(f"{person_prefix(place.namespace, winner)}profile:{winner}", "former")

    assert packed is not None
    assert as_of_then is not None
    assert now is not None
    assert (1, 0) == (len(as_of_then.former), len(now.former))


@pytest.mark.parametrize("seed", range(4))
async def test_processes_that_die_anywhere_and_merge_at_the_same_time_count_each_event_once(
    place: Place, seed: int
) -> None:
    chance = random.Random(seed)
    names = [("anonymous_id", f"{seed} {number}") for number in range(12)]
    events: list[Event] = []
    waiting: list[Event] = []
    for number in range(80):
        named = chance.sample(names, 2 if chance.random() < 0.12 else 1)
        events.append(await place.identified(added(f"p{number}", number % 24), *named))
        waiting.append(events[-1])
        if chance.random() < 0.4:
            batch = [*waiting, *chance.sample(events, min(3, len(events)))]
            try:
                await update(place.mortal(chance=chance), batch)
            except DiedError:
                continue
            waiting = []
    await update(place.profiles, events)
    live = await place.profiles.live({event["profile_id"] for event in events})
    theirs: dict[str, list[Event]] = {}
    for event in events:
        theirs.setdefault(str(live[event["profile_id"]]), []).append(event)

    for profile_id, some in theirs.items():
        assert of(profile_id, *some) == await place.person(profile_id)
    assert len(theirs) == len(await place.names("profile"))
