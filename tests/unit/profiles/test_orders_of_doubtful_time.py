"""Orders dated by their arrival: they count with their amount, and no date of an order is theirs."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from processors.profiles.view import view
from processors.segments.computed_attributes import readers as computed
from processors.segments.evaluation import EvaluationContext
from processors.segments.purchase_attributes import readers as of_purchases
from schemas.profiles.document import ORDERS_KEPT, Profile
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import ms_of_text
from tests.support.builders import at
from tests.support.profiles import ordered, told

UNDATED: dict[str, Any] = {"time_doubtful": True, "original_timestamp": "1970-01-01T00:05:00Z"}
READERS = {**of_purchases(), **computed(SegmentDefinitions())}


def undated(order_id: str, hour: int, **properties: Any) -> dict[str, Any]:
    return {**ordered(order_id, hour, **properties), "context": UNDATED}


def attributes(document: dict[str, Any], *names: str, now: str = at(days=10)) -> dict[str, Any]:
    context = EvaluationContext("p1", document, {}, ms_of_text(now))
    return {name: READERS[name].read(context) for name in names}


def test_a_person_whose_only_order_is_undated_is_a_customer_since_a_time_that_is_not_known() -> None:
    profile = told(undated("A", 5, revenue="60.00", channel="store"))
    Profile.model_validate(profile)

    assert {
        "orders.count": 1, "orders.count_30d": 1, "orders.top_channel": "store", "orders.first": None,
        "orders.last": None, "orders.last.days_ago": None, "orders.last_channel": None, "orders.days_between": None,
        "lifecycle.stage": None, "rfm.recency": None, "rfm.class": None,
    } == attributes(
        profile, "orders.count", "orders.count_30d", "orders.top_channel", "orders.first", "orders.last",
        "orders.last.days_ago", "orders.last_channel", "orders.days_between", "lifecycle.stage", "rfm.recency",
        "rfm.class",
    )  # fmt: skip
    assert "60.00" == view(profile)["orders"]["by_currency"]["EUR"]["net"]


def test_an_undated_order_is_shown_with_its_arrival() -> None:
    shown = view(told(undated("A", 5, revenue="60.00")))["orders"]

    assert (None, None) == (shown["first_at"], shown["last_at"])
    assert (None, at(hours=5)[:19], "web") == (
        shown["by_id"]["A"]["placed_at"],
        shown["by_id"]["A"]["arrived_at"][:19],
        shown["by_id"]["A"]["channel"],
    )


def test_dated_orders_of_the_same_person_are_the_first_and_the_last() -> None:
    events = [undated("A", 1), ordered("B", 24, revenue="1"), ordered("C", 72, revenue="1"), undated("D", 200)]
    profiles = [told(*order) for order in permutations(events)]

    assert all(profiles[0] == one for one in profiles)
    assert {
        "orders.count": 4, "orders.first": ms_of_text(at(hours=24)), "orders.last": ms_of_text(at(hours=72)),
        "orders.days_between": 2.0, "lifecycle.stage": "loyal",
    } == attributes(
        profiles[0], "orders.count", "orders.first", "orders.last", "orders.days_between", "lifecycle.stage"
    )  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
def test_an_order_is_dated_by_the_report_that_has_a_time_of_its_own(turned: bool) -> None:
    page = undated("A", 1, revenue="60.00")
    webhook = {**ordered("A", 7, channel="api", revenue="60.00"), "event_id": "webhook"}
    profile = told(*([webhook, page] if turned else [page, webhook]))

    assert {"orders.count": 1, "orders.first": ms_of_text(at(hours=7)), "orders.top_channel": "api"} == attributes(
        profile, "orders.count", "orders.first", "orders.top_channel"
    )


def test_a_cancelled_undated_order_counts_nowhere() -> None:
    profile = told(undated("A", 1, revenue="60.00"), ordered("A", 3, event="Order Cancelled"))

    assert {"orders.count": 0, "orders.channels": None} == attributes(profile, "orders.count", "orders.channels")


def test_undated_orders_beyond_the_bound_stay_in_the_sums() -> None:
    many = [undated(f"U{number}", number, revenue="1.00") for number in range(ORDERS_KEPT + 2)]
    profile = told(*many)
    Profile.model_validate(profile)

    assert {"orders.count": ORDERS_KEPT + 2, "orders.first": None} == attributes(
        profile, "orders.count", "orders.first"
    )
    assert {"count": 2} == profile["orders"]["forgotten"]
    later = told(*many, ordered("dated", 900, revenue="1.00"))
    assert {"orders.first": ms_of_text(at(hours=900))} == attributes(later, "orders.first")
