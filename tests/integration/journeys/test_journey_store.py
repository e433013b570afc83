"""Journeys and their messages on the real server: exact however many workers decide about one person at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.profiles.document import read_profile
from processors.profiles.rebuild import rebuild
from processors.profiles.stage import ProfileUpdate
from schemas.decisions.policy import CapRule, MessagePolicy
from schemas.identity.policy import IdentityPolicy
from schemas.journeys.definitions import Journey
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import ms_of_text
from schemas.topics import ACTIONS, DECISIONS, JOURNEY_EVENTS
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.keys import patterns, person_prefix
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.profiles import RedisProfileStore
from tests.oracles.identity_model import request
from tests.support.profiles import resolved
from tests.support.stories import UNLIMITED, cart, journey, moment, shipped_journeys, shipped_segments, simple

pytestmark = pytest.mark.integration

Event = dict[str, Any]
Row = dict[str, Any]

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
THREE_A_WEEK = UNLIMITED.model_copy(update={"caps": (CapRule(limit=3, within=7 * DAY),)})
ALERT = journey("entry: {event: Product Price Dropped, key: product_id}\nsteps: [{message: alert, channel: email}]")
NOON = moment("12:00")
YES = {"marketing": True, "channels": {"email": True, "sms": True}}
NO = {"marketing": False, "channels": {"email": False, "sms": False}}


class Store:
    """The stores of one test."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace
        self.profiles = RedisProfileStore(redis, namespace)
        self.outbox = RedisProfileOutbox(redis, namespace)
        self.identities = RedisIdentityStore(redis, namespace, IdentityPolicy.unlimited())

    async def rows(self, topic: str, **fields: Any) -> list[Row]:
        """What is to be published to a topic, as far as it has these values."""
        found = [
            orjson.loads(one.value) for _, one in await self.outbox.pending(1_000_000) if one.topic.endswith(topic)
        ]
        return [row for row in found if fields.items() <= row.items()]

    async def exits(self) -> list[tuple[str, str]]:
        """Key and reason of the runs that have ended."""
        return [(row["key"], row["detail"]["reason"]) for row in await self.rows(JOURNEY_EVENTS, kind="exited")]

    async def state(self, profile_id: str) -> Row:
        """What is remembered of a person."""
        stored = await self.profiles.get(profile_id)
        assert stored is not None
        found: Row = orjson.loads(stored.state or b"{}")
        return found

    async def empty(self) -> None:
        """Forget everything."""
        found = [self.redis.scan_iter(match=one, count=1000) for one in patterns(self.namespace)]
        keys = [key for some in found async for key in some]
        await self.redis.unlink(*keys)

    async def named(self, event: Event, *named: tuple[str, str]) -> Event:
        """Find out whose an event is; one that names two people makes them one."""
        asked = request(event["event_id"], *named, received_ms=ms_of_text(event["received_at"]))
        (resolution,) = await self.identities.resolve([asked])
        return {**event, "profile_id": resolution.profile_id}


@pytest.fixture
async def store(stack: Settings) -> AsyncIterator[Store]:
    async with async_redis_client(stack, timeout_s=10) as redis:
        yield Store(redis, stack.redis_namespace)


def decider(
    *journeys: Journey, policy: MessagePolicy = UNLIMITED, segments: SegmentDefinitions | None = None
) -> DecisionEngine:
    return DecisionEngine(segments or SegmentDefinitions(), journeys, policy)


def event(name: str, at_ms: int, person: str = "p1", *, late_ms: int = 0, **fields: Any) -> Event:
    """An event that is received at a time, and happened so much earlier."""
    found = resolved(name, person=person, occurred_at=_text(at_ms - late_ms), **fields)
    return {**found, "received_at": _text(at_ms)}


def about(person: str, at_ms: int, consent: Row = YES, kind: str = "email") -> Event:
    """A person says where they are to be reached, and whether they may be."""
    return event("Identify", at_ms, person, identifiers={kind: f"{person}@shop.example"}, consent=consent)


def alerts(count: int, people: int) -> list[Event]:
    """So many reasons for a message, a millisecond apart."""
    return [
        event("Product Price Dropped", NOON + number, f"p{number % people}", event_id=f"drop {number}",
              properties={"product_id": f"lamp {number}", "price": "8.00", "old_price": "9.00"}) | {"derived": True}
        for number in range(count)
    ]  # fmt: skip


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _parts(events: Sequence[Event], size: int) -> Iterator[list[Event]]:
    waiting = iter(events)
    while part := list(islice(waiting, size)):
        yield part


