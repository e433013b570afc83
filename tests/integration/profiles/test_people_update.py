"""A worker's memory of profiles, timers and the outbox on the real server: once each, whoever else is at work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.profiles.document import encode, read_profile
from processors.profiles.isolation import TIMER_RETRY_MS
from processors.profiles.stage import ProfileUpdate
from schemas.dead_letters import Reason
from schemas.decisions.decision import Emit
from schemas.decisions.policy import MessagePolicy
from schemas.identity.policy import IdentityPolicy
from schemas.markets import ONE_MARKET
from schemas.profiles.document import ProfileWrite
from schemas.profiles.person import UNMERGED, Person
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import ms_of_text
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.keys import person_prefix
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.products import RedisProducts
from sinks.redis.profiles import RedisProfileStore
from tests.oracles.identity_model import request
from tests.support.builders import at
from tests.support.profiles import added, resolved, told

pytestmark = pytest.mark.integration

Event = dict[str, Any]
RECEIVED = ms_of_text(resolved()["received_at"])


class Counting:
    """Counts a person's events, tells of each, and rings once, a minute after the first."""

    markets = ONE_MARKET

    def on_event(self, person: Person, event: Event, now_ms: int) -> list[Emit]:
        if event["event"] == "Boom":
            person.state["count"] = -1
            raise ZeroDivisionError("a bug")
        person.state["count"] = person.state.get("count", 0) + 1
        person.state.setdefault("rings_at", now_ms + 60_000)
        return [Emit("decisions", {"of": event["event_id"], "count": person.state["count"]})]

    def on_time(self, person: Person, now_ms: int) -> list[Emit]:
        if 0 < person.state.get("rings_at", 0) <= now_ms:
            person.state["rings_at"] = 0
            return [Emit("actions", {"rang": person.profile_id})]
        return []

    def due(self, person: Person) -> int | None:
        return person.state.get("rings_at") or None

    def combine(self, winner: dict[str, Any], loser: dict[str, Any]) -> None:
        winner["count"] = winner.get("count", 0) + loser.get("count", 0)
        winner["rings_at"] = min(winner.get("rings_at") or 2**60, loser.get("rings_at") or 2**60)


