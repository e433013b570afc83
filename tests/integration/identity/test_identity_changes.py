"""Changes of identity other than links: transfers of devices, full profiles, unmerge, erasure, quarantine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from schemas.identity.policy import IdentifierRule, IdentityPolicy
from schemas.identity.resolution import Resolution, uuid_text
from sinks.redis.identity import ERASED_S, ImpossibleSplitError, RedisIdentityStore
from tests.oracles.identity_audit import Audit
from tests.oracles.identity_model import RECEIVED_MS, identifier_hash, request

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

ANN, BOB = ("user_id", "ann"), ("user_id", "bob")
BROWSER, TABLET, TOKEN = ("anonymous_id", "b1"), ("device_id", "tablet"), ("push_token", "t1")
EMAIL = ("email", "ann@shop.example")
NOON = RECEIVED_MS - 1000

StoreOf = Callable[[IdentityPolicy], RedisIdentityStore]


@pytest.fixture
async def client(stack: Settings) -> AsyncIterator[Redis]:
    async with async_redis_client(stack, timeout_s=10) as client:
        yield client


@pytest.fixture
def store_of(client: Redis, stack: Settings) -> StoreOf:
    return lambda policy: RedisIdentityStore(client, stack.redis_namespace, policy)


@pytest.fixture
def store(store_of: StoreOf) -> RedisIdentityStore:
    return store_of(IdentityPolicy())


@pytest.fixture
def audit(client: Redis, stack: Settings) -> Audit:
    return Audit(client, stack.redis_namespace, IdentityPolicy())


async def one(store: RedisIdentityStore, event_id: str, *named: Any, at: int = 0, **more: Any) -> Resolution:
    """Resolve an event that happened `at` milliseconds after noon."""
    (answer,) = await store.resolve([request(event_id, *named, occurred_ms=NOON + at, **more)])
    return answer


def with_rule(kind: str, policy: IdentityPolicy | None = None, **changes: Any) -> IdentityPolicy:
    """Make the default policy with one type treated otherwise."""
    base = policy or IdentityPolicy()
    rules = [rule.model_copy(update=changes) if rule.type == kind else rule for rule in base.types]
    return IdentityPolicy(types=tuple(rules))


async def test_a_push_token_goes_to_who_logs_in_and_its_past_stays(store: RedisIdentityStore, audit: Audit) -> None:
    ann = await one(store, "e1", ANN, TOKEN)
    before = await one(store, "e2", TOKEN, at=1)
    bob = await one(store, "e3", BOB, TOKEN, at=2)
    after = await one(store, "e4", TOKEN, at=3)
    late = await one(store, "e5", TOKEN, at=1)

    assert ann.profile_id == before.profile_id == late.profile_id != bob.profile_id == after.profile_id
    assert uuid_text(identifier_hash(*TOKEN)) == before.anchor == late.anchor != after.anchor
    assert [("transfer", "last_login", bob.profile_id, ann.profile_id, ((after.anchor, "push_token"),))] == [
        (change.kind, change.rule, change.profile_id, change.from_profile_id, change.anchors)
        for change in await audit.log()
        if change.kind == "transfer"
    ]
    await audit.check()


async def test_a_merge_after_a_transfer_leaves_the_earlier_owners_past_alone(
    store: RedisIdentityStore, audit: Audit
) -> None:
    await one(store, "e1", ANN, TOKEN)
    past = await one(store, "e2", TOKEN, at=1)
    await one(store, "e3", BOB, TOKEN, at=2)
    now = await one(store, "e4", TOKEN, at=3)
    await one(store, "e5", EMAIL)
    merged = await one(store, "e6", BOB, EMAIL, at=4)
    await one(store, "e7", ("crm_id", "7"))
    await one(store, "e8", ANN, ("crm_id", "7"), at=5)

    moved = {change.profile_id: {anchor for anchor, _ in change.anchors} for change in await audit.log()
             if change.kind == "merge"}  # fmt: skip
    assert 1 == len(merged.merged)
    assert past.anchor not in moved[str(merged.profile_id)]
    assert now.anchor != past.anchor
    assert now.version < merged.version
    await audit.check()


async def test_a_login_that_is_delivered_late_does_not_take_a_device_back(store_of: StoreOf) -> None:
    store = store_of(IdentityPolicy(shared_device="last_login"))
    await one(store, "e1", ANN, TABLET, at=5)
    bob = await one(store, "e2", BOB, TABLET, at=9)

    await one(store, "e3", ANN, TABLET, at=7)

    assert bob.profile_id == await store.owner(identifier_hash(*TABLET))


async def test_a_tablet_of_two_people_can_belong_to_neither(store_of: StoreOf, audit: Audit) -> None:
    store = store_of(IdentityPolicy(shared_device="new_anonymous"))
    ann = await one(store, "e1", ANN, TABLET)
    bob = await one(store, "e2", BOB, TABLET, at=1)
    alone = await one(store, "e3", TABLET, at=2)
    again = await one(store, "e4", ANN, TABLET, at=3)

    assert 3 == len({ann.profile_id, bob.profile_id, alone.profile_id})
    assert ann.profile_id == again.profile_id
    assert ["limit", "shared"] == [bob.refused[0].rule, again.refused[0].rule]
    await audit.check()


async def test_after_a_sign_out_the_browser_stays_with_the_person_unless_policy_says_otherwise(
    store: RedisIdentityStore,
) -> None:
    ann = await one(store, "e1", ANN, BROWSER)
    await one(store, "e2", ANN, BROWSER, at=1, signed_out=True)

    assert ann.profile_id == (await one(store, "e3", BROWSER, at=2)).profile_id


async def test_after_a_sign_out_the_browser_can_be_the_next_persons(store_of: StoreOf, audit: Audit) -> None:
    store = store_of(IdentityPolicy(on_sign_out="new_anonymous"))
    ann = await one(store, "e1", ANN, BROWSER)
    out = await one(store, "e2", ANN, BROWSER, at=1, signed_out=True)
    nobody = await one(store, "e3", BROWSER, at=2)
    bob = await one(store, "e4", BOB, BROWSER, at=3)
    again = await one(store, "e2", ANN, BROWSER, at=1, signed_out=True)

    assert ann.profile_id == out.profile_id == again.profile_id != nobody.profile_id
    assert nobody.profile_id == bob.profile_id
    assert () == bob.refused
    await audit.check()


async def test_the_oldest_identifier_makes_room_and_what_it_did_stays(
    store_of: StoreOf, client: Redis, stack: Settings
) -> None:
    policy = with_rule("anonymous_id", limit=2, at_limit="fifo")
    store = store_of(policy)
    browsers = [("anonymous_id", f"b{number}") for number in range(3)]
    answers = [await one(store, f"e{number}", ANN, browser, at=number) for number, browser in enumerate(browsers)]

    late = await one(store, "late", browsers[0], at=1)
    back = await one(store, "back", browsers[0], at=9)

    assert [()] * 3 == [answer.refused for answer in answers]
    assert answers[0].profile_id == late.profile_id != back.profile_id
    assert uuid_text(identifier_hash(*browsers[0])) == late.anchor != back.anchor
    await Audit(client, stack.redis_namespace, policy).check()


async def test_a_replaced_card_makes_room_for_the_new_one_that_was_used_before(store_of: StoreOf) -> None:
    store = store_of(with_rule("loyalty_id", at_limit="fifo"))
    old, new = ("loyalty_id", "old"), ("loyalty_id", "new")
    ann = await one(store, "e1", ANN, old)
    await one(store, "e2", new, at=1)

    joined = await one(store, "e3", ANN, new, at=2)

    assert (ann.profile_id, ()) == (joined.profile_id, joined.refused)
    assert [None, ann.profile_id] == [await store.owner(identifier_hash(*card)) for card in (old, new)]


async def test_two_cards_in_one_browser_stay_two_people_even_where_cards_make_room(store_of: StoreOf) -> None:
    store = store_of(with_rule("loyalty_id", at_limit="fifo"))
    await one(store, "e1", ("loyalty_id", "1"), BROWSER)

    other = await one(store, "e2", ("loyalty_id", "2"), BROWSER, at=1)

    assert [("anonymous_id", "limit")] == [(refusal.type, refusal.rule) for refusal in other.refused]


async def test_an_unmerge_takes_the_founding_identifier_out_and_keeps_it_out(
    store: RedisIdentityStore, audit: Audit
) -> None:
    founded = await one(store, "e1", EMAIL)
    await one(store, "e2", ANN, EMAIL, BROWSER, at=1)
    preview = await store.preview_split([identifier_hash(*EMAIL)])

    split = await store.split("op-1", [identifier_hash(*EMAIL)], occurred_ms=NOON)
    again = await store.split("op-1", [identifier_hash(*EMAIL)], occurred_ms=NOON + 5)
    linked = await one(store, "e3", ANN, EMAIL, at=2)

    assert founded.profile_id == split.source == linked.profile_id == preview.source
    assert ({"email": 1}, {"anonymous_id": 1, "user_id": 1}) == (preview.moved_counts, preview.stayed_counts)
    assert split == again
    assert split.target == await store.owner(identifier_hash(*EMAIL)) not in {split.source, founded.profile_id}
    assert [("email", "separated")] == [(refusal.type, refusal.rule) for refusal in linked.refused]
    assert [("op-1", "unmerge", split.moved)] == [
        (change.event_id, change.rule, change.anchors) for change in await audit.log() if change.kind == "split"
    ]
    await audit.check()


async def test_a_separation_outlives_later_merges(store: RedisIdentityStore, audit: Audit) -> None:
    await one(store, "e1", ANN, EMAIL)
    await store.split("op-1", [identifier_hash(*EMAIL)], occurred_ms=NOON)
    await one(store, "e2", ("phone", "+14155550132"), at=1)
    await one(store, "e3", EMAIL, ("phone", "+14155550132"), at=2)

    joined = await one(store, "e4", ANN, ("phone", "+14155550132"), at=3)

    assert ["separated"] == [refusal.rule for refusal in joined.refused]
    await audit.check()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ([], "at least one"),
        ([("user_id", "carl")], "no profile has"),
        ([ANN, BOB], "another profile"),
        ([ANN, EMAIL], "all the identifiers"),
    ],
    ids=["none", "unowned", "of two people", "all of them"],
)
async def test_an_impossible_unmerge_is_refused_with_the_reason(
    store: RedisIdentityStore, audit: Audit, named: list[Any], said: str
) -> None:
    await one(store, "e1", ANN, EMAIL)
    await one(store, "e2", BOB)
    before = await audit.snapshot()

    with pytest.raises(ImpossibleSplitError, match=said):
        await store.split("op-1", [identifier_hash(*each) for each in named], occurred_ms=NOON)

    assert before == await audit.snapshot()


async def test_an_erased_person_who_comes_back_gets_a_new_profile(
    store: RedisIdentityStore, audit: Audit, client: Redis, stack: Settings
) -> None:
    browser = await one(store, "e1", BROWSER, at=-5)
    known = await one(store, "e2", ANN, at=-4)
    await one(store, "e3", ANN, BROWSER, at=-3)

    erased = await store.erase(identifier_hash(*BROWSER), NOON)
    old = await one(store, "e1", BROWSER, at=-5)
    new = await one(store, "e4", ANN, BROWSER, at=1)
    late = await one(store, "e5", ANN, at=-1)
    mixed = await one(store, "e6", BOB, BROWSER, at=-1)

    assert erased is not None
    assert (known.profile_id, (browser.profile_id,), NOON) == (erased.profile_id, erased.former_ids, erased.at_ms)
    assert tuple(sorted((uuid_text(identifier_hash(*named)), named[0]) for named in (ANN, BROWSER))) == erased.anchors
    assert [True, False, True, True] == [each.suppressed for each in (old, new, late, mixed)]
    assert [None] * 3 == [each.profile_id for each in (old, late, mixed)]
    assert new.profile_id not in {None, browser.profile_id, known.profile_id}
    assert new.anchor not in {anchor for anchor, _ in erased.anchors}
    assert erased == await store.erase(identifier_hash(*BROWSER), NOON)
    assert new.profile_id == await store.owner(identifier_hash(*ANN))
    ttl = await client.ttl(f"{{{stack.redis_namespace}}}:past:{uuid_text(identifier_hash(*ANN))}")
    assert ERASED_S - 60 < ttl <= ERASED_S
    await audit.check()


async def test_erasing_a_former_owner_of_a_device_does_not_affect_the_present_owner(
    store: RedisIdentityStore, audit: Audit
) -> None:
    await one(store, "e1", ANN, TOKEN, at=-5)
    bob = await one(store, "e2", BOB, TOKEN, at=-3)

    erased = await store.erase(identifier_hash(*ANN), NOON)
    hers = await one(store, "e3", TOKEN, at=-4)
    his = await one(store, "e4", TOKEN, at=-2)

    assert erased is not None
    assert (uuid_text(identifier_hash(*TOKEN)), "push_token") in erased.anchors
    assert hers.suppressed
    assert (bob.profile_id, False) == (his.profile_id, his.suppressed)
    assert his.anchor not in {anchor for anchor, _ in erased.anchors}
    await audit.check()


async def test_an_identifier_without_an_owner_erases_no_person(store: RedisIdentityStore) -> None:
    assert await store.erase(identifier_hash(*ANN), NOON) is None


async def test_a_kiosk_is_quarantined_and_can_be_released(store_of: StoreOf, audit: Audit) -> None:
    store = store_of(IdentityPolicy(quarantine_after=3))
    owner = await one(store, "e0", ANN, TABLET)
    for number in range(3):
        for event in range(4):  # the same person again and again counts once
            await one(store, f"e{number}-{event}", ("user_id", f"u{number}"), TABLET, at=event)

    listed = await store.most_refused(10)
    alone, together = await one(store, "e8", TABLET, at=7), await one(store, "e9", BOB, TABLET, at=8)
    await audit.check()
    released = await store.release(identifier_hash(*TABLET))

    assert [(uuid_text(identifier_hash(*TABLET)), "device_id", 3, True)] == listed
    assert (None, ["quarantined"]) == (alone.profile_id, [refusal.rule for refusal in alone.refused])
    assert (uuid_text(identifier_hash(*BOB)), ["quarantined"]) == (
        together.anchor,
        [each.rule for each in together.refused],
    )
    assert [True, False] == [released, await store.release(identifier_hash(*TABLET))]
    assert owner.profile_id == (await one(store, "e10", TABLET, at=9)).profile_id
    assert [] == await store.most_refused(10)
    await audit.check()


async def test_a_quarantined_member_stays_quarantined_when_its_profile_is_merged_or_split(
    store_of: StoreOf, audit: Audit
) -> None:
    store = store_of(IdentityPolicy(quarantine_after=2))
    await one(store, "e0", ANN, TABLET)
    for number in range(2):
        await one(store, f"e{number}-", ("user_id", f"u{number}"), TABLET)
    await one(store, "e3", EMAIL, at=-9)
    await one(store, "e4", ANN, EMAIL, at=1)
    merged = await audit.quarantined()

    await store.split("op", [identifier_hash(*TABLET)], occurred_ms=NOON)

    assert {identifier_hash(*TABLET)} == merged == await audit.quarantined()
    await audit.check()


async def test_the_version_of_an_answer_covers_what_the_event_changed(store: RedisIdentityStore, audit: Audit) -> None:
    answers = [
        await one(store, "e1", BROWSER),
        await one(store, "e2", ANN),
        await one(store, "e3", ANN, BROWSER),
        await one(store, "e4", ANN),
        await one(store, "e5"),
    ]

    versions = [change.version for change in await audit.log()]
    assert [*versions, versions[-1], 0] == [answer.version for answer in answers]


async def test_an_operators_type_can_be_transferable(store_of: StoreOf) -> None:
    kiosk = IdentifierRule(type="terminal", limit=3, transferable=True, shared_device="last_login")
    store = store_of(IdentityPolicy(types=(*IdentityPolicy().types, kiosk)))
    await one(store, "e1", ANN, ("terminal", "1"))

    bob = await one(store, "e2", BOB, ("terminal", "1"), at=1)

    assert bob.profile_id == await store.owner(identifier_hash("terminal", "1"))