class TestManyAtOnce:
    @pytest.mark.parametrize(("people", "workers", "size"), [(1, 4, 10), (1, 2, 250), (5, 6, 8)])
    async def test_of_a_thousand_concurrent_triggers_a_cap_of_three_lets_exactly_three_out(
        self, store: Store, people: int, workers: int, size: int
    ) -> None:
        chance = random.Random(people)
        deciding = decider(ALERT, policy=THREE_A_WEEK)
        names = [f"p{number}" for number in range(people)]
        await ProfileUpdate(store.profiles, deciding)([about(name, NOON - HOUR) for name in names])
        everything = alerts(1000, people)
        chance.shuffle(everything)
        parts = list(_parts(everything, size))

        async def work(number: int) -> None:
            worker = ProfileUpdate(store.profiles, deciding, cached_bytes=chance.choice([4_000, 2**20]))
            for part in parts[number::workers]:
                await worker(part)
                await worker(part[:2])  # delivered again

        await asyncio.gather(*map(work, range(workers)))
        decisions = await store.rows(DECISIONS)

        assert dict.fromkeys(names, 3) == {
            name: sum(row["profile_id"] == name for row in await store.rows(ACTIONS)) for name in names
        }
        assert (3 * people, 1000 - 3 * people, {"caps"}) == (
            sum(row["outcome"] == "sent" for row in decisions),
            sum(row["outcome"] == "suppressed" for row in decisions),
            {row["gate"] for row in decisions} - {""},
        )
        assert 1000 == len({row["decision_id"] for row in decisions}) == len(decisions)

    async def test_timers_that_several_workers_fire_at_once_fire_once(self, store: Store) -> None:
        deciding = decider(simple("  - delay: 1h\n  - message: hello\n    channel: email"))
        names = [f"p{number}" for number in range(100)]
        workers = [ProfileUpdate(store.profiles, deciding) for _ in range(4)]
        await workers[0]([about(name, NOON) for name in names])
        await workers[0]([event("Signed Up", NOON, name, event_id=f"s-{name}") for name in names])
        due = await store.profiles.due(NOON + HOUR, 1000)
        # While they do, their people go on with their lives.
        lives = [event("Page Viewed", NOON + HOUR, name, event_id=f"v-{name}") for name in names]
        await asyncio.gather(*(worker.fire(due, NOON + HOUR) for worker in workers[:3]), workers[3](lives))
        for worker in workers:
            await worker.fire(await store.profiles.due(NOON + 2 * HOUR, 1000), NOON + 2 * HOUR)

        assert sorted(names) == sorted(due) == sorted(row["profile_id"] for row in await store.rows(ACTIONS))
        assert [] == await store.profiles.due(NOON + DAY, 10)

    async def test_a_timer_that_follows_shortly_keeps_its_time(self, store: Store) -> None:
        worker = ProfileUpdate(store.profiles, decider(cart()))
        await worker([about("p1", NOON), put("c1", NOON), put("c2", NOON + 100)])
        await worker.fire(["p1"], NOON + HOUR)

        assert [] == await store.profiles.due(NOON + HOUR + 99, 10)
        assert ["p1"] == await store.profiles.due(NOON + HOUR + 100, 10)


LIVES: list[tuple[str, Row]] = [
    ("Product Added", {"cart_id": "c1", "product_id": "lamp"}), ("Page Viewed", {}),
    ("Product Added", {"cart_id": "c2", "product_id": "sofa"}), ("Product Viewed", {"product_id": "vase"}),
    ("Order Completed", {"order_id": "o1", "cart_id": "c1", "revenue": "9.90", "currency": "EUR"}),
    ("Signed Up", {}), ("Loyalty Points Earned", {"points": 600}), ("Payment Due", {"order_id": "o1"}),
    ("Payment Received", {"order_id": "o1"}), ("Contest Entered", {"contest_id": "k"}),
    ("Contest Won", {"contest_id": "k"}),
]  # fmt: skip


def history(seed: int, people: int = 8, count: int = 240) -> list[Event]:
    """Three weeks of a few people's lives, in the order of receipt; some of it is told late."""
    chance = random.Random(seed)
    names = [f"p{number}" for number in range(people)]
    told, now = [about(name, NOON) for name in names], NOON
    for number in range(count):
        now += chance.choice([1, 500, 20 * MINUTE, HOUR, 8 * HOUR])
        name, properties = chance.choice(LIVES)
        late = chance.choice([0, 0, 0, 10 * MINUTE, 2 * DAY])
        told.append(
            event(name, now, chance.choice(names), event_id=f"life {number}", late_ms=late, properties=properties)
        )
    return told


