"""Anonymous people who were not seen for long expire: their memory in Redis ends, their history stays theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import redis

from deploy.connections.redis import async_redis_client
from deploy.operations.deployment import open_deployment
from deploy.operations.erasure import erase_person
from deploy.operations.person_export import export_person
from deploy.operations.person_lookup import UnknownPersonError, find_erasure_request, find_person
from deploy.operations.rebuild import load_rebuild_definitions
from deploy.settings import Settings
from processors.journeys.events import all_segments_left
from processors.profiles.expiry import AnonymousExpiry
from processors.recording.rows import profile_row
from schemas.durations import DAY_MS
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import NIL_UUID
from schemas.profiles.document import IdleStep
from schemas.time import time_of_ms
from sinks.clickhouse.history import read_people
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.idle_profiles import RedisIdleProfiles
from sinks.redis.keys import person_prefix, shard_prefixes
from sinks.redis.packing import unpack
from sinks.redis.people import LostPeopleError, keep_people
from tests.oracles.identity_audit import Audit
from tests.support.builders import touchpoint
from tests.support.in_process_pipeline import RECEIVED_MS, Town, town

pytestmark = pytest.mark.integration

RETENTION = 395
NOTED, DETACHED, DELETED = 400, 431, 433
"""Days after the last event on which the passes of a test take the three steps."""


@pytest.fixture
async def here(stack: Settings) -> AsyncIterator[Town]:
    definitions, _ = await load_rebuild_definitions(stack)
    async with town(stack, decider=definitions.decider()) as found:
        with redis.Redis.from_url(stack.redis_url) as client:
            keep_people(client, stack.redis_namespace)
        yield found


def view(number: int, **identifiers: str) -> dict[str, Any]:
    return touchpoint("Page Viewed", event_id=f"view {number}", identifiers=identifiers)


def day(number: int) -> int:
    return RECEIVED_MS + number * DAY_MS


async def settle(here: Town, at_ms: int) -> list[dict[str, Any]]:
    """Fire what is due, store what has changed, relay the outboxes; return what was published."""
    while due := await here.profiles.due(at_ms, 1000):
        await here._update.fire(due, at_ms)
    changed = await here.profiles.changed(1000)
    if changed:
        await here.insert("profiles", *[profile_row(*one) for one in changed])
        await here.profiles.mark_exported([one[:2] for one in changed])
    await here.relay()
    published = []
    for prefix in shard_prefixes(here.namespace):
        entries: Any = await here.redis.xrange(f"{prefix}outbox")
        published += [orjson.loads(fields[b"v"]) for _, fields in entries]
        await here.redis.delete(f"{prefix}outbox")
    return published


async def go_over(here: Town, *days: int) -> list[dict[str, Any]]:
    """Go over all people on these days; return what was published because of it."""
    profiles = RedisIdleProfiles(here.redis, here.namespace)
    expiry = AnonymousExpiry(profiles, here.identities, RETENTION * DAY_MS, all_segments_left)
    published = []
    for number in days:
        assert await expiry.is_due(day(number))
        async for _ in expiry.run(day(number)):
            pass
        assert not await expiry.is_due(day(number))
        published += await settle(here, day(number))
    return published


async def has_document(here: Town, profile_id: str) -> bool:
    return bool(await here.redis.exists(f"{person_prefix(here.namespace, profile_id)}profile:{profile_id}"))


async def accounts(here: Town) -> list[tuple[Any, ...]]:
    return here.tables.rows(
        "SELECT toString(profile_id), stored, counted FROM v_profile_accounting WHERE stored != counted"
    )


async def test_a_visitor_expires_and_comes_back_as_somebody_else(here: Town) -> None:
    cookie, login = {"anonymous_id": "c1"}, {"anonymous_id": "c2", "user_id": "u1"}
    await here.live(view(1, **cookie), view(2, **cookie), view(3, **login))
    visitor, customer = await here.owner("anonymous_id", "c1"), await here.owner("user_id", "u1")
    await settle(here, day(NOTED))

    published = await go_over(here, RETENTION - 1, NOTED, DETACHED, DELETED)
    left = {one["segment"] for one in published if one["kind"] == "segment_left" and one["profile_id"] == visitor}
    keys = [key async for key in here.redis.scan_iter(match=f"*{visitor}*")]

    assert ([], {"inactive", "visitors"}, True) == (keys, left, await has_document(here, customer))
    assert [("expire", "retention", 1)] == here.tables.rows(
        "SELECT kind, rule, length(anchors) FROM identity_log FINAL WHERE kind = 'expire'"
    )
    assert [(customer,)] == here.tables.rows("SELECT toString(profile_id) FROM profiles FINAL")
    assert [customer] == [one for one, _ in read_people(here.tables.client, time_of_ms(day(DELETED)))]
    with pytest.raises(UnknownPersonError):
        await find_person(here, "anonymous_id:c1")

    back, logged_in = await here.live(view(4, **cookie), view(5, anonymous_id="c1", user_id="u1"))
    await settle(here, day(DELETED))

    assert visitor != back["profile_id"]
    assert customer == logged_in["profile_id"]
    assert [
        ("view 1", visitor),
        ("view 2", visitor),
        ("view 3", customer),
        ("view 4", customer),
        ("view 5", customer),
    ] == (here.tables.rows("SELECT event_id, toString(profile_id) FROM v_touchpoints ORDER BY event_id"))
    assert [] == await accounts(here)
    await Audit(here.redis, here.namespace, here.policy).check()


async def test_who_comes_back_meanwhile_stays_whole(here: Town) -> None:
    await here.live(view(1, anonymous_id="c1"), view(2, anonymous_id="c2"))
    early, late = await here.owner("anonymous_id", "c1"), await here.owner("anonymous_id", "c2")
    await settle(here, day(NOTED))
    await go_over(here, NOTED)
    await here.live(view(3, anonymous_id="c1"))  # of old, as an import's: it is of the day of the others
    await settle(here, day(NOTED))
    await go_over(here, DETACHED)
    assert (early, None) == (
        await here.owner("anonymous_id", "c1"),
        await here.identities.owner(here.identifier_hash("anonymous_id", "c2")),
    )
    on_its_way = {**here.published[1], "event_id": "view 4"}  # identify had resolved it before
    await here._update([on_its_way])
    await here.store(on_its_way)
    await settle(here, day(DETACHED))
    await go_over(here, DELETED, DELETED + 1)

    assert [True, True] == [await has_document(here, one) for one in (early, late)]
    assert [] == await accounts(here)

    await go_over(here, DETACHED + 31, DETACHED + 33, DETACHED + 64, DETACHED + 66)

    assert [False, False] == [await has_document(here, one) for one in (early, late)]


async def test_nobody_expires_for_whom_something_waits(here: Town) -> None:
    kinds = ("timer", "run", "snapshot", "merge", "record", "nothing")
    await here.live(*(view(number, anonymous_id=kind) for number, kind in enumerate(kinds)))
    people = {kind: await here.owner("anonymous_id", kind) for kind in kinds}
    prefixes = {kind: person_prefix(here.namespace, one) for kind, one in people.items()}
    await settle(here, day(NOTED))
    profile = f"{prefixes['run']}profile:{people['run']}"
    stored: Any = await here.redis.hget(profile, "state")
    state = orjson.loads(unpack(stored)) | {"journeys": {"runs": {"r": {}}}}
    await here.redis.hset(profile, "state", orjson.dumps(state))
    await here.redis.sadd(f"{{{here.namespace}}}:absorb:{people['merge']}", "loser")
    await here.redis.zadd(f"{prefixes['timer']}timers", {people["timer"]: day(DELETED + 1)})
    await here.redis.zadd(f"{prefixes['snapshot']}profiles:changed", {people["snapshot"]: 1})
    await here.redis.xadd(f"{prefixes['record']}outbox", {"v": "of before"}, id="1-1")
    expiry = AnonymousExpiry(
        RedisIdleProfiles(here.redis, here.namespace), here.identities, RETENTION * DAY_MS, all_segments_left
    )

    for number in (NOTED, DETACHED, DELETED):
        async for _ in expiry.run(day(number)):
            pass
    stay = {kind for kind, one in people.items() if await has_document(here, one)}

    assert prefixes["record"] != prefixes["nothing"]
    assert set(kinds) - {"nothing"} == stay


async def test_a_store_that_lost_its_people_lets_nobody_expire(stack: Settings) -> None:
    async with async_redis_client(stack, timeout_s=5) as client:
        store = RedisIdentityStore(client, stack.redis_namespace, IdentityPolicy())

        with pytest.raises(LostPeopleError):
            await store.expire([NIL_UUID], 1, 1)
        with pytest.raises(LostPeopleError):
            await RedisIdleProfiles(client, stack.redis_namespace).take([IdleStep(NIL_UUID, 1, b"1 1")])


async def test_who_has_expired_is_exported_and_erased_with_who_came_back(here: Town, stack: Settings) -> None:
    for number in (1, 2):
        await here.live(view(number, anonymous_id="c1"))
        await settle(here, day(NOTED))
        await here.redis.delete(f"{{{here.namespace}}}:expiry")
        await go_over(here, NOTED, DETACHED, DELETED)
    await here.live(view(3, anonymous_id="c1"), view(4, anonymous_id="c2"))
    await settle(here, day(DELETED))
    owner = await here.owner("anonymous_id", "c1")

    async with open_deployment(stack) as deployment:
        exported = await export_person(deployment, owner)
        request = await find_erasure_request(deployment, "anonymous_id:c1")
        receipt = await erase_person(deployment, request, timeout_s=0)

    events = [[event["event_id"] for event in one["events"]] for one in (exported, *exported["expired"])]
    assert [["view 3"], ["view 1"], ["view 2"]] == events
    assert (3, owner) == (len(set(receipt.profile_ids)), receipt.profile_ids[0])
    assert [("view 4",)] == here.tables.rows("SELECT event_id FROM touchpoints FINAL")


@pytest.mark.parametrize("by", ["identifier", "profile id"])
async def test_an_erasure_that_broke_off_is_completed_with_who_had_expired(
    here: Town, stack: Settings, by: str
) -> None:
    await here.live(view(1, anonymous_id="c1"))
    await settle(here, day(NOTED))
    await go_over(here, NOTED, DETACHED, DELETED)
    await here.live(view(2, anonymous_id="c1"), view(3, anonymous_id="c2"))
    owner = await here.owner("anonymous_id", "c1")
    await here.identities.erase(here.identifier_hash("anonymous_id", "c1"), day(DELETED))  # and no further
    await settle(here, day(DELETED))

    async with open_deployment(stack) as deployment:
        request = await find_erasure_request(deployment, "anonymous_id:c1" if by == "identifier" else owner)
        receipt = await erase_person(deployment, request, timeout_s=0)

    assert (2, owner) == (len(set(receipt.profile_ids)), receipt.profile_ids[0])
    assert [("view 3",)] == here.tables.rows("SELECT event_id FROM touchpoints FINAL")
