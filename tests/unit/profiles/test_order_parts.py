"""Orders that several payments pay: their sum, in every order of arrival, twice, and with what was given back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from processors.profiles.document import apply, new_profile
from processors.profiles.view import view
from tests.support.order_cases import SHOP, OrderCase, said
from tests.support.webhooks import events
from tests.unit.intake.test_shop_hooks import inside

Said = tuple[int, dict[str, Any]]


def paid(part: str, revenue: str, hour: int = 10, **properties: Any) -> Said:
    time = f"05T{hour:02}:00:00"
    return said(
        1, f"{part} {revenue} {hour}", "Order Completed", "server", time, order_id="A", part_id=part, revenue=revenue,
        **properties,
    )  # fmt: skip


def given_back(part: str, total: str, **properties: Any) -> Said:
    return said(
        1, f"{part} back {total}", "Order Refunded", "server", "06T10:00:00", order_id="A", part_id=part,
        refunded_total=total, **properties,
    )  # fmt: skip


def told(resolved: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    profile = new_profile("p")
    for event in resolved:
        apply(profile, event)
    orders = view(profile)["orders"]
    return orders["count"], {currency: one["net"] for currency, one in orders["by_currency"].items()}


CASES: dict[str, tuple[list[Said], str]] = {
    "one payment": ([paid("p", "30.00")], "30.00"),
    "two payments": ([paid("p", "30.00"), paid("q", "12.50", 11)], "42.50"),
    "a payment reported again counts once": ([paid("p", "30.00"), paid("p", "31.00", 11), paid("q", "10.00")], "41.00"),
    "each payment has a running total of its own": (
        [paid("p", "30.00"), paid("q", "10.00"), given_back("p", "5.00"), given_back("q", "10.00")], "25.00"
    ),
    "running totals of one payment are no sum": (
        [paid("p", "30.00"), paid("q", "10.00"), given_back("p", "5.00"), given_back("p", "8.00")], "32.00"
    ),
    "a refund of all of it beside the payments": (
        [paid("p", "30.00"), paid("q", "10.00"),
         said(1, "r", "Order Refunded", "server", "06T10:00:00", order_id="A", revenue="4.00")], "36.00"
    ),
    "a later report of all of it": (
        [paid("p", "30.00"), paid("q", "10.00"),
         said(1, "o", "Order Updated", "server", "05T12:00:00", order_id="A", revenue="45.00")], "45.00"
    ),
    "an earlier one of the page": (
        [said(1, "o", "Order Completed", "web", "05T12:00:00", order_id="A", revenue="45.00"), paid("p", "30.00"),
         paid("q", "10.00")], "40.00"
    ),
    "an empty part is none": ([paid("", "30.00"), paid("", "31.00", 11)], "31.00"),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "net"), CASES.values(), ids=CASES)
def test_an_order_is_worth_the_sum_of_its_parts(sent: list[Said], net: str) -> None:
    resolved = OrderCase(SHOP, sent, {}, {}, []).resolved()

    assert [(1, {"EUR": net})] * len(list(permutations(resolved))) == [
        told([*order]) for order in permutations(resolved)
    ]


def test_a_part_in_another_currency_is_not_added_one_to_one() -> None:
    resolved = OrderCase(SHOP, [paid("p", "30.00"), paid("q", "10.00", 11, currency="USD")], {}, {}, []).resolved()

    assert (1, {"USD": "10.00"}) == told(resolved) == told(resolved[::-1])


def test_the_payments_of_a_split_bill_at_square_are_one_order() -> None:
    def payment(number: int, cents: int, back: int = 0) -> list[dict[str, Any]]:
        refunded = {"refunded_money": {"amount": back, "currency": "USD"}} if back else {}
        body = inside(
            "square", "payment_updated", "data", "object", "payment", id=f"pay-{number}",
            amount_money={"amount": cents, "currency": "USD"}, receipt_number=f"r{number}",
            created_at=f"2026-05-20T14:25:2{number}Z", **refunded,
        )  # fmt: skip
        return events("square", body)

    webhooks = [*payment(1, 2000), *payment(2, 1500), *payment(1, 2000, back=500), *payment(2, 1500, back=1500)]
    once = {event["event_id"]: event for event in webhooks}
    resolved: Callable[[dict[str, Any]], dict[str, Any]] = lambda event: {  # noqa: E731
        **event, "order": {"source_kind": "server"}, "profile_id": "p", "anchor": "a", "source": "square"
    }  # fmt: skip

    assert 4 == len(once)
    for order in permutations(once.values()):
        assert (1, {"USD": "15.00"}) == told([resolved(event) for event in order])
