"""Orders and their sums: each order counts once, however often and in whatever order it is reported.

`schemas.orders` says what an event means to its order, and which of several reports counts; `sinks/migrations` has the
same rule in SQL (`order_sales`).

* Refunds take their amounts off, in the order's currency and never more than the order was worth. Each refund event is
  a refund of its own; a running total counts as far as it is more than their sum. A refund without an amount refunds
  all. What was refunded in another currency is kept apart (`other_refunds`), since a profile knows no exchange rates.
* The parts of an order, such as the payments of a split bill, add up: each counts once, in the currency of the newest.
* `Order Cancelled` is final: the order counts nowhere, also when further reports of it follow.
* A refund or cancellation alone is no order; it waits for the sale.
* A return, goods without a sale on a receipt of their own, is no purchase: its amount is paid back.
* A receipt that an order claims counts nowhere.
* An order whose reports all have a time that cannot be believed has that of its arrival (`arrived`), none of its own
  (`placed`): it counts with its amount and is nobody's first or last order.
"""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from hashlib import blake2b
from typing import Any

from processors.profiles.joins import Section, first_by_name, nested_join
from schemas.orders import OrderEvent, order_event, order_key
from schemas.profiles.document import NO_CURRENCY, ORDERS_KEPT, PARTS_KEPT

Order = dict[str, Any]
_ZERO = Decimal(0)
_MAX_KEY_CHARS = 64
_REFUNDS = ("refunded_fully", "refunded", "refunds", "refund_totals", "part_refund_totals")
_RECEIPT = 1
"""The authority of a receipt's amount: a higher one is an order's."""


def section(event: dict[str, Any], at: int, *, is_dated: bool = True) -> dict[str, Any] | None:
    """Return the section `orders` of one event; None: the event is about no order.

    Args:
        event: A resolved event.
        at: Its time, milliseconds since 1970.
        is_dated: False: its own time cannot be believed, `at` is its arrival.
    """
    found = order_event(event)
    if found is None:
        return None
    currency = found.currency or NO_CURRENCY
    order: Order
    if found.kind == "cancellation":
        order = {"cancelled": True}
    elif found.kind == "refund":
        order = _refund(found, currency)
    else:
        sale = [found.authority, at, text(found.amount or _ZERO), currency, found.discounted]
        order = {"placed" if is_dated else "arrived": [at, event["channel"]], "sale": sale}
        if found.part_id:
            order["parts"] = {_bounded(found.part_id): sale}
        if found.is_return:
            order["returned"] = sale
    orders = {_bounded(found.key): order}
    if found.receipt_id:
        orders[_bounded(order_key(found.namespace, found.receipt_id))] = {"claimed": True}
    return section_of(orders)


def section_of(orders: dict[str, Order]) -> dict[str, Any]:
    """Return the section `orders` of a profile with these orders alone."""
    made: dict[str, Any] = {"count": 0, "by_id": orders}
    for order in orders.values():
        _count(made, order, 1)
    _bound_times(made)
    return made


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


def is_purchase(order: Order) -> bool:
    """Return whether an order counts: sold, neither cancelled nor claimed by another one, and no return."""
    return _has_value(order) and not _is_return(order)


def placement(order: Order) -> list[Any]:
    """Return when and through which channel a sold order was placed; of one without a time of its own: its arrival."""
    found: list[Any] = order.get("placed") or order["arrived"]
    return found


def is_refunded(order: Order) -> bool:
    """Return whether anything was paid back of an order."""
    return not order.keys().isdisjoint(_REFUNDS)


def refunded(order: Order) -> Decimal:
    """Return what was paid back of a sold order, in its currency."""
    amount, currency = Decimal(order["sale"][2]), order["sale"][3]
    if "refunded_fully" in order:
        return amount
    if "refunded" in order and not _paid_back(order):
        return Decimal(order["refunded"])  # as an earlier version has counted it
    paid = _paid_back(order)
    like = sum((paid[name] for name in paid if _is_like(name, currency)), Decimal(order.get("refunded", 0)))
    return min(max(amount, _ZERO), like)


def other_refunds(order: Order) -> dict[str, Decimal]:
    """Return what was paid back of a sold order in other currencies than its own; nothing once all of it was."""
    if "refunded_fully" in order:
        return {}
    currency = order["sale"][3]
    return {name: amount for name, amount in _paid_back(order).items() if not _is_like(name, currency)}


def text(amount: Decimal) -> str:
    """Return an amount as text, the same for equal amounts: two decimal places, or as many as it needs."""
    written = f"{amount:.4f}"
    return written.removesuffix("0").removesuffix("0")


