"""Reads the properties of a call about products and orders: names of older specifications, and orders without a number.

Segment's first e-commerce specification wrote `orderId`, and `id` for the number of an order or a product; many shops
still do (https://segment.com/docs/connections/spec/ecommerce). A call that has the current name keeps both.

An order that comes without its number is worth money all the same, so it is known by its receipt, its checkout or, at
last, its event: a call that is sent again has the same `messageId`, and a page that is loaded again has another, which
makes a second order. `context.mended` says so. An update, a refund or a cancellation without any of its order's ids is
about no order that is known, and stays refused.
"""

from __future__ import annotations

from typing import Any

from processors.intake.odd_details import OddDetail
from schemas.events.touchpoint import as_known_event
from schemas.orders import KINDS, ORDER_PLACED
from schemas.outcomes import Reject

_FORMER_NAMES = {"orderId": "order_id", "checkoutId": "checkout_id", "productId": "product_id"}
_FORMER_NAMES_OF_LINES = ("productId", "id")
_MAX_ID_CHARS = 150
"""The longest id that may stand in: with what is put before it, it is no longer than ids may be."""
_MAX_ORDER_ID_CHARS = 200


def with_current_names(properties: dict[str, Any], event_name: object, field_names: dict[str, str]) -> dict[str, Any]:
    """Give the properties of a call the current names of ids.

    Args:
        properties: The call's; they are left alone.
        event_name: The event, as the call names it.
        field_names: The call's field for a field of the touchpoint; what is renamed is added.

    Returns:
        A changed copy, or the very properties.
    """
    former = [(old, new) for old, new in _FORMER_NAMES.items() if old in properties and not _is_id(properties.get(new))]
    if (
        "id" in properties
        and "orderId" not in properties
        and not _is_id(properties.get("order_id"))
        and KINDS.get(str(as_known_event(event_name)), "receipt") != "receipt"
    ):
        former.append(("id", "order_id"))
    if str(properties.get("order_id", "-")).isspace():  # else all orders without a number would be one
        properties = {name: value for name, value in properties.items() if name != "order_id"}
    if former:
        properties = dict(properties)
        for old, new in former:
            properties[new] = properties.pop(old)
            field_names[f"properties.{new}"] = f"properties.{old}"
    lines = properties.get("products")
    if type(lines) is list:
        for line in lines:
            if type(line) is dict and "product_id" not in line and ("id" in line or "productId" in line):
                return {**properties, "products": [_line_with_current_names(one) for one in lines]}
    return properties


def give_order_id(event: Any, rejected: Reject) -> OddDetail | None:
    """Give an order that is refused since it has no number one by which it is known again.

    Args:
        event: The event, parsed JSON; it is changed.
        rejected: Why it is refused.

    Returns:
        A note of where the number is from; None if something else is wrong or nothing can stand in, and then the event
        is as it was.
    """
    properties, event_name = event.get("properties") or {}, as_known_event(event.get("event"))
    if (
        rejected.field not in ("properties", "properties.order_id")
        or KINDS.get(str(event_name), "receipt") == "receipt"
        or not isinstance(properties, dict)
        or not _is_missing(properties.get("order_id"))
    ):
        return None
    if _is_id(properties.get("receipt_id")):  # an order and its receipt are one order
        found, rule = properties["receipt_id"], "from_receipt_id"
    elif _is_id(properties.get("checkout_id")):
        found, rule = f"checkout:{properties['checkout_id']}", "from_checkout_id"
    elif event_name == ORDER_PLACED and _is_id(event.get("event_id")):
        # An event is known by its source and id, so another source's event of this id is another order.
        found, rule = f"event:{event.get('source', '')}:{event['event_id']}"[:_MAX_ORDER_ID_CHARS], "from_event_id"
    else:
        return None
    event["properties"] = {**properties, "order_id": found}
    return OddDetail("properties.order_id", rule)


def _line_with_current_names(line: object) -> object:
    if type(line) is not dict or "product_id" in line:
        return line
    for name in _FORMER_NAMES_OF_LINES:
        if _is_id(line.get(name)):
            return {"product_id": line[name], **{key: value for key, value in line.items() if key != name}}
    return line


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_id(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and len(value.strip()) > 0 and len(value) <= _MAX_ID_CHARS)
