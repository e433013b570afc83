"""Profiles on the real server: each event counts once, whatever is delivered again, dies, races or merges."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from processors.identity.claims import event_key
from processors.profiles.document import encode, read_profile
from processors.profiles.stage import ProfileUpdate, UpdateResult, update
from schemas.identity.policy import IdentityPolicy
from schemas.profiles.document import ProfileReading, ProfileRequest, ProfileWrite
from schemas.time import ms_of_text
from sinks.redis import deduplication as seen
from sinks.redis import scripts as redis_scripts
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.keys import name_of, patterns, person_prefix
from sinks.redis.layout import layout_fields, layout_key
from sinks.redis.profiles import RedisProfileStore
from tests.oracles.identity_model import request
from tests.support.builders import at
from tests.support.profiles import added, ordered, resolved, told

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

PHONE, LAPTOP, TABLET = ("anonymous_id", "phone"), ("anonymous_id", "laptop"), ("anonymous_id", "tablet")
Event = dict[str, Any]


class Corner:
    """The stores of one test, and the ways in which it uses them.

    Attributes:
        redis: A client.
        profiles: The store under test.
        identities: The store that merges.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace
        self.profiles = RedisProfileStore(redis, namespace)
        self.identities = RedisIdentityStore(redis, namespace, IdentityPolicy.unlimited())

    async def identified(self, event: Event, *named: tuple[str, str]) -> Event:
        """The event as the identify stage hands it on, if it claims these identifiers."""
        asked = request(event["event_id"], *named, received_ms=ms_of_text(event["received_at"]))
        (resolution,) = await self.identities.resolve([asked])
        return {**event, "profile_id": resolution.profile_id}

    async def update(self, *events: Event) -> UpdateResult:
        """Handle a batch."""
        return await update(self.profiles, events)

    async def person(self, profile_id: str) -> Any:
        """The profile as it is now."""
        stored = await self.profiles.get(profile_id)
        assert stored is not None
        return read_profile(stored)

    async def keys(self, kind: str) -> list[str]:
        """The names of all keys of one kind, without their prefixes."""
        found = [
            name_of(key, self.namespace)
            for pattern in patterns(self.namespace, f"{kind}:*")
            async for key in self.redis.scan_iter(match=pattern)
        ]
        return sorted(found)


@pytest.fixture
async def corner(stack: Settings) -> AsyncIterator[Corner]:
    async with async_redis_client(stack, timeout_s=10) as redis:
        yield Corner(redis, stack.redis_namespace)


class Dying(RedisProfileStore):
    """A store whose process dies on the first write: before it reached the server, or before the answer came back."""

    def __init__(self, corner: Corner, *, written: bool) -> None:
        super().__init__(corner.redis, corner.namespace)
        self._reaches_the_server = written

    async def write(self, changes: Sequence[ProfileWrite], definitions: int | None = None) -> list[str]:
        if self._reaches_the_server:
            await super().write(changes)
        raise ConnectionError("the process died")


def change(reading: ProfileReading, profile_id: str, document: Event, *events: Event) -> ProfileWrite:
    """A write of a document on top of what was read."""
    stored = reading.profiles[profile_id]
    return ProfileWrite(
        profile_id,
        stored.version,
        encode(document),
        tuple((loser.profile_id, loser.version) for loser in stored.absorbed),
        tuple((event_key(event["source"], event["event_id"]), ms_of_text(event["received_at"])) for event in events),
    )


def wanted(event: Event) -> ProfileRequest:
    return ProfileRequest(
        event["profile_id"], event_key(event["source"], event["event_id"]), ms_of_text(event["received_at"])
    )


def as_one(profile_id: str, *events: Event) -> Any:
    """What the profile of somebody who did all this looks like."""
    return {**told(*events), "profile_id": profile_id}


async def test_a_batch_becomes_profiles(corner: Corner) -> None:
    mine = [
        await corner.identified(event, PHONE) for event in (added("lamp", 1), ordered("o1", 2, "lamp", revenue="9"))
    ]
    yours = await corner.identified(added("rug", 1), LAPTOP)
    nobody = {**resolved("Stock Changed", "api", properties={"product_id": "lamp", "quantity": 1}), "profile_id": None}
    done = await corner.update(mine[0], yours, nobody, mine[1])

    assert (3, 0, 1) == (done.applied, done.repeated, done.impersonal)
    assert as_one(mine[0]["profile_id"], *mine) == await corner.person(mine[0]["profile_id"])
    assert as_one(yours["profile_id"], yours) == await corner.person(yours["profile_id"])
    assert {mine[0]["profile_id"], yours["profile_id"]} == set(done.profiles)


