"""What a profile says of carts, products and orders, told as stories."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from processors.profiles.cart import abandoned, lines
from schemas.profiles.document import ORDERS_KEPT
from tests.support.builders import at
from tests.support.profiles import added, ordered, resolved, seen, told


def in_cart(*events: dict[str, Any]) -> dict[str, int]:
    return {line["product_id"]: line["quantity"] for line in lines(told(*events))}


# Carts


def test_what_is_put_into_the_cart_is_there() -> None:
    assert {"lamp": 3, "chair": 1} == in_cart(added("lamp", 1), added("chair", 2), added("lamp", 3, quantity=2))


def test_a_cart_line_tells_what_a_reminder_needs() -> None:
    (line,) = seen(added("lamp", 1, cart="c1"))["cart"]

    assert {
        "product_id": "lamp",
        "quantity": 1,
        "cart_id": "c1",
        "price": "10.00",
        "currency": "EUR",
        "name": "",
        "added_at": "2026-11-01T13:00:00.000Z",
    } == line


def test_what_is_removed_is_gone_and_a_removal_that_comes_first_waits_for_its_addition() -> None:
    removed = resolved("Product Removed", occurred_at=at(hours=2), properties={"product_id": "lamp", "quantity": 2})

    assert {"lamp": 1} == in_cart(removed, added("lamp", 1, quantity=3))


def test_a_removal_takes_nothing_that_is_added_later() -> None:
    removed = resolved("Product Removed", occurred_at=at(hours=2), properties={"product_id": "lamp", "quantity": 5})

    assert {"lamp": 1} == in_cart(added("lamp", 1), removed, added("lamp", 3))


def test_an_order_empties_the_cart_in_whatever_order_the_events_arrive() -> None:
    events = [added("lamp", 1), added("chair", 2), ordered("o1", 3, "lamp", "chair"), added("table", 4)]

    assert [{"table": 1}] * 24 == [in_cart(*order) for order in permutations(events)]


def test_a_late_order_of_last_night_leaves_what_was_added_since() -> None:
    assert {"table": 1} == in_cart(added("lamp", 1), added("table", 9), ordered("o1", 3))


def test_of_two_carts_an_order_empties_the_one_that_it_names() -> None:
    events = [added("lamp", 1, cart="c1"), added("lamp", 2, cart="c2", quantity=4), ordered("o1", 3, cart_id="c1")]

    assert [{"lamp": 4}] * 6 == [in_cart(*order) for order in permutations(events)]


def test_an_order_that_names_a_cart_takes_what_was_added_without_one() -> None:
    assert {} == in_cart(added("lamp", 1), ordered("o1", 3, cart_id="c1"))


def test_a_view_of_the_cart_says_what_is_in_it() -> None:
    viewed = resolved(
        "Cart Viewed", occurred_at=at(hours=2), properties={"products": [{"product_id": "chair", "quantity": 2}]}
    )

    assert {"chair": 2, "table": 1} == in_cart(added("table", 3), viewed, added("lamp", 1))


def test_a_view_of_the_cart_that_lists_nothing_says_nothing() -> None:
    assert {"lamp": 1} == in_cart(added("lamp", 1), resolved("Cart Viewed", occurred_at=at(hours=2)))


def test_a_purchase_in_a_shop_takes_the_products_it_lists_out_of_the_web_cart_and_leaves_the_others() -> None:
    events = [added("lamp", 1), added("chair", 2), ordered("o1", 3, "lamp", "soap", channel="store")]

    assert [{"chair": 1}] * 6 == [in_cart(*order) for order in permutations(events)]


def test_a_purchase_in_a_shop_that_lists_nothing_empties_the_cart() -> None:
    assert {} == in_cart(added("lamp", 1), ordered("o1", 3, channel="store"))


def test_an_order_at_the_same_millisecond_comes_after_what_it_sold() -> None:
    events = [added("lamp", 1), ordered("o1", 1)]

    assert [{}, {}] == [in_cart(*order) for order in permutations(events)]


# Products


def test_products_are_listed_latest_first() -> None:
    person = seen(
        *(
            resolved("Product Viewed", occurred_at=at(hours=hour), properties={"product_id": product})
            for hour, product in ((1, "lamp"), (3, "chair"), (2, "lamp"))
        ),
        ordered("o1", 4, "rug"),
    )

    assert (["chair", "lamp"], ["rug"]) == (list(person["viewed"]), list(person["bought"]))


def test_abandoned_is_what_was_added_and_neither_bought_nor_removed() -> None:
    events = [
        added("lamp", 1),
        added("chair", 2),
        added("rug", 3),
        resolved("Product Removed", occurred_at=at(hours=4), properties={"product_id": "rug"}),
        ordered("o1", 5, "lamp"),
    ]

    assert ["chair"] == list(abandoned(told(*events)))


def test_an_order_that_lists_no_products_settles_all_that_was_added_before() -> None:
    assert ["table"] == list(abandoned(told(added("table", 4), ordered("o1", 3), added("lamp", 1))))


# Orders


def test_orders_are_summed_by_currency() -> None:
    orders = seen(
        ordered("o1", 1, revenue="49.90"),
        ordered("o2", 3, channel="store", revenue="0.105", coupon="TEN"),
        ordered("o3", 2, revenue="5", currency="USD"),
    )["orders"]

    assert {
        "EUR": {"count": 2, "revenue": "50.005", "refunded": "0.00", "net": "50.005", "average": "25.00"},
        "USD": {"count": 1, "revenue": "5.00", "refunded": "0.00", "net": "5.00", "average": "5.00"},
    } == orders["by_currency"]
    assert (3, 1, {"web": 2, "store": 1}) == (orders["count"], orders["discounted"], orders["channels"])
    assert ("2026-11-01T13:00:00.000Z", "2026-11-01T15:00:00.000Z") == (orders["first_at"], orders["last_at"])


def _sums(*events: dict[str, Any]) -> tuple[int, dict[str, tuple[str, str]]]:
    orders = seen(*events)["orders"]
    return orders["count"], {key: (sums["revenue"], sums["refunded"]) for key, sums in orders["by_currency"].items()}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [ordered("o1", 1, revenue="10"), ordered("o1", 1, revenue="10", channel="api")],
            (1, {"EUR": ("10.00", "0.00")}),
            id="an order that two systems report counts once",
        ),
        pytest.param(
            [ordered("o1", 1, revenue="10"), ordered("o1", 2, event="Receipt Issued", total="12")],
            (1, {"EUR": ("10.00", "0.00")}),
            id="a receipt adds nothing to the order it belongs to",
        ),
        pytest.param(
            [ordered("o1", 2, event="Receipt Issued", total="12")],
            (1, {"EUR": ("12.00", "0.00")}),
            id="a receipt alone is an order",
        ),
        pytest.param(
            [ordered("o1", 1, revenue="10"), ordered("o1", 2, event="Order Updated", revenue="8")],
            (1, {"EUR": ("8.00", "0.00")}),
            id="an update says what the order is worth now",
        ),
        pytest.param(
            [ordered("o1", 1, revenue="10"), ordered("o1", 2, event="Order Updated")],
            (1, {"EUR": ("10.00", "0.00")}),
            id="an update without an amount leaves it as it is",
        ),
        pytest.param(
            [
                ordered("o1", 1, revenue="10"),
                ordered("o1", 2, event="Order Refunded", revenue="3"),
                ordered("o1", 3, event="Order Refunded", total="-2.50"),
            ],
            (1, {"EUR": ("10.00", "5.50")}),
            id="refunds of one order add up",
        ),
        pytest.param(
            [ordered("o1", 1, revenue="10"), ordered("o1", 2, event="Order Refunded")],
            (1, {"EUR": ("10.00", "10.00")}),
            id="a refund without an amount is of all of it",
        ),
        pytest.param(
            [
                ordered("o1", 1, revenue="10"),
                ordered("o1", 2, event="Order Cancelled"),
                ordered("o1", 3, event="Order Updated", revenue="11"),
                ordered("o2", 3, revenue="4"),
            ],
            (1, {"EUR": ("4.00", "0.00")}),
            id="a cancelled order counts nowhere, whatever follows",
        ),
        pytest.param(
            [ordered("o1", 2, event="Order Refunded", revenue="3")],
            (0, {}),
            id="a refund of an unknown order waits for it",
        ),
    ],
)
def test_an_order_counts_once_in_whatever_order_its_reports_arrive(
    events: list[dict[str, Any]], expected: tuple[int, dict[str, tuple[str, str]]]
) -> None:
    assert {repr(expected)} == {repr(_sums(*order)) for order in permutations(events)}


def test_an_order_was_sold_where_it_was_first_reported() -> None:
    orders = seen(ordered("o1", 2, channel="api", revenue="10"), ordered("o1", 1, channel="store"))["orders"]

    assert ({"store": 1}, "2026-11-01T13:00:00.000Z") == (orders["channels"], orders["first_at"])


def test_an_order_without_a_currency_is_summed_as_such() -> None:
    event = resolved("Order Completed", properties={"order_id": "o1", "revenue": "10"})

    assert (1, {"XXX": ("10.00", "0.00")}) == _sums(event)


def test_orders_beyond_the_limit_stay_in_the_sums() -> None:
    orders = seen(*(ordered(f"o{n}", n, revenue="1") for n in range(ORDERS_KEPT + 50)))["orders"]

    assert (ORDERS_KEPT + 50, "550.00", "2026-11-01T12:00:00.000Z") == (
        orders["count"],
        orders["by_currency"]["EUR"]["revenue"],
        orders["first_at"],
    )
