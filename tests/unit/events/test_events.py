"""The contract with producers: what an event may look like, and the one way it is written afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from schemas.events.envelope import Touchpoint
from schemas.events.messages import STEPS
from schemas.events.touchpoint import EVENT_NAMES, SHAPES, CustomTouchpoint, adapter, read
from schemas.money import to_money
from schemas.time import UNSET_CLOCK, parse_time, text_of_time
from tests.support.builders import order, touchpoint

NEEDED: dict[str, dict[str, Any]] = {
    **{f"Order {verb}": {"order_id": "o1"} for verb in ("Completed", "Updated", "Refunded", "Cancelled")},
    "Product Updated": {"product_id": "p1"},
    "Price Changed": {"product_id": "p1", "price": "9.90"},
    "Stock Changed": {"product_id": "p1", "quantity": 0},
    "Till Closed": {"till_id": "berlin-4", "business_day": "2026-11-20", "events": 0},
}
CONTRACT = """
Products Searched|Product List Viewed|Product List Filtered|Promotion Viewed|Promotion Clicked|Product Clicked
Product Viewed|Product Added|Product Removed|Cart Viewed|Checkout Started|Checkout Step Viewed|Checkout Step Completed
Payment Info Entered|Order Completed|Order Updated|Order Refunded|Order Cancelled|Coupon Entered|Coupon Applied
Coupon Denied|Coupon Removed|Product Added to Wishlist|Product Removed from Wishlist|Wishlist Product Added to Cart
Product Shared|Cart Shared|Product Reviewed|Signed Up|Signed In|Signed Out|Identify|Page Viewed|Screen Viewed
Application Installed|Application Opened|Email Sent|Email Delivered|Email Opened|Email Link Clicked|Email Bounced
Email Failed|Email Unsubscribed|Email Marked as Spam|SMS Sent|SMS Link Clicked|Push Sent|Push Opened|WhatsApp Sent
WhatsApp Message Sent|Messenger Message Sent|Messenger Message Link Clicked|Ad Impression|Ad Clicked|Social Post Liked
Social Post Commented|Social Post Shared|Call Started|Call Ended|Live Chat Conversation Started
Live Chat Conversation Ended|Live Chat Message Sent|Live Chat Message Received|Store Visited|Receipt Issued
Loyalty Points Earned|Loyalty Points Redeemed|Survey Submitted|Contest Entered|Consent Updated|Price Changed
Stock Changed|Product Updated|Coupon Issued|Till Closed
""".replace("\n", "|").strip("|")


def errors(event: Any) -> list[tuple[str, str]]:
    """The path and the type of each error."""
    with pytest.raises(ValidationError) as caught:
        read(event)
    return [(".".join(map(str, error["loc"])), error["type"]) for error in caught.value.errors()]


@pytest.mark.parametrize("name", CONTRACT.split("|"))
def test_every_name_of_the_contract_is_known(name: str) -> None:
    assert name in EVENT_NAMES


adapter_of_all = adapter()


@pytest.mark.parametrize("name", sorted(EVENT_NAMES))
def test_a_known_event_is_read_by_its_own_shape_and_by_the_union_alike(name: str) -> None:
    event = touchpoint(name, properties=NEEDED.get(name, {}))

    parsed = read(event)

    assert name in get_args(get_type_hints(SHAPES[name])["event"])
    assert parsed == adapter_of_all.validate_python(event)


def test_an_unknown_name_is_a_custom_event_with_free_properties() -> None:
    event = touchpoint("Fitting Room Booked", properties={"room": 7, "items": [{"size": "M"}], "total": "n/a"})

    parsed = read(event)

    assert get_type_hints(CustomTouchpoint)["event"] is str
    assert event["properties"] == parsed["properties"]
    assert parsed == adapter_of_all.validate_python(event)


def test_canonical_writes_utc_milliseconds_and_decimal_strings_and_leaves_out_what_is_absent() -> None:
    event = {
        "event_id": "e1",
        "event": "Order Completed",
        "channel": "store",
        "occurred_at": "2026-11-22T12:15:30.1239+02:00",
        "received_at": "1999-01-01T00:00:00Z",
        "identifiers": {"loyalty_id": 5, "email": ["a@b.example", "c@d.example"], "phone": None},
        "campaign": {"source": None},
        "properties": {
            "order_id": 1001,
            "revenue_minor": 4990,
            "total": 59.9,
            "currency": "eur",
            "gift": True,
            "products": [{"product_id": 7, "price_minor": 2495, "quantity": 2, "size": "M"}, {"sku": "x"}],
        },
        "traits": {},
        "consent": {"marketing": False},
    }

    assert {
        "event_id": "e1",
        "event": "Order Completed",
        "channel": "store",
        "source": "",
        "occurred_at": "2026-11-22T10:15:30.123Z",
        "identifiers": [
            {"type": "loyalty_id", "value": "5", "verified": False},
            {"type": "email", "value": "a@b.example", "verified": False},
            {"type": "email", "value": "c@d.example", "verified": False},
        ],
        "properties": {
            "order_id": "1001",
            "revenue": "49.90",
            "total": "59.9",
            "currency": "EUR",
            "gift": True,
            "products": [
                {"product_id": "7", "price": "24.95", "quantity": 2, "size": "M"},
                {"sku": "x", "quantity": 1},
            ],
        },
        "consent": {"marketing": False},
    } == read(event)


def test_reading_an_event_leaves_the_callers_object_alone() -> None:
    event = order("o1")
    event["properties"] = {"order_id": "o1", "currency": "EUR", "products": [{"price_minor": 1}], "revenue_minor": 1}
    before = {**event, "properties": {**event["properties"], "products": [{"price_minor": 1}]}}

    read(event)

    assert before == event


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2026-11-22T10:15:30Z", datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)),
        ("2026-11-22t10:15:30z", datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)),
        ("2026-11-22 10:15:30.5-05:00", datetime(2026, 11, 22, 15, 15, 30, 500_000, tzinfo=UTC)),
        ("2026-11-22T10:15:30.123456789+0530", datetime(2026, 11, 22, 4, 45, 30, 123_000, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1969-12-31T23:30:00-01:00", datetime(1970, 1, 1, 0, 30, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_kept_in_utc_to_the_millisecond(sent: Any, expected: datetime) -> None:
    written = read(touchpoint(occurred_at=sent))["occurred_at"]

    assert (text_of_time(expected), expected) == (written, parse_time(written))


@pytest.mark.parametrize(
    ("sent", "rule"),
    [
        ("2026-11-22T10:15:30", "has no offset"),
        (datetime(2026, 1, 1), "has no offset"),  # noqa: DTZ001
        ("2026-11-22", "should be a time"),
        ("yesterday", "should be a time"),
        ("20261122T101530Z", "should be a time"),
        ("2026-02-30T10:15:30Z", "no such time"),
        ("2026-11-22T25:15:30Z", "no such time"),
        ("2026-11-22T10:15:30+25:00", "no such time"),
        ("1970-13-01T00:00:00Z", "no such time"),
        (1_795_000_000, "should be a text"),
    ],
    ids=str,
)
def test_a_time_that_nobody_can_place_is_refused(sent: Any, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        read(touchpoint(occurred_at=sent))


@pytest.mark.parametrize(
    "sent",
    [
        "0000-00-00T00:00:00Z", "0001-01-01T00:00:00+14:00", "1899-12-30T00:00:00.000Z", "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+01:00", "2100-12-31T23:59:59-01:00", "2101-01-01T00:00:00Z", "2569-11-22T10:00:00+07:00",
        "9999-12-31T23:59:59-12:00",
    ],
)  # fmt: skip
def test_a_time_of_no_year_is_that_of_a_clock_that_is_not_set_and_is_kept_beside_it(sent: str) -> None:
    event = read(touchpoint(occurred_at=sent, context={"locale": "th"}))

    assert UNSET_CLOCK == event["occurred_at"]
    assert {
        "original_timestamp": sent,
        "locale": "th",
        "mended": [{"field": "occurred_at", "rule": "clock", "count": 1}],
    } == event["context"]
    assert event == read(event)
    with pytest.raises(PydanticCustomError):
        parse_time(sent)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"event_id": ""}, [("event_id", "string_too_short")], id="empty event_id"),
        pytest.param({"event_id": " "}, [("event_id", "string_pattern_mismatch")], id="blank event_id"),
        pytest.param({"event_id": "x" * 101}, [("event_id", "string_too_long")], id="long event_id"),
        pytest.param({"event_id": None}, [("event_id", "missing")], id="null is absent"),
        pytest.param({"event": "x" * 101}, [("event", "string_too_long")], id="long name"),
        pytest.param({"event": ["Identify"]}, [("event", "string_type")], id="name is a list"),
        pytest.param({"channel": 5}, [("channel", "string_type")], id="channel is a number"),
        pytest.param({"source": "x" * 101}, [("source", "string_too_long")], id="long source"),
        pytest.param({"userId": "u"}, [("userId", "extra_forbidden")], id="unknown top-level field"),
        pytest.param({"properties": ["x"]}, [("properties", "dict_type")], id="properties is a list"),
        pytest.param({"traits": "x"}, [("traits", "dict_type")], id="traits is a text"),
        pytest.param({"campaign": {"click_id": "x" * 501}}, [("campaign.click_id", "text")], id="long click id"),
        pytest.param({"campaign": {"name": 1.5}}, [("campaign.name", "text")], id="campaign is a float"),
        pytest.param({"consent": {"marketing": "yes"}}, [("consent.marketing", "bool_type")], id="consent as text"),
        pytest.param({"consent": {"marketing": 1}}, [("consent.marketing", "bool_type")], id="consent as a number"),
        pytest.param({"consent": {"adverts": True}}, [("consent.adverts", "extra_forbidden")], id="misspelt consent"),
        pytest.param({"identifiers": "u1"}, [("identifiers", "list_type")], id="identifiers is a text"),
        pytest.param({"identifiers": {"user_id": 1.5}}, [("identifiers", "identifier")], id="identifier is a float"),
        pytest.param({"identifiers": {"user_id": True}}, [("identifiers", "identifier")], id="identifier is a boolean"),
        pytest.param({"identifiers": {"User Id": "x"}}, [("identifiers.0.type", "string_pattern_mismatch")], id="type"),
        pytest.param(
            {"identifiers": [{"type": "email", "value": "x" * 501}]}, [("identifiers.0.value", "text")], id="long value"
        ),
        pytest.param(
            {"identifiers": {"email": [f"{n}@b.example" for n in range(51)]}}, [("identifiers", "too_long")], id="many"
        ),
        pytest.param(
            {"properties": {"currency": "EUR/USD"}}, [("properties.currency", "currency")], id="two currencies"
        ),
        pytest.param({"context": {"page": {"url": 5}}}, [("context.page.url", "string_type")], id="url is a number"),
    ],
)
def test_what_breaks_the_contract_is_named(fields: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert expected == errors(touchpoint(**fields))


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param({}, [("properties.order_id", "missing")], id="no order_id"),
        pytest.param({"order_id": ""}, [("properties.order_id", "text")], id="empty order_id"),
        pytest.param({"order_id": "o", "revenue": "x"}, [("properties.revenue", "money")], id="revenue"),
        pytest.param(
            {"order_id": "o", "products": [{}, {"quantity": -1_000_000_001}]},
            [("properties.products.1.quantity", "quantity")],
            id="huge quantity that comes back",
        ),
        pytest.param(
            {"order_id": "o", "products": [{"quantity": 0.000001}]},
            [("properties.products.0.quantity", "quantity")],
            id="less than five places can say",
        ),
        pytest.param({"order_id": "o", "products": {}}, [("properties.products", "list_type")], id="products"),
    ],
)
def test_an_orders_properties_are_typed(properties: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert expected == errors(touchpoint("Order Completed", properties=properties))


def test_an_order_without_an_amount_is_valid() -> None:
    assert {"order_id": "o1"} == read(touchpoint("Order Completed", properties={"order_id": "o1"}))["properties"]


@pytest.mark.parametrize("identifiers", [None, {}, [], {"user_id": None}, {"user_id": []}], ids=repr)
def test_an_event_may_be_about_no_person(identifiers: Any) -> None:
    assert [] == read(touchpoint(identifiers=identifiers))["identifiers"]


def test_both_ways_to_write_identifiers_mean_the_same() -> None:
    shorthand = touchpoint(identifiers={"user_id": 7, "email": ["a@b.example"]})
    written_out = [{"type": "user_id", "value": "7"}, {"type": "email", "value": "a@b.example"}]

    assert read({**shorthand, "identifiers": written_out}) == read(shorthand)


def test_money_is_written_as_the_text_of_a_decimal() -> None:
    written = read(order("o1", "49.90"))["properties"]["revenue"]

    assert ("49.90", Decimal("49.90")) == (written, to_money(written))


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("Email Link Clicked", ("email", "clicked")),
        ("Unsubscribed", ("email", "unsubscribed")),
        ("WhatsApp Sent", ("whatsapp", "sent")),
        ("WhatsApp Message Sent", ("whatsapp", "sent")),
        ("Messenger Message Marked as Spam", ("messenger", "complained")),
        ("Push Notification Tapped", ("push", "clicked")),
    ],
)
def test_a_message_events_name_tells_the_kind_and_the_step(name: str, meaning: tuple[str, str]) -> None:
    assert meaning == STEPS[name]


NESTED: Any = 0
for _ in range(15):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("properties", "kind"),
    [
        pytest.param({"a": NESTED}, "too_deep", id="17 levels"),
        pytest.param({str(n): n for n in range(12_000)}, "too_many_keys", id="12,000 keys beside the envelope's"),
        pytest.param({"cart_id": "x" * 8193}, "bounds", id="long id"),
        pytest.param({"x" * 8193: "a"}, "bounds", id="long key"),
        pytest.param({"a\0": 1}, "bounds", id="NUL in a key"),
        pytest.param({"\ud800": 1}, "bounds", id="half a surrogate pair in a key"),
        pytest.param({"a": float("nan")}, "bounds", id="NaN"),
        pytest.param({"a": Decimal("Infinity")}, "bounds", id="decimal infinity"),
        pytest.param({"a": 2**64}, "bounds", id="huge integer"),
        pytest.param({"a": {1, 2}}, "bounds", id="a set"),
        pytest.param({5: "a"}, "bounds", id="a key that is no text"),
    ],
)
@pytest.mark.parametrize("name", ["Page Viewed", "Fitting Room Booked"])
def test_free_parts_are_bounded_in_known_and_custom_events(name: str, properties: Any, kind: str) -> None:
    assert [kind] == [found for _, found in errors(touchpoint(name, properties=properties))]


def test_the_deepest_event_that_is_allowed_is_read() -> None:
    assert NESTED[0] == read(touchpoint("Custom", properties={"a": NESTED[0]}))["properties"]["a"]


@pytest.mark.parametrize("value", [None, 5, "x", [], ["event"]], ids=repr)
def test_only_an_object_is_an_event(value: Any) -> None:
    assert [("", "dict_type")] == errors(value)


def test_every_shape_is_the_envelope_with_properties_of_its_own() -> None:
    fields = [list(shape.__annotations__) for shape in [*SHAPES.values(), CustomTouchpoint]]

    assert [list(Touchpoint.__annotations__)] * len(fields) == fields


@pytest.mark.parametrize("name", sorted(EVENT_NAMES))
def test_every_event_keeps_further_keys_where_they_are_allowed_and_refuses_them_elsewhere(name: str) -> None:
    free = {"anything": {"a": [1, None]}}
    event = touchpoint(name, properties={**NEEDED.get(name, {}), **free}, campaign=free, context={"page": free, **free})
    written = read(event)

    assert free.items() <= written["properties"].items()
    assert (free, {"page": free, **free}) == (written["campaign"], written["context"])
    assert [("anything", "extra_forbidden")] == errors({**event, **free})
    assert [("consent.anything", "extra_forbidden")] == errors({**event, "consent": free})


@pytest.mark.parametrize("sent", ["2026-11-22T10:15:30Z", "s", 5, None, {}, {"a": [1]}], ids=repr)
def test_received_at_is_left_out_whatever_it_is(sent: Any) -> None:
    assert "received_at" not in read(touchpoint(received_at=sent))


@pytest.mark.parametrize("part", ["campaign", "context", "properties", "traits", "consent"])
def test_null_in_a_part_is_absent_and_an_empty_part_is_left_out(part: str) -> None:
    sent = {"campaign": {"name": None, "further": None}, "context": {"ip": None, "page": None}, "traits": {}}
    sent |= {"properties": {"revenue": None, "revenue_minor": None, "further": None}, "consent": {"marketing": None}}

    event = touchpoint("Cart Viewed")

    assert read(event) == read({**event, part: sent[part]})


def test_null_in_a_page_and_in_a_product_is_absent() -> None:
    products = [{"sku": "a", "price": None, "price_minor": None, "further": None, "quantity": None}, {"sku": None}]
    event = touchpoint("Cart Viewed", properties={"products": products}, context={"page": {"url": None, "x": None}})
    written = read(event)

    assert {"products": [{"sku": "a", "quantity": 1}, {"quantity": 1}]} == written["properties"]
    assert {"page": {}} == written["context"]