async def live(
    store: Store, deciding: DecisionEngine, told: list[Event], *, size: int, seed: int | None = None, until: int
) -> list[str]:
    """Process events in batches; with a seed, somebody looks at the clock now and then, and workers come and go."""
    chance = random.Random(seed)
    workers = [ProfileUpdate(store.profiles, deciding) for _ in range(1 if seed is None else 3)]
    for batch in _parts(told, size):
        if seed is not None and chance.random() < 0.5:
            now = ms_of_text(batch[0]["received_at"]) - chance.choice([0, 1, MINUTE])
            await chance.choice(workers).fire(await store.profiles.due(now, 100), now)
        await chance.choice(workers)(batch)
    while due := await store.profiles.due(until, 100):
        await workers[0].fire(due, until)
    published = [[one.topic, orjson.loads(one.value)] for _, one in await store.outbox.pending(1_000_000)]
    # The order of names within an object is not said.
    written = sorted(orjson.dumps(one, option=orjson.OPT_SORT_KEYS).decode() for one in published)
    assert len(written) == len(set(written))
    return written


class TestReplay:
    @pytest.mark.parametrize("seed", range(2))
    async def test_into_an_empty_store_it_decides_the_same_in_whatever_batches_and_whoever_looks_at_the_clock(
        self, store: Store, seed: int
    ) -> None:
        deciding = decider(*shipped_journeys().values(), policy=MessagePolicy(), segments=shipped_segments())
        told = history(seed)
        until = ms_of_text(told[-1]["received_at"]) + 40 * DAY
        first = await live(store, deciding, told, size=7, seed=seed, until=until)
        for size, looks in ((1, None), (100, None), (3, seed + 10)):
            await store.empty()

            assert first == await live(store, deciding, told, size=size, seed=looks, until=until)

        assert {"sent", "suppressed", "postponed"} <= {row["outcome"] for row in await store.rows(DECISIONS)}

    async def test_from_history_makes_the_live_state_again(self, store: Store) -> None:
        deciding = decider(*shipped_journeys().values(), policy=MessagePolicy(), segments=shipped_segments())
        told = history(7)
        now = ms_of_text(told[-1]["received_at"]) + HOUR
        await live(store, deciding, told, size=20, seed=3, until=now)
        compared = 0
        for name in sorted({one["profile_id"] for one in told}):
            stored = await store.profiles.get(name)
            assert stored is not None
            rebuilt = rebuild(name, [one for one in told if one["profile_id"] == name], decider=deciding, until_ms=now)

            assert (read_profile(stored), await store.state(name)) == (rebuilt.document, rebuilt.state)
            # Those whose time has not come must not be forgotten either.
            score = await store.redis.zscore(f"{person_prefix(store.namespace, name)}timers", name)
            assert rebuilt.due_ms == (None if score is None else int(score))
            compared += bool(rebuilt.state.get("journeys", {}).get("runs") and rebuilt.state.get("caps"))

        assert compared > 0


PHONE, LAPTOP = ("anonymous_id", "phone"), ("anonymous_id", "laptop")


async def two_people(store: Store, worker: ProfileUpdate, **consents: Row) -> tuple[str, str]:
    """One person who is not known yet to be one: on the phone, and then on the laptop."""
    found = []
    for number, (device, named) in enumerate((("phone", PHONE), ("laptop", LAPTOP))):
        told = await store.named(about(device, NOON + number, consents.get(device, YES)), named)
        await worker([told])
        found.append(told["profile_id"])
    return found[0], found[1]


async def tell(store: Store, worker: ProfileUpdate, one: Event, *named: tuple[str, str]) -> str:
    """Let an event of whoever has these identifiers happen."""
    told = await store.named(one, *named)
    await worker([told])
    return str(told["profile_id"])


def put(cart_id: str, at_ms: int, product: str = "lamp") -> Event:
    return event("Product Added", at_ms, properties={"cart_id": cart_id, "product_id": product})


