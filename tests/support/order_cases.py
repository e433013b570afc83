"""Orders as shops, tills and webhooks report them, with what they come to: for profiles and for the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from processors.intake.order_sources import note_order
from schemas.events.touchpoint import read
from schemas.intake.sources import Source, SourceDefinitions
from tests.support.warehouse import person, resolved_as

SHOP = {"web": {"channel": "web", "kind": "browser"}, "server": {"channel": "api"}}
"""A page and the server of one shop, as the shipped `sources.yaml` has them."""


class OrderCase(NamedTuple):
    """Events and their meaning.

    Attributes:
        sources: What `sources.yaml` says.
        events: (person, event as a producer sends it), in order of time.
        purchases: By person: how many.
        net: By person and currency: what is left after refunds and returns.
        orders: (conversion id, net revenue, time of the conversion), in that order.
    """

    sources: dict[str, Any]
    events: list[tuple[int, dict[str, Any]]]
    purchases: dict[int, int]
    net: dict[int, dict[str, str]]
    orders: list[tuple[str, str, str]]

    def resolved(self) -> list[dict[str, Any]]:
        """The events as the stage `identify` writes them."""
        sources: Mapping[str, Source] = SourceDefinitions.model_validate({"sources": self.sources}).sources
        found = []
        for who, event in self.events:
            written = read(event)
            note_order(written, sources)
            found.append(resolved_as(written, person(who)))
        return found


def said(
    who: int, event_id: str, name: str, source: str, time: str, channel: str = "web", **properties: Any
) -> tuple[int, dict[str, Any]]:
    """One event; without a currency it is in EUR."""
    return who, {
        "event_id": event_id, "event": name, "channel": channel, "source": source,
        "occurred_at": f"2026-11-{time}Z", "identifiers": {"user_id": f"c-{who}"},
        "properties": {"currency": "EUR", **properties},
    }  # fmt: skip


def _shops(**declared: Any) -> dict[str, Any]:
    return {name: {"channel": "store", "orders": orders} for name, orders in declared.items()}


def _alike(stores: bool = True, berlin: str = "berlin", wien: str = "wien") -> list[tuple[int, dict[str, Any]]]:
    """Two shops that number alike, and a refund of the second one's order."""
    at_berlin = {"store_id": "berlin"} if stores else {}
    at_wien = {"store_id": "wien"} if stores else {}
    return [
        said(
            1, "ber-1", "Order Completed", berlin, "20T10:00:00", "store", order_id="1001", revenue="80.00", **at_berlin
        ),
        said(2, "wie-1", "Order Completed", wien, "20T11:00:00", "store", order_id="1001", revenue="55.00", **at_wien),
        said(2, "wie-r", "Order Refunded", wien, "21T11:00:00", "store", order_id="1001", revenue="55.00", **at_wien),
    ]


_TWO_AMOUNTS = [
    said(1, "pg-1", "Order Completed", "web", "04T10:00:00", order_id="W-5", revenue="121.00"),
    said(
        1,
        "wh-1",
        "Order Completed",
        "server",
        "04T10:00:02",
        order_id="W-5",
        revenue="100.00",
        tax="21.00",
        total="121.00",
    ),
    said(
        1, "wh-2", "Order Updated", "server", "04T12:00:00", order_id="W-5", revenue="80.00", tax="16.80", total="96.80"
    ),
]
_SOLD = said(
    1,
    "o-1",
    "Order Completed",
    "server",
    "01T10:00:00",
    order_id="R-1",
    revenue="100.00",
    tax="21.00",
    shipping="5.00",
    total="126.00",
)


def _refund(event_id: str, day: str, **properties: Any) -> tuple[int, dict[str, Any]]:
    return said(1, event_id, "Order Refunded", "server", f"{day}T10:00:00", order_id="R-1", **properties)


def _r1(net: str) -> list[tuple[str, str, str]]:
    return [("R-1", net, "2026-11-01T10:00:00.000Z")]


def _receipt(**properties: Any) -> tuple[int, dict[str, Any]]:
    return said(1, "rc-1", "Receipt Issued", "till", "02T09:00:00", "store", **properties)


