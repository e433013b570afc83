"""What the shipped mappings make of the payloads that message providers document."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processors.intake.decode import validate
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.events.bounces import BounceClass, bounce_class
from schemas.events.messages import STEPS
from schemas.outcomes import Reject
from tests.support.hook_payloads import mapped, results
from tests.support.webhooks import PAYLOADS, payload

ADA, BOB, DAN, EVE = (
    "email:ada@mail.example",
    "email:bob@mail.example",
    "email:dan@mail.example",
    "email:eve@mail.example",
)
OWN = "6c1f0c58-62f1-4d2a-9c3b-0a4c9a3bb1f0"
SG, MG, PM, SMS_ID = (
    "14c5d75ce93",
    "20130503182626.18666.16540@shop.example",
    "883953f4-6105-42a2-a16a-77a8eac79483",
    ("SM8bfd1a5dc2cb4a4aa0aa3d2b80ae7b50"),
)
WA_ID = "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBI3MTE5MjVBOTE3MDk5QUVFM0YA"
PHONE = ("phone:+14155550101",)
WHATSAPP = ("whatsapp_id:14155550101", "phone:+14155550101")
SHEENA = ("whatsapp_id:16505551234", "phone:+16505551234", "whatsapp_user_id:US.13491208655302741918")

Expected = list[tuple[str, tuple[str, ...], str | None]]

CASES: dict[tuple[str, str], Expected] = {
    ("sendgrid", "deliveries"): [
        ("Email Sent", (ADA,), SG),
        ("Email Delivered", (ADA,), SG),
        ("Email Bounced", (BOB,), SG),
        ("Email Bounced", (EVE,), SG),
        ("Email Bounced", (DAN,), SG),
    ],
    ("sendgrid", "engagement"): [
        ("Email Opened", (ADA,), SG),
        ("Email Opened", (ADA,), SG),
        ("Email Link Clicked", (ADA,), SG),
        ("Email Marked as Spam", (EVE,), SG),
        ("Email Unsubscribed", (BOB,), SG),
        ("Email Unsubscribed", (DAN,), SG),
        ("Consent Updated", (DAN,), SG),
    ],
    ("sendgrid", "custom_arguments"): [("Email Delivered", (ADA,), OWN)],
    ("mailgun", "delivered"): [("Email Delivered", (ADA,), MG)],
    ("mailgun", "failed_permanent"): [("Email Bounced", (BOB,), MG)],
    ("mailgun", "failed_full"): [("Email Bounced", (EVE,), MG)],
    ("mailgun", "failed_temporary"): [],
    ("mailgun", "failed_given_up"): [("Email Bounced", (ADA,), MG)],
    ("mailgun", "opened"): [("Email Opened", (ADA,), MG)],
    ("mailgun", "opened_by_bot"): [("Email Opened", (ADA,), MG)],
    ("mailgun", "clicked"): [("Email Link Clicked", (ADA,), OWN)],
    ("mailgun", "unsubscribed"): [("Email Unsubscribed", (ADA,), MG)],
    ("mailgun", "complained"): [("Email Marked as Spam", (ADA,), MG)],
    ("postmark", "delivery"): [("Email Delivered", (ADA,), PM)],
    ("postmark", "bounce"): [("Email Bounced", (BOB,), PM)],
    ("postmark", "auto_responder"): [("Email Bounced", (ADA,), PM)],
    ("postmark", "spam_complaint"): [("Email Marked as Spam", (EVE,), PM)],
    ("postmark", "open"): [("Email Opened", (ADA,), PM)],
    ("postmark", "click"): [("Email Link Clicked", (ADA,), OWN)],
    ("postmark", "unsubscribe"): [("Email Unsubscribed", (ADA,), PM)],
    ("postmark", "resubscribe"): [("Consent Updated", (ADA,), PM)],
    ("postmark", "reactivated_by_the_shop"): [],
    ("ses", "delivery_of_three"): [
        ("Email Delivered", (ADA,), "ses-1"),
        ("Email Delivered", (BOB,), "ses-1"),
        ("Email Delivered", (EVE,), "ses-1"),
    ],
    ("ses", "bounce"): [("Email Bounced", (BOB,), "ses-1")],
    ("ses", "complaint"): [("Email Marked as Spam", (EVE,), "ses-1")],
    ("ses", "send"): [("Email Sent", (ADA,), OWN)],
    ("ses", "open"): [("Email Opened", (ADA,), OWN)],
    ("ses", "open_of_three"): [],
    ("ses", "click"): [("Email Link Clicked", (ADA,), OWN)],
    ("ses", "delivery_delay"): [],
    ("ses", "reject"): [("Email Failed", (ADA,), OWN)],
    ("ses", "subscription"): [("Email Unsubscribed", (ADA,), OWN)],
    ("twilio", "status_queued"): [],
    ("twilio", "status_sent"): [("SMS Sent", PHONE, SMS_ID)],
    ("twilio", "status_delivered"): [("SMS Delivered", PHONE, SMS_ID)],
    ("twilio", "status_undelivered"): [("SMS Bounced", ("phone:+14155550102",), SMS_ID)],
    ("twilio", "status_failed_unsubscribed"): [("SMS Bounced", PHONE, SMS_ID)],
    ("twilio", "whatsapp_read"): [("WhatsApp Opened", WHATSAPP, SMS_ID)],
    ("twilio", "inbound"): [("SMS Replied", PHONE, None)],
    ("twilio", "inbound_stop"): [("SMS Unsubscribed", PHONE, None)],
    ("twilio", "inbound_stop_localized"): [("SMS Unsubscribed", PHONE, None)],
    ("twilio", "inbound_start"): [("Consent Updated", PHONE, None)],
    ("twilio", "inbound_help"): [("SMS Replied", PHONE, None)],
    ("twilio", "inbound_yes"): [("SMS Replied", PHONE, None)],
    ("twilio", "inbound_whatsapp_ad"): [("Live Chat Conversation Started", WHATSAPP, None)],
    ("whatsapp", "sent_and_delivered"): [("WhatsApp Sent", SHEENA, WA_ID), ("WhatsApp Delivered", SHEENA, OWN)],
    ("whatsapp", "read"): [("WhatsApp Opened", SHEENA, WA_ID)],
    ("whatsapp", "failed"): [("WhatsApp Bounced", SHEENA, WA_ID)],
    ("whatsapp", "failed_stopped"): [("WhatsApp Bounced", SHEENA, "wamid.F")],
    ("whatsapp", "inbound_text"): [("WhatsApp Replied", SHEENA, WA_ID)],
    ("whatsapp", "inbound_without_number"): [("WhatsApp Replied", ("whatsapp_user_id:BR.1502576394655843",), None)],
    ("whatsapp", "inbound_ad"): [("Live Chat Conversation Started", SHEENA, None)],
    ("whatsapp", "inbound_stop"): [("WhatsApp Unsubscribed", SHEENA, WA_ID)],
    ("whatsapp", "preference_stop"): [("WhatsApp Unsubscribed", SHEENA, None)],
    ("whatsapp", "preference_resume"): [("Consent Updated", SHEENA[:2], None)],
    ("whatsapp", "changed_number"): [],
}


def shown(event: dict[str, Any]) -> tuple[str, tuple[str, ...], str | None]:
    identifiers = sorted(f"{one['type']}:{one['value']}" for one in event["identifiers"])
    return event["event"], tuple(identifiers), event.get("properties", {}).get("message_id")


def only(vendor: str, name: str, place: int = 0) -> dict[str, Any]:
    return mapped(vendor, payload(vendor, name))[place]


@pytest.mark.parametrize(("vendor", "name"), CASES, ids=lambda one: one)
def test_a_payload_becomes_touchpoints(vendor: str, name: str) -> None:
    expected = [(event, tuple(sorted(who)), message) for event, who, message in CASES[vendor, name]]

    assert expected == [shown(event) for event in mapped(vendor, payload(vendor, name))]


def test_every_payload_has_a_case_and_every_provider_at_least_three() -> None:
    kept = {(file.parent.name, file.stem) for file in PAYLOADS.glob("*/*.json")}
    vendors = {vendor for vendor, _ in CASES}

    assert set(CASES) == {(vendor, name) for vendor, name in kept if vendor in vendors}
    assert min(sum(vendor == one for one, _ in CASES) for vendor in vendors) >= 3


@pytest.mark.parametrize(("vendor", "name"), CASES, ids=lambda one: one)
def test_what_comes_out_is_a_valid_touchpoint_of_a_known_name(vendor: str, name: str) -> None:
    for event in mapped(vendor, payload(vendor, name)):
        complete = {"source": vendor, **event}
        valid = validate(complete, orjson.dumps(complete), channels=frozenset(TOUCHPOINT_CHANNELS))

        assert not isinstance(valid, Reject), valid
        assert event["event"] in {*STEPS, "Consent Updated", "Live Chat Conversation Started"}


@pytest.mark.parametrize(("vendor", "name"), CASES, ids=lambda one: one)
def test_a_second_delivery_has_the_same_ids_and_no_two_events_share_one(vendor: str, name: str) -> None:
    first, second = ([event["event_id"] for event in mapped(vendor, payload(vendor, name))] for _ in range(2))

    assert first == second
    assert len(first) == len(set(first))


def test_no_two_payloads_of_a_provider_share_an_id() -> None:
    ids = [(vendor, event["event_id"]) for vendor, name in CASES for event in mapped(vendor, payload(vendor, name))]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("known", "vendor", "name", "place"),
    [
        (BounceClass.PERMANENT, "sendgrid", "deliveries", 2),
        (BounceClass.UNKNOWN, "sendgrid", "deliveries", 3),
        (BounceClass.PERMANENT, "sendgrid", "deliveries", 4),
        (BounceClass.PERMANENT, "mailgun", "failed_permanent", 0),
        (BounceClass.TRANSIENT, "mailgun", "failed_full", 0),
        (BounceClass.TRANSIENT, "mailgun", "failed_given_up", 0),
        (BounceClass.PERMANENT, "postmark", "bounce", 0),
        (BounceClass.NO_BOUNCE, "postmark", "auto_responder", 0),
        (BounceClass.PERMANENT, "ses", "bounce", 0),
        (BounceClass.PERMANENT, "twilio", "status_undelivered", 0),
        (BounceClass.UNSUBSCRIBE, "twilio", "status_failed_unsubscribed", 0),
        (BounceClass.UNKNOWN, "whatsapp", "failed", 0),
        (BounceClass.UNSUBSCRIBE, "whatsapp", "failed_stopped", 0),
    ],
)
def test_a_bounce_says_what_it_means_for_the_address(known: BounceClass, vendor: str, name: str, place: int) -> None:
    assert known is bounce_class(only(vendor, name, place)["properties"])


@pytest.mark.parametrize(
    ("machine", "vendor", "name", "place"),
    [
        (None, "sendgrid", "engagement", 0),
        (True, "sendgrid", "engagement", 1),
        (None, "mailgun", "opened", 0),
        (True, "mailgun", "opened_by_bot", 0),
        (None, "mailgun", "clicked", 0),
    ],
)
def test_what_a_program_has_done_is_marked(machine: bool | None, vendor: str, name: str, place: int) -> None:
    assert machine is only(vendor, name, place)["properties"].get("machine")


@pytest.mark.parametrize(
    ("vendor", "name", "place"), [("sendgrid", "engagement", 2), ("mailgun", "clicked", 0), ("ses", "click", 0)]
)
def test_a_click_names_its_link_and_who_clicked(vendor: str, name: str, place: int) -> None:
    click = only(vendor, name, place)

    assert click["properties"]["link_url"].startswith("https://shop.example/sale")
    assert {"ip", "user_agent"} == click["context"].keys()


def test_a_delivery_has_no_network_address_of_a_person() -> None:
    assert "context" not in only("sendgrid", "deliveries", 1)


@pytest.mark.parametrize(
    ("consent", "vendor", "name", "place"),
    [
        ({"email": True}, "sendgrid", "engagement", 6),
        ({"email": True}, "postmark", "resubscribe", 0),
        ({"sms": True}, "twilio", "inbound_start", 0),
        ({"whatsapp": True}, "whatsapp", "preference_resume", 0),
    ],
)
def test_who_asks_for_messages_again_gives_consent(
    consent: dict[str, bool], vendor: str, name: str, place: int
) -> None:
    assert {"channels": consent} == only(vendor, name, place)["consent"]


@pytest.mark.parametrize("name", ["inbound", "inbound_yes", "inbound_help"])
def test_another_answer_gives_no_consent_and_takes_none(name: str) -> None:
    assert "consent" not in only("twilio", name)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ("Unsubscribed", "stop"), ("Unsubscribed", " STOP ALL! "), ("Unsubscribed", "Arrêt"),
        ("Unsubscribed", "opt-out."), ("Unsubscribed", "ALTO"), ("Unsubscribed", "Abmelden"), ("Unsubscribed", "стоп"),
        ("Unsubscribed", "Désabonner!"), ("Unsubscribed", "rezygnuję"), ("Unsubscribed", "AFMELDEN"),
        ("Replied", "stop it, you two"), ("Replied", "don't stop"), ("Replied", ""),
        ("Replied", "Nonstop"), ("Replied", "please start"),
    ],
)  # fmt: skip
def test_a_word_counts_where_it_is_the_whole_message(event: str, text: str) -> None:
    sms = {**payload("twilio", "inbound"), "Body": text}
    inbound = payload("whatsapp", "inbound_text")
    inbound["entry"][0]["changes"][0]["value"]["messages"][0]["text"]["body"] = text

    assert [f"SMS {event}", f"WhatsApp {event}", f"WhatsApp {event}"] == [
        mapped("twilio", sms)[0]["event"],
        mapped("twilio", {**sms, "From": "whatsapp:+14155550101", "To": "whatsapp:+14155550199"})[0]["event"],
        mapped("whatsapp", inbound)[0]["event"],
    ]


@pytest.mark.parametrize(
    ("text", "more", "asked_for"),
    [
        ("Help", {}, "help"), (" hilfe! ", {}, "help"), ("AIDE.", {}, "help"), ("Hjälp", {}, "help"),
        ("HELP", {"OptOutType": "HELP"}, None), ("help me out", {}, None), ("", {}, None),
    ],
)  # fmt: skip
def test_who_asks_for_help_is_heard_unless_twilio_has_answered(
    text: str, more: dict[str, str], asked_for: str | None
) -> None:
    (event,) = mapped("twilio", {**payload("twilio", "inbound"), "Body": text, **more})

    assert ("SMS Replied", asked_for) == (event["event"], event["properties"].get("asked_for"))


@pytest.mark.parametrize(("vendor", "name"), [("twilio", "inbound_whatsapp_ad"), ("whatsapp", "inbound_ad")])
def test_a_conversation_from_an_advertisement_has_its_campaign(vendor: str, name: str) -> None:
    campaign = only(vendor, name)["campaign"]

    assert {"channel": "Paid Social", "source": "facebook", "medium": "paid"}.items() <= campaign.items()
    assert campaign["click_id"].startswith("Aff-n8ZTODiE79d22KtAwQKj9e")
    assert campaign["id"].isdecimal()


def test_the_senders_own_facts_come_back_in_twilios_address() -> None:
    query = {"message_id": OWN, "journey_id": "cart", "campaign_name": "Herbst"}

    [event] = mapped("twilio", payload("twilio", "status_delivered"), query)

    assert (query | {"provider_message_id": SMS_ID}).items() <= event["properties"].items()


def test_the_senders_own_facts_come_back_as_tags_or_header_of_amazon_ses() -> None:
    message = orjson.loads(payload("ses", "open")["Message"])
    del message["mail"]["tags"]["message_id"]
    message["mail"]["headers"].append({"name": "X-Throughline-Message-Id", "value": "by-header"})

    [event] = mapped("ses", {**payload("ses", "open"), "Message": orjson.dumps(message).decode()})

    assert "by-header" == event["properties"]["message_id"]


def test_one_bad_event_of_a_batch_costs_no_other() -> None:
    batch = payload("sendgrid", "deliveries")
    del batch[2]["sg_event_id"]
    batch += [{"event": "delivered", "sg_event_id": "x", "timestamp": "soon", "email": "ada@mail.example"}, {}, "junk"]

    found = results("sendgrid", batch)

    assert 4 == sum(len(one.events) for one in found)
    assert ["event_id", "occurred_at"] == [rejected.field for one in found for _, rejected in one.refusals]


@pytest.mark.parametrize(("vendor", "body"), [
    ("mailgun", {}), ("postmark", {"RecordType": "Inbound"}),
    ("whatsapp", {"object": "page", "entry": [{"changes": []}]}),
    ("ses", {"Type": "Notification", "Message": '{"eventType": "New", "mail": {"destination": ["a@b.example"]}}'}),
    ("sendgrid", [{"event": "account_status_change", "type": "compliance_suspend"}]),
    ("twilio", {"MessageStatus": "delivered", "MessageSid": "SM1", "To": "messenger:1", "From": "messenger:2"}),
])  # fmt: skip
def test_what_is_no_message_of_ours_gives_nothing(vendor: str, body: Any) -> None:
    assert [] == mapped(vendor, body)
