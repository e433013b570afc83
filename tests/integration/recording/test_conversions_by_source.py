"""Goals without an order: two sources' equal event ids are two conversions, and a replay doubles none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest

from deploy.settings import Settings
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, instant, person, resolved, warehouse

pytestmark = pytest.mark.integration

CONVERSIONS = "SELECT conversion_id, toString(profile_id) FROM v_conversions ORDER BY conversion_id"


@pytest.fixture
def tables(stack: Settings) -> Iterator[Warehouse]:
    with warehouse(stack) as found:
        yield found


def signed_up(who: int, source: str, event_id: str = "1001") -> dict[str, Any]:
    return resolved(event_id, who, DAY_ONE, event="Signed Up", source=source)


def test_equal_event_ids_of_two_sources_are_two_sign_ups(tables: Warehouse) -> None:
    for _ in range(2):  # and a replay doubles none
        tables.store(signed_up(1, "crm"), signed_up(2, "app"), signed_up(2, "app"), signed_up(3, "a:b::c", "d::e"))

    assert [(":a%3Ab%3A%3Ac::d::e", person(3)), (":app::1001", person(2)), (":crm::1001", person(1))] == tables.rows(
        CONVERSIONS
    )
    assert [] == tables.rows("SELECT * FROM v_reconciliation WHERE alert")


def test_a_sign_up_is_not_an_order_of_the_same_number(tables: Warehouse) -> None:
    order: dict[str, Any] = {
        "event": "Order Completed",
        "properties": {"order_id": "1001", "revenue": "5", "currency": "EUR"},
    }
    own = {**resolved("o-2", 1, DAY_ONE, **order), "order": {"namespace": "crm", "source_kind": "server"}}
    tables.store(signed_up(1, "crm"), resolved("o-1", 1, DAY_ONE, **order), own)

    assert [("1001", "purchase"), (":crm::1001", "signup"), ("crm::1001", "purchase")] == tables.rows(
        "SELECT conversion_id, conversion_type FROM v_conversions ORDER BY conversion_id"
    )


def test_receipts_without_a_number_are_known_by_source_and_event(tables: Warehouse) -> None:
    properties = {"revenue": "5.00", "currency": "EUR"}
    receipt: dict[str, Any] = {"event": "Receipt Issued", "channel": "store", "properties": properties}
    for _ in range(2):
        tables.store(*(resolved("7", who, DAY_ONE, source=f"till-{who}", **receipt) for who in (1, 2)))

    assert [(":till-1::7", person(1)), (":till-2::7", person(2))] == tables.rows(CONVERSIONS)
    assert [(10.0,)] == tables.rows("SELECT toFloat64(sum(revenue)) FROM v_conversions")


def test_what_is_stored_by_the_event_alone_stays_until_it_is_stored_once_more(tables: Warehouse) -> None:
    stored = {"event_id": "1001", "source": "crm", "channel": "web", "anchor": person(1), "profile_id": person(1)}
    times = {"converted_at": instant(DAY_ONE), "received_at": instant(DAY_ONE + timedelta(seconds=1))}
    old = {**stored, **times, "conversion_id": "1001", "conversion_type": "signup"}
    tables.insert("conversions", orjson.dumps(old))
    before = tables.rows(CONVERSIONS)
    tables.store(signed_up(2, "app"))
    beside = tables.rows(CONVERSIONS)
    tables.store(signed_up(1, "crm"))

    assert [("1001", person(1))] == before
    assert [("1001", person(1)), (":app::1001", person(2))] == beside
    assert [(":app::1001", person(2)), (":crm::1001", person(1))] == tables.rows(CONVERSIONS)
