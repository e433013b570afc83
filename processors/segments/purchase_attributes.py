"""Readers of the attributes of orders, carts and products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from processors.profiles.cart import abandoned, lines
from processors.profiles.orders import is_purchase, is_refunded, placement
from processors.segments.evaluation import EvaluationContext
from processors.segments.profile_attributes import with_days
from processors.segments.reader import Read, Reader, or_zero, section
from schemas.durations import DAY_MS
from schemas.money import MAX_DECIMAL_PLACES
from schemas.quantity import total

ORDERS = frozenset({"orders"})
CART = frozenset({"cart"})
VIEWED = frozenset({"viewed"})
_CENT = Decimal("0.01")


def readers() -> dict[str, Reader]:
    """Return the readers of attributes with a fixed name."""
    return {**_orders(), **_windows(), **_cart(), **_products()}


def channel_orders_reader(channel: str) -> Reader:
    """Return the reader of `orders.by_channel.<channel>`."""
    return Reader(or_zero(section("orders", "channels", channel)), ORDERS)


def currency_revenue_reader(currency: str) -> Reader:
    """Return the reader of `orders.revenue_in.<currency>`."""
    revenue = section("orders", "sums", currency.upper(), "revenue")
    return Reader(lambda context: None if (text := revenue(context)) is None else Decimal(text), ORDERS)


def currency(context: EvaluationContext) -> str | None:
    """Return the currency of most orders; of equal ones the first in the alphabet."""
    sums = context.document.get("orders", {}).get("sums")
    return min(sums, key=lambda name: (-sums[name]["count"], name)) if sums else None


def net(context: EvaluationContext) -> Decimal | None:
    """Return revenue less refunds, in the currency of most orders."""
    if (main := currency(context)) is None:
        return None
    sums = context.document["orders"]["sums"][main]
    return Decimal(sums["revenue"]) - Decimal(sums["refunded"])


def counted_orders(context: EvaluationContext) -> Iterator[dict[str, Any]]:
    """Yield the orders known in detail that count as purchases."""
    for order in context.document.get("orders", {}).get("by_id", {}).values():
        if is_purchase(order):
            yield order


def _orders() -> dict[str, Reader]:
    def sums(part: str) -> Read:
        def read(context: EvaluationContext) -> Decimal | None:
            main = currency(context)
            return None if main is None else Decimal(context.document["orders"]["sums"][main][part])

        return read

    def amount(choose: Callable[[list[Decimal]], Decimal]) -> Read:
        def read(context: EvaluationContext) -> Decimal | None:
            main = currency(context)
            amounts = [Decimal(order["sale"][2]) for order in counted_orders(context) if order["sale"][3] == main]
            return choose(amounts) if amounts else None

        return read

    reads: dict[str, Read] = {
        "orders.count": or_zero(section("orders", "count")),
        "orders.currency": currency,
        "orders.currencies": lambda context: sorted(context.document.get("orders", {}).get("sums", ())) or None,
        "orders.revenue": sums("revenue"),
        "orders.refunded": sums("refunded"),
        "orders.net": net,
        "orders.average": _average,
        "orders.largest": amount(max),
        "orders.smallest": amount(min),
        "orders.last_revenue": lambda context: Decimal(one["sale"][2]) if (one := _extreme(context, max)) else None,
        "orders.last_channel": lambda context: one["placed"][1] if (one := _extreme(context, max)) else None,
        "orders.first_channel": lambda context: one["placed"][1] if (one := _extreme(context, min)) else None,
        "orders.channels": lambda context: sorted(context.document.get("orders", {}).get("channels", ())) or None,
        "orders.top_channel": _top_channel,
        "orders.discounted": or_zero(section("orders", "discounted")),
        "orders.refunds": lambda context: sum(map(is_refunded, counted_orders(context))),
        "orders.cancelled": lambda context: sum(
            "cancelled" in order for order in context.document.get("orders", {}).get("by_id", {}).values()
        ),
        "orders.days_between": _days_between,
    }
    return {
        **{name: Reader(read, ORDERS) for name, read in reads.items()},
        **with_days("orders.first", section("orders", "first_at"), ORDERS),
        **with_days("orders.last", section("orders", "last_at"), ORDERS),
    }


def _average(context: EvaluationContext) -> Decimal | None:
    if (main := currency(context)) is None:
        return None
    sums = context.document["orders"]["sums"][main]
    return Decimal(Decimal(sums["revenue"]) / sums["count"]).quantize(_CENT) if sums["count"] else None


def _extreme(context: EvaluationContext, choose: Callable[..., Any]) -> dict[str, Any] | None:
    found = [(order["placed"], order["sale"]) for order in counted_orders(context) if "placed" in order]
    if not found:
        return None
    placed, sale = choose(found)
    return {"placed": placed, "sale": sale}


def _top_channel(context: EvaluationContext) -> str | None:
    channels = context.document.get("orders", {}).get("channels")
    return min(channels, key=lambda name: (-channels[name], name)) if channels else None


def _days_between(context: EvaluationContext) -> float | None:
    orders = context.document.get("orders", {})
    dated = orders.get("count", 0) - sum("placed" not in order for order in counted_orders(context))
    if dated < 2 or "first_at" not in orders:
        return None
    return float(round((orders["last_at"] - orders["first_at"]) / (dated - 1) / DAY_MS, 2))


def _windows() -> dict[str, Reader]:
    found: dict[str, Reader] = {}
    for days in (7, 30, 90, 365):
        span = days * DAY_MS

        def change_times(context: EvaluationContext, thresholds: Sequence[float], span: int = span) -> list[int]:
            return [placement(order)[0] + span for order in counted_orders(context)]

        def count(context: EvaluationContext, span: int = span) -> int:
            since = context.now_ms - span
            return sum(placement(order)[0] > since for order in counted_orders(context))

        def revenue(context: EvaluationContext, span: int = span) -> Decimal:
            since, main = context.now_ms - span, currency(context)
            return sum(
                (
                    Decimal(order["sale"][2])
                    for order in counted_orders(context)
                    if placement(order)[0] > since and order["sale"][3] == main
                ),
                Decimal(0),
            )

        found[f"orders.count_{days}d"] = Reader(count, ORDERS, change_times)
        found[f"orders.revenue_{days}d"] = Reader(revenue, ORDERS, change_times)
    return found


def _cost(line: dict[str, Any]) -> Decimal:
    """What a line of a cart costs; of a quantity with decimal places, with the 4 places that amounts may have."""
    cost = Decimal(line["price"] or 0) * Decimal(str(line["quantity"]))
    return cost if type(line["quantity"]) is int else round(cost, MAX_DECIMAL_PLACES)


def _cart() -> dict[str, Reader]:
    def value(context: EvaluationContext) -> Decimal:
        found = _lines(context)
        main = found[-1]["currency"] if found else ""
        return sum((_cost(line) for line in found if line["currency"] == main), Decimal(0))

    return {
        "cart.lines": Reader(lambda context: len(_lines(context)), CART),
        "cart.items": Reader(lambda context: total(line["quantity"] for line in _lines(context)), CART),
        "cart.value": Reader(value, CART),
        "cart.currency": Reader(
            lambda context: found[-1]["currency"] or None if (found := _lines(context)) else None, CART
        ),
        "cart.products": Reader(lambda context: sorted({line["product_id"] for line in _lines(context)}) or None, CART),
        **with_days(
            "cart.changed", lambda context: found[-1]["added_at"] if (found := _lines(context)) else None, CART
        ),
    }


def _lines(context: EvaluationContext) -> list[dict[str, Any]]:
    """Return the lines of all carts, those changed last at the end."""
    if not context.document.get("cart"):
        return []
    if "lines" not in context.cache:
        found = lines(context.document)
        context.cache["lines"] = sorted(found, key=lambda line: (line["added_at"], line["cart_id"], line["product_id"]))
    listed: list[dict[str, Any]] = context.cache["lines"]
    return listed


def _products() -> dict[str, Reader]:
    def newest(part: str) -> Read:
        return lambda context: max(found.values()) if (found := context.document.get(part)) else None

    def names(part: str) -> Read:
        return lambda context: sorted(found) if (found := context.document.get(part)) else None

    return {
        "products.viewed": Reader(names("viewed"), VIEWED),
        **with_days("products.last_viewed", newest("viewed"), VIEWED),
        "products.bought": Reader(names("bought"), CART),
        **with_days("products.last_bought", newest("bought"), CART),
        "products.abandoned": Reader(lambda context: sorted(abandoned(context.document)) or None, CART),
        "products.browsed": Reader(lambda context: _browsed(context) or None, CART | VIEWED),
        "products.browsed_count": Reader(lambda context: len(_browsed(context)), CART | VIEWED),
    }


def _browsed(context: EvaluationContext) -> list[str]:
    bought = context.document.get("bought", {})
    return sorted(name for name, at in context.document.get("viewed", {}).items() if bought.get(name, at - 1) < at)
