"""How the attributes of orders, carts and products are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from processors.profiles.cart import abandoned, lines
from processors.segments.evaluation import DAY_MS, Moment
from processors.segments.profile_attributes import with_days
from processors.segments.reader import Read, Reader, counted, section

ORDERS = frozenset({"orders"})
CART = frozenset({"cart"})
VIEWED = frozenset({"viewed"})
_CENT = Decimal("0.01")


def listed() -> dict[str, Reader]:
    """The readers of attributes with one name."""
    return {**_orders(), **_windows(), **_cart(), **_products()}


def of_channel(channel: str) -> Reader:
    """The reader of `orders.by_channel.<channel>`."""
    return Reader(counted(section("orders", "channels", channel)), ORDERS)


def of_currency(currency: str) -> Reader:
    """The reader of `orders.revenue_in.<currency>`."""
    revenue = section("orders", "sums", currency.upper(), "revenue")
    return Reader(lambda moment: None if (text := revenue(moment)) is None else Decimal(text), ORDERS)


def currency(moment: Moment) -> str | None:
    """The currency of most orders; of equals the first in the alphabet."""
    sums = moment.document.get("orders", {}).get("sums")
    return min(sums, key=lambda name: (-sums[name]["count"], name)) if sums else None


def net(moment: Moment) -> Decimal | None:
    """Revenue less refunds in the currency of most orders."""
    if (main := currency(moment)) is None:
        return None
    sums = moment.document["orders"]["sums"][main]
    return Decimal(sums["revenue"]) - Decimal(sums["refunded"])


def orders_of(moment: Moment) -> Iterator[dict[str, Any]]:
    """The orders known in detail that count: sold and not cancelled."""
    for order in moment.document.get("orders", {}).get("by_id", {}).values():
        if "sale" in order and "cancelled" not in order:
            yield order


def _orders() -> dict[str, Reader]:
    def sums(part: str) -> Read:
        def read(moment: Moment) -> Decimal | None:
            main = currency(moment)
            return None if main is None else Decimal(moment.document["orders"]["sums"][main][part])

        return read

    def worth(choose: Callable[[list[Decimal]], Decimal]) -> Read:
        def read(moment: Moment) -> Decimal | None:
            main = currency(moment)
            amounts = [Decimal(order["sale"][2]) for order in orders_of(moment) if order["sale"][3] == main]
            return choose(amounts) if amounts else None

        return read

    readers: dict[str, Read] = {
        "orders.count": counted(section("orders", "count")),
        "orders.currency": currency,
        "orders.currencies": lambda moment: sorted(moment.document.get("orders", {}).get("sums", ())) or None,
        "orders.revenue": sums("revenue"),
        "orders.refunded": sums("refunded"),
        "orders.net": net,
        "orders.average": _average,
        "orders.largest": worth(max),
        "orders.smallest": worth(min),
        "orders.last_revenue": lambda moment: Decimal(one["sale"][2]) if (one := _extreme(moment, max)) else None,
        "orders.last_channel": lambda moment: one["placed"][1] if (one := _extreme(moment, max)) else None,
        "orders.first_channel": lambda moment: one["placed"][1] if (one := _extreme(moment, min)) else None,
        "orders.channels": lambda moment: sorted(moment.document.get("orders", {}).get("channels", ())) or None,
        "orders.top_channel": _top_channel,
        "orders.discounted": counted(section("orders", "discounted")),
        "orders.refunds": lambda moment: sum(
            "refunded_fully" in order or "refunded" in order for order in orders_of(moment)
        ),
        "orders.cancelled": lambda moment: sum(
            "cancelled" in order for order in moment.document.get("orders", {}).get("by_id", {}).values()
        ),
        "orders.days_between": _days_between,
    }
    return {
        **{name: Reader(read, ORDERS) for name, read in readers.items()},
        **with_days("orders.first", section("orders", "first_at"), ORDERS),
        **with_days("orders.last", section("orders", "last_at"), ORDERS),
    }


def _average(moment: Moment) -> Decimal | None:
    if (main := currency(moment)) is None:
        return None
    sums = moment.document["orders"]["sums"][main]
    return Decimal(Decimal(sums["revenue"]) / sums["count"]).quantize(_CENT)


def _extreme(moment: Moment, choose: Callable[..., Any]) -> dict[str, Any] | None:
    found = [(order["placed"], order["sale"]) for order in orders_of(moment)]
    if not found:
        return None
    placed, sale = choose(found)
    return {"placed": placed, "sale": sale}


def _top_channel(moment: Moment) -> str | None:
    channels = moment.document.get("orders", {}).get("channels")
    return min(channels, key=lambda name: (-channels[name], name)) if channels else None


def _days_between(moment: Moment) -> float | None:
    orders = moment.document.get("orders", {})
    if orders.get("count", 0) < 2:
        return None
    return float(round((orders["last_at"] - orders["first_at"]) / (orders["count"] - 1) / DAY_MS, 2))


def _windows() -> dict[str, Reader]:
    found: dict[str, Reader] = {}
    for days in (7, 30, 90, 365):
        span = days * DAY_MS

        def turns(moment: Moment, limits: Sequence[float], span: int = span) -> list[int]:
            return [order["placed"][0] + span for order in orders_of(moment)]

        def count(moment: Moment, span: int = span) -> int:
            since = moment.now - span
            return sum(order["placed"][0] > since for order in orders_of(moment))

        def revenue(moment: Moment, span: int = span) -> Decimal:
            since, main = moment.now - span, currency(moment)
            return sum(
                (
                    Decimal(order["sale"][2])
                    for order in orders_of(moment)
                    if order["placed"][0] > since and order["sale"][3] == main
                ),
                Decimal(0),
            )

        found[f"orders.count_{days}d"] = Reader(count, ORDERS, turns)
        found[f"orders.revenue_{days}d"] = Reader(revenue, ORDERS, turns)
    return found


def _cart() -> dict[str, Reader]:
    def value(moment: Moment) -> Decimal:
        found = _lines(moment)
        main = found[-1]["currency"] if found else ""
        return sum(
            (Decimal(line["price"] or 0) * line["quantity"] for line in found if line["currency"] == main), Decimal(0)
        )

    return {
        "cart.lines": Reader(lambda moment: len(_lines(moment)), CART),
        "cart.items": Reader(lambda moment: sum(line["quantity"] for line in _lines(moment)), CART),
        "cart.value": Reader(value, CART),
        "cart.currency": Reader(
            lambda moment: found[-1]["currency"] or None if (found := _lines(moment)) else None, CART
        ),
        "cart.products": Reader(lambda moment: sorted({line["product_id"] for line in _lines(moment)}) or None, CART),
        **with_days("cart.changed", lambda moment: found[-1]["added_at"] if (found := _lines(moment)) else None, CART),
    }


def _lines(moment: Moment) -> list[dict[str, Any]]:
    """What is in carts now, last changed last."""
    if not moment.document.get("cart"):
        return []
    if "lines" not in moment.worked_out:
        found = lines(moment.document)
        moment.worked_out["lines"] = sorted(
            found, key=lambda line: (line["added_at"], line["cart_id"], line["product_id"])
        )
    listed: list[dict[str, Any]] = moment.worked_out["lines"]
    return listed


def _products() -> dict[str, Reader]:
    def newest(part: str) -> Read:
        return lambda moment: max(found.values()) if (found := moment.document.get(part)) else None

    def names(part: str) -> Read:
        return lambda moment: sorted(found) if (found := moment.document.get(part)) else None

    return {
        "products.viewed": Reader(names("viewed"), VIEWED),
        **with_days("products.last_viewed", newest("viewed"), VIEWED),
        "products.bought": Reader(names("bought"), CART),
        **with_days("products.last_bought", newest("bought"), CART),
        "products.abandoned": Reader(lambda moment: sorted(abandoned(moment.document)) or None, CART),
        "products.browsed": Reader(lambda moment: _browsed(moment) or None, CART | VIEWED),
        "products.browsed_count": Reader(lambda moment: len(_browsed(moment)), CART | VIEWED),
    }


def _browsed(moment: Moment) -> list[str]:
    bought = moment.document.get("bought", {})
    return sorted(name for name, at in moment.document.get("viewed", {}).items() if bought.get(name, at - 1) < at)
