"""What reports of message providers do to a profile: consent by channel, and addresses that are given up."""

from __future__ import annotations

from typing import Any

import pytest

from processors.segments.reachability import can_reach
from tests.support.builders import at
from tests.support.hook_payloads import mapped
from tests.support.profiles import resolved, told
from tests.support.webhooks import payload

AGREES = {"marketing": True, "channels": {"sms": True, "whatsapp": True, "email": True}}
ADDRESSES = {"phone": "+14155550101", "whatsapp_id": "16505551234", "email": "ada@mail.example"}


def reached(channel: str, *reports: tuple[str, str]) -> bool:
    """Whether somebody who agrees to all can be reached after reports, which come an hour after each other."""
    events = [resolved("Identify", occurred_at=at(hours=0), identifiers=ADDRESSES, consent=AGREES)]
    for hour, (vendor, name) in enumerate(reports, start=1):
        events += [happened(event, hour) for event in mapped(vendor, payload(vendor, name))]
    return can_reach(told(*events), channel)


def happened(event: dict[str, Any], hour: int) -> dict[str, Any]:
    known = {name: event[name] for name in ("properties", "consent") if name in event}
    identifiers = {one["type"]: one["value"] for one in event["identifiers"]}
    return resolved(
        event["event"], event.get("channel", "api"), occurred_at=at(hours=hour), identifiers=identifiers, **known
    )


STOP, START, HELP, YES = (("twilio", f"inbound_{word}") for word in ("stop", "start", "help", "yes"))


@pytest.mark.parametrize(
    ("expected", "reports"),
    [
        (True, []),
        (False, [STOP]),
        (False, [("twilio", "inbound_stop_localized")]),
        (False, [("twilio", "status_failed_unsubscribed")]),
        (True, [STOP, START]),
        (False, [STOP, START, STOP]),
        (False, [STOP, YES]),
        (False, [STOP, HELP]),
        (True, [("twilio", "inbound"), HELP, YES]),
        (True, [("twilio", "status_delivered")]),
    ],
)
def test_stop_withdraws_consent_for_sms_and_start_alone_gives_it_again(
    expected: bool, reports: list[tuple[str, str]]
) -> None:
    assert expected is reached("sms", *reports)
    assert reached("email", *reports)


@pytest.mark.parametrize(
    ("expected", "reports"),
    [
        (False, [("whatsapp", "preference_stop")]),
        (True, [("whatsapp", "preference_stop"), ("whatsapp", "preference_resume")]),
        (False, [("whatsapp", "inbound_stop")]),
        (False, [("whatsapp", "failed_stopped")]),
        (True, [("whatsapp", "failed")]),
        (True, [("whatsapp", "inbound_text"), ("whatsapp", "read")]),
    ],
)
def test_who_stops_marketing_on_whatsapp_is_not_reached_there(expected: bool, reports: list[tuple[str, str]]) -> None:
    assert expected is reached("whatsapp", *reports)
    assert reached("sms", *reports)


@pytest.mark.parametrize(
    ("expected", "reports"),
    [
        (False, [("mailgun", "complained")]),
        (False, [("mailgun", "unsubscribed")]),
        (False, [("postmark", "unsubscribe")]),
        (True, [("postmark", "unsubscribe"), ("postmark", "resubscribe")]),
        (False, [("postmark", "unsubscribe"), ("postmark", "reactivated_by_the_shop")]),
        (True, [("postmark", "auto_responder")]),
        (False, [("ses", "subscription")]),
        (True, [("ses", "delivery_delay"), ("mailgun", "failed_temporary")] * 9),
        (True, [("ses", "reject")]),
    ],
)
def test_who_complains_or_unsubscribes_is_not_reached_by_mail(expected: bool, reports: list[tuple[str, str]]) -> None:
    assert expected is reached("email", *reports)
