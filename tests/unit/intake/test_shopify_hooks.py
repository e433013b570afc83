"""Shopify's webhooks, on payloads in the form that Shopify documents."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.support.webhooks import base64_hmac, collected, events, payload, signature_problem


def shopify(topic: str, **changes: Any) -> list[dict[str, Any]]:
    return events("shopify", payload("shopify", topic.replace("/", "_"), **changes), {"X-Shopify-Topic": topic})


def test_a_new_order_is_an_order_with_its_person_lines_and_amounts() -> None:
    [event] = shopify("orders/create")

    assert {
        "event_id": "order:820982911946154508",
        "event": "Order Completed",
        "channel": "web",
        "source": "shopify",
        "occurred_at": "2022-01-01T00:00:00.000Z",
        "identifiers": [
            {"type": "user_id", "value": "115310627314723954", "verified": False},
            {"type": "email", "value": "jon@example.com", "verified": False},
            {"type": "email", "value": "john@example.com", "verified": True},
            {"type": "anonymous_id", "value": "8f1e8a4c-1b9d", "verified": False},
        ],
        "context": {"locale": "en"},
        "properties": {
            "order_id": "820982911946154508",
            "order_number": "#9999",
            "currency": "USD",
            "total": "398.00",
            "subtotal": "388.00",
            "tax": "0.00",
            "shipping": "10.00",
            "discount": "20.00",
            "payment_method": "visa",
            "shipping_method": "Generic Shipping",
            "products": [
                {"product_id": "632910392", "variant": "808950810", "sku": "IPOD2008PINK", "name": "IPod Nano - 8GB",
                 "price": "199.00", "quantity": 1}
            ] * 2,
        },
        "consent": {"marketing": True, "channels": {"email": True}},
    } == event  # fmt: skip


@pytest.mark.parametrize(
    ("included", "tax", "expected"), [(True, "1.60", "8.40"), (True, None, "10.00"), (False, "1.60", "10.00")]
)
def test_shipping_is_without_its_tax_where_prices_include_it(included: bool, tax: str | None, expected: str) -> None:
    lines = [{"title": "DHL", "price": "10.00", "tax_lines": [{"price": tax, "rate": 0.19}] if tax else []}]

    [event] = shopify("orders/create", taxes_included=included, shipping_lines=lines)

    assert expected == f"{float(event['properties']['shipping']):.2f}"


@pytest.mark.parametrize(
    ("source_name", "channel"), [("pos", "store"), ("iphone", "app"), ("580111", "api"), (None, "api")]
)
def test_an_order_is_of_the_channel_it_was_placed_in(source_name: str | None, channel: str) -> None:
    [event] = shopify("orders/create", source_name=source_name)

    assert channel == event["channel"]


def test_an_order_without_a_person_or_with_an_empty_box_is_an_order_and_takes_no_consent_back() -> None:
    [event] = shopify(
        "orders/create", email="", contact_email=None, customer=None, note_attributes=[], buyer_accepts_marketing=False
    )

    assert ([], "398.00") == (event["identifiers"], event["properties"]["total"])
    assert "consent" not in event


def test_each_update_is_one_of_its_own_and_a_second_delivery_is_the_same() -> None:
    order = payload("shopify", "orders_create")
    first, second, later = (
        events("shopify", {**order, "updated_at": at}, {"X-Shopify-Topic": "orders/updated"})[0]
        for at in ("2022-01-01T10:00:00-05:00", "2022-01-01T10:00:00-05:00", "2022-01-02T10:00:00-05:00")
    )

    assert "Order Updated" == first["event"]
    assert first == second
    assert later["event_id"] != first["event_id"]


def test_a_cancelled_order_is_cancelled_once_though_shopify_reports_an_update_too() -> None:
    order = payload("shopify", "orders_create", cancelled_at="2022-01-03T10:00:00-05:00")

    [cancelled] = events("shopify", order, {"X-Shopify-Topic": "orders/cancelled"})
    update = collected("shopify", order, {"X-Shopify-Topic": "orders/updated"})

    assert ("Order Cancelled", "820982911946154508", "customer", "2022-01-03T15:00:00.000Z") == (
        cancelled["event"],
        cancelled["properties"]["order_id"],
        cancelled["properties"]["reason"],
        cancelled["occurred_at"],
    )
    assert (0, {"no rule applies": 1}) == (update.accepted, update.ignored)


def test_a_refund_is_what_was_paid_back_exactly_without_what_failed() -> None:
    [event] = shopify("refunds/create")

    assert ("Order Refunded", "refund:890088186047892319") == (event["event"], event["event_id"])
    assert {
        "order_id": "820982911946154508",
        "currency": "USD",
        "total": "41.97",
        "tax": "3.4",
        "shipping": "5.00",
        "reason": "Things were damaged",
        "products": [{"product_id": "632910392", "sku": "IPOD2008PINK", "price": "199.00", "quantity": 1}],
    } == event["properties"]


def test_an_updated_order_says_what_was_given_back_so_far_and_to_whom() -> None:
    refund = payload("shopify", "refunds_create")
    order = payload("shopify", "orders_create", refunds=[refund, {**refund, "id": 2}])

    updated, refunded = events("shopify", order, {"X-Shopify-Topic": "orders/updated"})

    assert ("398.00", "refunds:820982911946154508:890088186047892319-2") == (
        updated["properties"]["total"], refunded["event_id"],
    )  # fmt: skip
    assert ("67.14", "820982911946154508") == (  # twice 41.97 less 3.40 of tax and 5.00 of shipping
        f"{float(refunded['properties']['refunded_total']):.2f}", refunded["properties"]["order_id"],
    )  # fmt: skip
    assert "total" not in refunded["properties"]
    assert updated["identifiers"] == refunded["identifiers"]


def test_a_refund_that_only_restocks_gives_nothing_back() -> None:
    restock = payload("shopify", "refunds_create", transactions=[])

    assert {"no rule applies": 1} == collected("shopify", restock, {"X-Shopify-Topic": "refunds/create"}).ignored


def test_a_customer_says_who_they_are_and_what_they_agree_to() -> None:
    [event] = shopify("customers/update")

    assert ("Identify", {"first_name": "Bob", "last_name": "Biller", "tags": ""}) == (event["event"], event["traits"])
    assert {"marketing": True, "channels": {"email": True, "sms": False}} == event["consent"]
    assert [("user_id", "706405506930370084", False), ("email", "bob@biller.com", True)] == [
        (one["type"], one["value"], one["verified"]) for one in event["identifiers"]
    ]


@pytest.mark.parametrize("state", ["not_subscribed", "pending", "invalid", "a new word of Shopify's"])
def test_a_state_that_is_no_answer_is_none(state: str) -> None:
    consent = {"state": state, "opt_in_level": None, "consent_updated_at": None}

    [event] = shopify("customers/update", email_marketing_consent=consent, sms_marketing_consent=None)

    assert "consent" not in event


def test_leaving_the_newsletter_takes_back_the_e_mail_alone() -> None:
    body = {
        "customer_id": 706405506913592866, "email_address": "bob@biller.com",
        "email_marketing_consent": {"state": "unsubscribed", "opt_in_level": "single_opt_in",
                                    "consent_updated_at": "2026-05-05T10:00:00Z"},
    }  # fmt: skip

    [event] = events("shopify", body, {"X-Shopify-Topic": "customers_email_marketing_consent/update"})

    assert ("Consent Updated", {"channels": {"email": False}}) == (event["event"], event["consent"])
    assert "2026-05-05T10:00:00.000Z" == event["occurred_at"]


def test_a_checkout_begins_and_goes_on() -> None:
    [started] = shopify("checkouts/create")
    checkout = payload("shopify", "checkouts_create", updated_at="2022-05-23T14:00:00-04:00")
    [step] = events("shopify", checkout, {"X-Shopify-Topic": "checkouts/update"})

    assert ("Checkout Started", "Checkout Step Completed") == (started["event"], step["event"])
    assert ("123123123", "421.88") == (started["properties"]["checkout_id"], started["properties"]["total"])
    assert "example@email.com" in {one["value"] for one in started["identifiers"]}


def test_stock_is_never_below_none() -> None:
    [level] = shopify("inventory_levels/update")
    variants = [
        {"id": 1, "inventory_management": "shopify", "inventory_quantity": 5},
        {"id": 2, "inventory_management": "shopify", "inventory_quantity": -2},
    ]
    product = {"id": 788032119674292922, "updated_at": "2021-12-31T19:00:00-05:00", "variants": variants}
    [stock] = events("shopify", product, {"X-Shopify-Topic": "products/update"})

    assert ("Stock Changed", "271878346596884015", "24826418", 0) == (
        level["event"], level["properties"]["product_id"], level["properties"]["store_id"],
        level["properties"]["quantity"],
    )  # fmt: skip
    assert ("788032119674292922", 5, []) == (
        stock["properties"]["product_id"], stock["properties"]["quantity"], stock["identifiers"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "topic", "reason"),
    [
        (
            payload("shopify", "orders_create", test=True),
            "orders/create",
            "an order of the payment provider's test mode",
        ),
        (payload("shopify", "orders_create"), "fulfillments/create", "no rule applies"),
        (payload("shopify", "inventory_levels_update", available=None), "inventory_levels/update", "no rule applies"),
    ],
)
def test_what_is_none_of_our_business_is_ignored_with_the_reason(body: Any, topic: str, reason: str) -> None:
    found = collected("shopify", body, {"X-Shopify-Topic": topic})

    assert (0, [], {reason: 1}) == (found.accepted, found.outgoing, found.ignored)


def test_a_signature_counts_with_each_secret_and_with_no_other() -> None:
    body = orjson.dumps(payload("shopify", "orders_create"))
    signed = {"X-Shopify-Hmac-Sha256": base64_hmac("old", body)}

    assert signature_problem("shopify", body, signed, ("new", "old")) is None
    assert "does not fit" in str(signature_problem("shopify", body, signed, ("new",)))
    assert "does not fit" in str(signature_problem("shopify", body + b" ", signed, ("old",)))
    assert "is missing" in str(signature_problem("shopify", body, {}, ("old",)))
    assert "does not fit" in str(signature_problem("shopify", body, {"X-Shopify-Hmac-Sha256": "é"}, ("old",)))
