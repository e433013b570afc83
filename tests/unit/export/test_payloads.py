"""Each network gets what it documents: names of fields, normal forms that are hashed, times and amounts."""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest

from processors.export.decisions import Person, decide
from schemas.export.exports import Click, Conversion
from schemas.time import ms_of_text
from tests.unit.export.test_decisions import AGREED, destination

AT = "2026-11-22T10:15:30.000Z"
AT_MS = ms_of_text(AT)
CONTEXT = {
    "ip": "203.0.113.9", "user_agent": "Mozilla/5.0", "page": {"url": "https://shop.example/thanks?order=1001"},
}  # fmt: skip
ORDER = Conversion(
    "1001", "purchase", "p1", AT_MS, Decimal("129.90"), Decimal(0), "EUR", "web", "de", "1001", "e1", "shop",
    context=CONTEXT,
)  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "addresses": {
        "email": {" Ann.Lee+news@GMail.com ": [2, False, 0, False], "broken": [3, False, 0, False]},
        "phone": {"+49 30 123456": [1, False, 0, False], "030123456": [2, False, 0, False]},
    },
    "consent": AGREED,
}
CLICKS = [
    Click(name, f"{name}-value", AT_MS - 60_000 * age)
    for age, name in enumerate(("gbraid", "gclid", "fbclid", "ttclid", "msclkid"))
]


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


EMAIL, PHONE_DIGITS, PHONE = hashed("ann.lee+news@gmail.com"), hashed("4930123456"), hashed("+4930123456")


def body(through: str, order: Conversion = ORDER, **other: Any) -> dict[str, Any]:
    [decision] = decide(destination(through, **other), order, (), Person(DOCUMENT, CLICKS), AT_MS + 1)
    assert decision.item is not None
    return decision.item.body


def test_meta() -> None:
    assert {
        "event_name": "Purchase",
        "event_time": AT_MS // 1000,
        "event_id": "1001",
        "action_source": "website",
        "event_source_url": "https://shop.example/thanks?order=1001",
        "user_data": {
            "em": [EMAIL],
            "ph": [PHONE_DIGITS],
            "fbc": f"fb.1.{AT_MS - 120_000}.fbclid-value",
            "client_user_agent": "Mozilla/5.0",
            "client_ip_address": "203.0.113.9",
        },
        "custom_data": {"order_id": "1001", "currency": "EUR", "value": 129.9},
    } == body("meta")


def test_an_order_without_a_browser_is_none_of_a_website_for_meta() -> None:
    found = body("meta", ORDER._replace(context={}))

    assert ("other", False) == (found["action_source"], "event_source_url" in found)


def test_tiktok() -> None:
    assert {
        "event": "Purchase",
        "event_time": AT_MS // 1000,
        "event_id": "1001",
        "user": {
            "email": [EMAIL], "phone": [PHONE], "ttclid": "ttclid-value", "user_agent": "Mozilla/5.0",
            "ip": "203.0.113.9",
        },
        "properties": {"order_id": "1001", "currency": "EUR", "value": 129.9},
        "page": {"url": "https://shop.example/thanks?order=1001"},
    } == body("tiktok")  # fmt: skip


def test_microsoft() -> None:
    assert {
        "eventType": "custom",
        "eventName": "Purchase",
        "eventId": "1001",
        "eventTime": AT_MS // 1000,
        "eventSourceUrl": "https://shop.example/thanks?order=1001",
        "adStorageConsent": "G",
        "userData": {
            "em": hashed("annlee@gmail.com"), "ph": PHONE, "msclkid": "msclkid-value",
            "clientUserAgent": "Mozilla/5.0", "clientIpAddress": "203.0.113.9",
        },
        "customData": {"transactionId": "1001", "currency": "EUR", "value": 129.9},
    } == body("microsoft")  # fmt: skip


def test_google() -> None:
    assert {
        "destinationReferences": ["7"],
        "transactionId": "1001",
        "eventTimestamp": AT,
        "eventSource": "WEB",
        "adIdentifiers": {"gbraid": "gbraid-value"},  # the latest of its click ids; it takes one
        "userData": {"userIdentifiers": [{"emailAddress": hashed("annlee@gmail.com")}, {"phoneNumber": PHONE}]},
        "currency": "EUR",
        "conversionValue": 129.9,
        "consent": {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"},
    } == body("google")


def test_adjustments_of_google() -> None:
    to, person = destination("google"), Person(DOCUMENT, CLICKS)
    [first] = decide(to, ORDER, (), Person(DOCUMENT | {"addresses": {}}, CLICKS), AT_MS)
    told = [first.entry]
    [part, match] = decide(to, ORDER._replace(refunded=Decimal("29.90")), told, person, AT_MS + 1000)
    [whole] = decide(to, ORDER._replace(refunded=ORDER.revenue), [*told, part.entry, match.entry], person, AT_MS + 1000)
    common = {
        "conversionAction": "customers/1/conversionActions/7", "orderId": "1001",
        "adjustmentDateTime": "2026-11-22 10:15:31+00:00",
    }  # fmt: skip

    assert [
        common | {"adjustmentType": "RESTATEMENT", "restatementValue": {"adjustedValue": 100.0, "currencyCode": "EUR"}},
        common
        | {
            "adjustmentType": "ENHANCEMENT",
            "userIdentifiers": [{"hashedEmail": hashed("annlee@gmail.com")}, {"hashedPhoneNumber": PHONE}],
        },
        common | {"adjustmentType": "RETRACTION"},
    ] == [one.item.body for one in (part, match, whole) if one.item is not None]


@pytest.mark.parametrize(
    ("amount", "currency", "told"), [("1.255", "KWD", 1.255), ("129.905", "EUR", 129.9), ("12800", "JPY", 12800.0)]
)
def test_an_amount_has_the_decimal_places_of_its_currency(amount: str, currency: str, told: float) -> None:
    order = ORDER._replace(revenue=Decimal(amount), currency=currency)

    assert (told, told) == (body("meta", order)["custom_data"]["value"], body("google", order)["conversionValue"])


@pytest.mark.parametrize("through", ["webhook", "topic"])
def test_a_system_of_ones_own_gets_all_click_ids_and_exact_amounts(through: str) -> None:
    found = body(through)

    assert ("129.9", "EUR", "p1", "2026-11-22T10:15:30.000Z") == (
        found["value"], found["currency"], found["profile_id"], found["occurred_at"],
    )  # fmt: skip
    assert {click.name: click.value for click in CLICKS} == found["click_ids"]


@pytest.mark.parametrize("through", ["meta", "google", "tiktok", "microsoft", "webhook", "topic"])
def test_no_address_leaves_in_clear(through: str) -> None:
    shown = str(body(through)).lower()

    assert [] == [part for part in ("ann.", "annl", "gmail", "30123456", "30 123456") if part in shown]


def test_what_is_no_order_has_the_id_of_its_event() -> None:
    signup = ORDER._replace(conversion_id=":shop::e1", order_id="", revenue=Decimal(0), currency="")

    assert ("e1", "e1") == (body("meta", signup)["event_id"], body("meta", ORDER, event_id="event_id")["event_id"])
