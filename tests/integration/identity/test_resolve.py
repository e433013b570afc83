"""The identity store on the real server: links that merge profiles, links that are refused, and the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import pairwise, permutations
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from schemas.identity.policy import IdentifierRule, IdentityPolicy
from schemas.identity.resolution import Merge, Resolution, uuid_text
from sinks.redis.identity import RedisIdentityStore, index_bucket
from sinks.redis.outbox import RedisOutbox, identity_outbox
from tests.oracles.identity_audit import Audit, change_of, replay
from tests.oracles.identity_model import RECEIVED_MS, identifier_hash, request

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

POLICY = IdentityPolicy()
LOGIN, OTHER_LOGIN = ("user_id", "ann"), ("user_id", "bob")
BROWSER, PHONE_BROWSER, DEVICE = ("anonymous_id", "b1"), ("anonymous_id", "b2"), ("device_id", "tablet")
EMAIL = ("email", "ann@shop.example")

StoreOf = Callable[[IdentityPolicy], RedisIdentityStore]


@pytest.fixture
async def client(stack: Settings) -> AsyncIterator[Redis]:
    async with async_redis_client(stack, timeout_s=10) as client:
        yield client


@pytest.fixture
def outbox(client: Redis, stack: Settings) -> RedisOutbox:
    return RedisOutbox(client, identity_outbox(stack.redis_namespace))


@pytest.fixture
def store_of(client: Redis, stack: Settings) -> StoreOf:
    return lambda policy: RedisIdentityStore(client, stack.redis_namespace, policy)


@pytest.fixture
def store(store_of: StoreOf) -> RedisIdentityStore:
    return store_of(POLICY)


@pytest.fixture
def audit(client: Redis, stack: Settings) -> Audit:
    return Audit(client, stack.redis_namespace, POLICY)


async def people(store: RedisIdentityStore, *events: Any) -> list[str | None]:
    return [resolution.profile_id for resolution in await store.resolve(events)]


def refusals(resolution: Resolution) -> list[tuple[str, str]]:
    return [(refusal.type, refusal.rule) for refusal in resolution.refused]


async def test_a_login_joins_the_anonymous_history_and_keeps_its_id(store: RedisIdentityStore, audit: Audit) -> None:
    before, login, after = await store.resolve(
        [request("e1", BROWSER), request("e2", BROWSER, LOGIN), request("e3", LOGIN)]
    )

    assert before.profile_id == login.profile_id == after.profile_id
    assert () == login.merged
    assert uuid_text(identifier_hash(*LOGIN)) == login.anchor
    assert [("bind", "new"), ("bind", "attach")] == [(change.kind, change.rule) for change in await audit.log()]


async def test_two_devices_of_one_login_become_one_person(store: RedisIdentityStore, audit: Audit) -> None:
    first, second, login, moved = await store.resolve(
        [
            request("e1", BROWSER),
            request("e2", PHONE_BROWSER),
            request("e3", BROWSER, LOGIN),
            request("e4", PHONE_BROWSER, LOGIN),
        ]
    )

    assert first.profile_id != second.profile_id
    assert first.profile_id == login.profile_id == moved.profile_id
    assert (Merge(str(first.profile_id), str(second.profile_id)),) == moved.merged
    assert {str(first.profile_id)} == set((await audit.check()).values())


async def test_a_known_profile_outlives_an_older_anonymous_one(store: RedisIdentityStore) -> None:
    anonymous, known, joined = await people(
        store,
        request("e1", BROWSER, occurred_ms=RECEIVED_MS - 1000),
        request("e2", LOGIN),
        request("e3", BROWSER, LOGIN),
    )

    assert anonymous != known
    assert known == joined


@pytest.mark.parametrize("older", [0, 1])
async def test_of_two_known_profiles_the_one_seen_first_wins(store: RedisIdentityStore, older: int) -> None:
    times = [RECEIVED_MS, RECEIVED_MS]
    times[older] -= 1000
    first, second, joined = await people(
        store,
        request("e1", LOGIN, occurred_ms=times[0]),
        request("e2", EMAIL, occurred_ms=times[1]),
        request("e3", LOGIN, EMAIL),
    )

    assert [first, second][older] == joined


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
async def test_the_order_of_links_does_not_choose_the_winner(store: RedisIdentityStore, order: tuple[int, ...]) -> None:
    named = [BROWSER, ("email", "1@shop.example"), ("email", "2@shop.example"), DEVICE]
    base = [request(f"e{n}", one, occurred_ms=RECEIVED_MS + n) for n, one in enumerate(named)]
    links = [(BROWSER, named[2]), (named[1], named[2]), (DEVICE, BROWSER)]
    before = await people(store, *base)

    for number in order:
        await store.resolve([request(f"link {number}", *links[number], occurred_ms=RECEIVED_MS - number)])

    assert [before[1]] * 4 == await people(store, *base)


async def test_an_event_that_comes_late_makes_its_profile_older(store: RedisIdentityStore) -> None:
    _, second, _, joined = await people(
        store,
        request("e1", LOGIN, occurred_ms=RECEIVED_MS - 1000),
        request("e2", EMAIL),
        request("e3", EMAIL, occurred_ms=RECEIVED_MS - 2000),
        request("e4", LOGIN, EMAIL),
    )

    assert second == joined


async def test_a_chain_of_identifiers_ends_in_one_profile(store: RedisIdentityStore, audit: Audit) -> None:
    values = [("email", f"{number}@shop.example") for number in range(5)]
    lone = await people(store, *(request(f"lone-{value}", value) for value in values))
    linked = await people(
        store,
        *(request(f"link-{number}", values[number], values[number + 1]) for number in (2, 0, 3, 1)),
    )

    assert 5 == len(set(lone))
    assert [min(map(str, lone))] == sorted(set((await audit.check()).values()))
    assert {linked[-1]} == {await store.follow(str(one)) for one in lone}
    assert {linked[-1]} == {await store.owner(identifier_hash(*value)) for value in values}


async def test_two_logins_on_a_shared_device_stay_two_people(store: RedisIdentityStore, audit: Audit) -> None:
    ann, bob, tablet = await store.resolve(
        [request("e1", LOGIN, DEVICE), request("e2", OTHER_LOGIN, DEVICE), request("e3", DEVICE)]
    )

    assert ann.profile_id == tablet.profile_id != bob.profile_id
    assert [("device_id", "limit")] == refusals(bob)
    assert uuid_text(identifier_hash(*OTHER_LOGIN)) == bob.anchor
    await audit.check()


async def test_only_the_violating_link_of_an_event_is_refused(store: RedisIdentityStore) -> None:
    await store.resolve([request("e1", LOGIN, EMAIL)])

    (bob,) = await store.resolve([request("e2", OTHER_LOGIN, EMAIL, BROWSER)])

    assert [("email", "limit")] == refusals(bob)
    assert bob.profile_id == await store.owner(identifier_hash(*BROWSER))


async def test_a_refusal_is_logged_once_for_a_person_and_an_identifier(store: RedisIdentityStore, audit: Audit) -> None:
    await store.resolve([request("e1", LOGIN, DEVICE)])

    later = await store.resolve([request(f"bob-{number}", OTHER_LOGIN, DEVICE) for number in range(3)])

    assert [[("device_id", "limit")]] * 3 == [refusals(one) for one in later]
    refused = [change for change in await audit.log() if change.kind == "refuse"]
    assert [(later[0].profile_id, "bob-0", "limit", ((uuid_text(identifier_hash(*DEVICE)), "device_id"),))] == [
        (change.profile_id, change.event_id, change.rule, change.anchors) for change in refused
    ]
    assert await store.owner(identifier_hash(*DEVICE)) == refused[0].from_profile_id


async def test_a_runaway_device_does_not_flood_the_log(store: RedisIdentityStore, audit: Audit) -> None:
    emails = [("email", f"{number}@shop.example") for number in range(300)]

    await store.resolve([request(f"e{number}", LOGIN, email) for number, email in enumerate(emails)])

    assert 100 == len([change for change in await audit.log() if change.kind == "refuse"])
    await audit.check()


async def test_a_redelivery_answers_the_same_and_changes_nothing(store: RedisIdentityStore, audit: Audit) -> None:
    events = [
        request("e1", BROWSER),
        request("e2", PHONE_BROWSER),
        request("e3", BROWSER, LOGIN),
        request("e4", PHONE_BROWSER, LOGIN, DEVICE),
        request("e5", OTHER_LOGIN, DEVICE),
        request("e6"),
    ]
    await store.resolve(events)
    once = await audit.snapshot()

    again = await store.resolve(events)

    assert once == await audit.snapshot()
    assert [await store.owner(event.claims[0].identifier_hash) if event.claims else None for event in events] == [
        resolution.profile_id for resolution in again
    ]


async def test_a_redelivery_after_its_identifier_made_room_changes_nothing(
    store_of: StoreOf, client: Redis, stack: Settings
) -> None:
    types = (IdentifierRule(type="user_id", limit=1, known=True), IdentifierRule(type="*", limit=1, at_limit="fifo"))
    policy = IdentityPolicy(types=types)
    store, audit = store_of(policy), Audit(client, stack.redis_namespace, policy)
    tagged = request("e1", LOGIN, ("tag", "old"), policy=policy)
    alone = request("e2", ("tag", "old"), occurred_ms=RECEIVED_MS + 50, received_ms=RECEIVED_MS + 50, policy=policy)
    late = request("e3", LOGIN, ("tag", "new"), occurred_ms=RECEIVED_MS + 1, policy=policy)
    first = await people(store, tagged, alone, late)
    before = await audit.snapshot()

    assert first == await people(store, tagged, alone, late)
    assert before == await audit.snapshot()


async def test_another_record_with_the_same_event_id_is_a_duplicate(store: RedisIdentityStore, audit: Audit) -> None:
    await store.resolve([request("e1", BROWSER)])
    once = await audit.snapshot()

    (copy,) = await store.resolve([request("e1", BROWSER, OTHER_LOGIN, origin=("touchpoints.app", 3, 9))])

    assert (True, None, None) == (copy.duplicate, copy.profile_id, copy.anchor)
    assert once == await audit.snapshot()


async def test_an_event_without_identifiers_has_no_profile_but_a_mark(store: RedisIdentityStore, audit: Audit) -> None:
    nobody, copy = await store.resolve([request("e1"), request("e1", origin=("touchpoints.app", 3, 9))])

    assert (None, None, False) == (nobody.profile_id, nobody.anchor, nobody.duplicate)
    assert copy.duplicate
    assert {} == await audit.check()


async def test_a_sixth_email_is_refused_and_the_event_still_resolves(store: RedisIdentityStore, audit: Audit) -> None:
    six = await store.resolve(
        [request(f"e{number}", LOGIN, ("email", f"{number}@shop.example")) for number in range(6)]
    )

    assert 1 == len({one.profile_id for one in six})
    assert [[]] * 5 + [[("email", "limit")]] == [refusals(one) for one in six]
    assert await store.owner(identifier_hash("email", "5@shop.example")) is None
    await audit.check()


async def test_a_type_that_policy_does_not_list_has_the_limit_of_the_others(
    store: RedisIdentityStore, audit: Audit
) -> None:
    cards = [request(f"e{number}", LOGIN, ("club_card", str(number)), ("pet_tag", str(number))) for number in range(6)]

    *_, last = await store.resolve(cards)

    assert [("club_card", "limit"), ("pet_tag", "limit")] == refusals(last)
    await audit.check()


async def test_two_profiles_whose_unlisted_types_add_up_past_the_limit_are_not_merged(
    store: RedisIdentityStore,
) -> None:
    await store.resolve([request(f"a{number}", LOGIN, ("club_card", f"a{number}")) for number in range(3)])
    await store.resolve([request(f"b{number}", EMAIL, ("club_card", f"b{number}")) for number in range(3)])

    (joint,) = await store.resolve([request("e1", LOGIN, EMAIL)])

    assert [("email", "limit")] == refusals(joint)


async def test_a_full_profile_takes_no_more_identifiers_and_still_resolves(
    store_of: StoreOf, client: Redis, stack: Settings
) -> None:
    policy = IdentityPolicy(cap=3)
    store = store_of(policy)

    *full, beyond = await store.resolve(
        [request(f"e{number}", LOGIN, ("anonymous_id", str(number))) for number in range(3)]
    )
    _, merge = await store.resolve([request("e9", EMAIL), request("e10", LOGIN, EMAIL)])

    assert {full[0].profile_id} == {one.profile_id for one in [*full, beyond]}
    assert [("anonymous_id", "cap")] == refusals(beyond)
    assert [("email", "cap")] == refusals(merge)
    await Audit(client, stack.redis_namespace, policy).check()


async def test_a_tightened_policy_keeps_existing_profiles_usable(store_of: StoreOf) -> None:
    loose, strict = store_of(IdentityPolicy.unlimited()), store_of(IdentityPolicy(cap=2))
    emails = [("email", f"{number}@shop.example") for number in range(7)]
    (whole,) = await loose.resolve([request("e1", *emails)])

    same, more = await strict.resolve([request("e2", *emails), request("e3", emails[0], BROWSER)])

    assert (whole.profile_id, ()) == (same.profile_id, same.refused)
    assert (whole.profile_id, [("anonymous_id", "cap")]) == (more.profile_id, refusals(more))


async def test_two_logins_in_one_event_are_not_joined_by_it(store: RedisIdentityStore) -> None:
    (both,) = await store.resolve([request("e1", LOGIN, OTHER_LOGIN)])

    assert [("user_id", "limit")] == refusals(both)


async def test_profiles_of_thousands_of_identifiers_merge(store_of: StoreOf, client: Redis, stack: Settings) -> None:
    policy = IdentityPolicy.unlimited()
    store = store_of(policy)
    crowds = [[("anonymous_id", f"{crowd}-{number}") for number in range(6000)] for crowd in "ab"]
    await store.resolve([request(f"e{number}", *crowd) for number, crowd in enumerate(crowds)])

    (joint,) = await store.resolve([request("e2", crowds[0][0], crowds[1][0])])

    assert 12_000 == len(await store.members(str(joint.profile_id)))
    await Audit(client, stack.redis_namespace, policy).check()


async def test_members_are_listed_by_anchor_and_type(store: RedisIdentityStore) -> None:
    (one,) = await store.resolve([request("e1", LOGIN, EMAIL)])

    members = await store.members(str(one.profile_id))

    assert sorted((uuid_text(identifier_hash(*named)), named[0]) for named in (LOGIN, EMAIL)) == members


async def test_an_erased_profile_is_followed_to_none_and_its_id_is_not_used_again(
    store: RedisIdentityStore, client: Redis, stack: Settings
) -> None:
    event = request("e1", BROWSER)
    (founded,) = await people(store, event)
    tag = f"{{{stack.redis_namespace}}}"
    # What erasure leaves behind: no index, no members, a tombstone.
    await client.delete(f"{tag}:i:{index_bucket(identifier_hash(*BROWSER))}", f"{tag}:p:{founded}")
    await client.set(f"{tag}:alias:{founded}", "!")

    assert await store.follow(str(founded)) is None
    (returned,) = await people(store, event)
    assert founded != returned
    assert returned == await store.owner(identifier_hash(*BROWSER))


async def test_following_shortens_a_chain_of_merges(store: RedisIdentityStore, client: Redis, stack: Settings) -> None:
    alias = f"{{{stack.redis_namespace}}}:alias:"
    names = [uuid_text(bytes([number]) * 16) for number in range(4)]
    for loser, winner in pairwise(names):
        await client.set(alias + loser, winner)

    assert [names[3]] * 4 == [await store.follow(name) for name in names]
    assert [names[3].encode()] * 3 == [await client.get(alias + name) for name in names[:3]]


async def test_merged_profiles_are_listed_for_the_profile_store_with_those_they_had_absorbed(
    store: RedisIdentityStore, client: Redis, stack: Settings
) -> None:
    first, second, third = await people(
        store,
        request("e1", BROWSER, occurred_ms=RECEIVED_MS - 3),
        request("e2", PHONE_BROWSER, occurred_ms=RECEIVED_MS - 2),
        request("e3", DEVICE, occurred_ms=RECEIVED_MS - 1),
    )
    await store.resolve([request("e4", PHONE_BROWSER, DEVICE), request("e5", BROWSER, DEVICE)])

    waiting = await client.smembers(f"{{{stack.redis_namespace}}}:absorb:{first}")

    assert {str(second).encode(), str(third).encode()} == waiting
    assert 1 == len([key async for key in client.scan_iter(f"{{{stack.redis_namespace}}}:absorb:*")])


async def test_the_outbox_keeps_every_change_in_order_until_it_is_acknowledged(
    store: RedisIdentityStore, outbox: RedisOutbox, audit: Audit
) -> None:
    await store.resolve(
        [request("e1", BROWSER), request("e2", PHONE_BROWSER), request("e3", BROWSER, PHONE_BROWSER, LOGIN)]
    )
    assert await outbox.acquire_relay("relay", 60_000)
    pending = await outbox.pending(100)
    changes = [change_of(record) for _, record in pending]

    first, rest = pending[0], pending[1:]

    assert ["bind", "bind", "merge", "bind"] == [change.kind for change in changes]
    owners = {uuid_text(one): name for one, name in (await audit.owners()).items()}
    assert owners == replay(changes)
    # A relay that dies between reading and acknowledging has removed nothing: its successor reads the same.
    assert [first] == await outbox.pending(1)
    assert await outbox.acknowledge([first[0]], "relay")
    assert rest == await outbox.pending(100)
    assert await outbox.acknowledge([one for one, _ in rest], "relay")
    assert [] == await outbox.pending(100)


async def test_versions_go_on_rising_after_the_outbox_is_empty(store: RedisIdentityStore, outbox: RedisOutbox) -> None:
    await store.resolve([request("e1", BROWSER)])
    ((last_id, before),) = await outbox.pending(100)
    assert await outbox.acquire_relay("relay", 60_000)
    await outbox.acknowledge([last_id], "relay")

    await store.resolve([request("e2", PHONE_BROWSER)])

    ((_, after),) = await outbox.pending(100)
    assert change_of(after).version > change_of(before).version


async def test_versions_rise_even_when_the_clock_falls_back(
    store: RedisIdentityStore, outbox: RedisOutbox, client: Redis, stack: Settings
) -> None:
    ahead = 4_000_000_000_000_000
    await client.set(f"{{{stack.redis_namespace}}}:identity:version", ahead)

    await store.resolve([request("e1", BROWSER), request("e2", PHONE_BROWSER)])
    await store.resolve([request("e3", DEVICE)])

    assert [ahead + 1, ahead + 2, ahead + 3] == [change_of(record).version for _, record in await outbox.pending(100)]


async def test_only_one_relay_has_the_lease_and_a_stale_one_removes_nothing(
    store: RedisIdentityStore, outbox: RedisOutbox, client: Redis, stack: Settings
) -> None:
    await store.resolve([request("e1", BROWSER)])
    ((last_id, _),) = await outbox.pending(100)

    assert await outbox.acquire_relay("first", 60_000)
    assert await outbox.acquire_relay("first", 60_000)
    assert not await outbox.acquire_relay("second", 60_000)
    await client.delete(f"{{{stack.redis_namespace}}}:identity:relay")  # as when the first was paused past its lease
    assert not await outbox.acknowledge([last_id], "first")
    assert await outbox.acquire_relay("second", 60_000)
    assert not await outbox.acknowledge([last_id], "first")
    assert 1 == len(await outbox.pending(100))
    assert await outbox.acknowledge([last_id], "second")


async def test_scripts_are_loaded_again_after_the_server_lost_them(store: RedisIdentityStore, client: Redis) -> None:
    await store.resolve([request("e1", BROWSER)])
    await client.script_flush()

    assert 1 == len(set(await people(store, request("e2", BROWSER), request("e3", BROWSER))))


async def test_more_events_than_a_call_takes_are_answered_in_order(store: RedisIdentityStore) -> None:
    events = [request(f"e{number}", ("anonymous_id", str(number % 7))) for number in range(450)]

    answers = await store.resolve(events)

    assert [event.event_id for event in events] == [answer.event_id for answer in answers]
    assert 7 == len({answer.profile_id for answer in answers})


async def test_policy_can_make_an_operators_own_type_a_login(store_of: StoreOf) -> None:
    member = IdentifierRule(type="member_no", limit=1, known=True)
    store = store_of(IdentityPolicy(types=(member, *POLICY.types)))

    first, second = await people(
        store, request("e1", ("member_no", "1"), DEVICE), request("e2", ("member_no", "2"), DEVICE)
    )

    assert first != second


def test_a_client_that_decodes_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="decode_responses=False"):
        RedisIdentityStore(Redis(decode_responses=True), "any", POLICY)
