"""What a bounce says about the address: the words and codes of message providers, in one table.

A report states its kind in one property or in several (`FIELDS`): a type, a subtype, a code, the answer of a mail
server. Where they differ, the mildest counts: a mailbox that is full is not gone, whatever the provider calls it, and a
message refused for its sender or its content says nothing about the receiver.

Sources:

- SendGrid: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event (`type`, reasons of drops; the
  types bounce, blocked and expired also in the source of django-anymail, `anymail/webhooks/sendgrid.py`) and
  https://www.twilio.com/docs/sendgrid/api-reference/bounces-api (classifications, written in two ways)
- Amazon SES: https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html (bounce types and subtypes)
- Mailgun: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads (`severity`, `reason`,
  codes 605 to 607 for addresses of its suppression lists)
- Postmark: https://postmarkapp.com/developer/api/bounce-api#bounce-types
- Twilio: https://www.twilio.com/docs/api/errors; codes of its own queues and providers (30001, 30009, 30410) say
  nothing about the receiver
- WhatsApp: https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
- Firebase, Apple and Web Push error codes; Telegram (https://core.telegram.org/bots/api, descriptions of errors) and
  Viber (https://developers.viber.com/docs/api/rest-bot-api/#error-codes), where a person can block the sender
- RFC 3463, RFC 5321 and RFC 7504 for mail servers

The view `bounce_types` holds the same table for ClickHouse; `tests/integration/decisions/test_bounce_views.py` compares
the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final


class BounceClass(IntEnum):
    """What a bounce says about the address; the greater, the milder, and the milder of two counts."""

    PERMANENT = 1
    """There is no such address: nothing more is sent to it."""
    TRANSIENT = 2
    """It may pass. `TRANSIENT_BOUNCES_IN_A_ROW` without a delivery in between are as good as permanent."""
    UNKNOWN = 3
    """The message has not arrived, for reasons of the sender, the content, or none that is known: it counts as a
    bounced message and says nothing about the address."""
    NO_BOUNCE = 4
    """An automatic reply or a challenge: the message has arrived, or is about to."""
    UNSUBSCRIBE = 5
    """The receiver asks for no more messages."""
    SPAM_REPORT = 6
    """The receiver has marked it as spam."""


TRANSIENT_BOUNCES_IN_A_ROW: Final = 7
"""As Klaviyo and Mailchimp have it: seven soft bounces in a row and the address is given up."""

FIELDS: Final = (
    "bounce_type", "bounce_subtype", "bounce_classification", "type", "severity", "code", "error_code", "status",
    "smtp_code", "reason", "diagnostic_code",
)  # fmt: skip
"""Properties of a report that may say what kind of bounce it is."""

_NAMES: Final[dict[BounceClass, str]] = {
    BounceClass.PERMANENT: """
        hard hardbounce permanent permanentfail permanentfailure bounce invalid invalidemail invalidaddress
        bademailaddress badmailbox baddomain invaliddomain invalidrecipient unknownuser usernotfound nosuchuser noemail
        mailboxdoesnotexist addressdoesnotexist suppressed onaccountsuppressionlist suppressbounce bouncedaddress
        manuallydeactivated
        550 551 553 521 556 605
        5.1. 5.1.1 5.1.2 5.1.3 5.1.6 5.1.10 5.2.1
        21211 21614 21635 30005 30006 63003 63024
        unregistered notregistered invalidregistration devicenotregistered baddevicetoken registrationtokennotregistered
        messagingregistrationtokennotregistered expiredtoken 410
        botwasblockedbytheuser forbiddenbotwasblockedbytheuser blockedbyuser userisdeactivated
        forbiddenuserisdeactivated chatnotfound badrequestchatnotfound receivernotregistered receivernotsubscribed
    """,
    BounceClass.TRANSIENT: """
        soft softbounce transient temporary temporaryfail temporaryfailure deferred deferral delayed greylisted old
        expired mailboxfull mailboxunavailable customtimeoutexceeded technical technicalfailure dnserror
        421 450 451 452 552
        4. 5.2.2 5.3. 5.4.
        30003
    """,
    BounceClass.UNKNOWN: """
        blocked block undetermined unknown messagetoolarge contentrejected attachmentrejected content reputation
        frequencyorvolumetoohigh frequencyvolume frequency volume spamnotification virusnotification unconfirmed
        smtpapierror inbounderror dmarcpolicy templaterenderingfailed espblock policy spam
        554 571
        4.7. 5.1.7 5.1.8 5.2.3 5.3.4 5.6. 5.7.
        21408 30001 30002 30004 30007 30008 30009 30410 63016 131026 131047 131049
    """,
    BounceClass.NO_BOUNCE: """
        autoresponder autoreply autoreplied outofoffice vacation challenge challengeresponse challengeverification
        addresschange openrelaytest subscribe
    """,
    BounceClass.UNSUBSCRIBE: """
        unsubscribe unsubscribed unsubscribedaddress unsubscribedrecipient suppressunsubscribe
        606 21610 131050
    """,
    BounceClass.SPAM_REPORT: """
        complaint complained spamcomplaint spamreport spamreportingaddress abuse suppresscomplaint
        607
    """,
}

BOUNCE_TYPES: Final[dict[str, BounceClass]] = {
    name: bounce_class for bounce_class, names in _NAMES.items() for name in names.split()
}
"""Words in lower case without spaces and punctuation, codes, and enhanced status codes: `5.7.` stands for all that
begin so."""

_PUNCTUATION = re.compile(r"[^A-Za-z0-9.]")
_STATUS = re.compile(r"(?:^|[^0-9.])([45]\.[0-9]{1,3}\.[0-9]{1,3})(?:$|[^0-9.]|\.(?:$|[^0-9]))")


def bounce_class(properties: Mapping[str, Any]) -> BounceClass:
    """Return what the report of a bounce says about the address.

    Args:
        properties: The properties of the event.

    Returns:
        The mildest class that `FIELDS` state; `UNKNOWN` if the type is in no table; `PERMANENT` if nothing is stated,
        which is what a bounce means by itself.
    """
    stated = stated_class(properties)
    if stated is not None:
        return stated
    return BounceClass.UNKNOWN if properties.get("bounce_type") else BounceClass.PERMANENT


def stated_class(properties: Mapping[str, Any]) -> BounceClass | None:
    """Return the mildest class that the report of a failure states; None: it states none that is in the table."""
    found = [known for name in FIELDS if (value := properties.get(name)) and (known := _class_of(str(value)))]
    return max(found, default=None)


def _class_of(text: str) -> BounceClass | None:
    known = BOUNCE_TYPES.get(_PUNCTUATION.sub("", text).lower())
    if known is not None or (found := _STATUS.search(text)) is None:
        return known
    status = found[1]
    subject = status[: status.index(".", 2) + 1]
    return BOUNCE_TYPES.get(status) or BOUNCE_TYPES.get(subject) or BOUNCE_TYPES.get(status[:2])
