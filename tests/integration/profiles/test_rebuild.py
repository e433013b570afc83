"""A person made again from history: what was published comes back, and merging then splitting leaves no trace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random
from typing import Any, cast

import orjson
import pytest

from deploy.operations.deployment import Deployment
from deploy.operations.rebuild import separated_identifiers
from deploy.settings import Settings
from processors.identity.claims import event_key
from processors.profiles.document import encode, join, new_profile, profile_of_event
from processors.profiles.rebuild import rebuild, replacement
from schemas.profiles.document import ProfileRequest
from schemas.records import Outgoing
from schemas.time import ms_of_text
from schemas.topics import JOURNEY_EVENTS
from sinks.clickhouse.history import count_affected, read_events
from sinks.redis.outbox import RedisProfileOutbox
from tests.support.builders import at, order, touchpoint, visit
from tests.support.in_process_pipeline import Town, town

pytestmark = pytest.mark.integration

Event = dict[str, Any]

ANN, BEN = {"email": "ann@shop.example"}, {"phone": "+14155552671"}


@pytest.fixture
async def here(stack: Settings) -> AsyncIterator[Town]:
    async with town(stack) as found:
        yield found


def variety(who: dict[str, Any], random: Random, number: int) -> list[Event]:
    """Events of everything that a profile is made of, in the life of one person."""

    def day() -> str:
        return at(days=random.randint(0, 20), minutes=random.randint(0, 900))

    product = {"product_id": f"p{random.randint(1, 4)}", "quantity": 2, "price": "9.90", "currency": "EUR"}
    browser = {"anonymous_id": f"browser-{number}"}
    return [
        visit("Paid Search", identifiers=browser, occurred_at=day(), context={"session_id": "s", "locale": "de"}),
        touchpoint("Page Viewed", identifiers=who | browser, occurred_at=day()),
        touchpoint("Product Added", identifiers=browser, occurred_at=day(), properties=product),
        touchpoint("Product Viewed", "app", identifiers=who, occurred_at=day(), properties=product),
        order(f"order {number}", f"{random.randint(10, 99)}.50", identifiers=who, occurred_at=day(), channel="store"),
        touchpoint("Email Link Clicked", "email", identifiers=who, occurred_at=day(),
                   campaign={"name": "weekly", "audience": "loyal"}, properties={"message_id": f"m{number}"}),
        touchpoint("Identify", identifiers=who, occurred_at=day(), traits={"first_name": f"Nr. {number}", "age": 30},
                   consent={"marketing": bool(number % 2), "channels": {"sms": False}}),
        touchpoint("Loyalty Points Earned", "loyalty", identifiers=who, occurred_at=day(), properties={"points": 5}),
        touchpoint("Größe gewählt 🎉", identifiers=who, occurred_at=day(), properties={"list": [1, None, "ß"]}),
    ]  # fmt: skip


async def test_history_is_what_was_published(here: Town) -> None:
    await here.live(*variety(ANN, Random(1), 1), touchpoint("Stock Changed", "api", identifiers={}, properties={
        "product_id": "p1", "quantity": 3}))  # fmt: skip
    person = await here.owner("email", "ann@shop.example")
    mine = [event for event in here.published if event["profile_id"] is not None]
    found = read_events(here.tables.client, person)

    assert 9 == len(mine)
    assert mine == found
    assert [{"audience": "loyal", "name": "weekly"}] == [
        event["campaign"] for event in found if event["channel"] == "email"
    ]


async def test_a_profile_made_from_history_is_the_live_one(here: Town) -> None:
    await here.live(*variety(ANN, Random(2), 1))
    person = await here.owner("email", "ann@shop.example")
    stored = await here.profiles.get(person)
    rebuilt = rebuild(person, read_events(here.tables.client, person))

    assert stored is not None
    assert stored.document == encode(rebuilt.document)


@pytest.mark.parametrize("seed", range(2))
async def test_merging_and_splitting_leaves_no_trace(here: Town, seed: int) -> None:
    random = Random(seed)
    anns, bens = variety(ANN, random, 1), variety(BEN, random, 2)
    wrong = touchpoint("Identify", identifiers=ANN | BEN, occurred_at=at(days=9))
    life = [*anns, *bens]
    random.shuffle(life)
    cut = random.randint(1, len(life) - 1)
    await here.live(*life[:cut])
    await here.live(wrong)
    await here.live(*life[cut:])
    identifier_hashes = [
        here.identifier_hash("phone", "+14155552671"),
        here.identifier_hash("anonymous_id", "browser-2"),
    ]
    split = await here.identities.split(f"seed {seed}", identifier_hashes, occurred_ms=ms_of_text(at(days=30)))
    await here.relay()
    for person in (split.source, split.target):
        await remake(here, person)

    assert never_merged(here, split.source, [*anns, wrong], BEN) == await document(here, split.source)
    assert never_merged(here, split.target, bens, ANN) == await document(here, split.target)
    assert {"events": 9, "orders": 1} == count_affected(
        here.tables.client, [anchor for anchor, _ in split.moved], split.target
    )


async def test_the_event_that_joined_two_people_is_no_address_of_the_other_when_it_comes_again(here: Town) -> None:
    await here.live(touchpoint(identifiers=ANN), touchpoint(identifiers=BEN), touchpoint(identifiers=ANN | BEN))
    await here.identities.split("apart", [here.identifier_hash("phone", "+14155552671")], occurred_ms=0)
    (again,) = await here.live(touchpoint(identifiers=ANN | BEN))

    assert ["email"] == [one["type"] for one in again["identifiers"]]


async def test_a_profile_that_changed_meanwhile_is_not_replaced(here: Town) -> None:
    await here.live(touchpoint(identifiers=ANN))
    person = await here.owner("email", "ann@shop.example")
    stored = await here.profiles.get(person)
    assert stored is not None
    await here.live(touchpoint(identifiers=ANN))
    change = replacement(stored, rebuild(person, []), decided=False, marked_since_ms=0)

    assert not await here.profiles.replace(change)
    assert 2 == orjson.loads(await document(here, person))["event_count"]


async def test_what_a_rebuild_has_to_publish_is_in_the_outbox_if_the_profile_was_replaced(here: Town) -> None:
    await here.live(touchpoint(identifiers=ANN))
    person = await here.owner("email", "ann@shop.example")
    stored = await here.profiles.get(person)
    assert stored is not None
    change = replacement(stored, rebuild(person, []), decided=False, marked_since_ms=0)
    change = change._replace(outgoing=(Outgoing(JOURNEY_EVENTS, person.encode(), b'{"kind": "segment_entered"}'),))
    replaced = [await here.profiles.replace(change), await here.profiles.replace(change)]
    pending = await RedisProfileOutbox(here.redis, here.namespace).pending(10)

    assert [True, False] == replaced
    assert list(change.outgoing) == [record for _, record in pending if record.topic == JOURNEY_EVENTS]


async def test_an_event_that_history_had_before_the_profile_did_counts_once(here: Town) -> None:
    (event,) = await here.live(touchpoint(identifiers=ANN))
    late = {**event, "event_id": "late", "origin": {**event["origin"], "offset": 99}}
    await here.store(late)
    await remake(here, event["profile_id"])
    reading = await here.profiles.read(
        [ProfileRequest(event["profile_id"], event_key(event["source"], "late"), ms_of_text(late["received_at"]))]
    )

    assert [True] == reading.applied
    assert 2 == orjson.loads(await document(here, event["profile_id"]))["event_count"]


async def test_what_a_merge_left_to_absorb_is_not_counted_twice(here: Town) -> None:
    await here.live(touchpoint(identifiers=ANN), touchpoint(identifiers=BEN))
    (merging,) = await here.live(touchpoint(identifiers=ANN | BEN))
    await here.live(touchpoint(identifiers={"anonymous_id": "third"}))
    await remake(here, merging["profile_id"])

    assert 3 == orjson.loads(await document(here, merging["profile_id"]))["event_count"]
    assert await here.profiles.get(merging["profile_id"]) is not None


async def remake(here: Town, person: str) -> None:
    """Make a profile from history, as `rebuild_people` does between two looks at the workers."""
    stored = await here.profiles.get(person)
    assert stored is not None
    events = read_events(here.tables.client, person)
    foreign = await separated_identifiers(cast(Deployment, here), person, events)
    rebuilt = rebuild(person, events, foreign=foreign)
    assert await here.profiles.replace(replacement(stored, rebuilt, decided=False, marked_since_ms=0))


async def document(here: Town, person: str) -> bytes:
    stored = await here.profiles.get(person)
    assert stored is not None
    assert stored.document is not None
    return stored.document


def never_merged(here: Town, person: str, sent: list[Event], others: dict[str, Any]) -> bytes:
    """The profile of somebody who did these things and was never taken for another, who has other identifiers."""
    ids = {event["event_id"] for event in sent}
    profile = new_profile(person)
    for event in here.published:
        if event["event_id"] in ids:
            own = [one for one in event["identifiers"] if others.get(one["type"]) != one["value"]]
            join(profile, profile_of_event({**event, "identifiers": own}))
    return encode(profile)
