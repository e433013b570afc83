"""A person who hides the number on WhatsApp is reached by the user id, after a number that works."""

from __future__ import annotations

from typing import Any

import pytest

from processors.segments.reachability import addresses, can_reach
from schemas.channels import ADDRESS_TYPE_OF, ADDRESS_TYPES, ADDRESS_TYPES_OF
from tests.support.builders import at
from tests.support.messages import NOON, Note, person, request, resolver
from tests.support.profiles import resolved, seen

USER_ID, NUMBER = "DE.13491208655302741918", "+491511234567"


def replied(name: str = "WhatsApp Message Replied", hour: int = 1, **identifiers: str) -> dict[str, Any]:
    return resolved(name, "whatsapp", occurred_at=at(hours=hour), identifiers=identifiers or {"user_id": "7"})


def test_whatsapp_alone_has_a_further_address_type() -> None:
    further = {channel: types[1:] for channel, types in ADDRESS_TYPES_OF.items() if types[1:]}

    assert {"whatsapp": ("whatsapp_user_id",)} == further
    assert ADDRESS_TYPE_OF == {channel: types[0] for channel, types in ADDRESS_TYPES_OF.items()}
    assert "whatsapp_user_id" in ADDRESS_TYPES


def test_the_profile_keeps_the_user_id_as_an_address_and_whether_it_bounces() -> None:
    answered = seen(replied(whatsapp_user_id=USER_ID))
    failed = seen(
        replied(whatsapp_user_id=USER_ID), replied("WhatsApp Message Bounced", hour=2, whatsapp_user_id=USER_ID)
    )

    assert [(USER_ID, False)] == [(one["value"], one["bounced"]) for one in answered["addresses"]["whatsapp_user_id"]]
    assert [(USER_ID, True)] == [(one["value"], one["bounced"]) for one in failed["addresses"]["whatsapp_user_id"]]
    assert "whatsapp_id" not in answered["addresses"]


def test_segments_reach_the_person_by_it() -> None:
    consent = {"purposes": {"marketing": [True, 1]}, "channels": {"whatsapp": [True, 1, True], "sms": [True, 1, True]}}
    hidden = {"consent": consent, "addresses": {"whatsapp_user_id": {USER_ID: [5, False, 0, False]}}}
    both = {"consent": consent, "addresses": hidden["addresses"] | {"whatsapp_id": {NUMBER: [1, False, 0, False]}}}
    bounced = {"consent": consent, "addresses": {"whatsapp_user_id": {USER_ID: [5, False, 6, True]}}}

    assert (True, False) == (can_reach(hidden, "whatsapp"), can_reach(hidden, "sms"))
    assert ([USER_ID], [NUMBER, USER_ID]) == (addresses(hidden, "whatsapp"), addresses(both, "whatsapp"))
    assert not can_reach(bounced, "whatsapp")


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"whatsapp_user_id": USER_ID}, {"type": "whatsapp_user_id", "value": USER_ID}),
        ({"whatsapp_user_id": USER_ID, "whatsapp_id": NUMBER}, {"type": "whatsapp_id", "value": NUMBER}),
    ],
)
def test_a_message_goes_to_it_where_there_is_no_number(known: dict[str, str], expected: dict[str, str]) -> None:
    decision = resolver().decide(person(addresses=known), request(note=Note(channels=("whatsapp",))), NOON)

    assert decision.action is not None
    assert expected == decision.action["address"]


def test_no_text_message_goes_to_a_user_id() -> None:
    found = resolver().decide(
        person(addresses={"whatsapp_user_id": USER_ID}), request(note=Note(channels=("sms",))), NOON
    )

    assert found.action is None