def _refund(found: OrderEvent, currency: str) -> Order:
    order: Order = {}
    if found.amount is not None:
        order["refunds"] = {currency: text(found.amount)}
    if found.refunded_total is not None:
        total = {currency: text(found.refunded_total)}
        if found.part_id:
            order["part_refund_totals"] = {_bounded(found.part_id): total}
        else:
            order["refund_totals"] = total
    return order or {"refunded_fully": True}


def _bounded(key: str) -> str:
    return blake2b(key.encode(), digest_size=16).hexdigest() if len(key) > _MAX_KEY_CHARS else key


def _rank(sale: list[Any]) -> tuple[Any, ...]:
    """Order the reports of an order: the greatest counts. From the amount on, it decides between simultaneous ones."""
    authority, at, amount, currency, discounted = sale
    return authority, at, Decimal(amount), currency, discounted


def _join_order(mine: Order, other: Order) -> Order:
    joined: Order = {}
    both = (mine, other)
    for part in ("placed", "arrived"):
        if places := [order[part] for order in both if part in order]:
            joined[part] = min(places)
    for part in ("sale", "returned"):
        if sales := [order[part] for order in both if part in order]:
            joined[part] = max(sales, key=_rank)
    joined |= _joined_parts(both)
    if amounts := [Decimal(order["refunded"]) for order in both if "refunded" in order]:
        joined["refunded"] = text(sum(amounts, _ZERO))
    for part in ("refunds", "refund_totals"):
        found = [order[part] for order in both if part in order]
        if len(found) == 2:
            joined[part] = {
                currency: _both(part, found[0].get(currency), found[1].get(currency))
                for currency in sorted({*found[0], *found[1]})
            }
        elif found:
            joined[part] = found[0]
    for flag in ("refunded_fully", "cancelled", "claimed"):
        if flag in mine or flag in other:
            joined[flag] = True
    return joined


def _joined_parts(both: tuple[Order, Order]) -> Order:
    """Join the parts of an order: of each the report that counts; the sale is their sum, or a report of all of it."""
    totals = [order["part_refund_totals"] for order in both if "part_refund_totals" in order]
    joined: Order = (
        {"part_refund_totals": first_by_name(reduce(_join_part_totals, totals), PARTS_KEPT)} if totals else {}
    )
    parts: dict[str, list[Any]] = {}
    for order in both:
        for part_id, sale in order.get("parts", {}).items():
            parts[part_id] = max(parts.get(part_id, sale), sale, key=_rank)
    if not parts:
        return joined
    parts = first_by_name(parts, PARTS_KEPT)
    newest = max(parts.values(), key=_rank)
    authority, at, _, currency, _ = newest
    like = [sale for sale in parts.values() if sale[3] == currency]
    amount = text(sum((Decimal(sale[2]) for sale in like), _ZERO))
    together = [authority, at, amount, currency, any(sale[4] for sale in like)]
    wholes = [sale for order in both if (sale := order.get("whole" if "parts" in order else "sale"))]
    joined |= {"parts": parts, "sale": together}
    if wholes:
        joined["whole"] = whole = max(wholes, key=_rank)
        joined["sale"] = whole if _rank(whole) > _rank(newest) else together
    return joined


def _greater_totals(mine: Section, other: Section) -> Section:
    return {name: _both("refund_totals", mine.get(name), other.get(name)) for name in sorted({*mine, *other})}


_join_part_totals = nested_join(_greater_totals)


def _both(part: str, mine: str | None, other: str | None) -> str:
    """Add two sums of refunds; of two running totals the greater counts."""
    if mine is None or other is None:
        return mine or other or ""
    first, second = Decimal(mine), Decimal(other)
    return text(first + second if part == "refunds" else max(first, second))


def _has_value(order: Order) -> bool:
    return (
        "sale" in order
        and "cancelled" not in order
        and not ("claimed" in order and order["sale"][0] <= _RECEIPT)
    )  # fmt: skip


def _is_return(order: Order) -> bool:
    return "returned" in order and bool(order["returned"] == order["sale"])


def _is_like(refund_currency: str, currency: str) -> bool:
    """Return whether a refund is in the order's currency; one of the two may name none."""
    return refund_currency == currency or NO_CURRENCY in (refund_currency, currency)


def _paid_back(order: Order) -> dict[str, Decimal]:
    singles, totals = order.get("refunds", {}), order.get("refund_totals", {})
    if parts := order.get("part_refund_totals"):
        of_parts: dict[str, Decimal] = {}
        for of_part in parts.values():
            for name, amount in of_part.items():
                of_parts[name] = of_parts.get(name, _ZERO) + Decimal(amount)
        totals = {name: max(of_parts.get(name, _ZERO), Decimal(totals.get(name, 0))) for name in {*of_parts, *totals}}
    return {name: max(Decimal(singles.get(name, 0)), Decimal(totals.get(name, 0))) for name in {*singles, *totals}}


