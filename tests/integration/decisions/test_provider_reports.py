"""Reports of message providers, by the shipped mappings, in the views about messages and reachability."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.builders import DAY_ONE
from tests.support.hook_payloads import mapped
from tests.support.warehouse import Warehouse, instant, resolved
from tests.support.webhooks import payload

pytestmark = pytest.mark.integration

PEOPLE = {"ada@mail.example": 1, "bob@mail.example": 2, "eve@mail.example": 3, "dan@mail.example": 4, "+14155550101": 5}


def reported(vendor: str, *names: str) -> list[dict[str, Any]]:
    """The touchpoints of payloads, each of the person whose address it names."""
    events = [event for name in names for event in mapped(vendor, payload(vendor, name))]
    return [
        {
            **resolved(event["event_id"], PEOPLE[event["identifiers"][0]["value"]], DAY_ONE),
            **event,
            "source": vendor,
            "received_at": instant(DAY_ONE),
        }
        for event in events
    ]


def test_one_message_of_amazon_ses_with_three_receivers_is_three_and_one_has_bounced(tables: Warehouse) -> None:
    tables.store(*reported("ses", "delivery_of_three", "bounce", "delivery_of_three"))

    assert [(1, 1, 0), (2, 1, 1), (3, 1, 0)] == [
        (int(str(who)[-1]), delivered, bounced)
        for who, delivered, bounced in tables.rows(
            "SELECT profile_id, delivered, bounced FROM v_messages WHERE message_id = 'ses-1' ORDER BY profile_id"
        )
    ]
    assert [(3, 3, 1)] == tables.rows("SELECT sent, delivered, bounced FROM v_message_engagement")


def test_a_batch_of_sendgrid_says_who_can_still_be_reached(tables: Warehouse) -> None:
    tables.store(*reported("sendgrid", "deliveries", "engagement"))

    states = {
        int(str(who)[-1]): state
        for who, state in tables.rows(
            "SELECT profile_id, state FROM contact_states WHERE channel = 'email' AND until > '2099-01-01'"
        )
    }
    assert {1: "not_asked", 2: "opted_out", 3: "opted_out", 4: "bounced"} == {
        who: "not_asked" if state == "stale" else state for who, state in states.items()
    }


def test_an_answer_or_a_stop_that_names_no_message_is_none(tables: Warehouse) -> None:
    answers = reported("twilio", "inbound", "inbound_stop", "inbound_help")
    tables.store(*answers, *reported("twilio", "status_sent", "status_delivered"))

    assert [("sms", 1, 0, 0)] == tables.rows("SELECT channel, delivered, responded, unsubscribed FROM v_messages")


def test_a_stop_that_answers_a_message_is_counted_with_it(tables: Warehouse) -> None:
    sent, stop = reported("twilio", "status_sent")[0], reported("twilio", "inbound_stop")[0]
    stop["properties"] = {**stop["properties"], "message_id": sent["properties"]["message_id"]}
    reply = {**stop, "event_id": "reply", "event": "SMS Replied"}

    tables.store(sent, stop, reply)

    assert [("sms", 1, 1)] == tables.rows("SELECT channel, responded, unsubscribed FROM v_messages")
