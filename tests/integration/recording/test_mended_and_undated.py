"""What was mended is counted, and an event whose time cannot be believed starts nothing in any view."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.settings import Settings
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, instant, ordered, person, resolved, warehouse

pytestmark = pytest.mark.integration

UNDATED: dict[str, Any] = {"context": {"time_doubtful": True, "original_timestamp": "1970-01-01T00:05:00Z"}}
MENDED_NOTE = {"field": "properties.products.price", "rule": "float_sum", "count": 3}
FLOAT_SUM: dict[str, Any] = {"context": {"mended": [MENDED_NOTE]}}


@pytest.fixture
def tables(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    with warehouse(stack) as found:
        yield found


def later(**delta: float) -> Any:
    return DAY_ONE + timedelta(**delta)


def test_mended_values_are_counted_by_day_producer_event_field_and_rule(tables: Warehouse) -> None:
    tables.store(
        ordered("W-1", 1, DAY_ONE, **FLOAT_SUM),
        ordered("W-2", 2, DAY_ONE, **FLOAT_SUM),
        ordered("W-3", 3, later(days=1), **FLOAT_SUM),
        ordered("W-4", 4, DAY_ONE, **FLOAT_SUM | {"source": "till"}),
        ordered("W-5", 5, DAY_ONE),
        resolved("own", 6, DAY_ONE, context={"mended": "by hand"}),
    )

    printed = CliRunner().invoke(app, ["accounting"]).output

    assert [
        (DAY_ONE.date(), "shop", "properties.products.price", "float_sum", 2, "event of W-1"),
        (DAY_ONE.date(), "till", "properties.products.price", "float_sum", 1, "event of W-4"),
        (later(days=1).date(), "shop", "properties.products.price", "float_sum", 1, "event of W-3"),
    ] == tables.rows("SELECT day, source, field, rule, events, example_event_id FROM v_mended ORDER BY day, source")
    assert "4 of the stored events have a value that was mended" in printed


def test_an_undated_touch_is_credited_with_nothing(tables: Warehouse) -> None:
    tables.store(
        resolved("e1", 1, later(hours=1), "Paid Search", **UNDATED),
        resolved("e2", 1, DAY_ONE, "Email"),
        ordered("W-1", 1, later(hours=2), "60.00"),
    )
    credit = (
        "SELECT DISTINCT channel, revenue_credit FROM v_attribution_default WHERE model IN ('last_touch', 'linear')"
    )

    assert [("Email", 60.0)] == tables.rows(f"SELECT channel, toFloat64(revenue_credit) FROM ({credit})")


def test_an_undated_order_counts_and_looks_back_at_nothing(tables: Warehouse) -> None:
    tables.store(resolved("e1", 1, DAY_ONE, "Email"), ordered("W-1", 1, later(hours=2), "60.00", **UNDATED))
    credit = "SELECT channel, toFloat64(revenue_credit) FROM v_attribution_default WHERE model = 'last_touch'"

    assert [("(unattributed)", 60.0)] == tables.rows(credit)
    assert "1 of the stored events are dated by their arrival" in CliRunner().invoke(app, ["accounting"]).output


def test_an_undated_order_starts_no_cohort_and_is_no_persons_first(tables: Warehouse) -> None:
    tables.store(
        ordered("W-1", 1, later(days=1), "60.00", **UNDATED),
        ordered("W-2", 1, later(days=40), "10.00"),
        ordered("W-3", 2, later(days=2), "5.00", **UNDATED),
    )
    first = (
        "SELECT conversion_id FROM attribution_conversions(start_ms = 0, stop_ms = 4133980800000, lookback_ms = 1000,"
        " goal = '', scope = 'since_previous', milestone = '') WHERE is_first"
    )

    cohorts = tables.rows("SELECT cohort, people FROM v_cohorts GROUP BY cohort, people")

    assert [(later(days=40).date().replace(day=1), 1)] == cohorts
    assert [("W-2",)] == tables.rows(first)


def test_an_order_of_long_ago_with_a_time_of_its_own_is_dated(tables: Warehouse) -> None:
    old = ordered("W-1", 1, later(days=-4000), "60.00", received_at=instant(DAY_ONE))
    tables.store(old)

    assert [(later(days=-4000).date().replace(day=1),)] == tables.rows("SELECT DISTINCT cohort FROM v_cohorts")


def test_a_customer_whose_only_order_is_undated_has_worth_and_no_date(tables: Warehouse) -> None:
    tables.store(
        ordered("W-1", 1, later(days=1), "60.00", **UNDATED),
        ordered("W-2", 2, later(days=2), "10.00"),
        ordered("W-3", 2, later(days=3), "5.00", **UNDATED),
        ordered("W-4", 3, later(days=4), "7.00", **UNDATED),
        ordered("W-5", 3, later(days=5), "8.00"),
    )
    second, fifth = later(days=2).date(), later(days=5).date()
    ltv = "SELECT toString(profile_id), orders, revenue, first_order, last_order FROM v_ltv ORDER BY profile_id"

    assert [
        (person(1), 1, 60.0, None, None),
        (person(2), 2, 15.0, second, second),
        (person(3), 2, 15.0, fifth, fifth),
    ] == tables.rows(ltv)
    assert [("W-2",), ("W-5",)] == tables.rows(
        "SELECT conversion_id FROM v_conversion_values WHERE is_first ORDER BY conversion_id"
    )
    assert [("W-1",), ("W-3",), ("W-4",)] == tables.rows(
        "SELECT conversion_id FROM v_conversions WHERE time_doubtful ORDER BY conversion_id"
    )
    assert [(5, 90.0, 3, 2, 0.0)] == tables.rows(
        "SELECT sum(orders), sum(revenue), max(customers), sum(new_customers), max(repeat_rate) FROM v_sales"
    )
    assert [(2.0,)] == tables.rows(
        "SELECT sum(new_customers) FROM v_cac WHERE model = 'last_touch' AND channel = '(all)'"
    )


def test_payback_counts_an_undated_order_from_its_arrival_and_a_cohort_from_dated_ones(tables: Warehouse) -> None:
    tables.store(ordered("W-1", 1, later(days=1), "60.00", **UNDATED), ordered("W-2", 1, later(days=40), "10.00"))
    paid = tables.rows(
        "SELECT cohort, months, customers, margin_per_customer > 0 FROM v_payback"
        " WHERE model = 'last_touch' AND channel = '(all)'"
    )
    margins = tables.rows("SELECT max(margin_rate) FROM v_conversion_values")
    brought = tables.rows("SELECT max(margin_per_customer) FROM v_payback WHERE model = 'last_touch'")

    assert [(later(days=40).date().replace(day=1), 0, 1.0, True)] == paid
    assert 70.0 * margins[0][0] == pytest.approx(brought[0][0])


def test_an_order_is_dated_by_the_report_with_a_time_of_its_own(tables: Warehouse) -> None:
    webhook = ordered("W-1", 1, later(hours=7), "60.00", channel="api")
    tables.store(ordered("W-1", 1, later(hours=1), "60.00", **UNDATED), {**webhook, "event_id": "webhook"})

    assert [(later(hours=7).replace(tzinfo=None), "api", 0, 2)] == tables.rows(
        "SELECT converted_at, channel, time_doubtful, reports FROM v_conversions"
    )


def test_a_doubtful_sign_up_is_marked_and_starts_nothing(tables: Warehouse) -> None:
    tables.store(
        resolved("s-1", 1, DAY_ONE, event="Signed Up", **UNDATED), resolved("s-2", 2, DAY_ONE, event="Signed Up")
    )

    assert [("s-1", 1, 0), ("s-2", 0, 1)] == tables.rows(
        "SELECT event_id, c.time_doubtful, is_first FROM v_conversions AS c"
        " INNER JOIN conversion_amounts AS a USING (conversion_id, conversion_type) ORDER BY event_id"
    )
