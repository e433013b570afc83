"""Who is who, told as stories. Each is a few events and what must be true of them afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from deploy.identity import InvalidEventError, Resolver, open_resolver
from deploy.settings import Settings
from schemas.events.touchpoint import read
from tests.support.builders import DAY_ONE, at, order, touchpoint, visit

pytestmark = pytest.mark.e2e

Event = dict[str, Any]

BROWSER, PHONE, TABLET = {"anonymous_id": "browser-1"}, {"device_id": "phone-1"}, {"device_id": "tablet-1"}
ANN, BEN = {"user_id": "ann"}, {"user_id": "ben"}


@pytest.fixture
async def shop(stack: Settings) -> AsyncIterator[Resolver]:
    async with open_resolver(settings=stack) as resolver:
        yield resolver


async def people(resolver: Resolver, *events: Event) -> list[str | None]:
    """Resolve events and say whose each of them is after the last one."""
    await resolver.resolve(events)
    owners = await resolver.final(event["event_id"] for event in events)
    return [owners[event["event_id"]] for event in events]


def groups(owners: list[str | None]) -> list[int]:
    """Number people in the order in which they appear: [0, 0, 1] is two events of one person and one of another."""
    seen: dict[str | None, int] = {}
    return [seen.setdefault(owner, len(seen)) for owner in owners]


async def test_who_looks_around_and_logs_in_later_was_one_person_all_along(shop: Resolver) -> None:
    looked, logged_in = visit("Paid Search", identifiers=BROWSER), touchpoint("Signed In", identifiers=BROWSER | ANN)

    (before,) = await shop.resolve([looked])
    (after,) = await shop.resolve([logged_in])

    assert (before.profile_id, ()) == (after.profile_id, after.merged)


async def test_two_devices_become_one_person_when_both_have_logged_in(shop: Resolver) -> None:
    on_the_web = touchpoint(identifiers=BROWSER)
    in_the_app = touchpoint(channel="app", identifiers=PHONE)
    logins = [touchpoint("Signed In", identifiers=device | ANN) for device in (BROWSER, PHONE)]

    assert [0, 1] == groups(await people(shop, on_the_web, in_the_app))
    assert [0, 0, 0, 0] == groups(await people(shop, on_the_web, in_the_app, *logins))


async def test_a_tablet_in_the_shop_joins_none_of_those_who_use_it(shop: Resolver) -> None:
    ann, ben, nobody = (
        touchpoint(channel="store", identifiers=TABLET | who, occurred_at=at(minutes=minute))
        for minute, who in enumerate((ANN, BEN, {}))
    )
    first, second, third = await shop.resolve([ann, ben, nobody])

    assert (True, ()) == (first.profile_id != second.profile_id, second.merged)
    assert [("device_id", "limit")] == [(refusal.type, refusal.rule) for refusal in second.refused]
    assert first.profile_id == third.profile_id


async def test_a_tablet_may_follow_the_last_login_without_taking_its_past_along(stack: Settings) -> None:
    ann, ben, nobody = (
        touchpoint(channel="store", identifiers=TABLET | who, occurred_at=at(minutes=minute))
        for minute, who in enumerate((ANN, BEN, {}))
    )
    before = touchpoint(channel="store", identifiers=TABLET, occurred_at=at(seconds=30))
    async with open_resolver(policy={"shared_device": "last_login"}, settings=stack) as resolver:
        assert [0, 0, 1, 1] == groups(await people(resolver, ann, before, ben, nobody))


async def test_after_signing_out_the_browser_is_somebody_elses_if_policy_says_so(stack: Settings) -> None:
    logged_in, signed_out, next_visitor = (
        touchpoint(event, identifiers=who, occurred_at=at(minutes=minute))
        for minute, (event, who) in enumerate(
            [("Signed In", BROWSER | ANN), ("Signed Out", BROWSER | ANN), ("Page Viewed", BROWSER)]
        )
    )
    async with open_resolver(policy={"on_sign_out": "new_anonymous"}, settings=stack) as resolver:
        assert [0, 0, 1] == groups(await people(resolver, logged_in, signed_out, next_visitor))


async def test_an_identify_that_comes_days_late_brings_the_history_with_it(shop: Resolver) -> None:
    visits = [visit("Email", identifiers=BROWSER, occurred_at=at(days=day)) for day in range(3)]
    bought = order("o1", identifiers=ANN, occurred_at=at(days=4))
    identify = touchpoint("Identify", identifiers=BROWSER | ANN, occurred_at=at(days=1))

    assert [0, 0, 0, 0, 0] == groups(await people(shop, *visits, bought, identify))


async def test_the_order_in_which_events_arrive_does_not_matter(stack: Settings) -> None:
    events = [
        touchpoint(identifiers=BROWSER),
        touchpoint(identifiers=BROWSER | ANN),
        touchpoint(channel="app", identifiers=PHONE | ANN),
        touchpoint(channel="store", identifiers={"loyalty_id": "card", "email": "ben@shop.example"}),
    ]
    found = set()
    for shuffled in permutations(events):
        async with open_resolver(settings=stack) as resolver:
            await resolver.resolve(shuffled)
            owners = await resolver.final(event["event_id"] for event in events)
            found.add(tuple(groups([owners[event["event_id"]] for event in events])))

    assert {(0, 0, 0, 1)} == found


async def test_a_family_with_one_mailbox_stays_two_people(shop: Resolver) -> None:
    mailbox = {"email": "family@home.example"}
    ann, ben = (touchpoint("Signed In", identifiers=who | mailbox) for who in (ANN, BEN))
    _, second = await shop.resolve([ann, ben])

    assert [0, 1] == groups(await people(shop, ann, ben))
    assert [("email", "limit")] == [(refusal.type, refusal.rule) for refusal in second.refused]


async def test_a_kiosk_that_everybody_uses_ends_in_quarantine(stack: Settings) -> None:
    kiosk = {"device_id": "kiosk"}
    customers = [touchpoint(channel="store", identifiers=kiosk | {"user_id": f"customer {n}"}) for n in range(30)]
    async with open_resolver(policy={"quarantine_after": 10}, settings=stack) as resolver:
        owners = await people(resolver, *customers)
        (later,) = await resolver.resolve([touchpoint(channel="store", identifiers=kiosk | {"user_id": "the last"})])

    assert list(range(30)) == groups(owners)
    assert ["quarantined"] == [refusal.rule for refusal in later.refused]


async def test_a_replaced_loyalty_card_takes_the_place_of_the_old_one(stack: Settings) -> None:
    cards = [{"type": "loyalty_id", "limit": 1, "known": True, "at_limit": "fifo"}]
    others = [{"type": "user_id", "limit": 1, "known": True}, {"type": "*"}]
    old, new = (
        touchpoint(channel="loyalty", identifiers=ANN | {"loyalty_id": card}, occurred_at=at(days=day))
        for day, card in enumerate(("card 1", "card 2"))
    )
    till = touchpoint("Store Visited", "store", identifiers={"loyalty_id": "card 2"}, occurred_at=at(days=2))
    async with open_resolver(policy={"types": [*others[:1], *cards, *others[1:]]}, settings=stack) as resolver:
        assert [0, 0, 0] == groups(await people(resolver, old, new, till))


async def test_a_push_token_moves_with_the_phone_and_the_past_stays(shop: Resolver) -> None:
    token = {"push_token": "token"}
    ann, hers, ben, his = (
        touchpoint(channel="app", identifiers=who, occurred_at=at(days=day))
        for day, who in enumerate((token | ANN, token, token | BEN, token))
    )

    assert [0, 0, 1, 1] == groups(await people(shop, ann, hers, ben, his))


async def test_an_address_that_somebody_types_into_a_form_steals_no_profile(stack: Settings) -> None:
    ann = touchpoint("Signed In", identifiers=[{"type": "email", "value": "ann@shop.example", "verified": True}])
    trait = touchpoint("Identify", identifiers=BROWSER, traits={"email": "ann@shop.example"})
    typed = touchpoint("Identify", identifiers={"anonymous_id": "thief", "email": "ann@shop.example"})
    types = [{"type": "email", "known": True, "normalise": "email", "verified_only": True}, {"type": "*"}]
    async with open_resolver(policy={"types": types}, settings=stack) as resolver:
        assert [0, 1, 2] == groups(await people(resolver, ann, trait, typed))


async def test_one_telephone_in_five_spellings_is_one_person(shop: Resolver) -> None:
    spellings = ["+1 415 555 2671", "(415) 555-2671", "415.555.2671", "1-415-555-2671", "+14155552671"]
    calls = [touchpoint("Call Started", "call_center", identifiers={"phone": spelling}) for spelling in spellings]
    chat = touchpoint(channel="whatsapp", identifiers={"whatsapp_id": "14155552671"})

    assert [0] * 6 == groups(await people(shop, *calls, chat))


@pytest.mark.parametrize(
    ("phone", "whatsapp"),
    [
        ("+52 55 1234 5678", "5215512345678"),
        ("+55 31 98765-4321", "553187654321"),
        ("+54 11 1234-5678", "5491112345678"),
    ],
)
async def test_who_signs_up_and_answers_on_whatsapp_with_the_other_spelling_is_one_person(
    shop: Resolver, phone: str, whatsapp: str
) -> None:
    signed_up = touchpoint("Signed Up", identifiers={"user_id": "7", "phone": phone})
    replied = touchpoint("WhatsApp Message Replied", "whatsapp", identifiers={"whatsapp_id": whatsapp})

    assert [0, 0] == groups(await people(shop, signed_up, replied))
    assert await shop.owner("phone", phone) == await shop.owner("whatsapp_id", whatsapp) is not None


async def test_a_landline_that_looks_like_half_a_mobile_is_another_person(shop: Resolver) -> None:
    mobile = touchpoint(identifiers={"user_id": "7", "phone": "+55 31 93765-4321"})
    landline = touchpoint(identifiers={"phone": "+55 31 3765-4321"})

    assert [0, 1] == groups(await people(shop, mobile, landline))


@pytest.mark.parametrize("stored", ["+553187654321", "+5491112345678"])
async def test_a_person_who_was_stored_by_the_former_form_of_a_number_is_found_and_stays_one(
    stack: Settings, stored: str
) -> None:
    former = {"types": {"phone": {"normalise": "opaque"}, "whatsapp_id": {"normalise": "opaque"}}}
    before = touchpoint(identifiers={"user_id": "7", "phone": stored})
    async with open_resolver(policy=former, settings=stack) as old:
        (was,) = await old.resolve([before])
        async with open_resolver(old.namespace, settings=stack) as resolver:
            assert was.profile_id == await resolver.owner("phone", stored)
            after = touchpoint(identifiers={"whatsapp_id": stored[1:]})
            assert [was.profile_id] == await people(resolver, after)
            erased = await resolver.erase("phone", stored)
            (replayed,) = await resolver.resolve([touchpoint(identifiers={"whatsapp_id": stored[1:]})])

    assert erased is not None
    assert replayed.suppressed


async def test_who_hides_the_number_on_whatsapp_is_known_by_the_user_id(shop: Resolver) -> None:
    user_id = {"whatsapp_user_id": "DE.13491208655302741918"}
    both = touchpoint("WhatsApp Message Replied", "whatsapp", identifiers=user_id | {"whatsapp_id": "491511234567"})
    hidden = touchpoint("WhatsApp Message Replied", "whatsapp", identifiers=user_id)
    american = touchpoint(identifiers={"phone": "+1 415 555 2671"})
    misplaced = touchpoint("WhatsApp Message Replied", "whatsapp", identifiers={"whatsapp_id": "MX.4155552671"})

    first, second, third, none = await people(shop, both, hidden, american, misplaced)

    assert (first, None) == (second, none)
    assert third not in (None, first)


async def test_national_numbers_belong_to_their_own_country_not_to_the_default_one(stack: Settings) -> None:
    lyon = touchpoint(
        "Signed Up",
        "store",
        source="pos-lyon",
        identifiers={"loyalty_id": "F-1", "phone": "06 12 34 56 78"},
        traits={"address": {"country": "FR"}},
    )
    reply = touchpoint("WhatsApp Message Replied", "whatsapp", identifiers={"whatsapp_id": "33612345678"})
    india = touchpoint(identifiers={"user_id": "I-1", "phone": "98765 43210"}, context={"locale": "en-IN"})
    chat = touchpoint("WhatsApp Message Replied", "whatsapp", identifiers={"whatsapp_id": "919876543210"})
    unknown = touchpoint(identifiers={"loyalty_id": "F-2", "phone": "06 12 34 56 78"})
    async with open_resolver(settings=stack) as resolver:
        assert [0, 0, 1, 1, 2] == groups(await people(resolver, lyon, reply, india, chat, unknown))
    async with open_resolver(policy={"regions": {"pos-lyon": "FR"}}, settings=stack) as resolver:
        del lyon["traits"]
        assert [0, 0] == groups(await people(resolver, lyon, reply))


async def test_a_login_by_e_mail_address_is_one_person_in_any_case(shop: Resolver) -> None:
    email = {"email": "ada@shop.example"}
    web, app = (touchpoint(identifiers={"user_id": name} | email) for name in ("Ada@Shop.example", "ada@shop.example"))
    other = touchpoint(identifiers={"user_id": "ada"})

    assert [0, 0, 1] == groups(await people(shop, web, app, other))


async def test_a_chain_of_merges_ends_in_one_person(shop: Resolver) -> None:
    alone = [touchpoint(identifiers={"anonymous_id": f"browser {n}"}) for n in range(20)]
    links = [touchpoint(identifiers={"anonymous_id": [f"browser {n}", f"browser {n + 1}"]}) for n in range(19)]
    before = await people(shop, *alone)
    after = await people(shop, *links, *alone)

    assert list(range(20)) == groups(before)
    assert [0] * 39 == groups(after)


async def test_two_big_clusters_stay_apart_when_together_they_pass_the_cap(stack: Settings) -> None:
    types = [{"type": "*", "limit": None}]

    def cluster(name: str) -> list[Event]:
        return [touchpoint(identifiers={"cookie": [f"{name} 0", f"{name} {n}"]}) for n in range(1, 150)]

    link = touchpoint(identifiers={"cookie": ["a 7", "b 7"]})
    async with open_resolver(policy={"types": types, "cap": 200}, settings=stack) as resolver:
        owners = await people(resolver, *cluster("a"), *cluster("b"))
        (linked,) = await resolver.resolve([link])

    assert {0, 1} == set(groups(owners))
    assert (True, ["cap"]) == (linked.profile_id in owners, [refusal.rule for refusal in linked.refused])


async def test_people_who_were_merged_wrongly_are_taken_apart_and_stay_apart(shop: Resolver) -> None:
    ann, ben = (
        order("o1", identifiers={"email": "ann@shop.example"}),
        order("o2", identifiers={"phone": "+14155552671"}),
    )
    wrong = touchpoint("Identify", identifiers={"email": "ann@shop.example", "phone": "+14155552671"})
    merged = groups(await people(shop, ann, ben, wrong))
    split = await shop.unmerge([("phone", "(415) 555-2671")])
    apart = await shop.final(event["event_id"] for event in (ann, ben, wrong))
    (again,) = await shop.resolve([{**wrong, "event_id": "once more"}])

    assert [0, 0, 0] == merged
    assert [split.source, split.target, split.source] == list(apart.values())
    assert [("phone", "separated")] == [(refusal.type, refusal.rule) for refusal in again.refused]
    assert split.target == await shop.owner("phone", "+1 415 555 2671")


async def test_who_was_erased_comes_back_as_somebody_new(shop: Resolver) -> None:
    mail = {"email": "ann@shop.example"}
    bought = order("o1", identifiers=mail, occurred_at=at())
    returned = touchpoint(identifiers=mail, occurred_at=at(days=2))
    (before,) = await shop.resolve([bought])
    erased = await shop.erase("email", " ANN@shop.example", at=DAY_ONE + timedelta(days=1))
    gone = await shop.owner("email", "ann@shop.example")
    (replayed, new) = await shop.resolve([bought, returned])

    assert (before.profile_id, None) == (erased and erased.profile_id, gone)
    assert (None, True) == (replayed.profile_id, replayed.suppressed)
    assert new.profile_id not in (None, before.profile_id)
    assert {bought["event_id"]: None, returned["event_id"]: new.profile_id} == await shop.final(
        event["event_id"] for event in (bought, returned)
    )


async def test_nobody_is_known_by_a_placeholder(shop: Resolver) -> None:
    events = [touchpoint(identifiers={"user_id": value}) for value in ("null", "0000", "[object Object]", "anonymous")]

    assert [None] * 4 == await people(shop, *events)
    assert await shop.owner("user_id", "null") is None


async def test_the_same_event_twice_is_one_and_another_with_its_id_is_a_duplicate(shop: Resolver) -> None:
    first = touchpoint(identifiers=ANN)
    (once,) = await shop.resolve([first])
    twice, other = await shop.resolve([read(first), {**first, "identifiers": BEN}])

    assert [(once.profile_id, False), (once.profile_id, False), (once.profile_id, True)] == [
        (one.profile_id, one.duplicate) for one in (once, twice, other)
    ]
    assert await shop.owner("user_id", "ben") is None


async def test_an_invalid_event_is_named_and_nothing_is_resolved(shop: Resolver) -> None:
    good, bad = touchpoint(identifiers=ANN), touchpoint(occurred_at="yesterday", event_id="e-bad")
    with pytest.raises(InvalidEventError, match=r"event 2 \('e-bad'\): occurred_at is 'yesterday'") as raised:
        await shop.resolve([good, bad])

    assert ("occurred_at", 1) == (raised.value.field, raised.value.position)
    assert await shop.owner("user_id", "ann") is None


async def test_a_name_space_is_gone_afterwards_unless_it_is_to_be_kept(stack: Settings) -> None:
    async def seen_by(keep: bool) -> str | None:
        async with open_resolver("try-[out]*", keep=keep, settings=stack) as resolver:
            before = await resolver.owner("user_id", "ann")
            await resolver.resolve([touchpoint(identifiers=ANN, event_id="e1")])
            return before

    first, second, third, fourth = [await seen_by(keep) for keep in (False, True, False, False)]

    assert (None, None, True, None) == (first, second, third is not None, fourth)


async def test_resolvers_of_a_name_space_know_what_the_others_did(stack: Settings) -> None:
    mail, login = {"email": "ann@shop.example"}, touchpoint("Signed In", identifiers=BROWSER | ANN)
    async with open_resolver("together", settings=stack) as first:
        async with open_resolver("together", settings=stack) as second:
            await second.resolve([login, touchpoint(identifiers=ANN | mail, event_id="e-mail")])
            split = await second.unmerge([("email", "ann@shop.example"), ("user_id", "ann")])
            await second.resolve([touchpoint(identifiers=ANN, event_id="later")])

        assert dict.fromkeys((login["event_id"], "e-mail", "later"), split.target) == await first.final(
            [login["event_id"], "e-mail", "later"]
        )
        (twice,) = await first.resolve([{**login, "identifiers": BEN}])
        assert (True, split.target) == (twice.duplicate, twice.profile_id)
    async with open_resolver("together", settings=stack) as third:
        assert {"later": None} == await third.final(["later"])


async def test_equal_event_ids_of_two_sources_are_two_events(shop: Resolver) -> None:
    ann = touchpoint(identifiers=ANN, event_id="1001", source="shop")
    ben = touchpoint(identifiers=BEN, event_id="1001", source="till")
    first, second = await shop.resolve([ann, ben])
    (again,) = await shop.resolve([{**ann, "identifiers": BEN}])

    assert {("shop", "1001"): first.profile_id, ("till", "1001"): second.profile_id, ("app", "1001"): None} == (
        await shop.final([("shop", "1001"), ("till", "1001"), ("app", "1001")])
    )
    assert {"1001": second.profile_id} == await shop.final(["1001"])
    assert (True, first.profile_id) == (again.duplicate, again.profile_id)
    assert first.profile_id != second.profile_id


async def test_what_can_not_be_taken_apart_is_named_as_it_was_written(shop: Resolver) -> None:
    await shop.resolve([touchpoint(identifiers=ANN)])

    with pytest.raises(ValueError, match="all the identifiers of the profile, user_id:ann among them"):
        await shop.unmerge([("user_id", "ann")])
    with pytest.raises(ValueError, match=r"no profile has the identifier email:BEN@shop\.example"):
        await shop.unmerge([("email", "BEN@shop.example")])


async def test_the_live_name_space_is_refused(stack: Settings) -> None:
    with pytest.raises(ValueError, match="name space of the live deployment"):
        async with open_resolver(stack.redis_namespace, settings=stack):
            pass


async def test_the_time_of_an_erasure_needs_a_zone(shop: Resolver) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        await shop.erase("user_id", "ann", at=DAY_ONE.replace(tzinfo=None))
