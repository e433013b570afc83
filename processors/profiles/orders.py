"""Orders and their sums: each order counts once, however often and in whatever order it is reported.

* `Order Completed`, `Order Updated` and `Receipt Issued` with the same order id are reports of one sale. Its amount is
  that of the latest report with one; a receipt's amount counts only while no order event has one.
* `Order Refunded` takes its amount off; each refund event is a refund of its own. Without an amount it refunds all.
* `Order Cancelled` is final: the order counts nowhere, also when further reports of it follow.
* A refund or cancellation alone is no order; it waits for the sale.
* A receipt without an order id is an order by its receipt id, or by its event's.

Revenue is without shipping and tax where the event has it, else the total (`schemas.money.revenue`).
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import Any

from processors.profiles.joins import bounded_text
from schemas.money import revenue
from schemas.profiles.document import NO_CURRENCY, ORDERS_KEPT

Order = dict[str, Any]
_ZERO = Decimal(0)
_MAX_ID_CHARS = 64


def sale(event: dict[str, Any], properties: dict[str, Any], at: int) -> dict[str, Any]:
    """Return the section `orders` of one report of a sale."""
    amount = revenue(properties)
    authority = 0 if amount is None else 1 if event["event"] == "Receipt Issued" else 2
    currency = bounded_text(properties.get("currency")) or NO_CURRENCY
    discounted = bool(properties.get("coupon")) or _amount(properties.get("discount")) > 0
    return _section(
        event,
        properties,
        {
            "placed": [at, event["channel"]],
            "sale": [authority, at, text(amount or _ZERO), currency, discounted],
        },
    )


def refund(event: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    """Return the section `orders` of one refund."""
    amount = revenue(properties)
    return _section(event, properties, {"refunded_fully": True} if amount is None else {"refunded": text(abs(amount))})


def cancellation(event: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    """Return the section `orders` of one cancellation."""
    return _section(event, properties, {"cancelled": True})


def join_orders(mine: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Join the orders of two profiles: the sums are added, less the orders that both contain."""
    _add_sums(mine, other)
    orders = mine["by_id"]
    for order_id, order in other["by_id"].items():
        known = orders.get(order_id)
        if known is None:
            orders[order_id] = order
        else:
            _count(mine, known, -1)
            _count(mine, order, -1)
            orders[order_id] = joined = _join_order(known, order)
            _count(mine, joined, 1)
    _forget(mine)
    _bound_times(mine)
    return mine


def text(amount: Decimal) -> str:
    """Return an amount as text, the same for equal amounts: two decimal places, or as many as it needs."""
    written = f"{amount:.4f}"
    return written.removesuffix("0").removesuffix("0")


def _section(event: dict[str, Any], properties: dict[str, Any], order: Order) -> dict[str, Any]:
    order_id = (
        bounded_text(properties.get("order_id")) or bounded_text(properties.get("receipt_id")) or event["event_id"]
    )
    if len(order_id) > _MAX_ID_CHARS:
        order_id = blake2b(order_id.encode(), digest_size=16).hexdigest()
    return section_of(order_id, order)


def section_of(order_id: str, order: Order) -> dict[str, Any]:
    """Return the section `orders` of a profile with this order alone."""
    section: dict[str, Any] = {"count": 0, "by_id": {order_id: order}}
    _count(section, order, 1)
    _bound_times(section)
    return section


def _join_order(mine: Order, other: Order) -> Order:
    joined: Order = {}
    if places := [order["placed"] for order in (mine, other) if "placed" in order]:
        joined["placed"] = min(places)
    if sales := [order["sale"] for order in (mine, other) if "sale" in order]:
        joined["sale"] = max(sales)
    if refunds := [Decimal(order["refunded"]) for order in (mine, other) if "refunded" in order]:
        joined["refunded"] = text(sum(refunds, _ZERO))
    for flag in ("refunded_fully", "cancelled"):
        if flag in mine or flag in other:
            joined[flag] = True
    return joined


def _counts(order: Order) -> bool:
    return "sale" in order and "cancelled" not in order


def _count(section: dict[str, Any], order: Order, sign: int) -> None:
    """Add an order to the sums, or subtract it."""
    if not _counts(order):
        return
    _, _, amount, currency, discounted = order["sale"]
    refunded = amount if "refunded_fully" in order else order.get("refunded", "0.00")
    _add(section, "sums", {currency: {"count": 1, "revenue": amount, "refunded": refunded}}, sign)
    _add(section, "channels", {order["placed"][1]: 1}, sign)
    section["count"] += sign
    if discounted:
        section["discounted"] = section.get("discounted", 0) + sign
        if not section["discounted"]:
            del section["discounted"]


def _add_sums(mine: dict[str, Any], other: dict[str, Any]) -> None:
    mine["count"] += other["count"]
    for part in ("sums", "channels"):
        if part in other:
            _add(mine, part, other[part], 1)
    if "discounted" in other:
        mine["discounted"] = mine.get("discounted", 0) + other["discounted"]
    if "forgotten" in other:
        known = mine.get("forgotten", {"count": 0, "first_at": other["forgotten"]["first_at"]})
        mine["forgotten"] = {
            "count": known["count"] + other["forgotten"]["count"],
            "first_at": min(known["first_at"], other["forgotten"]["first_at"]),
        }


def _add(section: dict[str, Any], part: str, amounts: dict[str, Any], sign: int) -> None:
    """Add amounts to a part of the sums by key; keys without orders are removed."""
    sums = section.setdefault(part, {})
    for key, amount in amounts.items():
        if part == "channels":
            left = sums[key] = sums.get(key, 0) + sign * amount
        else:
            known = sums.get(key, {"count": 0, "revenue": "0", "refunded": "0"})
            left = known["count"] + sign * amount["count"]
            sums[key] = {
                "count": left,
                "revenue": text(Decimal(known["revenue"]) + sign * Decimal(amount["revenue"])),
                "refunded": text(Decimal(known["refunded"]) + sign * Decimal(amount["refunded"])),
            }
        if not left:
            del sums[key]
    if not sums:
        del section[part]


def _forget(section: dict[str, Any]) -> None:
    """Keep the detail of the most recent orders; older ones stay in the sums."""
    orders = section["by_id"]
    if len(orders) <= ORDERS_KEPT:
        return
    by_age = sorted(orders, key=lambda order_id: (orders[order_id].get("placed", [0])[0], order_id))
    for order_id in by_age[:-ORDERS_KEPT]:
        order = orders.pop(order_id)
        if _counts(order):
            at = order["placed"][0]
            known = section.get("forgotten", {"count": 0, "first_at": at})
            section["forgotten"] = {"count": known["count"] + 1, "first_at": min(known["first_at"], at)}


def _bound_times(section: dict[str, Any]) -> None:
    times = [order["placed"][0] for order in section["by_id"].values() if _counts(order)]
    if times:
        forgotten = section.get("forgotten", {"first_at": times[0]})
        section["first_at"], section["last_at"] = min(forgotten["first_at"], *times), max(times)
    else:
        section.pop("first_at", None)
        section.pop("last_at", None)


def _amount(value: object) -> Decimal:
    return revenue({"revenue": value}) or _ZERO