ORDER_CASES: dict[str, OrderCase] = {
    "weighed goods and an exchange are one order with a negative amount": OrderCase(
        {},
        [
            said(
                1,
                "t-88",
                "Order Completed",
                "pos",
                "21T08:30:00",
                "store",
                order_id="4-88",
                revenue="-6.26",
                products=[
                    {"product_id": "cheese", "price": "19.90", "quantity": "0.375"},
                    {"product_id": "jeans-32", "price": "49.90", "quantity": -1},
                    {"product_id": "jeans-34", "price": "36.18", "quantity": 1},
                ],
            )
        ],
        {1: 1},
        {1: {"EUR": "-6.26"}},
        [("4-88", "-6.26", "2026-11-21T08:30:00.000Z")],
    ),
    "goods that come back alone are no purchase and lower the net revenue": OrderCase(
        {},
        [
            said(1, "t-1", "Order Completed", "pos", "20T08:00:00", "store", order_id="4-1", revenue="49.90"),
            said(
                1,
                "t-2",
                "Order Completed",
                "pos",
                "21T08:00:00",
                "store",
                order_id="4-2",
                revenue="-49.90",
                products=[{"product_id": "jeans-32", "price": "49.90", "quantity": "-1"}],
            ),
        ],
        {1: 1},
        {1: {}},
        [("4-1", "49.90", "2026-11-20T08:00:00.000Z")],
    ),
    "a receipt with a line of no pieces and a negative amount is a return": OrderCase(
        {},
        [
            said(
                1,
                "t-3",
                "Receipt Issued",
                "pos",
                "21T08:00:00",
                "store",
                receipt_id="9",
                total="-3.00",
                products=[{"product_id": "a", "quantity": 0}, {"product_id": "b", "quantity": -0.5}],
            ),
        ],
        {1: 0},
        {1: {"EUR": "-3.00"}},
        [],
    ),
    "two shops number alike, each by itself": OrderCase(
        _shops(**{"pos-berlin": "own", "pos-wien": "own"}),
        _alike(False, "pos-berlin", "pos-wien"),
        {1: 1, 2: 1},
        {1: {"EUR": "80.00"}, 2: {}},
        [
            ("pos-berlin::1001", "80.00", "2026-11-20T10:00:00.000Z"),
            ("pos-wien::1001", "0.00", "2026-11-20T11:00:00.000Z"),
        ],
    ),
    "two stores of one till system number alike": OrderCase(
        _shops(pos={"by": "store_id"}),
        _alike(True, "pos", "pos"),
        {1: 1, 2: 1},
        {1: {"EUR": "80.00"}, 2: {}},
        [("berlin::1001", "80.00", "2026-11-20T10:00:00.000Z"), ("wien::1001", "0.00", "2026-11-20T11:00:00.000Z")],
    ),
    "a page and a webhook that share a name space report one order": OrderCase(
        {
            "shop": {"channel": "web", "kind": "browser", "orders": "de"},
            "erp": {"channel": "api", "orders": "de"},
            "till": {"channel": "store"},
        },
        [
            said(1, "p", "Order Completed", "shop", "20T10:00:00", order_id="W-1", revenue="60.00"),
            said(1, "w", "Order Completed", "erp", "20T10:00:01", order_id="W-1", revenue="50.00"),
            said(2, "t", "Order Completed", "till", "20T11:00:00", "store", order_id="W-1", revenue="7.00"),
        ],
        {1: 1, 2: 1},
        {1: {"EUR": "50.00"}, 2: {"EUR": "7.00"}},
        [("W-1", "7.00", "2026-11-20T11:00:00.000Z"), ("de::W-1", "50.00", "2026-11-20T10:00:00.000Z")],
    ),
    "page and webhook report one order with two amounts": OrderCase(
        SHOP, _TWO_AMOUNTS, {1: 1}, {1: {"EUR": "80.00"}}, [("W-5", "80.00", "2026-11-04T10:00:00.000Z")]
    ),
    "reloads of the thank-you page change nothing": OrderCase(
        SHOP,
        [
            *_TWO_AMOUNTS,
            *(
                said(1, f"rl-{day}", "Order Completed", "web", f"{day}T10:00:00", order_id="W-5", revenue="121.00")
                for day in ("05", "06")
            ),
        ],
        {1: 1},
        {1: {"EUR": "80.00"}},
        [("W-5", "80.00", "2026-11-04T10:00:00.000Z")],
    ),
    "of two reports of the page the later one counts": OrderCase(
        SHOP,
        [
            said(1, "a", "Order Completed", "web", "04T10:00:00", order_id="W-5", revenue="121.00"),
            said(1, "b", "Order Completed", "web", "04T10:05:00", order_id="W-5", revenue="9.00"),
        ],
        {1: 1},
        {1: {"EUR": "9.00"}},
        [("W-5", "9.00", "2026-11-04T10:00:00.000Z")],
    ),
    "an update alone is an order": OrderCase(
        SHOP, _TWO_AMOUNTS[2:], {1: 1}, {1: {"EUR": "80.00"}}, [("W-5", "80.00", "2026-11-04T12:00:00.000Z")]
    ),
    "an update without an amount takes none away": OrderCase(
        SHOP,
        [*_TWO_AMOUNTS[:2], said(1, "u", "Order Updated", "server", "05T10:00:00", order_id="W-5")],
        {1: 1},
        {1: {"EUR": "100.00"}},
        [("W-5", "100.00", "2026-11-04T10:00:00.000Z")],
    ),
    "a refund with tax takes off like from like": OrderCase(
        SHOP, [_SOLD, _refund("r-1", "05", total="60.50", tax="10.50")], {1: 1}, {1: {"EUR": "50.00"}}, _r1("50.00")
    ),
    "running totals are no sum": OrderCase(
        SHOP,
        [_SOLD, _refund("r-2", "05", refunded_total="20.00"), _refund("r-3", "06", refunded_total="60.00")],
        {1: 1},
        {1: {"EUR": "40.00"}},
        _r1("40.00"),
    ),
    "a running total beside single refunds counts as far as it is more": OrderCase(
        SHOP,
        [
            _SOLD,
            _refund("r-2", "05", revenue="20.00"),
            _refund("r-3", "06", revenue="40.00", refunded_total="60.00"),
            _refund("r-4", "07", revenue="10.00"),
        ],
        {1: 1},
        {1: {"EUR": "30.00"}},
        _r1("30.00"),
    ),
    "no more is refunded than the order was worth": OrderCase(
        SHOP, [_SOLD, _refund("r-2", "05", total="126.00")], {1: 1}, {1: {}}, _r1("0.00")
    ),
    "a refund in another currency is not taken off one to one": OrderCase(
        SHOP,
        [_SOLD, _refund("r-2", "05", revenue="20.00", currency="USD")],
        {1: 1},
        {1: {"EUR": "100.00"}},
        _r1("100.00"),
    ),
    "a till's receipt alone is a sale": OrderCase(
        {},
        [_receipt(receipt_id="RC-2", total="12.00")],
        {1: 1},
        {1: {"EUR": "12.00"}},
        [("RC-2", "12.00", "2026-11-02T09:00:00.000Z")],
    ),
    "a receipt of an order adds nothing to it": OrderCase(
        {},
        [
            _receipt(order_id="O-1", receipt_id="RC-2", total="12.00"),
            said(1, "o", "Order Completed", "erp", "02T12:00:00", "store", order_id="O-1", revenue="30.00"),
        ],
        {1: 1},
        {1: {"EUR": "30.00"}},
        [("O-1", "30.00", "2026-11-02T09:00:00.000Z")],
    ),
    "an order claims the receipt that it names": OrderCase(
        {},
        [
            _receipt(receipt_id="RC-2", total="12.00"),
            said(
                1,
                "o",
                "Order Completed",
                "erp",
                "02T12:00:00",
                "store",
                order_id="O-1",
                receipt_id="RC-2",
                revenue="30.00",
            ),
        ],
        {1: 1},
        {1: {"EUR": "30.00"}},
        [("O-1", "30.00", "2026-11-02T12:00:00.000Z")],
    ),
    "another order's receipt stays a sale": OrderCase(
        {},
        [
            _receipt(receipt_id="RC-2", total="12.00"),
            said(
                1,
                "o",
                "Order Completed",
                "erp",
                "02T12:00:00",
                "store",
                order_id="O-1",
                receipt_id="RC-3",
                revenue="30.00",
            ),
        ],
        {1: 2},
        {1: {"EUR": "42.00"}},
        [("O-1", "30.00", "2026-11-02T12:00:00.000Z"), ("RC-2", "12.00", "2026-11-02T09:00:00.000Z")],
    ),
}