async def test_the_next_batch_goes_on_where_the_last_one_ended(corner: Corner) -> None:
    events = [await corner.identified(added("lamp", hour), PHONE) for hour in range(3)]
    for event in events:
        await corner.update(event)
    stored = await corner.profiles.get(events[0]["profile_id"])

    assert stored is not None
    assert (3, as_one(stored.profile_id, *events)) == (stored.version, read_profile(stored))


async def test_a_person_of_whom_nothing_is_stored_has_version_zero(corner: Corner) -> None:
    stored = await corner.profiles.get("4ad3f1c0-0000-0000-0000-000000000000")

    assert stored is not None
    assert (0, None) == (stored.version, stored.document)


async def test_redelivery_changes_nothing(corner: Corner) -> None:
    events = [await corner.identified(ordered("o1", hour, revenue="9"), PHONE) for hour in range(5)]
    await corner.update(*events[:3])
    before = await corner.profiles.get(events[0]["profile_id"])
    again = await corner.update(*events[:3])

    assert (0, 3) == (again.applied, again.repeated)
    assert before == await corner.profiles.get(events[0]["profile_id"])

    rest = await corner.update(*events)

    assert (2, 3) == (rest.applied, rest.repeated)
    assert as_one(events[0]["profile_id"], *events) == await corner.person(events[0]["profile_id"])


async def test_an_event_that_a_batch_holds_twice_counts_once(corner: Corner) -> None:
    event = await corner.identified(added("lamp", 1), PHONE)
    done = await corner.update(event, event)

    assert (1, 1) == (done.applied, done.repeated)
    assert as_one(event["profile_id"], event) == await corner.person(event["profile_id"])


@pytest.mark.parametrize("cached", [False, True], ids=["read", "cached"])
async def test_an_event_that_an_earlier_release_has_applied_counts_once(corner: Corner, cached: bool) -> None:
    event, before = ({**added("lamp", hour), "profile_id": "p1"} for hour in (1, 0))
    key, received_ms = event_key(event["source"], event["event_id"]), ms_of_text(event["received_at"])
    bucket = seen.bucket_key(corner.namespace, key, received_ms)
    await corner.redis.hset(bucket, cast(str, seen.field(key)), seen.UNKNOWN_ORIGIN + seen.APPLIED)
    await corner.redis.hset(layout_key(corner.namespace), mapping=cast(Any, layout_fields(received_ms)))
    stage = ProfileUpdate(corner.profiles)
    if cached:
        await stage([before])
    done = await stage([event])

    assert (0, 1) == (done.applied, done.repeated)


async def test_applying_keeps_the_origin_by_which_identify_knows_its_own_redelivery(corner: Corner) -> None:
    event = await corner.identified(added("lamp", 1), PHONE)
    await corner.update(event)

    assert event == await corner.identified(event, PHONE)


async def test_a_bug_in_one_event_costs_its_neighbours_nothing(corner: Corner) -> None:
    good, bad = await corner.identified(added("lamp", 1), PHONE), {**added("rug", 1), "occurred_at": "yesterday"}
    done = await corner.update(good, bad)

    assert [bad] == [event for event, _ in done.rejected]
    assert as_one(good["profile_id"], good) == await corner.person(good["profile_id"])


@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
async def test_a_process_that_dies_leaves_all_or_nothing_and_its_successor_completes_it(
    corner: Corner, written: bool
) -> None:
    first, second = [await corner.identified(added("lamp", hour), PHONE) for hour in (1, 2)]
    await corner.update(first)
    with pytest.raises(ConnectionError):
        await update(Dying(corner, written=written), [second])
    await corner.update(first, second)

    assert as_one(first["profile_id"], first, second) == await corner.person(first["profile_id"])


async def test_a_batch_larger_than_a_call_is_one_batch(corner: Corner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_scripts, "CALL_WEIGHT", 3)
    events = [await corner.identified(added("lamp", hour), ("anonymous_id", str(hour % 4))) for hour in range(20)]
    done = await corner.update(*events)

    assert 20 == done.applied
    for one in range(4):
        mine = events[one::4]
        assert as_one(mine[0]["profile_id"], *mine) == await corner.person(mine[0]["profile_id"])


# Merges


async def merged(corner: Corner, *, written: bool = True) -> tuple[str, str, list[Event]]:
    """Two people with a profile each who turn out to be one: winner, loser, all events; the last one joined them."""
    events = [
        await corner.identified(added("lamp", 1), PHONE),
        await corner.identified(ordered("o1", 2, "lamp", revenue="9"), LAPTOP),
    ]
    if written:
        await corner.update(*events)
    joining = await corner.identified(resolved("Signed In", occurred_at=at(hours=3)), PHONE, LAPTOP)
    (loser,) = {event["profile_id"] for event in events} - {joining["profile_id"]}
    return joining["profile_id"], loser, [*events, joining]


