"""Orders, reckoned slowly and plainly: every event of an order side by side, read again for each question.

It shares no code with the product. Amounts are fractions, so that nothing rounds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

REPORTS = ("Order Completed", "Order Updated", "Receipt Issued")


class Books(NamedTuple):
    """What a person's events come to.

    Attributes:
        purchases: Number of orders, neither cancelled nor returns.
        net: By currency: what is left after refunds and returns; nothing where there is no order.
        elsewhere: By currency: refunds in another currency than the order's.
    """

    purchases: int
    net: dict[str, Fraction]
    elsewhere: dict[str, Fraction]


def books(events: Iterable[dict[str, Any]]) -> Books:
    """Reckon a person's orders from resolved events in any order, each of them once or more often."""
    once = {event["event_id"]: event for event in events}
    orders: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    receipts_of_orders = set()
    for event in once.values():
        if event["event"].startswith(("Order ", "Receipt ")):
            orders[_place(event, "order_id")].append(event)
            receipt = _place(event, "receipt_id")
            if event["event"] in REPORTS[:2] and _worth(event) is not None and receipt != _place(event, "order_id"):
                receipts_of_orders.add(receipt)
    purchases, net, elsewhere = 0, defaultdict[str, Fraction](Fraction), defaultdict[str, Fraction](Fraction)
    for place, about in orders.items():
        reports = [event for event in about if event["event"] in REPORTS]
        if not reports or any(event["event"] == "Order Cancelled" for event in about):
            continue
        best = max(reports, key=_rank)
        worth = _worth(best)
        if _part(best):
            parts = {
                part: max((one for one in reports if _part(one) == part), key=_rank) for part in map(_part, reports)
            }
            currency = best["properties"].get("currency", "")
            worth = sum(
                (_worth(one) or Fraction(0) for part, one in parts.items()
                 if part and one["properties"].get("currency", "") == currency), Fraction(0)
            )  # fmt: skip
        if place in receipts_of_orders and _trust(best) < 2:
            continue
        amount, currency = worth or Fraction(0), best["properties"].get("currency", "")
        paid = _paid_back(event for event in about if event["event"] == "Order Refunded")
        if paid is None:
            back, paid = amount, {}
        else:
            like = sum((paid[name] for name in paid if name == currency or "" in (name, currency)), Fraction(0))
            back = min(like, max(amount, Fraction(0)))
        for name in paid:
            if name != currency and "" not in (name, currency):
                elsewhere[name] += paid[name]
        net[currency] += amount - back
        purchases += not _is_return(best)  # a part is none
    return Books(purchases, _without_zero(net), _without_zero(elsewhere))


def _place(event: dict[str, Any], name: str) -> tuple[str, str]:
    properties = event["properties"]
    number = properties.get(name) or properties.get("receipt_id") or event["event_id"]
    return event.get("order", {}).get("namespace", ""), number


def _worth(event: dict[str, Any]) -> Fraction | None:
    properties = {name: Fraction(value) for name, value in event["properties"].items() if name in _AMOUNTS}
    if "revenue" in properties:
        return properties["revenue"]
    if "total" not in properties:
        return None
    return properties["total"] - properties.get("tax", Fraction(0)) - properties.get("shipping", Fraction(0))


_AMOUNTS = ("revenue", "total", "tax", "shipping")


def _part(event: dict[str, Any]) -> str:
    """The part of its order that an event's amount is of; empty: all of it."""
    properties = event["properties"]
    amount = properties.get("refunded_total") if event["event"] == "Order Refunded" else _worth(event)
    return "" if amount is None else str(properties.get("part_id", ""))


def _trust(event: dict[str, Any]) -> int:
    if _worth(event) is None:
        return 0
    if event["event"] == "Receipt Issued":
        return 1
    kind = event.get("order", {}).get("source_kind") or ("browser" if event["channel"] in ("web", "app") else "server")
    return {"browser": 2, "server": 3}[kind]


def _rank(event: dict[str, Any]) -> tuple[Any, ...]:
    currency = event["properties"].get("currency") or "XXX"
    return _trust(event), event["occurred_at"], _worth(event) or 0, currency, _is_return(event)


def _is_return(event: dict[str, Any]) -> bool:
    lines = event["properties"].get("products", [])
    return (_worth(event) or 0) < 0 and not _part(event) and not any(line.get("quantity", 1) > 0 for line in lines)


def _paid_back(refunds: Iterable[dict[str, Any]]) -> dict[str, Fraction] | None:
    """By currency; None: all of it."""
    single, so_far = defaultdict[str, Fraction](Fraction), defaultdict[tuple[str, str], Fraction](Fraction)
    for event in refunds:
        amount, total = _worth(event), event["properties"].get("refunded_total")
        currency = event["properties"].get("currency", "")
        if amount is None and total is None:
            return None
        single[currency] += abs(amount or Fraction(0))
        so_far[currency, _part(event)] = max(so_far[currency, _part(event)], Fraction(total or 0))
    return {
        currency: max(
            amount,
            so_far[currency, ""],
            sum((total for (name, part), total in so_far.items() if name == currency and part), Fraction(0)),
        )
        for currency, amount in single.items()
    }  # fmt: skip


def _without_zero(amounts: dict[str, Fraction]) -> dict[str, Fraction]:
    return {currency: amount for currency, amount in amounts.items() if amount}
