"""What the bounces of the providers say about an address."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events.bounces import BounceClass, bounce_class
from schemas.events.messages import message_step

PERMANENT, TRANSIENT, UNKNOWN, NO_BOUNCE, UNSUBSCRIBE, SPAM_REPORT = BounceClass

CASES: list[tuple[dict[str, Any], BounceClass]] = [
    # Segment's event by itself, and the two words of this product
    ({}, PERMANENT),
    ({"bounce_type": ""}, PERMANENT),
    ({"bounce_type": "hard"}, PERMANENT),
    ({"bounce_type": "Soft"}, TRANSIENT),
    ({"bounce_type": "hard_bounce"}, PERMANENT),
    # SendGrid
    ({"type": "bounce"}, PERMANENT),
    ({"type": "bounce", "bounce_classification": "Invalid Address"}, PERMANENT),
    ({"type": "bounce", "bounce_classification": "Mailbox Unavailable"}, TRANSIENT),
    ({"type": "bounce", "bounce_classification": "Technical"}, TRANSIENT),
    ({"type": "bounce", "bounce_classification": "Reputation"}, UNKNOWN),
    ({"type": "bounce", "bounce_classification": "Frequency or Volume Too High"}, UNKNOWN),
    ({"type": "bounce", "bounce_classification": "Frequency/Volume"}, UNKNOWN),
    ({"type": "bounce", "bounce_classification": "Technical Failure"}, TRANSIENT),
    ({"type": "bounce", "bounce_classification": "Unclassified"}, PERMANENT),
    ({"bounce_type": "dropped", "reason": "Bounced Address"}, PERMANENT),
    ({"bounce_type": "dropped", "reason": "Unsubscribed Address"}, UNSUBSCRIBE),
    ({"bounce_type": "dropped", "reason": "Spam Reporting Address"}, SPAM_REPORT),
    ({"bounce_type": "dropped", "reason": "Invalid SMTPAPI header"}, UNKNOWN),
    ({"type": "blocked"}, UNKNOWN),
    ({"bounce_type": "blocked", "status": "5.7.1"}, UNKNOWN),
    # Amazon SES
    ({"bounce_type": "Permanent", "bounce_subtype": "General"}, PERMANENT),
    ({"bounce_type": "Permanent", "bounce_subtype": "NoEmail"}, PERMANENT),
    ({"bounce_type": "Permanent", "bounce_subtype": "OnAccountSuppressionList"}, PERMANENT),
    ({"bounce_type": "Transient", "bounce_subtype": "MailboxFull"}, TRANSIENT),
    ({"bounce_type": "Transient", "bounce_subtype": "General"}, TRANSIENT),
    ({"bounce_type": "Transient", "bounce_subtype": "ContentRejected"}, UNKNOWN),
    ({"bounce_type": "Undetermined", "bounce_subtype": "Undetermined"}, UNKNOWN),
    # Mailgun
    ({"severity": "permanent", "code": 550, "reason": "bounce"}, PERMANENT),
    ({"severity": "temporary", "code": 452, "reason": "generic"}, TRANSIENT),
    ({"severity": "permanent", "code": 605, "reason": "suppress-bounce"}, PERMANENT),
    ({"severity": "permanent", "code": 607, "reason": "suppress-complaint"}, SPAM_REPORT),
    ({"severity": "permanent", "reason": "suppress-unsubscribe"}, UNSUBSCRIBE),
    # Postmark
    ({"bounce_type": "HardBounce"}, PERMANENT),
    ({"bounce_type": "BadEmailAddress"}, PERMANENT),
    ({"bounce_type": "ManuallyDeactivated"}, PERMANENT),
    ({"bounce_type": "SoftBounce"}, TRANSIENT),
    ({"bounce_type": "Transient"}, TRANSIENT),
    ({"bounce_type": "DnsError"}, TRANSIENT),
    ({"bounce_type": "SpamNotification"}, UNKNOWN),
    ({"bounce_type": "Blocked"}, UNKNOWN),
    ({"bounce_type": "DMARCPolicy"}, UNKNOWN),
    ({"bounce_type": "Unknown"}, UNKNOWN),
    ({"bounce_type": "AutoResponder"}, NO_BOUNCE),
    ({"bounce_type": "AddressChange"}, NO_BOUNCE),
    ({"bounce_type": "ChallengeVerification"}, NO_BOUNCE),
    ({"bounce_type": "Unsubscribe"}, UNSUBSCRIBE),
    ({"bounce_type": "SpamComplaint"}, SPAM_REPORT),
    ({"bounce_type": "expired", "bounce_classification": "Unclassified"}, TRANSIENT),
    ({"bounce_type": "permanent", "reason": "old", "code": 602, "diagnostic_code": "Too old"}, TRANSIENT),
    # Twilio, WhatsApp, push
    ({"error_code": 30005}, PERMANENT),
    ({"error_code": "30006"}, PERMANENT),
    ({"error_code": "21614"}, PERMANENT),
    ({"error_code": 30003}, TRANSIENT),
    ({"error_code": "21635"}, PERMANENT),
    ({"error_code": 30007}, UNKNOWN),
    ({"bounce_type": "failed", "error_code": 30001}, UNKNOWN),
    ({"bounce_type": "undelivered", "error_code": "30410"}, UNKNOWN),
    ({"bounce_type": "undelivered", "error_code": "30005"}, PERMANENT),
    ({"bounce_type": "failed", "code": 131050}, UNSUBSCRIBE),
    ({"bounce_type": "failed", "code": 132001}, UNKNOWN),
    ({"error_code": 21610}, UNSUBSCRIBE),
    ({"code": 131026}, UNKNOWN),
    ({"bounce_type": "failed", "code": 130472}, UNKNOWN),
    ({"reason": "UNREGISTERED"}, PERMANENT),
    ({"reason": "BadDeviceToken"}, PERMANENT),
    # Answers of mail servers
    ({"status": "5.1.1"}, PERMANENT),
    ({"bounce_type": "5.1.10"}, PERMANENT),
    ({"status": "5.2.1"}, PERMANENT),
    ({"status": "5.2.2"}, TRANSIENT),
    ({"bounce_type": "hard", "status": "5.2.2"}, TRANSIENT),
    ({"bounce_type": "hard", "reason": "552 5.2.2 The mailbox is over quota."}, TRANSIENT),
    ({"bounce_type": "soft", "status": "5.1.1"}, TRANSIENT),
    ({"status": "4.4.1"}, TRANSIENT),
    ({"status": "4.7.0"}, UNKNOWN),
    ({"bounce_type": "hard", "diagnostic_code": "smtp; 550 5.7.1 Message rejected: see the policy"}, UNKNOWN),
    ({"bounce_type": "hard", "status": "5.1.8"}, UNKNOWN),
    ({"bounce_type": "hard", "status": "5.0.0"}, PERMANENT),
    ({"reason": "550-5.1.1 The email account does not exist"}, PERMANENT),
    ({"smtp_code": "550"}, PERMANENT),
    ({"smtp_code": 421}, TRANSIENT),
    ({"smtp_code": 554}, UNKNOWN),
    # Guards: no word of the table
    ({"bounce_type": "whatever"}, UNKNOWN),
    ({"bounce_type": "hardly"}, UNKNOWN),
    ({"bounce_type": "whatever", "status": "5.1.1"}, PERMANENT),
    ({"reason": "the host 5.7.1.9 said no"}, PERMANENT),
    ({"reason": "version 15.2.2"}, PERMANENT),
    ({"bounce_type": ["hard"]}, PERMANENT),
    ({"bounce_type": {}}, PERMANENT),
]
REPORTS = [properties for properties, _ in CASES]


@pytest.mark.parametrize(("properties", "expected"), CASES, ids=[str(properties) for properties in REPORTS])
def test_a_report_is_of_a_class(properties: dict[str, Any], expected: BounceClass) -> None:
    assert expected is bounce_class(properties)


@pytest.mark.parametrize(
    "properties", [{"reason": "NotRegistered"}, {"code": 21614}, {"reason": "550 5.1.1 no such user"}]
)
def test_a_failure_that_names_a_bad_address_is_a_bounce(properties: dict[str, Any]) -> None:
    assert ("push", "bounced") == message_step("Push Failed", properties)


@pytest.mark.parametrize("reason", ["", "421 4.3.2 try later", "5.7.1 refused", "blocked", "InternalServerError"])
def test_another_failure_is_none(reason: str) -> None:
    assert ("push", "failed") == message_step("Push Failed", {"reason": reason})


def test_only_bounces_are_read_by_their_class() -> None:
    assert ("email", "failed") == message_step("Email Failed", {"bounce_type": "SpamComplaint"})
    assert ("sms", "bounced") == message_step("SMS Bounced", {"error_code": 30007})
    assert ("sms", "unsubscribed") == message_step("SMS Bounced", {"error_code": 21610})
    assert ("email", None) == message_step("Email Bounced", {"bounce_type": "AutoResponder"})