async def test_a_merge_combines_two_profiles_once(corner: Corner) -> None:
    winner, loser, events = await merged(corner)
    done = await corner.update(events[-1])
    again = await corner.update(*events)

    assert (1, 1, 0, 0) == (done.applied, done.absorbed, again.applied, again.absorbed)
    assert as_one(winner, *events) == await corner.person(winner) == await corner.person(loser)
    assert ([f"profile:{winner}"], []) == (
        await corner.keys("profile"),
        await corner.keys("absorb"),
    )


async def test_until_the_next_event_a_merged_profile_is_combined_when_it_is_read(corner: Corner) -> None:
    winner, loser, events = await merged(corner)

    assert as_one(winner, *events[:2]) == await corner.person(winner) == await corner.person(loser)


async def test_a_merge_of_people_without_profiles_leaves_nothing_to_do(corner: Corner) -> None:
    winner, _, events = await merged(corner, written=False)
    await corner.update(*events)

    assert as_one(winner, *events) == await corner.person(winner)
    assert [] == await corner.keys("absorb")


async def test_a_late_event_of_the_loser_goes_to_the_winner(corner: Corner) -> None:
    winner, loser, events = await merged(corner)
    await corner.update(events[-1])
    late = {**added("rug", 1), "profile_id": loser}
    await corner.update(late)

    assert as_one(winner, *events, late) == await corner.person(winner)


async def test_a_profile_that_was_merged_twice_is_in_the_last_winner(corner: Corner) -> None:
    winner, _, events = await merged(corner)
    third = await corner.identified(added("chair", 4), TABLET)
    await corner.update(third)
    joining = await corner.identified(resolved("Signed In", occurred_at=at(hours=5)), TABLET, PHONE)
    late = {**added("rug", 1), "profile_id": events[1]["profile_id"]}
    await corner.update(late, events[-1], joining)

    assert as_one(joining["profile_id"], *events, third, joining, late) == await corner.person(winner)
    assert 1 == len(await corner.keys("profile"))


@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
async def test_a_process_that_dies_in_a_merge_leaves_all_or_nothing(corner: Corner, written: bool) -> None:
    winner, _, events = await merged(corner)
    with pytest.raises(ConnectionError):
        await update(Dying(corner, written=written), events)
    await corner.update(*events)

    assert as_one(winner, *events) == await corner.person(winner)


# Races


async def test_a_writer_that_read_before_another_one_wrote_is_told_so(corner: Corner) -> None:
    slow, quick = [await corner.identified(added("lamp", hour), PHONE) for hour in (1, 2)]
    stale = await corner.profiles.read([wanted(slow)])
    await corner.update(quick)
    before = await corner.profiles.get(quick["profile_id"])

    assert [slow["profile_id"]] == await corner.profiles.write([change(stale, slow["profile_id"], told(slow), slow)])
    assert before == await corner.profiles.get(quick["profile_id"])


async def test_a_writer_that_read_before_a_merge_is_told_so_on_either_side(corner: Corner) -> None:
    one, other = await corner.identified(added("lamp", 1), PHONE), await corner.identified(added("rug", 2), LAPTOP)
    stale = await corner.profiles.read([wanted(one), wanted(other)])
    await corner.identified(resolved("Signed In", occurred_at=at(hours=3)), PHONE, LAPTOP)
    people = [one["profile_id"], other["profile_id"]]

    assert people == await corner.profiles.write(
        [change(stale, event["profile_id"], told(event), event) for event in (one, other)]
    )
    assert [] == await corner.keys("profile")


async def test_a_writer_whose_event_was_applied_meanwhile_is_told_so(corner: Corner) -> None:
    event = await corner.identified(added("lamp", 1), PHONE)
    await corner.update(event)
    fresh = await corner.profiles.read([wanted(event)])

    assert [event["profile_id"]] == await corner.profiles.write(
        [change(fresh, event["profile_id"], told(event, event), event)]
    )


async def test_a_conflict_of_one_person_does_not_hold_up_another(corner: Corner) -> None:
    mine, yours = await corner.identified(added("lamp", 1), PHONE), await corner.identified(added("rug", 1), LAPTOP)
    stale = await corner.profiles.read([wanted(mine), wanted(yours)])
    await corner.update(mine)
    conflicts = await corner.profiles.write(
        [change(stale, event["profile_id"], as_one(event["profile_id"], event), event) for event in (mine, yours)]
    )

    assert [mine["profile_id"]] == conflicts
    assert as_one(yours["profile_id"], yours) == await corner.person(yours["profile_id"])


@pytest.mark.parametrize("broken", ["the winner changed", "the winner was merged away"])
async def test_a_merge_whose_sides_are_not_as_they_were_read_is_not_written(corner: Corner, broken: str) -> None:
    winner, _, events = await merged(corner)
    stale = await corner.profiles.read([wanted(events[-1])])
    if broken == "the winner changed":
        await corner.redis.hincrby(f"{person_prefix(corner.namespace, winner)}profile:{winner}", "version")
    else:
        await corner.redis.set(f"{{{corner.namespace}}}:alias:{winner}", "p3")

    assert [winner] == await corner.profiles.write([change(stale, winner, told(*events), events[-1])])
    assert 2 == len(await corner.keys("profile"))