class Corner:
    """The stores of one test."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace
        self.profiles = RedisProfileStore(redis, namespace)
        self.products = RedisProducts(redis, namespace)
        self.outbox = RedisProfileOutbox(redis, namespace)
        self.identities = RedisIdentityStore(redis, namespace, IdentityPolicy.unlimited())

    def worker(self, **options: Any) -> ProfileUpdate:
        return ProfileUpdate(self.profiles, Counting(), **options)

    async def identified(self, event: Event, *named: tuple[str, str]) -> Event:
        asked = request(event["event_id"], *named, received_ms=ms_of_text(event["received_at"]))
        (resolution,) = await self.identities.resolve([asked])
        return {**event, "profile_id": resolution.profile_id}

    async def stored(self, profile_id: str) -> Any:
        found = await self.profiles.get(profile_id)
        assert found is not None
        return found

    async def published(self) -> list[Any]:
        return [(record.topic, orjson.loads(record.value)) for _, record in await self.outbox.pending(10_000)]


@pytest.fixture
async def corner(stack: Settings) -> AsyncIterator[Corner]:
    async with async_redis_client(stack, timeout_s=10) as redis:
        yield Corner(redis, stack.redis_namespace)


async def test_what_follows_from_an_event_is_stored_with_it_and_waits_in_the_outbox(corner: Corner) -> None:
    events = [resolved(), resolved()]
    await corner.worker()(events)
    stored = await corner.stored("p1")

    assert (told(*events), b'{"count":2,"rings_at":%d}' % (RECEIVED + 60_000)) == (read_profile(stored), stored.state)
    assert [("decisions", {"of": event["event_id"], "count": n}) for n, event in enumerate(events, 1)] == (
        await corner.published()
    )


@pytest.mark.parametrize("properties", [{}, {"sku": "s-1"}], ids=["nothing", "another name"])
async def test_a_product_without_an_id_is_watched_by_nobody_and_stops_nobody(
    corner: Corner, properties: dict[str, str]
) -> None:
    viewed = [resolved("Product Viewed", properties=properties), resolved("Product Added", properties=properties)]
    bare = {name: value for name, value in resolved("Product Viewed").items() if name != "properties"}

    done = await corner.worker()([*viewed, {**bare, "event_id": "bare"}])

    assert (3, []) == (done.applied, done.rejected)


async def test_a_remembered_profile_is_written_without_being_read(corner: Corner) -> None:
    worker = corner.worker()
    await worker([resolved()])
    calls: list[int] = []
    read = corner.profiles.read
    corner.profiles.read = lambda requests: calls.append(len(requests)) or read(requests)  # type: ignore
    await worker([resolved(), resolved()])

    assert ([], 2) == (calls, (await corner.stored("p1")).version)


async def test_redelivery_to_a_worker_with_a_memory_changes_nothing(corner: Corner) -> None:
    worker = corner.worker()
    events = [resolved(), resolved()]
    await worker(events)
    before = await corner.stored("p1")
    again = await worker([*events, resolved()])

    assert (1, 2) == (again.applied, again.repeated)
    assert (before.version + 1, 3) == ((await corner.stored("p1")).version, len(await corner.published()))


async def test_workers_with_memories_of_the_same_people_never_lose_or_repeat_an_event(corner: Corner) -> None:
    chance = random.Random(5)
    workers = [corner.worker(cached_bytes=1500), corner.worker(), corner.worker()]
    named = [("anonymous_id", str(number)) for number in range(6)]
    everything: list[Event] = []

    async def work(worker: ProfileUpdate) -> None:
        for hour in range(12):
            batch = [
                await corner.identified(added("lamp", hour), *chance.sample(named, 2 if chance.random() < 0.1 else 1))
                for _ in range(8)
            ]
            everything.extend(batch)
            await worker(batch)
            await worker(chance.sample(batch, 4))

    await asyncio.gather(*map(work, workers))
    people: dict[str, list[Event]] = {}
    for event in everything:
        people.setdefault(str(await corner.identities.follow(event["profile_id"])), []).append(event)
    # A merge is completed by the next event of the person.
    for person, events in people.items():
        last = {**resolved(), "profile_id": person}
        events.append(last)
        await workers[1]([last])
    published = [value["of"] for _, value in await corner.published()]

    assert sorted(event["event_id"] for events in people.values() for event in events) == sorted(published)
    for person, events in people.items():
        stored = await corner.stored(person)
        assert {**told(*events), "profile_id": person} == read_profile(stored)
        assert f'"count":{len(events)},'.encode() in stored.state


async def test_a_timer_fires_once_at_its_time(corner: Corner) -> None:
    worker = corner.worker()
    await worker([resolved()])

    assert [] == await corner.profiles.due(RECEIVED + 59_999, 10)
    assert ["p1"] == await corner.profiles.due(RECEIVED + 60_000, 10)

    for one in (worker, corner.worker(), worker):
        await one.fire(["p1"], RECEIVED + 60_000)

    assert [("actions", {"rang": "p1"})] == (await corner.published())[1:]
    assert [] == await corner.profiles.due(RECEIVED + 10**9, 10)


async def test_a_merge_moves_the_timer_to_the_person_who_goes_on(corner: Corner) -> None:
    phone, laptop = ("anonymous_id", "phone"), ("anonymous_id", "laptop")
    first = [
        await corner.identified(resolved(occurred_at=at(hours=hour)), one) for hour, one in enumerate((phone, laptop))
    ]
    await corner.worker()(first)
    joining = await corner.identified(resolved(occurred_at=at(hours=3)), phone, laptop)
    winner = joining["profile_id"]
    (loser,) = {event["profile_id"] for event in first} - {winner}
    # The loser's timer comes before the event that joined them.
    await corner.worker().fire([loser], RECEIVED + 60_000)
    await corner.worker()([joining])

    assert [("actions", {"rang": winner})] == [one for one in await corner.published() if one[0] == "actions"]
    assert [] == await corner.profiles.due(RECEIVED + 10**9, 10)


async def test_erasure_takes_the_timer_along(corner: Corner) -> None:
    await corner.worker()([resolved()])
    await corner.profiles.erase("p1")

    assert [] == await corner.profiles.due(RECEIVED + 10**9, 10)


async def test_a_bug_in_a_decision_costs_the_decision_alone(corner: Corner) -> None:
    good, bad, other = resolved(), resolved("Boom"), resolved(person="p2")
    done = await corner.worker()([good, bad, other])
    stored = await corner.stored("p1")

    ((event, reject),) = done.rejected
    assert (bad, Reason.BUG) == (event, reject.reason)
    assert reject.message.startswith(f"ZeroDivisionError in {__name__}.on_event, line ")
    assert (2, b'{"count":1,"rings_at":%d}' % (RECEIVED + 60_000)) == (
        read_profile(stored)["event_count"],
        stored.state,
    )
    assert [("decisions", {"of": event["event_id"], "count": 1}) for event in (good, other)] == await corner.published()


async def test_those_who_looked_at_a_product_are_known_the_latest_first(corner: Corner) -> None:
    about = {"product_id": "lamp"}
    looks = [
        {**resolved("Product Viewed", person=person, properties=about), "received_at": at(days=day)[:-6] + "Z"}
        for day, person in enumerate(("p1", "p2", "p1"))
    ]
    await corner.worker()(looks)
    in_cart = {"products": [{"product_id": "lamp"}, {"product_id": "rug"}]}
    listed = resolved("Cart Viewed", person="p3", properties=in_cart)
    await corner.worker()([{**listed, "received_at": at(days=3)[:-6] + "Z"}])

    assert ["p3", "p1", "p2"] == await corner.products.watchers("lamp")
    assert ["p3"] == await corner.products.watchers("rug")


# States and documents of another version

NEWER = {"quests": {"of": "a newer version"}, "plans": [1, 2]}
SEGMENT = {"name": "lookers", "description": "Viewed a product.", "when": {"performed": "Product Viewed"}}


@pytest.fixture
def engine() -> DecisionEngine:
    """The decision engine as the workers run it, with one segment."""
    segments = SegmentDefinitions.model_validate({"segments": [SEGMENT]})
    return DecisionEngine(segments, (), MessagePolicy())


async def write_newer(corner: Corner, profile_id: str, **sections: Any) -> None:
    """Let a newer version change a stored profile: sections of its own in the document, and these in the state."""
    stored = await corner.stored(profile_id)
    document = {**read_profile(stored), "profile_id": stored.profile_id, "wishes": {"lamp": 1}}
    state = {**orjson.loads(stored.state or b"{}"), **sections}
    change = ProfileWrite(stored.profile_id, stored.version, encode(document), (), (), orjson.dumps(state))
    assert await corner.profiles.replace(change)


async def state_of(corner: Corner, profile_id: str) -> Any:
    return orjson.loads((await corner.stored(profile_id)).state)


async def test_a_state_and_a_document_written_by_a_newer_version_survive_events_and_a_merge(
    corner: Corner, engine: DecisionEngine
) -> None:
    def worker() -> ProfileUpdate:
        return ProfileUpdate(corner.profiles, engine)

    phone, laptop = ("anonymous_id", "phone"), ("anonymous_id", "laptop")
    first = [await corner.identified(resolved("Product Viewed"), one) for one in (phone, laptop)]
    await worker()(first)
    for event in first:
        await write_newer(corner, event["profile_id"], **NEWER)
    joining = await corner.identified(resolved(), phone, laptop)
    late = await corner.identified(resolved(), phone)
    for batch in ([joining], [late]):
        assert (1, []) == ((updated := await worker()(batch)).applied, updated.rejected)

    winner = joining["profile_id"]
    state = await state_of(corner, winner)
    document = read_profile(await corner.stored(winner))
    assert NEWER == {name: state[name] for name in NEWER}
    assert ({"lamp": 1}, 4, ["lookers"]) == (document["wishes"], document["event_count"], [*state["segments"]["in"]])


async def test_a_known_section_in_the_form_of_a_newer_version_costs_decisions_alone(
    corner: Corner, engine: DecisionEngine
) -> None:
    phone, laptop = ("anonymous_id", "phone"), ("anonymous_id", "laptop")
    first = [await corner.identified(resolved("Product Viewed"), one) for one in (phone, laptop)]
    await ProfileUpdate(corner.profiles, engine)(first)
    joining = await corner.identified(resolved(), phone, laptop)
    winner = joining["profile_id"]
    (loser,) = {event["profile_id"] for event in first} - {winner}
    broken = {"segments": {"v2": []}, "caps": {"v2": 1}}
    await corner.redis.hset(
        f"{person_prefix(corner.namespace, loser)}profile:{loser}",
        mapping={"state": orjson.dumps(broken), "version": 2},
    )
    own = {**resolved("Product Viewed"), "profile_id": winner}
    for event in (joining, own):
        updated = await ProfileUpdate(corner.profiles, engine)([event])

        assert (1, [event]) == (updated.applied, [one for one, _ in updated.rejected])

    state = await state_of(corner, winner)
    due = RECEIVED + TIMER_RETRY_MS
    assert (4, [broken]) == (read_profile(await corner.stored(winner))["event_count"], state[UNMERGED])
    assert ([], [winner]) == (await corner.profiles.due(due - 1, 10), await corner.profiles.due(due, 10))
    assert 1 == len(await ProfileUpdate(corner.profiles, engine).fire([winner], due))
    assert [] == await corner.profiles.due(due + TIMER_RETRY_MS - 1, 10)


@pytest.mark.parametrize("held", ["document", "state"])
async def test_what_is_stored_and_cannot_be_read_stays_and_stops_neither_events_nor_timers(
    corner: Corner, held: str
) -> None:
    await corner.worker()([resolved(), resolved(person="p2")])
    await corner.redis.hset(f"{person_prefix(corner.namespace, 'p1')}profile:p1", held, "{")
    updated = await corner.worker()([resolved(), resolved(person="p2")])

    assert (1, 1) == (len(updated.rejected), updated.applied - (held == "state"))

    errors = await corner.worker().fire(["p1", "p2"], RECEIVED + 10**6)
    stored = await corner.stored("p1")

    assert ["p1"] == [error.split(":")[0] for error in errors]
    assert ("actions", {"rang": "p2"}) in await corner.published()
    assert b"{" == getattr(stored, held)
    assert [] == await corner.profiles.due(RECEIVED + 10**6 + TIMER_RETRY_MS - 1, 10)


async def test_a_timer_of_a_merge_that_cannot_be_read_is_removed_until_the_profile_is_written(corner: Corner) -> None:
    phone, laptop = ("anonymous_id", "phone"), ("anonymous_id", "laptop")
    first = [await corner.identified(resolved(), one) for one in (phone, laptop)]
    await corner.worker()(first)
    joining = await corner.identified(resolved(), phone, laptop)
    winner = joining["profile_id"]
    (loser,) = {event["profile_id"] for event in first} - {winner}
    key = f"{person_prefix(corner.namespace, loser)}profile:{loser}"
    document = await corner.redis.hget(key, "document")
    await corner.redis.hset(key, "document", "{")

    assert 1 == len(await corner.worker().fire([winner, loser], RECEIVED + 10**6))
    assert [] == await corner.profiles.due(RECEIVED + 10**9, 10)

    await corner.redis.hset(key, "document", document or b"")
    await corner.worker()([joining])

    assert 3 == read_profile(await corner.stored(winner))["event_count"]
    assert [winner] == await corner.profiles.due(RECEIVED + 60_000, 10)
