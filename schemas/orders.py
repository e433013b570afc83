"""What one event says about an order, read the same way by profiles, by the tables and by a rebuild.

An order is known by its name space and its id. `Order Completed`, `Order Updated` and `Receipt Issued` are reports of
it; `Order Refunded` and `Order Cancelled` are what became of it. Which of several reports counts:

* one with an amount before one without;
* an order event before a receipt;
* a server's before a page's or an app's;
* of those, the latest by the event's time (`OrderEvent.rank`).

An order's time and channel are those of its first report. An order event with an amount that names a receipt
(`receipt_id`) claims it: that receipt is no sale of its own. Refunds are summed by currency; a running total
(`refunded_total`) of an order counts as far as it is more than that sum.

A report with a `part_id` tells a part of an order, such as one of the payments of a split bill: the order is worth the
sum of its parts, of each the report that counts, and those running totals of refunds are of their part. Parts together
are one report, as new as the newest of them.

The stage `identify` resolves what depends on the source and writes it into the event as `order`: `namespace`, and
`source_kind` (`server` or `browser`) where `sources.yaml` knows it. Of other events, those of commerce that a server
tells have `source_kind`, and all of a webhook.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from schemas.money import amount, revenue

Kind = Literal["order", "receipt", "refund", "cancellation"]

KINDS: dict[str, Kind] = {
    "Order Completed": "order",
    "Order Updated": "order",
    "Receipt Issued": "receipt",
    "Order Refunded": "refund",
    "Order Cancelled": "cancellation",
}
"""What an event is to its order."""

REPORTS = frozenset({"order", "receipt"})
"""Kinds of events that report an order."""

ORDER_PLACED = "Order Completed"
"""The report whose goals all reports of an order reach."""

PAGE_CHANNELS = frozenset({"web", "app"})
"""Channels whose events come from a page or an app, where `sources.yaml` does not list the source."""

SEPARATOR = "::"
_ZERO = Decimal(0)


class OrderEvent(NamedTuple):
    """One event about an order.

    Attributes:
        kind: A report (`order`, `receipt`), a `refund` or a `cancellation`.
        namespace: The name space of its id; empty: the one that sources share by default.
        order_id: The order's id, else the receipt's, else the event's.
        authority: Which report counts, higher before lower: 3 an order with an amount from a server, 2 one from a page
            or an app, 1 a receipt with an amount, 0 none with an amount.
        amount: What it says that the order is worth, or that a refund gives back (never negative); None: nothing.
        refunded_total: What a refund says that was given back of the order so far; None: nothing.
        currency: ISO 4217; empty: none.
        discounted: It has a coupon or a discount.
        is_return: Goods came back and nothing was bought: the amount is negative, and no product has a positive
            quantity.
        receipt_id: The receipt that it claims; mostly empty.
        source: The event's source if `order_id` is the event's own id; mostly empty.
        part_id: The part of the order that the amount, or the running total of refunds, is of; mostly empty.
    """

    kind: Kind
    namespace: str
    order_id: str
    authority: int
    amount: Decimal | None
    refunded_total: Decimal | None
    currency: str
    discounted: bool
    is_return: bool
    receipt_id: str
    source: str = ""
    part_id: str = ""

    @property
    def key(self) -> str:
        """The order's id among those of all name spaces."""
        return (
            conversion_id_of_event(self.source, self.order_id)
            if self.source
            else order_key(self.namespace, self.order_id)
        )


def order_key(namespace: str, order_id: str) -> str:
    """Join name space and id: the id itself in the shared name space, else `berlin::1001`. Different orders differ."""
    return f"{namespace}{SEPARATOR}{order_id}" if namespace or SEPARATOR in order_id else order_id


def conversion_id_of_event(source: str, event_id: str) -> str:
    """Return the conversion id of what its event alone names, such as a sign-up: `:crm::e-1`, never that of an order.

    A source cannot take the id of another one's event. A single colon at the beginning is in no key of an order.
    """
    return f":{source.replace('%', '%25').replace(':', '%3A')}{SEPARATOR}{event_id}"


def namespace_of(event: Mapping[str, Any]) -> str:
    """Return the name space of the order that an event names."""
    order = event.get("order")
    return order.get("namespace", "") if order else ""


def order_event(event: Mapping[str, Any]) -> OrderEvent | None:
    """Read what a resolved event says about an order; None for an event that is about none."""
    kind = KINDS.get(event["event"])
    if kind is None:
        return None
    properties: Mapping[str, Any] = event.get("properties") or {}
    receipt_id = _text(properties.get("receipt_id"))
    number = _text(properties.get("order_id")) or receipt_id
    order_id, source = (number, "") if number else (event["event_id"], event["source"])
    namespace, currency = namespace_of(event), _text(properties.get("currency"))
    worth = revenue(properties)
    if kind == "cancellation":
        return OrderEvent(kind, namespace, order_id, 0, None, None, currency, False, False, "", source)
    if kind == "refund":
        so_far = amount(properties, "refunded_total")
        return OrderEvent(
            kind, namespace, order_id, 0, None if worth is None else abs(worth),
            None if so_far is None else abs(so_far), currency, False, False, "", source,
            "" if so_far is None else _text(properties.get("part_id")),
        )  # fmt: skip
    part_id = "" if worth is None else _text(properties.get("part_id"))
    authority = 0 if worth is None else 1 if kind == "receipt" else 3 if _is_server(event) else 2
    return OrderEvent(
        kind,
        namespace,
        order_id,
        authority,
        worth,
        None,
        currency,
        bool(properties.get("coupon")) or (amount(properties, "discount") or _ZERO) > 0,
        worth is not None and worth < 0 and not part_id and not _buys(properties.get("products")),
        receipt_id if authority > 1 and receipt_id != order_id else "",
        source,
        part_id,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_server(event: Mapping[str, Any]) -> bool:
    order = event.get("order")
    kind = order.get("source_kind") if order else None
    return bool(kind == "server") if kind else event["channel"] not in PAGE_CHANNELS


def _buys(products: object) -> bool:
    """Whether a line has a positive quantity; one without a quantity is one piece."""
    if not isinstance(products, list):
        return False
    quantities = (line.get("quantity", 1) for line in products if isinstance(line, dict))
    return any(isinstance(quantity, int | float) and quantity > 0 for quantity in quantities)
