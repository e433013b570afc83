"""WooCommerce's, Stripe's and Square's webhooks, on payloads in the form that each of them documents."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import Any

import orjson
import pytest

from schemas.time import ms_of_time
from tests.support.webhooks import RECEIVED, base64_hmac, collected, events, payload, signature_problem


def woo(topic: str, name: str = "order", **changes: Any) -> list[dict[str, Any]]:
    return events("woocommerce", payload("woocommerce", name, **changes), {"X-WC-Webhook-Topic": topic})


def inside(vendor: str, name: str, *path: str, **changes: Any) -> dict[str, Any]:
    """A payload with changes of the object at a path."""
    body: dict[str, Any] = payload(vendor, name)
    found = body
    for step in path:
        found = found[step]
    found.update(changes)
    return body


# WooCommerce


def test_an_order_of_woocommerce_is_read_in_utc_with_its_lines() -> None:
    [event] = woo("order.created")

    assert ("Order Completed", "order:727", "2017-03-22T19:28:02.000Z") == (
        event["event"],
        event["event_id"],
        event["occurred_at"],
    )
    assert {
        "order_id": "727",
        "order_number": "727",
        "currency": "USD",
        "total": "29.35",
        "tax": "1.35",
        "shipping": "10.00",
        "discount": "0.00",
        "payment_method": "Direct Bank Transfer",
        "shipping_method": "Flat Rate",
        "products": [
            {"product_id": "93", "sku": "", "name": "Woo Single #1", "price": "3", "quantity": 2},
            {"product_id": "22", "variant": "23", "sku": "Bar3", "price": "12", "quantity": 1,
             "name": "Ship Your Idea &ndash; Color: Black, Size: M Test"},
        ],
    } == event["properties"]  # fmt: skip
    assert [("email", "john.doe@example.com"), ("phone", "(555) 555-5555")] == [
        (one["type"], one["value"]) for one in event["identifiers"]
    ]


def test_a_price_with_the_places_of_a_division_costs_no_order() -> None:
    line = {"id": 1, "product_id": 9, "variation_id": 0, "quantity": 3, "total": "10.00", "price": 3.3333333333333335}

    [event] = woo("order.created", line_items=[line])

    assert "3.3333" == event["properties"]["products"][0]["price"]


@pytest.mark.parametrize(
    ("topic", "status", "expected"),
    [
        ("order.created", "on-hold", ["Order Completed"]),
        ("order.updated", "completed", ["Order Completed", "Order Updated"]),
        ("order.updated", "cancelled", ["Order Completed", "Order Cancelled"]),
        ("order.created", "pending", []),
        ("order.updated", "failed", []),
        ("order.deleted", "processing", []),
    ],
)
def test_an_order_counts_once_it_is_placed(topic: str, status: str, expected: list[str]) -> None:
    assert expected == [event["event"] for event in woo(topic, status=status)]


def test_the_placing_of_an_order_has_one_id_whichever_webhook_reports_it() -> None:
    first, *_ = woo("order.created")
    again, update = woo("order.updated", date_modified_gmt="2017-03-25T10:00:00", status="completed")

    assert first == {**again, "properties": first["properties"]}
    assert "order-updated:727:2017-03-25T10:00:00" == update["event_id"]


def test_refunds_of_woocommerce_are_a_running_total_without_tax_and_shipping() -> None:
    refunds = [{"id": 728, "reason": "Broken", "total": "-10.00"}, {"id": 729, "reason": "", "total": "-4.675"}]

    *_, refund = woo("order.updated", refunds=refunds)

    # half of 29.35 was given back: half of the goods' 18.00
    assert ("Order Refunded", "refunds:727:728-729", "9") == (
        refund["event"],
        refund["event_id"],
        refund["properties"]["refunded_total"],
    )


def test_a_customer_and_the_stock_of_woocommerce() -> None:
    [created], [updated] = woo("customer.created", "customer"), woo("customer.updated", "customer")
    [stock] = woo("product.updated", "product")

    assert ("Account Created", "Identify") == (created["event"], updated["event"])
    assert ["user_id", "email", "phone"] == [one["type"] for one in updated["identifiers"]]
    assert ("794", 7) == (stock["properties"]["product_id"], stock["properties"]["quantity"])
    assert [] == woo("product.updated", "product", manage_stock=False)


def test_a_signature_of_woocommerce() -> None:
    body = orjson.dumps(payload("woocommerce", "order"))
    signed = {"X-WC-Webhook-Signature": base64_hmac("secret", body)}

    assert signature_problem("woocommerce", body, signed, ("secret",)) is None
    assert "does not fit" in str(signature_problem("woocommerce", body, signed, ("other",)))
    assert "is missing" in str(signature_problem("woocommerce", body, {}, ("secret",)))


# Stripe


def test_a_paid_checkout_is_an_order_in_major_units() -> None:
    [event] = events("stripe", payload("stripe", "checkout_session_completed"))

    assert {
        "order_id": "pi_3MtwBwLkdIwHu7ix28a3tqPa",
        "checkout_id": "cs_test_a1Zk7Id18b3FeLh8OQGRS78RxvMukoamHPw9fvTBKuBRVRjJjG0sJVJRBC",
        "currency": "USD",
        "total": "21.98",
        "subtotal": "25.00",
        "tax": "1.98",
        "shipping": "0.00",
        "discount": "5.00",
        "payment_method": "card",
    } == event["properties"]
    assert [("stripe_customer_id", "cus_NffrFeUfNV2Hib"), ("email", "jenny.rosen@example.com")] == [
        (one["type"], one["value"]) for one in event["identifiers"]
    ]
    assert ("2025-07-15T22:48:19.000Z", {"marketing": True, "channels": {"email": True}}) == (
        event["occurred_at"],
        event["consent"],
    )


@pytest.mark.parametrize("changes", [{"payment_status": "unpaid"}, {"status": "expired"}, {"mode": "setup"}], ids=str)
def test_a_checkout_that_is_not_paid_is_no_order(changes: dict[str, str]) -> None:
    body = inside("stripe", "checkout_session_completed", "data", "object", **changes)

    assert {"no rule applies": 1} == collected("stripe", body).ignored


@pytest.mark.parametrize(
    ("currency", "amount", "expected"),
    [("jpy", 500, "500"), ("kwd", 5000, "5.000"), ("mga", 500, "500"), ("isk", 500000, "5000.00"), ("eur", 1, "0.01")],
)
def test_amounts_are_in_stripes_minor_units(currency: str, amount: int, expected: str) -> None:
    body = inside("stripe", "checkout_session_completed", "data", "object", currency=currency, amount_total=amount)

    assert expected == events("stripe", body)[0]["properties"]["total"]


def test_the_number_that_the_shop_has_set_ties_checkout_payment_and_refund() -> None:
    numbers = set()
    for name in ("checkout_session_completed", "payment_intent_succeeded", "charge_refunded", "invoice_paid"):
        body = inside("stripe", name, "data", "object", metadata={"order_id": "W-1"})
        numbers |= {event["properties"]["order_id"] for event in events("stripe", body)}

    assert {"W-1"} == numbers


def test_a_subscription_and_its_invoice_are_one_order() -> None:
    session = inside("stripe", "checkout_session_completed", "data", "object", mode="subscription",
                     invoice="in_1MtHbELkdIwHu7ixl4OzzPMv", payment_intent=None)  # fmt: skip
    [checkout], [invoice] = events("stripe", session), events("stripe", payload("stripe", "invoice_paid"))

    assert checkout["properties"]["order_id"] == invoice["properties"]["order_id"]
    assert ("1500", "136", "JPY") == tuple(invoice["properties"][name] for name in ("total", "tax", "currency"))
    assert [{"product_id": "prod_NeZe6jbgFl1kRg", "name": "2 x Tea box", "price": "1364", "quantity": 1}] == (
        invoice["properties"]["products"]
    )


def test_a_refund_is_what_this_event_gave_back_of_all_that_was() -> None:
    [event] = events("stripe", payload("stripe", "charge_refunded"))

    assert ("Order Refunded", "refund:ch_3MmlLrLkdIwHu7ix0snN0B15:1000") == (event["event"], event["event_id"])
    assert {"order_id": "pi_3MtwBwLkdIwHu7ix28a3tqPa", "currency": "USD", "total": "7.00"} == event["properties"]


def test_a_payment_without_an_order_is_no_order() -> None:
    [event] = events("stripe", payload("stripe", "payment_intent_succeeded"))
    error = {"code": "card_declined", "decline_code": "insufficient_funds"}
    failed = inside("stripe", "payment_intent_succeeded", "data", "object", last_payment_error=error)
    [failure] = events("stripe", {**failed, "type": "payment_intent.payment_failed"})

    assert ("Payment Received", "20.00") == (event["event"], event["properties"]["amount"])
    assert ("Payment Failed", "insufficient_funds") == (failure["event"], failure["properties"]["reason"])


def test_a_customer_of_stripe() -> None:
    [event] = events("stripe", payload("stripe", "customer_updated"))

    assert ("Identify", {"name": "Jenny Rosen", "country": "CA", "city": "Toronto"}) == (
        event["event"],
        event["traits"],
    )
    assert [("user_id", "u-7"), ("stripe_customer_id", "cus_NffrFeUfNV2Hib"), ("email", "jennyrosen@example.com")] == [
        (one["type"], one["value"]) for one in event["identifiers"]
    ]


def stripe_signature(secret: str, body: bytes, at_s: int) -> str:
    return hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("late", "problem"),
    [
        (timedelta(seconds=299), None),
        (timedelta(seconds=301), "older than 300 s"),
        (timedelta(minutes=-4), None),
        (timedelta(minutes=-6), "in the future"),
    ],
)
def test_a_signature_of_stripe_is_of_its_time(late: timedelta, problem: str | None) -> None:
    body, at_s = b'{"id": "evt_1"}', ms_of_time(RECEIVED) // 1000
    header = f"t={at_s},v1={'0' * 64},v1={stripe_signature('whsec_new', body, at_s)},v0=ignored"
    found = signature_problem("stripe", body, {"Stripe-Signature": header}, ("whsec_old", "whsec_new"),
                              received=RECEIVED + late)  # fmt: skip

    assert (problem is None) == (found is None), found
    assert (problem or "") in (found or "")


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("", "is missing"),
        ("v1=00", "is missing"),
        ("t=now,v1=00", "no number of seconds"),
        ("t=1795867200,v1=00", "does not fit"),
        ("t=1795867200,v0=00", "is missing"),
    ],
)
def test_a_signature_that_is_not_stripes_is_refused(header: str, problem: str) -> None:
    assert problem in str(signature_problem("stripe", b"{}", {"Stripe-Signature": header}, ("whsec_new",)))


def test_a_signature_of_stripe_is_of_its_body_and_its_time() -> None:
    body, at_s = b'{"id": "evt_1"}', ms_of_time(RECEIVED) // 1000
    signed = stripe_signature("whsec", body, at_s)

    for header, sent in ((f"t={at_s},v1={signed}", body + b" "), (f"t={at_s - 1},v1={signed}", body)):
        assert "does not fit" in str(signature_problem("stripe", sent, {"Stripe-Signature": header}, ("whsec",)))


# Square


def test_a_completed_payment_of_square_is_an_order_at_the_till() -> None:
    [event] = events("square", payload("square", "payment_updated"))

    assert ("Order Completed", "store", "2026-05-20T14:25:27.012Z") == (
        event["event"],
        event["channel"],
        event["occurred_at"],
    )
    assert {
        "order_id": "CAISENgvhpdP05f1DWG9H8yMn4kZY",
        "payment_id": "KkAkhdMsgzn59SM8A89WgKwekxLZY",
        "part_id": "KkAkhdMsgzn59SM8A89WgKwekxLZY",
        "receipt_id": "KkAk",
        "store_id": "L88917AVBK2S5",
        "currency": "USD",
        "total": "2.50",
        "revenue": "2.00",
        "tip": "0.50",
        "payment_method": "CARD",
    } == event["properties"]


def test_a_payment_of_square_is_one_order_whichever_webhook_reports_it_and_none_before_it_is_complete() -> None:
    body = payload("square", "payment_updated")
    later = {**body, "type": "payment.created", "event_id": "another", "created_at": "2026-05-21T00:00:00Z"}
    approved = inside("square", "payment_updated", "data", "object", "payment", status="APPROVED")

    assert events("square", body) == events("square", later)
    assert {"no rule applies": 1} == collected("square", approved).ignored


@pytest.mark.parametrize(
    ("given_back", "refunded_total"),
    [
        pytest.param(50, "0.50", id="a part"),
        pytest.param(250, "2.00", id="everything: of the revenue, without the tip"),
    ],
)
def test_a_refund_of_square_is_of_the_order_that_was_paid(given_back: int, refunded_total: str) -> None:
    refunded = inside(
        "square", "payment_updated", "data", "object", "payment",
        refunded_money={"amount": given_back, "currency": "USD"}, updated_at="2026-05-22T09:00:00Z",
    )  # fmt: skip
    order, refund = events("square", refunded)

    assert order["properties"]["order_id"] == refund["properties"]["order_id"] == "CAISENgvhpdP05f1DWG9H8yMn4kZY"
    assert order["event_id"] == events("square", payload("square", "payment_updated"))[0]["event_id"]
    assert ("Order Refunded", "2026-05-22T09:00:00.000Z", refunded_total, "USD") == (
        refund["event"],
        refund["occurred_at"],
        refund["properties"]["refunded_total"],
        refund["properties"]["currency"],
    )


def test_the_webhook_of_a_refund_of_square_names_another_order_and_counts_nothing_twice() -> None:
    reason = "the payment tells what was given back of which order"

    assert {reason: 1} == collected("square", payload("square", "refund_updated")).ignored


def test_a_cancellation_of_square() -> None:
    updated = {"order_id": "o1", "version": 3, "location_id": "L1", "state": "CANCELED",
               "updated_at": "2026-05-20T15:00:00Z"}  # fmt: skip
    order = {"type": "order.updated", "created_at": "2026-05-20T15:00:01Z", "event_id": "e",
             "data": {"type": "order_updated", "id": "o1", "object": {"order_updated": updated}}}  # fmt: skip
    [cancelled] = events("square", order)

    assert ("Order Cancelled", "o1", "2026-05-20T15:00:00.000Z") == (
        cancelled["event"],
        cancelled["properties"]["order_id"],
        cancelled["occurred_at"],
    )
    updated["state"] = "OPEN"
    assert {"no rule applies": 1} == collected("square", order).ignored


def test_a_customer_of_square_and_what_it_takes_back() -> None:
    [event] = events("square", payload("square", "customer_created"))
    left = inside("square", "customer_created", "data", "object", "customer", preferences={"email_unsubscribed": True})

    assert "consent" not in event
    assert {"channels": {"email": False}} == events("square", left)[0]["consent"]
    assert {"square_customer_id", "user_id", "email", "phone"} == {one["type"] for one in event["identifiers"]}


def test_only_what_is_in_stock_is_stock() -> None:
    [event] = events("square", payload("square", "inventory_count_updated"))

    assert ("Stock Changed", "FGQ5JJWT2PYTHF35CKZ2DSKP", 10, "YYQR03DGCTXA4") == (
        event["event"],
        event["properties"]["product_id"],
        event["properties"]["quantity"],
        event["properties"]["store_id"],
    )


def test_a_signature_of_square_covers_the_address() -> None:
    body = orjson.dumps(payload("square", "payment_updated"))
    url = "https://events.shop.example/v1/hooks/square"
    signed = {"X-Square-HmacSha256-Signature": base64_hmac("key", url.encode() + body)}

    assert signature_problem("square", body, signed, ("key",), url=url) is None
    assert "does not fit" in str(signature_problem("square", body, signed, ("key",), url=url + "?x=1"))
    assert "does not fit" in str(signature_problem("square", body, signed, ("other",), url=url))
    assert "is missing" in str(signature_problem("square", body, {}, ("key",), url=url))
