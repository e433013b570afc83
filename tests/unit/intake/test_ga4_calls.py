"""Events of GA4's Measurement Protocol become the touchpoints that mean the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.intake.collect import Collect, CollectResult
from processors.intake.ga4_calls import FIELD_NAMES, calls_of_event, events_of_body
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import Reason
from schemas.intake.sources import Source

RECEIVED = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
SHIRT = {"item_id": "P-1", "item_name": "Shirt", "item_brand": "Own", "item_category": "Men",
         "item_category2": "Shirts",
         "item_variant": "blue", "price": 10.02, "quantity": 3, "index": 0}  # fmt: skip


def collected(body: dict[str, Any], source: Source | None = None) -> CollectResult:
    collect = Collect(
        channels=frozenset(TOUCHPOINT_CHANNELS), max_event_bytes=65_536, key=lambda _: b"", topic_prefix="",
        mark=ValidationMark(b"secret"),
    )  # fmt: skip
    events = events_of_body(body)
    arrivals = [Arrival(RECEIVED, None, f"request-{number}") for number in range(len(events))]
    return collect.foreign_events(
        "shop", source or Source(channel="web"), events, arrivals, calls_of_event, FIELD_NAMES
    )


def touchpoints(*events: Any, source: Source | None = None, **common: Any) -> list[dict[str, Any]]:
    found = collected({"client_id": "123.456", **common, "events": list(events)}, source)
    assert [] == found.refusals
    return [orjson.loads(one.value) for one in found.outgoing]


def test_a_purchase_is_an_order_with_its_number_amounts_and_lines() -> None:
    (found,) = touchpoints(
        {"name": "purchase", "params": {
            "transaction_id": "T-1", "value": 30.06, "tax": 4.9, "shipping": 5.99, "currency": "USD",
            "coupon": "SUMMER", "ga_session_id": 1764000000, "items": [SHIRT], "engagement_time_msec": 100}},
        user_id="u1", timestamp_micros=1795341600123456,
    )  # fmt: skip

    assert ("Order Completed", "2026-11-22T10:00:00.000Z", "1764000000") == (
        found["event"], found["occurred_at"], found["context"]["session_id"],
    )  # fmt: skip
    assert [("user_id", "u1"), ("anonymous_id", "123.456")] == [(x["type"], x["value"]) for x in found["identifiers"]]
    properties = found["properties"]
    assert ("T-1", "30.06", "4.9", "5.99", "USD", "SUMMER") == tuple(
        properties[name] for name in ("order_id", "revenue", "tax", "shipping", "currency", "coupon")
    )
    product = {"product_id": "P-1", "name": "Shirt", "brand": "Own", "category": "Men/Shirts", "variant": "blue",
               "price": "10.02", "quantity": 3, "position": 0}  # fmt: skip
    assert [product] == properties["products"]


@pytest.mark.parametrize(
    ("name", "params", "event", "properties"),
    [
        ("refund", {"transaction_id": "T-1", "value": 3, "currency": "EUR"}, "Order Refunded",
         {"order_id": "T-1", "revenue": "3", "currency": "EUR"}),
        ("begin_checkout", {"value": 3, "currency": "EUR", "items": [{"item_id": "P"}]}, "Checkout Started",
         {"value": "3", "currency": "EUR", "products": [{"product_id": "P", "quantity": 1}]}),
        ("view_cart", {"value": 3, "currency": "EUR"}, "Cart Viewed", {"value": "3", "currency": "EUR"}),
        ("add_payment_info", {"payment_type": "card"}, "Payment Info Entered", {"payment_method": "card"}),
        ("add_shipping_info", {"shipping_tier": "Air"}, "Checkout Step Completed", {"shipping_method": "Air"}),
        ("view_item_list", {"item_list_id": "L", "item_list_name": "New"}, "Product List Viewed",
         {"list_id": "L", "category": "New"}),
        ("search", {"search_term": "shirt"}, "Products Searched", {"query": "shirt"}),
        ("select_promotion", {"promotion_id": "S", "promotion_name": "Summer"}, "Promotion Clicked",
         {"promotion_id": "S", "name": "Summer"}),
        ("sign_up", {"method": "Google"}, "Signed Up", {"method": "Google"}),
        ("login", {"method": "Google"}, "Signed In", {"method": "Google"}),
        ("tutorial_begin", {"level": 2}, "tutorial_begin", {"level": 2}),
        ("add_to_cart", {"value": 3, "currency": "EUR"}, "Product Added",
         {"value": "3", "currency": "EUR", "quantity": 1}),
    ],
)  # fmt: skip
def test_an_event_has_the_name_of_its_counterpart_and_one_without_any_keeps_its_own(
    name: str, params: dict[str, Any], event: str, properties: dict[str, Any]
) -> None:
    (found,) = touchpoints({"name": name, "params": params})

    assert (event, properties) == (found["event"], found["properties"])


def test_an_app_is_known_by_its_instance_and_a_session_by_its_number() -> None:
    params = {"screen_name": "Cart", "session_id": "7"}
    body = {"app_instance_id": "app-1", "events": [{"name": "screen_view", "params": params}]}
    (found,) = [orjson.loads(one.value) for one in collected(body).outgoing]

    assert [("anonymous_id", "app-1")] == [(one["type"], one["value"]) for one in found["identifiers"]]
    assert ("Screen Viewed", "Cart", "7") == (
        found["event"], found["properties"]["name"], found["context"]["session_id"],
    )  # fmt: skip


def test_several_products_in_the_cart_are_one_event_each_and_the_value_is_of_none_of_them() -> None:
    items = [{"item_id": "P-1", "price": 10, "quantity": 2}, {"item_id": "P-2", "price": 5}]
    both = touchpoints({"name": "add_to_cart", "params": {"value": 25, "currency": "EUR", "items": items}})

    assert [("Product Added", "P-1", "10", 2), ("Product Added", "P-2", "5", 1)] == [
        (one["event"], *(one["properties"][name] for name in ("product_id", "price", "quantity"))) for one in both
    ]
    assert 2 == len({one["event_id"] for one in both})
    assert not any("value" in one["properties"] for one in both)


def test_a_page_view_has_its_page_and_campaign_details_their_campaign() -> None:
    address = "https://shop.example/p?utm_source=letter"
    page, details = touchpoints(
        {"name": "page_view", "params": {"page_location": address, "page_title": "P", "page_referrer": "https://x.example"}},
        {"name": "campaign_details", "params": {"source": "google", "medium": "cpc", "campaign": "autumn",
                                                "campaign_id": "c1"}},
    )  # fmt: skip

    assert ("Page Viewed", address, "/p", "P") == (
        page["event"], *(page["properties"][name] for name in ("url", "path", "title")),
    )  # fmt: skip
    assert {"source": "google", "medium": "cpc", "name": "autumn", "id": "c1"} == details["campaign"]


def test_user_properties_are_traits_of_one_identify_a_request() -> None:
    found = touchpoints({"name": "login"}, {"name": "tutorial_begin"}, user_properties={"tier": {"value": "gold"}})

    assert [None, {"tier": "gold"}, None] == [one.get("traits") for one in found]


def test_consent_is_that_which_the_source_reads_from_it() -> None:
    consent = {"ad_user_data": "GRANTED", "ad_personalization": "DENIED"}
    told = {"name": "login", "params": {}}
    (plain,) = touchpoints(told, consent=consent)
    (read,) = touchpoints(told, consent=consent, source=Source(channel="web", consent={"ad_user_data": "analytics"}))

    assert (None, consent) == (plain.get("consent"), plain["context"]["ga4"]["consent"])
    assert {"analytics": True} == read["consent"]


def test_a_request_that_states_its_time_can_be_sent_twice() -> None:
    body = {"client_id": "1.2", "timestamp_micros": "1795341600123456", "events": [{"name": "a"}, {"name": "a"}]}
    ids = [[orjson.loads(one.value)["event_id"] for one in collected(body).outgoing] for _ in range(2)]
    other = collected({**body, "client_id": "1.3"})

    assert ids[0] == ids[1]
    assert 2 == len(set(ids[0]))
    assert orjson.loads(other.outgoing[0].value)["event_id"] not in ids[0]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"events": [{"name": "login"}]}, "user_id"),
        ({"client_id": "1.2", "events": [{"name": "refund", "params": {"value": 3, "currency": "EUR"}}]},
         "params.transaction_id"),
        ({"client_id": "1.2", "events": [{"name": "purchase", "params": {
            "transaction_id": "1", "value": 5, "currency": "kr"}}]}, "params.currency"),
        ({"client_id": "1.2", "events": [{"params": {}}]}, "name"),
        ({"client_id": "1.2", "events": []}, "name"),
        ({"client_id": "1.2", "events": ["login"]}, ""),
        ({"client_id": "1.2", "events": [{"name": "login", "params": ["method"]}]}, "params"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field_as_google_does(body: dict[str, Any], field: str) -> None:
    (refusal,) = collected(body).refusals

    assert "userId" not in refusal.rejected.message
    assert field == refusal.rejected.field


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from(["purchase", "add_to_cart", "page_view", "view_promotion", "login", "own"])
PARAMS = st.dictionaries(
    st.sampled_from(["items", "value", "session_id", "page_location", "campaign", "medium", "transaction_id"]), JSON
)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["client_id", "user_id", "timestamp_micros", "user_properties", "consent", "device",
                         "user_location", "ip_override", "user_data"]),
        JSON,
    ),
    st.lists(JSON | st.fixed_dictionaries({"name": NAMES | JSON, "params": PARAMS | JSON})) | JSON,
)  # fmt: skip
def test_whatever_a_request_holds_it_is_translated_or_refused(common: dict[str, Any], events: Any) -> None:
    found = collected({**common, "events": events})

    assert 1 <= found.accepted + len(found.refusals)
    assert not any(one.rejected.reason is Reason.BUG for one in found.refusals)