async def test_writers_at_the_same_time_all_land(corner: Corner) -> None:
    events = [await corner.identified(added(f"product {hour}", hour), PHONE) for hour in range(40)]
    done = await asyncio.gather(*(corner.update(*events[start::8]) for start in range(8)))

    assert as_one(events[0]["profile_id"], *events) == await corner.person(events[0]["profile_id"])
    assert 40 == sum(one.applied for one in done)
    assert sum(one.conflicts for one in done) > 0


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_merged_shuffled_and_delivered_again_meanwhile_everybody_ends_with_their_events(
    corner: Corner, seed: int
) -> None:
    rng = random.Random(seed)
    events, groups = [], []
    for number in range(150):
        kinds = [
            added("lamp", number),
            ordered(f"o{number % 9}", number, revenue="9"),
            resolved(occurred_at=at(hours=number)),
        ]
        named = {("anonymous_id", str(rng.randrange(30))) for _ in range(2 if rng.random() < 0.15 else 1)}
        events.append((rng.choice(kinds), named))
        groups.append(named)

    async def worker(mine: list[tuple[Event, set[tuple[str, str]]]]) -> None:
        # Identify and profile at different paces: batches wait, are shuffled and come again.
        waiting: list[Event] = []
        for event, named in mine:
            waiting.append(await corner.identified(event, *named))
            if rng.random() < 0.3:
                rng.shuffle(waiting)
                await corner.update(*waiting)
                waiting = [again for again in waiting if rng.random() < 0.3]
        await corner.update(*waiting)

    await asyncio.gather(*(worker(events[start::3]) for start in range(3)))
    for event, named in events:
        together = _connected(groups, named)
        theirs = [other for other, their_names in events if their_names & together]
        (live,) = {(await corner.identified(event, *named))["profile_id"]}
        assert as_one(live, *theirs) == await corner.person(live)


def _connected(groups: list[set[tuple[str, str]]], start: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """All identifiers that are the same person's."""
    found = set(start)
    while more := set().union(*(group for group in groups if group & found)) - found:
        found |= more
    return found


# Erasure and export


async def test_events_of_an_erased_person_are_in_no_profile(corner: Corner) -> None:
    event = {**added("lamp", 1), "profile_id": "p1"}
    await corner.redis.set(f"{{{corner.namespace}}}:alias:p1", "!")
    done = await corner.update(event)

    assert (0, 1, None) == (done.applied, done.erased, await corner.profiles.get("p1"))
    assert [] == await corner.keys("profile")


async def test_erasing_deletes_what_was_still_to_be_absorbed_too(corner: Corner) -> None:
    winner, loser, _ = await merged(corner)
    erased = await corner.profiles.erase(winner)

    assert (2, [], []) == (erased, await corner.keys("profile"), await corner.keys("absorb"))
    assert {winner, loser} == {profile_id for profile_id, *_ in await corner.profiles.changed(10)}


async def test_the_exporter_gets_each_changed_profile_once_however_often_it_changed(corner: Corner) -> None:
    events = [await corner.identified(added("lamp", hour), PHONE) for hour in range(3)]
    for event in events:
        await corner.update(event)
    person = as_one(events[0]["profile_id"], *events)

    assert [(person["profile_id"], 3, encode(person), b"")] == await corner.profiles.changed(10)

    await corner.profiles.mark_exported([(person["profile_id"], 3)])

    assert [] == await corner.profiles.changed(10)


async def test_a_profile_that_changes_while_it_is_exported_is_exported_again(corner: Corner) -> None:
    first, second = [await corner.identified(added("lamp", hour), PHONE) for hour in (1, 2)]
    await corner.update(first)
    exported = [(profile_id, version) for profile_id, version, *_ in await corner.profiles.changed(10)]
    await corner.update(second)
    await corner.profiles.mark_exported(exported)

    assert [2] == [version for _, version, *_ in await corner.profiles.changed(10)]


async def test_the_exporter_learns_that_a_merged_profile_is_gone(corner: Corner) -> None:
    winner, loser, events = await merged(corner)
    await corner.profiles.mark_exported(
        [(person, version) for person, version, *_ in await corner.profiles.changed(10)]
    )
    await corner.update(events[-1])
    gone = encode({"profile_id": loser, "event_count": 0, "gone": True})

    assert sorted([(winner, 2, encode(as_one(winner, *events)), b""), (loser, 2, gone, b"")]) == sorted(
        await corner.profiles.changed(10)
    )
