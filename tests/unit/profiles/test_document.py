"""What a profile says of a person, told as stories; the events come in the order in which they are written."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from processors.profiles.document import apply, combine, encode, new_profile
from processors.profiles.view import view
from schemas.events.bounces import TRANSIENT_BOUNCES_IN_A_ROW as N
from schemas.profiles.document import (
    CART_OPERATIONS_KEPT,
    EVENT_NAMES_KEPT,
    ITEMS_KEPT,
    ORDERS_KEPT,
    TRAITS_KEPT,
    Profile,
)
from tests.support.builders import at
from tests.support.profiles import added, ordered, resolved, seen, told

# Who, where, when


def test_a_new_person_has_done_nothing() -> None:
    assert {"profile_id": "p1", "event_count": 0} == new_profile("p1")


def test_every_event_counts_on_its_channel_and_by_its_name() -> None:
    person = seen(
        resolved("Page Viewed", "web", occurred_at=at(hours=2)),
        resolved("Store Visited", "store", occurred_at=at(hours=1)),
        resolved("Product Viewed", "web", occurred_at=at(hours=3), properties={"product_id": "lamp"}),
    )

    assert {
        "web": {
            "times": 2,
            "first": "2026-11-01T14:00:00.000Z",
            "last": "2026-11-01T15:00:00.000Z",
            "last_event": "Product Viewed",
        },
        "store": {
            "times": 1,
            "first": "2026-11-01T13:00:00.000Z",
            "last": "2026-11-01T13:00:00.000Z",
            "last_event": "Store Visited",
        },
    } == person["channels"]
    assert (3, "2026-11-01T13:00:00.000Z", "2026-11-01T15:00:00.000Z") == (
        person["event_count"],
        person["first_seen"],
        person["last_seen"],
    )
    assert {"Page Viewed": 1, "Product Viewed": 1, "Store Visited": 1} == {
        name: counter["times"] for name, counter in person["events"].items()
    }


def test_the_last_known_circumstances_are_those_of_the_latest_event_not_of_the_latest_delivery() -> None:
    person = seen(
        resolved(
            occurred_at=at(hours=2), context={"timezone": "Europe/Paris", "geo": {"city": "Lyon"}, "store_id": "s2"}
        ),
        resolved(occurred_at=at(hours=1), context={"timezone": "Asia/Tokyo", "locale": "ja", "store_id": "s1"}),
    )

    assert {"timezone": "Europe/Paris", "city": "Lyon", "locale": "ja"} == person["known"]
    assert ["s2", "s1"] == list(person["stores"])


@pytest.mark.parametrize("value", [7, "Lyon", True, [1, "a"], {"a": 1}], ids=str)
def test_a_trait_is_what_was_last_stated_of_it(value: object) -> None:
    person = seen(
        resolved("Identify", occurred_at=at(hours=2), traits={"city": value}),
        resolved("Identify", occurred_at=at(hours=1), traits={"city": "Paris", "name": "Ann"}),
    )

    assert {"city": value, "name": "Ann"} == person["traits"]


def test_a_trait_that_is_taken_back_is_not_shown_and_a_late_old_value_does_not_bring_it_back() -> None:
    person = told(
        {**resolved("Identify", occurred_at=at(hours=2)), "traits": {"city": None}},
        resolved("Identify", occurred_at=at(hours=1), traits={"city": "Paris"}),
    )

    assert {} == view(person)["traits"]


# Touches


def test_the_first_and_the_last_touch_are_events_that_name_a_campaign() -> None:
    person = seen(
        resolved(occurred_at=at(hours=3)),
        resolved(occurred_at=at(hours=2), campaign={"channel": "Paid Search", "name": "autumn", "term": "lamp"}),
        resolved("Ad Impression", "ads", occurred_at=at(hours=1), campaign={"name": "awareness"}),
    )

    assert {"at": "2026-11-01T13:00:00.000Z", "channel": "ads", "campaign": {"name": "awareness"}} == person[
        "first_touch"
    ]
    assert {"at": "2026-11-01T14:00:00.000Z", "channel": "Paid Search", "campaign": {"name": "autumn"}} == person[
        "last_touch"
    ]


@pytest.mark.parametrize(
    ("event", "touched"), [("Email Sent", False), ("Email Opened", False), ("Email Link Clicked", True)], ids=str
)
def test_of_messages_only_a_click_is_a_touch(event: str, touched: bool) -> None:
    person = seen(resolved(event, "email", campaign={"name": "news"}))

    assert touched == (person["last_touch"] is not None)


# Messages, addresses, consent


def message(event: str, hour: int, channel: str = "email", **properties: Any) -> dict[str, Any]:
    who = {"email": ["a@b.example"], "phone": ["+33612345678"], "push_token": ["t1"]}
    return resolved(event, channel, occurred_at=at(hours=hour), identifiers=who, properties=properties)


def test_messages_are_counted_by_channel_and_step() -> None:
    person = seen(
        message("Email Sent", 1),
        message("Email Sent", 3),
        message("Email Opened", 2),
        message("SMS Link Clicked", 2, "web"),
        message("Push Delivered", 2, "web_push"),
        message("Push Delivered", 2, "api"),
    )

    assert {
        "email": {
            "sent": {"times": 2, "last": "2026-11-01T15:00:00.000Z"},
            "opened": {"times": 1, "last": "2026-11-01T14:00:00.000Z"},
        },
        "sms": {"clicked": {"times": 1, "last": "2026-11-01T14:00:00.000Z"}},
        "web_push": {"delivered": {"times": 1, "last": "2026-11-01T14:00:00.000Z"}},
        "app_push": {"delivered": {"times": 1, "last": "2026-11-01T14:00:00.000Z"}},
    } == person["messages"]


def test_an_address_once_verified_stays_verified() -> None:
    person = seen(
        resolved(occurred_at=at(hours=2), identifiers=[{"type": "email", "value": "a@b.example"}]),
        resolved(occurred_at=at(hours=1), identifiers=[{"type": "email", "value": "a@b.example", "verified": True}]),
        resolved(occurred_at=at(hours=3), identifiers={"anonymous_id": "no address", "email": "c@d.example"}),
    )

    assert [("c@d.example", False), ("a@b.example", True)] == [
        (one["value"], one["verified"]) for one in person["addresses"]["email"]
    ]
    assert ["email"] == list(person["addresses"])


@pytest.mark.parametrize(
    ("events", "bounced"),
    [
        pytest.param([("Email Bounced", 1, {"bounce_type": "hard"})], ["email"], id="a hard bounce"),
        pytest.param([("Email Bounced", 1, {})], ["email"], id="a bounce of no stated kind counts as hard"),
        pytest.param([("Email Bounced", 1, {"bounce_type": "Soft"})], [], id="a soft bounce says nothing"),
        pytest.param(
            [("Email Bounced", 1, {}), ("Email Opened", 2, {})], [], id="a later opening proves that it works"
        ),
        pytest.param([("Email Opened", 1, {}), ("Email Bounced", 2, {})], ["email"], id="an earlier one does not"),
        pytest.param([("SMS Bounced", 1, {})], ["phone"], id="only the address that the message went to"),
        pytest.param([("Push Bounced", 1, {})], ["push_token"], id="a push token that is no more"),
    ],
)
def test_an_address_bounces_if_its_last_delivery_did(
    events: list[tuple[str, int, dict[str, Any]]], bounced: list[str]
) -> None:
    found = [
        seen(*(message(name, hour, **properties) for name, hour, properties in order))["addresses"]
        for order in permutations(events)
    ]

    assert [bounced] * len(found) == [[kind for kind, ones in person.items() if ones[0]["bounced"]] for person in found]


def bounces(*hours: int, bounce_type: str = "soft") -> list[dict[str, Any]]:
    return [message("Email Bounced", hour, bounce_type=bounce_type) for hour in hours]


@pytest.mark.parametrize(
    ("events", "bounced"),
    [
        pytest.param(bounces(*range(N)), True, id="as many in a row as make it permanent"),
        pytest.param(bounces(*range(N - 1)), False, id="one fewer"),
        pytest.param([*bounces(*range(N)), message("Email Delivered", 50)], False, id="then one arrives"),
        pytest.param([message("Email Opened", 3), *bounces(*range(4, N + 4))], True, id="after one that has arrived"),
        pytest.param([*bounces(*range(N)), message("Email Delivered", 3)], False, id="one between them has arrived"),
        pytest.param([*bounces(*range(2 * N)), message("Email Opened", N - 1)], True, id="enough since then"),
        pytest.param(bounces(*[1] * N), False, id="one report, sent again and again"),
        pytest.param(bounces(*range(2 * N), bounce_type="Undetermined"), False, id="an unknown kind is never enough"),
        pytest.param(bounces(*range(2 * N), bounce_type="5.7.1"), False, id="nor is a refusal of the sender"),
        pytest.param([message("SMS Bounced", hour, bounce_type="soft") for hour in range(N)], False, id="elsewhere"),
    ],
)
def test_an_address_is_given_up_after_transient_bounces_in_a_row(events: list[dict[str, Any]], bounced: bool) -> None:
    for order in (events, events[::-1], events[1::2] + events[::2]):
        assert bounced is seen(*order)["addresses"]["email"][0]["bounced"]
    half = len(events) // 2
    halves = [new_profile("p1"), new_profile("p2")]
    for place, event in enumerate(events):
        apply(halves[place >= half], event)
    assert bounced is view(combine(*halves))["addresses"]["email"][0]["bounced"]


@pytest.mark.parametrize(
    ("bounce_type", "step", "granted"),
    [
        ("AutoResponder", None, None),
        ("ChallengeVerification", None, None),
        ("SpamComplaint", "complained", False),
        ("Unsubscribe", "unsubscribed", False),
        ("Undetermined", "bounced", None),
        ("Transient", "bounced", None),
    ],
)
def test_a_bounce_counts_as_what_it_is(bounce_type: str, step: str | None, granted: bool | None) -> None:
    person = seen(message("Email Bounced", 1, bounce_type=bounce_type))

    assert ([step] if step else []) == list(person["messages"].get("email", {}))
    assert granted is person["consent"]["channels"].get("email", {}).get("granted")
    assert not person["addresses"]["email"][0]["bounced"]


@pytest.mark.parametrize("backwards", [False, True])
def test_the_last_answer_about_a_topic_counts(backwards: bool) -> None:
    answers = [
        resolved("Consent Updated", occurred_at=at(hours=hour), consent={"topics": {"promotion": answer}})
        for hour, answer in ((1, True), (2, False))
    ]

    topics = seen(*(answers[::-1] if backwards else answers))["consent"]["topics"]

    assert topics["promotion"]["granted"] is False


def consented(hour: int, granted: bool, event: str = "Consent Updated") -> dict[str, Any]:
    answer = {"marketing": granted, "channels": {"email": granted}}
    return resolved(event, occurred_at=at(hours=hour), consent=answer)


@pytest.mark.parametrize(
    ("events", "granted"),
    [
        pytest.param([consented(1, True)], True, id="yes is yes"),
        pytest.param([consented(1, False), consented(2, True)], True, id="the last answer counts"),
        pytest.param([consented(1, True), consented(2, False)], False, id="the last answer counts when it is no"),
        pytest.param([consented(1, True), consented(1, False)], False, id="at the same time no wins"),
    ],
)
def test_the_last_answer_about_consent_counts(events: list[dict[str, Any]], granted: bool) -> None:
    for order in permutations(events):
        consent = seen(*order)["consent"]

        assert (granted, granted) == (
            consent["purposes"]["marketing"]["granted"],
            consent["channels"]["email"]["granted"],
        )


@pytest.mark.parametrize("event", ["Email Unsubscribed", "Email Marked as Spam", "Unsubscribed"])
def test_who_unsubscribes_or_complains_has_said_no_to_the_channel(event: str) -> None:
    consent = seen(consented(1, True), message(event, 2))["consent"]

    assert (True, {"granted": False, "at": "2026-11-01T14:00:00.000Z"}) == (
        consent["purposes"]["marketing"]["granted"],
        consent["channels"]["email"],
    )


def test_a_client_that_has_not_heard_of_the_unsubscription_does_not_undo_it() -> None:
    person = seen(message("Email Unsubscribed", 1), consented(2, True, "Page Viewed"))

    assert not person["consent"]["channels"]["email"]["granted"]


def test_the_person_can_subscribe_again() -> None:
    person = seen(message("Email Unsubscribed", 1), consented(2, True))

    assert person["consent"]["channels"]["email"]["granted"]


# Loyalty


def test_points_are_earned_and_redeemed_on_any_channel() -> None:
    events = [
        resolved("Loyalty Points Earned", "store", occurred_at=at(hours=1), properties={"points": 100}),
        resolved("Loyalty Points Redeemed", "web", occurred_at=at(hours=2), properties={"points": 30}),
    ]

    assert {"balance": 70, "earned": 100, "redeemed": 30, "overdrawn": 0} == seen(*events)["loyalty"]


def points(event: str, number: int, **properties: Any) -> dict[str, Any]:
    return resolved(event, properties={"points": number, **properties})


@pytest.mark.parametrize(
    ("events", "balance", "overdrawn"),
    [
        pytest.param(
            [points("Loyalty Points Earned", 400), points("Loyalty Points Earned", 150),
             points("Loyalty Points Redeemed", 900)], 0, 350, id="more is redeemed than is known as earned",
        ),
        pytest.param([points("Loyalty Points Redeemed", 5)], 0, 5, id="nothing is known as earned"),
        pytest.param(
            [points("Loyalty Points Earned", 400), points("Loyalty Points Redeemed", 400)], 0, 0, id="all is redeemed"
        ),
        pytest.param([points("Loyalty Points Redeemed", 900, balance=40)], 40, 0, id="the programme says what is left"),
        pytest.param([points("Loyalty Points Redeemed", 900, balance=-40)], 0, 40, id="the programme says a debt"),
    ],
)  # fmt: skip
def test_the_balance_is_not_below_zero_and_what_is_missing_is_said(
    events: list[dict[str, Any]], balance: int, overdrawn: int
) -> None:
    shown = seen(*events)["loyalty"]

    assert (balance, overdrawn) == (shown["balance"], shown["overdrawn"])


def test_the_balance_that_the_programme_reports_counts() -> None:
    events = [
        resolved("Loyalty Points Earned", occurred_at=at(hours=2), properties={"points": 10, "balance": 510}),
        resolved("Loyalty Points Earned", occurred_at=at(hours=1), properties={"points": 10, "balance": 500}),
    ]

    assert 510 == seen(*events)["loyalty"]["balance"]


# Merges and limits


def test_merged_people_leave_one_profile_with_everything() -> None:
    phone = told(added("lamp", 1), resolved("Identify", occurred_at=at(hours=2), traits={"name": "Ann"}))
    laptop = {**told(ordered("o1", 3, "lamp", revenue="10")), "profile_id": "p2"}
    person = view(combine(laptop, phone))

    assert ("p2", 3, "Ann", [], 1) == (
        person["profile_id"],
        person["event_count"],
        person["traits"]["name"],
        person["cart"],
        person["orders"]["count"],
    )


def test_an_event_of_another_making_is_counted_whatever_it_carries() -> None:
    properties = {"products": "none", "order_id": 7, "price": {}, "store_id": []}
    event = resolved("Our Own Event", properties=properties, context={"device": {"type": 5}, "geo": {"city": None}})

    assert ({"Our Own Event": 1}, {"device": "5"}) == (
        {name: one["times"] for name, one in seen(event)["events"].items()},
        seen(event)["known"],
    )


def test_a_profile_stays_small_whatever_its_person_does() -> None:
    many = range(600)
    profile = told(
        resolved("Identify", traits={f"t{n:03}": "x" * 900 for n in many}),
        resolved("Identify", traits={"a": "x" * 2000}),
        *(resolved(f"Custom {n:03}", occurred_at=at(hours=n)) for n in many),
        *(added(f"product {n}", n, cart=f"c{n}") for n in many),
        *(ordered(f"o{n}", n, f"product {n}", revenue="1", cart_id="none") for n in many),
        *(resolved(identifiers={"email": f"{n}@b.example"}, occurred_at=at(hours=n)) for n in many),
    )
    shape = Profile.model_validate_json(encode(profile))

    assert (TRAITS_KEPT, EVENT_NAMES_KEPT, ITEMS_KEPT, ITEMS_KEPT, ORDERS_KEPT, 20) == (
        len(shape.traits),
        len(shape.events),
        len(shape.bought),
        len(shape.carted),
        len(shape.orders.by_id) if shape.orders else 0,
        len(shape.addresses["email"]),
    )
    assert len(shape.cart) <= CART_OPERATIONS_KEPT
    assert "a" not in shape.traits
    assert {"Identify", "Product Added", "Order Completed", "Custom 000"} < set(shape.events)


def test_what_a_newer_version_has_stored_is_left_out_of_the_view() -> None:
    document = told(ordered("o1", 1, revenue="9"))
    newer = {**document, "wishes": {"lamp": 1}, "orders": {**document["orders"], "gifts": 2}}

    assert view(document) == view(newer)


def test_a_merge_keeps_sections_of_a_newer_version_and_of_two_the_winners() -> None:
    winner, loser = (
        {**new_profile(one), **sections} for one, sections in (("p1", {"wishes": 1}), ("p2", {"wishes": 2}))
    )

    assert (1, "oak") == tuple(combine(winner, {**loser, "tastes": "oak"})[name] for name in ("wishes", "tastes"))


def test_an_event_of_doubtful_time_starts_nothing() -> None:
    ad = {"source": "google", "medium": "cpc"}
    undated = resolved(occurred_at=at(), campaign=ad, context={"time_doubtful": True})
    dated = resolved(occurred_at=at(hours=2), campaign={"source": "crm", "medium": "email"})

    alone, both = seen(undated), seen(dated, undated)

    assert (None, at()[:19]) == (alone["first_seen"], alone["last_seen"][:19])
    assert "first_touch" not in told(undated)
    assert (at(hours=2)[:19], "crm") == (
        both["first_seen"][:19],
        told(undated, dated)["first_touch"]["campaign"]["source"],
    )
    assert told(undated, dated) == told(dated, undated)