class TestMerge:
    async def test_caps_add_up(self, store: Store) -> None:
        worker = ProfileUpdate(store.profiles, decider(ALERT, policy=THREE_A_WEEK))
        await two_people(store, worker)
        for number, named in enumerate((PHONE, PHONE, LAPTOP, LAPTOP)):
            dropped = event("Product Price Dropped", NOON + MINUTE * number, properties={"product_id": f"p{number}"})
            await tell(store, worker, dropped, named)
        await tell(store, worker, event("Signed In", NOON + HOUR), PHONE, LAPTOP)
        after = event("Product Price Dropped", NOON + DAY, properties={"product_id": "sofa"})
        person = await tell(store, worker, after, PHONE)
        last = (await store.rows(DECISIONS, profile_id=person))[-1]

        assert (4, "suppressed", "caps") == (len(await store.rows(ACTIONS)), last["outcome"], last["gate"])
        assert 4 == len((await store.state(person))["caps"])

    @pytest.mark.parametrize("remembered", [0, 2**20], ids=["a worker without memory", "a worker with a memory"])
    async def test_runs_of_one_cart_become_one_and_its_timer_goes_along(self, store: Store, remembered: int) -> None:
        worker = ProfileUpdate(store.profiles, decider(cart()), cached_bytes=remembered)
        before = await two_people(store, worker)
        await tell(store, worker, put("c1", NOON + MINUTE), PHONE)
        await tell(store, worker, put("c1", NOON + 2 * MINUTE, "sofa"), LAPTOP)
        await tell(store, worker, put("c2", NOON + 3 * MINUTE, "vase"), LAPTOP)
        person = await tell(store, worker, event("Signed In", NOON + 10 * MINUTE), PHONE, LAPTOP)
        waiting = await store.profiles.due(NOON + DAY, 10)
        for at in (NOON + HOUR, NOON + 2 * HOUR):
            await worker.fire(await store.profiles.due(at, 10), at)
        (collapsed,) = await store.rows(JOURNEY_EVENTS, kind="collapsed")
        left = await store.rows(JOURNEY_EVENTS, kind="exited")

        assert person in before
        assert [person] == waiting
        assert ["c1", "c2"] == sorted(row["key"] for row in left)
        assert [person] * 2 == [row["profile_id"] for row in await store.rows(ACTIONS)]
        assert ("c1", 1) == (collapsed["key"], sum(row["run_id"] == collapsed["detail"]["into"] for row in left))
        assert [] == await store.profiles.due(NOON + 10 * DAY, 10)

    async def test_a_merge_that_no_event_completes_still_fires_the_timer(self, store: Store) -> None:
        worker = ProfileUpdate(store.profiles, decider(cart()))
        await two_people(store, worker)
        await tell(store, worker, put("c1", NOON + MINUTE), PHONE)
        await tell(store, worker, put("c9", NOON + MINUTE), LAPTOP)
        merged = await store.named(event("Signed In", NOON + 2 * MINUTE), PHONE, LAPTOP)  # and never gets to a worker
        for _ in range(2):
            await worker.fire(await store.profiles.due(NOON + 2 * HOUR, 10), NOON + 2 * HOUR)

        assert [merged["profile_id"]] * 2 == [row["profile_id"] for row in await store.rows(ACTIONS)]
        assert [] == await store.profiles.due(NOON + 10 * DAY, 10)

    @pytest.mark.parametrize(("phone", "laptop"), [(NO, YES), (YES, NO)], ids=["no on the phone", "no on the laptop"])
    async def test_the_stricter_consent_wins(self, store: Store, phone: Row, laptop: Row) -> None:
        worker = ProfileUpdate(store.profiles, decider(cart()))
        # Both answers are of the same moment: none of them is news.
        for number, (named, consent) in enumerate(((PHONE, phone), (LAPTOP, laptop))):
            await tell(store, worker, about(named[1], NOON, consent) | {"event_id": f"i{number}"}, named)
        await tell(store, worker, put("c1", NOON + MINUTE), PHONE)
        await tell(store, worker, put("c2", NOON + MINUTE), LAPTOP)
        await tell(store, worker, event("Signed In", NOON + 2 * MINUTE), PHONE, LAPTOP)
        await worker.fire(await store.profiles.due(NOON + 2 * HOUR, 10), NOON + 2 * HOUR)

        assert [("suppressed", "consent")] * 2 == [(row["outcome"], row["gate"]) for row in await store.rows(DECISIONS)]


def order(at_ms: int, late_ms: int) -> Event:
    bought = {"order_id": "o1", "cart_id": "c1", "revenue": "9.90", "currency": "EUR"}
    return event("Order Completed", at_ms, late_ms=late_ms, properties=bought)


class TestLateOrder:
    async def test_it_ends_the_run_that_is_still_waiting(self, store: Store) -> None:
        worker = ProfileUpdate(store.profiles, decider(cart()))
        await worker([about("p1", NOON), put("c1", NOON + MINUTE)])
        await worker([order(NOON + 50 * MINUTE, 40 * MINUTE)])
        await worker.fire(await store.profiles.due(NOON + DAY, 10), NOON + DAY)

        assert ([], [("c1", "exit_when: Order Completed")]) == (await store.rows(DECISIONS), await store.exits())

    async def test_it_regrets_what_went_out_meanwhile(self, store: Store) -> None:
        worker = ProfileUpdate(store.profiles, decider(cart()))
        await worker([about("p1", NOON), put("c1", NOON + MINUTE)])
        await worker.fire(await store.profiles.due(NOON + 2 * HOUR, 10), NOON + 2 * HOUR)
        await ProfileUpdate(store.profiles, decider(cart()))([order(NOON + 3 * HOUR, 150 * MINUTE)] * 2)
        sent, regretted = await store.rows(DECISIONS)

        assert (1, ["sent", "regretted"]) == (len(await store.rows(ACTIONS)), [sent["outcome"], regretted["outcome"]])
        assert sent["idempotency_key"] == regretted["idempotency_key"]
