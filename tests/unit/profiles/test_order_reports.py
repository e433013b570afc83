"""Orders in profiles, as shops, tills and webhooks report them: right in every order of arrival."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from itertools import islice, permutations
from typing import Any

import pytest

from processors.intake.order_sources import note_order
from processors.profiles.document import apply, new_profile
from processors.profiles.view import view
from schemas.intake.sources import Source
from tests.support.order_cases import ORDER_CASES, SHOP, OrderCase, said
from tests.support.warehouse import person


def people(events: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        apply(found.setdefault(event["profile_id"], new_profile(event["profile_id"])), event)
    return {who: view(profile)["orders"] for who, profile in found.items()}


def net(orders: dict[str, Any]) -> dict[str, Decimal]:
    sums = {currency: Decimal(one["net"]) for currency, one in orders["by_currency"].items()}
    return {currency: amount for currency, amount in sums.items() if amount}


@pytest.mark.parametrize("case", ORDER_CASES.values(), ids=ORDER_CASES)
def test_a_profile_tells_of_orders(case: OrderCase) -> None:
    for events in islice(permutations(case.resolved()), 30):
        found = people(events)

        assert {person(who): number for who, number in case.purchases.items()} == {
            who: orders["count"] for who, orders in found.items()
        }
        assert {
            person(who): {currency: Decimal(amount) for currency, amount in amounts.items()}
            for who, amounts in case.net.items()
        } == {who: net(orders) for who, orders in found.items()}


def test_a_refund_in_another_currency_is_said() -> None:
    (orders,) = people(ORDER_CASES["a refund in another currency is not taken off one to one"].resolved()).values()

    assert ({"USD": "20.00"}, "0.00", {"USD": "20.00"}) == (
        orders["refunded_in_other_currencies"],
        orders["by_id"]["R-1"]["refunded"],
        orders["by_id"]["R-1"]["refunded_in_other_currencies"],
    )


def test_what_an_earlier_version_has_stored_is_joined_with_what_comes() -> None:
    placed = [1, "web"]
    old = {
        "by_id": {"A": {"placed": placed, "sale": [2, 1, "80.00", "EUR", False], "refunded": "100.00"}},
        "count": 1, "sums": {"EUR": {"count": 1, "revenue": "80.00", "refunded": "100.00"}}, "channels": {"web": 1},
        "first_at": 1, "last_at": 1,
    }  # fmt: skip
    profile = {**new_profile("p"), "orders": old}
    (event,) = OrderCase(
        SHOP, [said(1, "r", "Order Refunded", "server", "05T10:00:00", order_id="A", revenue="5.00")], {}, {}, []
    ).resolved()
    apply(profile, event)

    assert {"EUR": {"count": 1, "revenue": "80.00", "refunded": "80.00"}} == profile["orders"]["sums"]


@pytest.mark.parametrize(
    ("orders", "properties", "expected"),
    [
        pytest.param(None, {"store_id": "s1"}, None, id="shared"),
        pytest.param("own", {"store_id": "s1"}, "till", id="own"),
        pytest.param("germany", {}, "germany", id="a name"),
        pytest.param({"by": "store_id"}, {"store_id": "s1"}, "s1", id="by store"),
        pytest.param({"by": "store_id"}, {}, "till", id="by store without one: the source's"),
        pytest.param({"by": "store_id"}, {"store_id": "a::b"}, "a%3A%3Ab", id="a store with the separator"),
        pytest.param({"by": "store_id"}, {"store_id": "a%3A"}, "a%253A", id="a store that looks escaped"),
    ],
)
def test_a_source_declares_the_name_space_of_its_orders(
    orders: Any, properties: dict[str, Any], expected: str | None
) -> None:
    source = Source(channel="store", orders=orders)
    event: dict[str, Any] = {"event": "Order Refunded", "source": "till", "channel": "store", "properties": properties}
    note_order(event, {"till": source})

    assert (expected, "server") == (event["order"].get("namespace"), event["order"]["source_kind"])


@pytest.mark.parametrize(
    ("source", "name", "noted"),
    [
        pytest.param(Source(channel="web", hook="shopify"), "Checkout Started", True, id="a webhook about a checkout"),
        pytest.param(Source(channel="web", hook="shopify"), "Identify", True, id="a webhook about a customer"),
        pytest.param(Source(channel="web"), "Checkout Step Completed", True, id="a server about a checkout"),
        pytest.param(Source(channel="web"), "Page Viewed", False, id="a page that a server has shown"),
        pytest.param(Source(channel="web", kind="browser"), "Checkout Started", False, id="the page itself"),
    ],
)
def test_what_a_server_tells_beside_orders_says_that_a_server_told_it(source: Source, name: str, noted: bool) -> None:
    event: dict[str, Any] = {"event": name, "source": "shop", "channel": "web", "properties": {}}
    note_order(event, {"shop": source})

    assert ({"source_kind": "server"} if noted else None) == event.get("order")


def test_an_event_of_an_undefined_source_is_left_alone() -> None:
    events: dict[str, Any] = defaultdict(str, event="Order Completed", source="elsewhere", properties={"order_id": "1"})
    note_order(events, {"till": Source(channel="store", orders="own")})

    assert "order" not in events


def test_a_coupon_is_of_the_name_space_of_its_order() -> None:
    event: dict[str, Any] = {"event": "Coupon Applied", "source": "till", "properties": {"order_id": "1"}}
    note_order(event, {"till": Source(channel="store", orders="own")})

    assert {"namespace": "till", "source_kind": "server"} == event["order"]