def _count(section: dict[str, Any], order: Order, sign: int) -> None:
    """Add an order to the sums, or subtract it."""
    if not _has_value(order):
        return
    _, _, amount, currency, discounted = order["sale"]
    paid_back = refunded(order)
    if _is_return(order):
        sums = {"count": 0, "revenue": "0.00", "refunded": text(paid_back - Decimal(amount))}
    else:
        sums = {"count": 1, "revenue": amount, "refunded": text(paid_back)}
        _add_counts(section, {placement(order)[1]: sign})
        section["count"] += sign
        if discounted:
            section["discounted"] = section.get("discounted", 0) + sign
            if not section["discounted"]:
                del section["discounted"]
    _add_amounts(section, {currency: sums}, sign)
    if others := other_refunds(order):
        _add_other_refunds(section, others, sign)


def _add_sums(mine: dict[str, Any], other: dict[str, Any]) -> None:
    mine["count"] += other["count"]
    _add_amounts(mine, other.get("sums", {}), 1)
    _add_counts(mine, other.get("channels", {}))
    if others := other.get("other_refunds"):
        _add_other_refunds(mine, {name: Decimal(amount) for name, amount in others.items()}, 1)
    if "discounted" in other:
        mine["discounted"] = mine.get("discounted", 0) + other["discounted"]
    if "forgotten" in other:
        _add_forgotten(mine, other["forgotten"])


def _add_forgotten(section: dict[str, Any], added: dict[str, Any]) -> None:
    known = section.get("forgotten", {"count": 0})
    times = [one["first_at"] for one in (known, added) if "first_at" in one]
    section["forgotten"] = {"count": known["count"] + added["count"], **({"first_at": min(times)} if times else {})}


def _add_amounts(section: dict[str, Any], sums: dict[str, dict[str, Any]], sign: int) -> None:
    """Add amounts by currency; currencies in which nothing is left are removed."""
    known = section.setdefault("sums", {})
    for currency, added in sums.items():
        before = known.get(currency, {"count": 0, "revenue": "0", "refunded": "0"})
        count = before["count"] + sign * added["count"]
        revenue = Decimal(before["revenue"]) + sign * Decimal(added["revenue"])
        paid_back = Decimal(before["refunded"]) + sign * Decimal(added["refunded"])
        known[currency] = {"count": count, "revenue": text(revenue), "refunded": text(paid_back)}
        if not (count or revenue or paid_back):
            del known[currency]
    if not known:
        del section["sums"]


def _add_counts(section: dict[str, Any], counts: dict[str, int]) -> None:
    """Add numbers of orders by channel; channels without orders are removed."""
    known = section.setdefault("channels", {})
    for channel, added in counts.items():
        known[channel] = known.get(channel, 0) + added
        if not known[channel]:
            del known[channel]
    if not known:
        del section["channels"]


def _add_other_refunds(section: dict[str, Any], amounts: dict[str, Decimal], sign: int) -> None:
    known = section.setdefault("other_refunds", {})
    for currency, added in amounts.items():
        left = Decimal(known.get(currency, 0)) + sign * added
        known[currency] = text(left)
        if not left:
            del known[currency]
    if not known:
        del section["other_refunds"]


def _forget(section: dict[str, Any]) -> None:
    """Keep the detail of the most recent orders; older ones stay in the sums."""
    orders = section["by_id"]
    if len(orders) <= ORDERS_KEPT:
        return
    by_age = sorted(orders, key=lambda order_id: (_age_key(orders[order_id]), order_id))
    for order_id in by_age[:-ORDERS_KEPT]:
        order = orders.pop(order_id)
        if is_purchase(order):
            _add_forgotten(section, {"count": 1, **({"first_at": order["placed"][0]} if "placed" in order else {})})


def _age_key(order: Order) -> int:
    at: int = (order.get("placed") or order.get("arrived") or [0])[0]
    return at


def _bound_times(section: dict[str, Any]) -> None:
    times = [order["placed"][0] for order in section["by_id"].values() if "placed" in order and is_purchase(order)]
    if times:
        forgotten = section.get("forgotten", {}).get("first_at", times[0])
        section["first_at"], section["last_at"] = min(forgotten, *times), max(times)
    else:
        section.pop("first_at", None)
        section.pop("last_at", None)
