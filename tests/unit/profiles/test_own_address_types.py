"""A channel of the message policy's own, such as Viber, reaches people by the identifier type that the policy names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from processors.decisions.engine import DecisionEngine
from processors.profiles.document import join, new_profile, profile_of_event
from schemas.decisions.policy import MessagePolicy
from schemas.profiles.document import ADDRESS_TYPES_KEPT
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import ms_of_text
from tests.support.builders import at
from tests.support.messages import NO_HOLDOUT, NOON, Note, person, request, resolver
from tests.support.profiles import resolved, seen

VIBER_ID = "01234567890A="
POLICY = MessagePolicy.model_validate(
    {"channels": {"viber": {"address": "viber_id", "also": ["viber_phone"]}, "email": {"address": "email"}}}
)
AGREED = {"marketing": True, "channels": {"viber": True}}


def stated(hour: int = 1, consent: dict[str, Any] | None = None, **identifiers: str) -> dict[str, Any]:
    event = resolved(
        "Consent Updated", "viber", occurred_at=at(hours=hour), identifiers=identifiers or {"user_id": "7"}
    )
    return event if consent is None else {**event, "consent": consent}


def someone(*events: dict[str, Any]) -> Person:
    document = new_profile("p1")
    for event in events:
        join(document, profile_of_event(event))
    return Person("p1", document, {})


def holds(who: Person, policy: MessagePolicy = POLICY, **condition: Any) -> bool:
    engine = DecisionEngine(SegmentDefinitions(), (), policy).segments
    return engine.holds(Condition.model_validate(condition), who, ms_of_text(at(hours=9)))


def test_the_profile_keeps_an_identifier_of_a_type_that_the_product_does_not_know() -> None:
    shown = seen(stated(viber_id=VIBER_ID))["addresses"]

    assert {"viber_id": [VIBER_ID]} == {kind: [one["value"] for one in found] for kind, found in shown.items()}


def test_the_profile_keeps_no_identifier_that_says_who_somebody_is_as_an_address() -> None:
    event = stated(user_id="7", crm_id="c", loyalty_id="l", device_id="d", anonymous_id="a")

    assert {} == seen(event)["addresses"]


def test_types_that_a_page_makes_up_are_kept_within_bounds_and_cost_no_known_address() -> None:
    names = [f"a{number:02}" for number in range(40)]
    made_up = {**stated(1), "identifiers": [{"type": name, "value": "x"} for name in names]}
    known = stated(2, email="a@shop.example")
    kept = [set(someone(*events).document["addresses"]) for events in ((made_up, known), (known, made_up))]

    assert [{"email", *names[: ADDRESS_TYPES_KEPT - 1]}] * 2 == kept


def test_segments_reach_the_person_where_the_policy_has_the_channel() -> None:
    agreed = someone(stated(consent=AGREED, viber_id=VIBER_ID))

    assert holds(agreed, can_reach="viber")
    assert holds(agreed, attribute="reach.viber", eq=True)
    assert holds(agreed, attribute="reach.channels", eq="viber")
    assert holds(agreed, attribute="is_known", eq=True)
    assert not holds(agreed, policy=MessagePolicy(), can_reach="viber")
    assert not holds(agreed, policy=MessagePolicy(), attribute="is_known", eq=True)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([stated(viber_id=VIBER_ID)], id="not asked"),
        pytest.param([stated(consent=AGREED, email="a@shop.example")], id="another address alone"),
        pytest.param(
            [stated(consent=AGREED, viber_id=VIBER_ID), stated(2, {"channels": {"viber": False}})], id="opted out"
        ),
        pytest.param([stated(consent=AGREED, viber_id=VIBER_ID), stated(2, {"marketing": False})], id="no marketing"),
    ],
)
def test_nobody_else_is_reached(events: list[dict[str, Any]]) -> None:
    assert not holds(someone(*events), can_reach="viber")


def told(name: str, hour: int = 2, channel: str = "viber", **properties: str) -> dict[str, Any]:
    identifiers = {"viber_id": VIBER_ID, "email": "a@shop.example"}
    return {**resolved(name, channel, occurred_at=at(hours=hour), identifiers=identifiers), "properties": properties}


KNOWN = stated(consent=AGREED, viber_id=VIBER_ID, email="a@shop.example")
SOFT = [told("Viber Bounced", hour, bounce_type="soft") for hour in range(2, 9)]


@pytest.mark.parametrize(
    ("events", "reached"),
    [
        pytest.param([told("Viber Bounced")], False, id="a bounce"),
        pytest.param([told("VIBER MESSAGE BOUNCED")], False, id="spelt in another way"),
        pytest.param([told("Viber Bounced", channel="api")], False, id="that a server tells on its own channel"),
        pytest.param([told("Viber Failed", reason="receiverNotRegistered")], False, id="a failure that says why"),
        pytest.param([told("Viber Failed", reason="Forbidden: bot was blocked by the user")], False, id="blocked"),
        pytest.param([told("Viber Unsubscribed")], False, id="an unsubscription"),
        pytest.param(SOFT, False, id="soft ones in a row"),
        pytest.param(SOFT[1:], True, id="one fewer"),
        pytest.param([*SOFT, told("Viber Delivered", 9)], True, id="soft ones, then a delivery"),
        pytest.param([told("Viber Bounced"), told("Viber Delivered", 3)], True, id="a later delivery"),
        pytest.param([told("Viber Delivered", 1), told("Viber Bounced")], False, id="an earlier one"),
        pytest.param([told("Viber Failed", reason="internal error")], True, id="a failure that does not"),
        pytest.param([told("Viber Bounced", bounce_type="blocked")], True, id="of no known meaning"),
        pytest.param([told("Viber Bounced", bounce_type="AutoReply")], True, id="an automatic reply"),
        pytest.param([told("Cheque Bounced")], True, id="something else that bounces"),
        pytest.param([told("RCS Bounced")], True, id="on another channel"),
        pytest.param([told("Email Bounced", channel="email")], True, id="an e-mail"),
    ],
)
def test_a_bounce_on_an_own_channel_is_of_its_address(events: list[dict[str, Any]], reached: bool) -> None:
    who = someone(KNOWN, *events)
    by_mail = {**KNOWN, "consent": {"marketing": True, "channels": {"email": True}}}

    assert reached == holds(who, can_reach="viber")
    assert ("Email Bounced" != events[0]["event"]) == holds(someone(by_mail, *events), can_reach="email")


@pytest.mark.parametrize(
    ("name", "channel", "identifiers", "properties", "counted"),
    [
        pytest.param("Payment Failed", "web", {"payment_id": "p"}, {}, {}, id="a payment"),
        pytest.param("Payment Failed", "web", {"payment_id": "p"}, {"reason": "no such account"}, {}, id="and why"),
        pytest.param("Payment Link Clicked", "web", {"payment_id": "p"}, {}, {}, id="a link to pay"),
        pytest.param("Invoice Sent", "api", {"invoice_id": "i"}, {}, {}, id="an invoice"),
        pytest.param("Parcel Delivered", "api", {"parcel_id": "i"}, {}, {}, id="a parcel"),
        pytest.param("Ticket Replied", "chat", {"ticket_id": "i"}, {}, {}, id="a ticket"),
        pytest.param("Kiosk Opened", "kiosk", {"user_id": "7"}, {}, {}, id="a kiosk"),
        pytest.param("Locker Failed", "locker", {"email": "a@shop.example"}, {}, {}, id="a locker"),
        pytest.param("Store Opened", "store", {"user_id": "7"}, {"message_id": "m"}, {}, id="no channel of messages"),
        pytest.param("Viber Opened", "viber", {"viber_id": VIBER_ID}, {}, {"viber": "opened"}, id="its address"),
        pytest.param("Viber Sent", "viber", {"user_id": "7"}, {"message_id": "m"}, {"viber": "sent"}, id="a message"),
        pytest.param(
            "Viber Delivered", "api", {"viber_id": VIBER_ID}, {"message_id": "m"}, {"viber": "delivered"},
            id="that a server tells",
        ),
        pytest.param("Viber Unsubscribed", "viber", {"user_id": "7"}, {}, {"viber": "unsubscribed"}, id="a no"),
        pytest.param("Telegram Opened", "telegram", {"user_id": "7"}, {}, {"telegram": "opened"}, id="a known channel"),
    ],
)  # fmt: skip
def test_an_event_is_about_a_message_of_an_own_channel_if_something_beside_its_name_says_so(
    name: str, channel: str, identifiers: dict[str, str], properties: dict[str, str], counted: dict[str, str]
) -> None:
    event = resolved(name, channel, occurred_at=at(hours=2), identifiers=identifiers, properties=properties)
    messages = someone(event).document.get("messages", {})

    assert counted == {where: next(iter(steps)) for where, steps in messages.items()}


@pytest.mark.parametrize(
    ("name", "channel", "kind"),
    [
        ("Telegram Bounced", "telegram", "telegram_id"), ("Messenger Bounced", "messenger", "messenger_id"),
        ("Web Push Bounced", "web_push", "push_token"), ("App Push Failed", "app_push", "push_token"),
        ("Push Failed", "app_push", "push_token"), ("SMS Failed", "sms", "phone"),
        ("WhatsApp Message Failed", "whatsapp", "whatsapp_id"), ("Push Notification Bounced", "app", "push_token"),
    ],
)  # fmt: skip
def test_a_bounce_on_a_known_channel_is_of_its_address(name: str, channel: str, kind: str) -> None:
    value = "+4915112345678" if kind in ("phone", "whatsapp_id") else "token-1"
    identifiers = {kind: value, "email": "a@shop.example"}
    event = resolved(name, channel, occurred_at=at(hours=2), identifiers=identifiers)
    addresses = seen({**event, "properties": {"reason": "Unregistered"}})["addresses"]

    assert {"email": [False], kind: [True]} == {
        kind: [one["bounced"] for one in found] for kind, found in addresses.items()
    }


def test_segments_about_reach_hear_of_an_unsubscription_on_an_own_channel() -> None:
    definitions = SegmentDefinitions.model_validate(
        {"segments": [{"name": name, "description": name, "when": {"can_reach": name}} for name in ("viber", "email")]}
    )
    engine = DecisionEngine(definitions, (), POLICY).segments
    document = someone(KNOWN).document

    found = {
        name: engine._index.affected(told(name), document, {"viber"}, addresses_changed=False)
        for name in ("Viber Unsubscribed", "Viber Installed")
    }

    assert {"Viber Unsubscribed": ["viber", "email"], "Viber Installed": []} == found


@pytest.mark.parametrize(
    ("kind", "address"), [("viber_id", VIBER_ID), ("viber_phone", "+359888123456")], ids=["its type", "a further type"]
)
def test_a_message_goes_to_the_address(kind: str, address: str) -> None:
    known = person(agrees=("viber",), addresses={kind: address})
    note = request(note=Note(channels=("viber",)))

    decision = resolver(channels=POLICY.channels).decide(known, note, NOON)

    assert decision.action is not None
    assert {"type": kind, "value": address} == decision.action["address"]


@pytest.mark.parametrize(
    ("sections", "gate"),
    [
        ({"gone": True}, "suppression"),
        ({"consent": {"purposes": {"marketing": [True, 1]}, "channels": {"viber": [False, 2, True]}}}, "consent"),
    ],
    ids=["erased", "opted out"],
)
def test_no_message_goes_to_whoever_was_erased_or_has_opted_out(sections: dict[str, Any], gate: str) -> None:
    known = person(agrees=("viber",), addresses={"viber_id": VIBER_ID}, **sections)

    found = resolver(channels=POLICY.channels).decide(known, request(note=Note(channels=("viber",))), NOON)

    assert (None, gate) == (found.action, found.row["gate"])


def test_another_address_of_the_policy_changes_the_version_of_the_segments() -> None:
    versions = {
        DecisionEngine(SegmentDefinitions(), (), policy).segments.version
        for policy in (MessagePolicy(), MessagePolicy(holdout=NO_HOLDOUT), POLICY)
    }

    assert 2 == len(versions)


@pytest.mark.parametrize("rule", [{"address": "user_id"}, {"address": "viber_id", "also": ["device_id"]}])
def test_an_identifier_that_is_no_address_is_refused_in_the_policy(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="which says who somebody is and is no address"):
        MessagePolicy.model_validate({"channels": {"viber": rule}})
