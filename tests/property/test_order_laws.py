"""One truth about orders: the profile, the tables and an oracle agree to the cent, in every order of arrival."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.profiles.document import apply, new_profile
from tests.oracles.orders_model import Books, books
from tests.support.builders import DAY_ONE
from tests.support.stack import Addresses, corner
from tests.support.warehouse import person, resolved, warehouse

NAMES = ("Order Completed", "Order Completed", "Order Updated", "Receipt Issued", "Order Refunded", "Order Refunded",
         "Order Cancelled")  # fmt: skip
LINES: tuple[list[dict[str, Any]], ...] = ([], [{"quantity": -1}], [{"quantity": 0.375}, {"quantity": -1}], [{}])
PEOPLE = 150


def history(random: Random, who: int) -> list[dict[str, Any]]:
    """Events of a person about a few orders that share numbers, times and receipts."""
    return [_event(random, who, number) for number in range(random.randint(1, 9))]


def _event(random: Random, who: int, number: int) -> dict[str, Any]:
    name = random.choice(NAMES[:-1] if random.random() < 0.9 else NAMES)
    mine = f"{who}-" if who else ""
    properties: dict[str, Any] = {"order_id": mine + random.choice("AB")}
    if name == "Receipt Issued" and random.random() < 0.5:
        del properties["order_id"]
    if name != "Order Cancelled":
        if random.random() < 0.4:
            properties["receipt_id"] = mine + random.choice("RA")
        if random.random() < 0.8:
            properties["currency"] = random.choice(["EUR", "EUR", "EUR", "USD"])
        properties |= _amounts(random, name)
        if random.random() < 0.3:
            properties["part_id"] = random.choice("pq")
    if name not in ("Order Refunded", "Order Cancelled") and (lines := random.choice(LINES)):
        properties["products"] = lines
    event = resolved(
        f"{mine}{number}",
        who,
        DAY_ONE + timedelta(hours=random.randint(0, 5)),
        event=name,
        channel=random.choice(["web", "web", "store", "api"]),
        properties=properties,
    )
    if random.random() < 0.7:
        event["order"] = {"source_kind": random.choice(["browser", "server"])}
        if random.random() < 0.3:
            event["order"]["namespace"] = "berlin"
    return event


def _amounts(random: Random, name: str) -> dict[str, str]:
    cents = random.choice([4990, 10000, 100, 0, 1, 333])
    sign = "-" if random.random() < 0.2 else ""
    kind = random.random()
    if kind < 0.15:
        return {}
    if name == "Order Refunded" and kind < 0.45:
        return {"refunded_total": f"{cents / 100:.2f}"}
    if kind < 0.7:
        return {"revenue": f"{sign}{cents / 100:.2f}"}
    return {"total": f"{sign}{(cents + 2600) / 100:.2f}", "tax": f"{sign}21.00", "shipping": f"{sign}5.00"}


def told(events: list[dict[str, Any]]) -> Books:
    profile = new_profile("p")
    for event in events:
        apply(profile, event)
    orders = profile.get("orders", {"count": 0})
    net = {
        currency.replace("XXX", ""): Fraction(sums["revenue"]) - Fraction(sums["refunded"])
        for currency, sums in orders.get("sums", {}).items()
    }
    elsewhere = {currency: Fraction(amount) for currency, amount in orders.get("other_refunds", {}).items()}
    return Books(orders["count"], {name: amount for name, amount in net.items() if amount}, elsewhere)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_a_profile_says_of_orders_what_the_oracle_says(seed: int, order: Random) -> None:
    events = history(Random(seed), 0)
    expected = books(events)
    order.shuffle(events)

    assert expected == told(events)


@pytest.mark.integration
def test_the_views_say_of_orders_what_the_oracle_and_the_profiles_say(servers: Addresses) -> None:
    random = Random(12)
    histories = {who: history(random, who) for who in range(1, PEOPLE + 1)}
    expected = {person(who): books(events) for who, events in histories.items()}
    arrivals = [event for events in histories.values() for event in events]
    arrivals += random.sample(arrivals, len(arrivals) // 2)  # a replay of half of them
    random.shuffle(arrivals)
    with corner(servers) as stack, warehouse(stack) as tables:
        for start in range(0, len(arrivals), 300):
            tables.store(*arrivals[start : start + 300])
        rows = tables.rows(
            """
            SELECT toString(profile_id), sum(purchases), groupArrayIf((currency, net), net != 0)
            FROM
            (
                SELECT profile_id, currency, countIf(amount IS NULL AND conversion_id NOT IN (
                    SELECT conversion_id FROM order_events WHERE kind = 'cancellation')) AS purchases,
                    sum(net_revenue) AS net
                FROM
                (
                    SELECT profile_id, conversion_id, toString(currency) AS currency, net_revenue, NULL AS amount
                    FROM v_conversions
                    UNION ALL
                    SELECT profile_id, conversion_id, toString(currency), -amount, amount FROM v_returns
                )
                GROUP BY profile_id, currency
            )
            GROUP BY profile_id
            """
        )
        alerts = tables.rows("SELECT * FROM v_reconciliation WHERE alert AND model = 'linear'")
    found = {who: (int(count), {name: Fraction(str(net)) for name, net in sums}) for who, count, sums in rows}

    assert {who: (0, {}) for who in expected} | found == {
        who: (one.purchases, one.net) for who, one in expected.items()
    }
    assert [] == alerts
