"""An order of a call is kept under the number that it has by whichever name, else under one that stands in."""

from __future__ import annotations

from typing import Any

import pytest

from processors.intake.call_commerce import with_current_names
from schemas.intake.sources import Source
from tests.support.calls import ARRIVAL, COLLECT, SERVER, notes, refused_fields, stored

AMOUNT = {"revenue": 42.5, "currency": "EUR"}
PAGE = Source(channel="web", kind="browser", origins=("*",))
APP = Source(channel="app", kind="browser", origins=("*",))


def order(properties: dict[str, Any] | None, event: str = "Order Completed") -> dict[str, Any]:
    return {"event": event, "messageId": "m-1", **({} if properties is None else {"properties": properties})}


@pytest.mark.parametrize("source", [SERVER, PAGE, APP], ids=["of a server", "of a page", "of an app"])
@pytest.mark.parametrize(
    ("call", "order_id", "rule"),
    [
        pytest.param(order({**AMOUNT, "order_id": "A-1"}), "A-1", None, id="an order with its number has it"),
        pytest.param(order({**AMOUNT, "orderId": "A-1"}), "A-1", None, id="the former name of the number is read"),
        pytest.param(order({**AMOUNT, "orderId": 71}), "71", None, id="a number may be an integer"),
        pytest.param(order({**AMOUNT, "id": "A-1"}), "A-1", None, id="an order's id is its number"),
        pytest.param(order({**AMOUNT, "orderId": "A", "order_id": "B"}), "B", None, id="the current name counts first"),
        pytest.param(order({**AMOUNT, "orderId": "A", "order_id": ""}), "A", None, id="an empty number counts last"),
        pytest.param(
            order({**AMOUNT, "receipt_id": "R-1", "checkout_id": "C-1"}), "R-1", "from_receipt_id",
            id="an order and its receipt are one order",
        ),
        pytest.param(
            order({**AMOUNT, "checkoutId": "C-1"}), "checkout:C-1", "from_checkout_id",
            id="a checkout's number is never taken for an order's",
        ),
        pytest.param(order(AMOUNT), "event:shop:m-1", "from_event_id", id="an order without any number is its event"),
        pytest.param(order({**AMOUNT, "order_id": " "}), "event:shop:m-1", "from_event_id", id="blanks are no number"),
        pytest.param(order(None), "event:shop:m-1", "from_event_id", id="an order without properties is an order"),
        pytest.param(order({}), "event:shop:m-1", "from_event_id", id="an order that says nothing is an order"),
        pytest.param(order(AMOUNT, "order completed"), "event:shop:m-1", "from_event_id", id="its name in lower case"),
        pytest.param(
            order({**AMOUNT, "checkout_id": "c" * 180}), "event:shop:m-1", "from_event_id",
            id="an id that is too long to be kept whole stands for nothing",
        ),
        pytest.param(
            order({**AMOUNT, "checkout_id": "C-1"}, "Order Cancelled"), "checkout:C-1", "from_checkout_id",
            id="a cancellation finds the order of its checkout",
        ),
    ],
)  # fmt: skip
def test_an_order_is_kept_by_its_number(call: dict[str, Any], order_id: str, rule: str | None, source: Source) -> None:
    event = stored(call, source=source)

    assert order_id == event["properties"]["order_id"]
    assert [rule] * bool(rule) == [rule for field, rule, _ in notes(event) if field == "properties.order_id"]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        pytest.param(order(AMOUNT, "Order Refunded"), "properties.order_id", id="a refund of no order"),
        pytest.param(order(AMOUNT, "Order Updated"), "properties.order_id", id="an update of no order"),
        pytest.param(order(None, "Order Cancelled"), "properties", id="a cancellation of no order"),
        pytest.param(order({**AMOUNT, "order_id": ["1"]}), "properties.order_id", id="a number that cannot be read"),
        pytest.param(order({**AMOUNT, "orderId": {}}), "properties.orderId", id="a former name that cannot be read"),
        pytest.param(order({**AMOUNT, "order_id": False}), "properties.order_id", id="a number that is none"),
        pytest.param(order({"revenue": "much"}), "properties.revenue", id="an amount that cannot be read"),
    ],
)
def test_what_is_about_no_order_stays_refused(call: dict[str, Any], field: str) -> None:
    assert [field] == refused_fields(call)


def test_a_call_that_is_sent_again_is_the_same_order() -> None:
    first, second = stored(order(AMOUNT)), stored(order(AMOUNT))

    assert first == second


def test_the_update_of_a_checkouts_order_is_about_that_order() -> None:
    call = {**AMOUNT, "checkout_id": "C-1"}
    ids = {stored(order(call, event))["properties"]["order_id"] for event in ("Order Completed", "Order Updated")}

    assert {"checkout:C-1"} == ids


def test_an_order_without_a_number_may_have_odd_details_as_well() -> None:
    event = stored(order({**AMOUNT, "coupon": ["A", "B"]}))

    assert [("properties.order_id", "from_event_id", 1), ("properties.coupon", "set_aside", 1)] == sorted(
        notes(event), key=lambda note: note[1]
    )


@pytest.mark.parametrize(
    ("line", "product_id"),
    [
        ({"id": "P-1", "sku": "S"}, "P-1"),
        ({"productId": "P-1"}, "P-1"),
        ({"productId": "P-1", "id": "L-9"}, "P-1"),
        ({"product_id": "P-1", "id": "L-9"}, "P-1"),
        ({"id": 7}, "7"),
        ({"id": {"a": 1}}, None),
        ({"id": ""}, None),
        ({"sku": "S"}, None),
    ],
)
def test_a_line_has_its_product_by_the_former_names_too(line: dict[str, Any], product_id: str | None) -> None:
    event = stored(order({**AMOUNT, "order_id": "A", "products": [{"sku": "first"}, line]}))

    assert product_id == event["properties"]["products"][1].get("product_id")


def test_the_product_of_an_event_has_its_number_by_the_former_name_too() -> None:
    event = stored({"event": "Product Viewed", "properties": {"productId": "P-1"}})

    assert {"product_id": "P-1", "quantity": 1} == event["properties"]


def test_the_id_of_an_event_that_is_no_order_stays_what_it_is() -> None:
    event = stored({"event": "Video Started", "properties": {"id": "V-1"}})

    assert {"id": "V-1"} == event["properties"]


def test_properties_in_the_current_names_are_not_copied() -> None:
    properties = {"order_id": "A", "id": "internal", "products": [{"product_id": "P"}]}

    assert properties is with_current_names(properties, "Order Completed", {})


def test_an_order_without_its_number_stays_refused_as_a_touchpoint() -> None:
    event = {"event_id": "e", "event": "Order Completed", "channel": "web", "occurred_at": "2026-11-22T10:00:00Z",
             "identifiers": {"user_id": "u"}, "properties": AMOUNT}  # fmt: skip
    found = COLLECT.touchpoints("shop", SERVER, [event], [ARRIVAL])

    assert ["properties.order_id"] == [one.rejected.field for one in found.refusals]
