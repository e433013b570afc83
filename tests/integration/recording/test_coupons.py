"""Coupons in SQL: given to whom, used by whom, where, when, whatever reports it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from deploy.settings import Settings
from schemas.coupons import CouponCode
from sinks.clickhouse.coupons import insert_codes
from sinks.clickhouse.erasure import delete_rows, person_rows
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, instant, merged, person, resolved, warehouse

pytestmark = pytest.mark.integration

NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def tables(stack: Settings) -> Iterator[Warehouse]:
    with warehouse(stack) as found:
        yield found


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def given(code: str, who: int, day: int = 0, ends: int | None = None) -> dict[str, Any]:
    until = {} if ends is None else {"expires_at": instant(DAY_ONE + timedelta(days=ends))}
    properties = {"coupon_id": code, "pool": "welcome", "message_id": f"m {code}", "journey_id": "hello", **until}
    return resolved(
        f"given {code}",
        who,
        DAY_ONE + timedelta(days=day),
        event="Coupon Issued",
        channel="email",
        properties=properties,
    )


def used(event: str, who: int, day: int, number: int = 0, channel: str = "web", **properties: Any) -> dict[str, Any]:
    at = DAY_ONE + timedelta(days=day)
    return resolved(f"{event} {who} {day} {number}", who, at, event=event, channel=channel, properties=properties)


def test_what_becomes_of_codes(tables: Warehouse) -> None:
    codes = [CouponCode(code) for code in ("FREE", "GIVEN", "WEB", "TILL", "OTHER", "LATE", "TAKEN-OFF", "TWICE")]
    ended = CouponCode("ENDED", ms(DAY_ONE))
    for _ in range(2):  # twice is once
        insert_codes(tables.client, "welcome", [*codes, ended], ["web"])
        tables.store(
            *(
                given(code, number)
                for number, code in enumerate(("GIVEN", "WEB", "TILL", "OTHER", "TAKEN-OFF", "TWICE"), 1)
            ),
            given("LATE", 7, ends=1),
            used("Coupon Applied", 2, 1, coupon_id="web", order_id="1"),
            used("Order Completed", 2, 2, coupon=" Web, SOMETHING", order_id="1"),
            used("Receipt Issued", 3, 1, channel="store", coupon="TILL", receipt_id="R1"),
            used("Order Completed", 99, 1, coupon="OTHER", order_id="2"),
            used("Coupon Applied", 5, 1, coupon_name="TAKEN-OFF"),
            used("Coupon Removed", 5, 2, coupon_name="TAKEN-OFF"),
            used("Order Completed", 6, 1, coupon="TWICE", order_id="3", receipt_id="R3"),
            used("Receipt Issued", 6, 1, channel="store", coupon="TWICE", receipt_id="R3"),
            used("Order Completed", 98, 2, coupon="TWICE", order_id="4"),
            used("Order Completed", 7, 3, coupon="LATE", order_id="5"),
            used("Order Completed", 8, 3, coupon="NOT-OF-A-POOL", order_id="6"),
        )
    found = tables.rows(
        "SELECT code, state, toString(profile_id), toString(redeemed_by), redeemed_channel, order_id, redemptions,"
        " by_another, too_late, elsewhere FROM v_coupons ORDER BY code"
    )

    assert [
        ("ENDED", "expired", NOBODY, NOBODY, "", "", 0, 0, 0, 0),
        ("FREE", "free", NOBODY, NOBODY, "", "", 0, 0, 0, 0),
        ("GIVEN", "issued", person(1), NOBODY, "", "", 0, 0, 0, 0),
        ("LATE", "redeemed", person(7), person(7), "web", "5", 1, 0, 1, 0),
        ("OTHER", "redeemed", person(4), person(99), "web", "2", 1, 1, 0, 0),
        ("TAKEN-OFF", "issued", person(5), NOBODY, "", "", 0, 0, 0, 0),
        ("TILL", "redeemed", person(3), person(3), "store", "R1", 1, 0, 0, 1),
        ("TWICE", "redeemed", person(6), person(6), "web", "3", 2, 0, 0, 0),
        ("WEB", "redeemed", person(2), person(2), "web", "1", 1, 0, 0, 0),
    ] == found


def test_a_coupon_used_by_somebody_who_turns_out_to_be_the_same_person(tables: Warehouse) -> None:
    tables.store(given("A-1", 1), used("Order Completed", 2, 1, coupon="A-1", order_id="1"))
    before = tables.rows("SELECT by_another, pool FROM v_coupons")
    tables.change(merged(1, 1, [2]))

    assert ([(1, "welcome")], [(0,)]) == (before, tables.rows("SELECT by_another FROM v_coupons"))


def imported(tables: Warehouse, ends: int) -> None:
    """Import two codes that end on a day."""
    end = ms(DAY_ONE + timedelta(days=ends))
    insert_codes(tables.client, "welcome", [CouponCode("A", end), CouponCode("B", end)], [])


def test_a_code_that_was_given_keeps_the_end_that_its_message_said(tables: Warehouse) -> None:
    insert_codes(
        tables.client, "welcome", [CouponCode(code, ms(DAY_ONE + timedelta(days=9))) for code in ("A", "B")], []
    )
    tables.store(given("A", 1, ends=5))
    insert_codes(
        tables.client, "welcome", [CouponCode(code, ms(DAY_ONE + timedelta(days=2))) for code in ("A", "B")], []
    )
    tables.store(used("Order Completed", 1, 4, coupon="A", order_id="1"))
    found = tables.rows("SELECT code, dateDiff('day', toDateTime({day:String}), expires_at), too_late FROM v_coupons"
                        " ORDER BY code", day=DAY_ONE.strftime("%Y-%m-%d %H:%M:%S"))  # fmt: skip

    assert [("A", 5, 0), ("B", 2, 0)] == found


def test_a_use_at_a_till_without_a_network_counts_when_it_happened(tables: Warehouse) -> None:
    insert_codes(
        tables.client, "welcome", [CouponCode(code, ms(DAY_ONE + timedelta(days=1))) for code in ("A", "B")], []
    )
    receipts = [used("Receipt Issued", 1, 0, channel="store", coupon="A", receipt_id="R1"),
                used("Receipt Issued", 2, 2, channel="store", coupon="B", receipt_id="R2")]  # fmt: skip
    late = [{**receipt, "received_at": instant(DAY_ONE + timedelta(days=4))} for receipt in receipts]
    tables.store(*late, used("Order Completed", 1, 3, coupon="A", order_id="1"))

    assert [("A", "redeemed", "R1", 2, 0), ("B", "redeemed", "R2", 1, 1)] == tables.rows(
        "SELECT code, state, order_id, redemptions, too_late FROM v_coupons ORDER BY code"
    )


def test_a_use_after_the_erasure_of_who_was_given_the_code_accuses_nobody(tables: Warehouse) -> None:
    insert_codes(tables.client, "welcome", [CouponCode("A"), CouponCode("B")], [])
    tables.store(given("A", 1), given("B", 1))
    delete_rows(tables.client, person_rows(tables.client, [person(1)]))
    tables.store(used("Order Completed", 2, 1, coupon="A", order_id="1"))

    assert [("A", "redeemed", NOBODY, person(2), 0), ("B", "free", NOBODY, NOBODY, 0)] == tables.rows(
        "SELECT code, state, toString(profile_id), toString(redeemed_by), by_another FROM v_coupons ORDER BY code"
    )
