"""Coming back from a bank after steps of the checkout that only a server tells."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.integration.recording.test_visits import BANK, MAIL, Event, revenue_of, touches
from tests.support.builders import DAY_ONE
from tests.support.visits import seen, step
from tests.support.warehouse import Warehouse, merged, ordered

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("step", "back", "expected"),
    [
        pytest.param(step("Checkout Started", 5), 34, ["Email"], id="29 minutes after the server's step"),
        pytest.param(step("Checkout Started", 5), 36, ["Email", "Referral"], id="31 minutes after it"),
        pytest.param(step("Payment Info Entered", 40), 58, ["Email"], id="58 minutes after the last page"),
        pytest.param(step("Payment Info Entered", 40), 61, ["Email", "Referral"], id="61 minutes after it"),
        pytest.param(step("Order Completed", 5), 20, ["Email"], id="after the order that a webhook tells"),
        pytest.param(step("Order Completed", 35.9), 35, ["Email"], id="in the minute before it"),
        pytest.param(step("Order Completed", 36.1), 35, ["Email", "Referral"], id="earlier than that"),
        pytest.param(step("Payment Info Entered", 35.9), 35, ["Email", "Referral"], id="before a step"),
        pytest.param(step("Order Updated", 5), 36, ["Email", "Referral"], id="an update is no step"),
        pytest.param(
            step("Order Completed", 5, channel="store", source="tills"), 34.9, ["Email", "Referral"], id="a till's"
        ),
        pytest.param(step("Checkout Started", 5, who=2), 34.9, ["Email", "Referral"], id="another person's"),
        pytest.param(
            step("Checkout Started", 5, context={"time_doubtful": True}), 34.9, ["Email", "Referral"],
            id="at a doubtful time",
        ),
    ],
)  # fmt: skip
def test_a_server_tells_the_checkout_that_an_unknown_site_is_near(
    tables: Warehouse, step: Event, back: float, expected: list[str]
) -> None:
    order = ordered("o", 1, DAY_ONE + timedelta(minutes=120), "60", channel="api")
    tables.store(seen(0, session="s1", campaign=MAIL), step, seen(back, session="s2", referrer=BANK), order)

    credited = revenue_of(tables)["linear"]

    assert expected == [channel for channel, _ in touches(tables)]
    assert expected == sorted(credited)
    assert [(len(expected),)] == tables.rows("SELECT count() FROM v_sessions")


def test_another_browser_of_the_person_was_not_at_the_checkout(tables: Warehouse) -> None:
    tables.store(
        seen(-600, "phone", campaign=MAIL), seen(0), step("Checkout Started", 5), seen(10, "phone", referrer=BANK)
    )

    assert ["Email", "Direct", "Referral"] == [channel for channel, _ in touches(tables)]


def test_a_merge_brings_the_step_to_the_browser(tables: Warehouse) -> None:
    tables.store(
        seen(0, session="s1", campaign=MAIL), step("Checkout Started", 5, who=2),
        seen(31, session="s2", referrer=BANK),
    )  # fmt: skip
    separate = len(touches(tables))

    tables.change(merged(2, 1, [2]))

    assert (2, 1) == (separate, len(touches(tables)))
