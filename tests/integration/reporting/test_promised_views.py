"""The views that analysts are promised: their columns, one row for each of what they say, every column described."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from tests.integration.conftest import empty
from tests.integration.reporting.test_report_page import fill
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, resolved

pytestmark = pytest.mark.integration


class Promise(NamedTuple):
    """A view: what one of its rows is about, and which columns it has at least."""

    view: str
    grain: str
    columns: str = ""


_BY_KEY = "conversions revenue spend roas romi cpa cac"
_LEARNED = "removal_effect share conversions revenue share_low share_high"
_CREDIT = (
    "conversion_id conversion_type converted_at model touch_event_id touched_at channel campaign creative product_id"
    " credit revenue_credit"
)

PROMISES = [
    Promise(
        "v_touchpoints",
        "event_id",
        "profile_id occurred_at channel event campaign creative product_id revenue",
    ),
    Promise("v_conversions", "conversion_type conversion_id", "profile_id converted_at revenue currency"),
    Promise(
        "v_attribution(lookback_days = 30, half_life_days = 7)",
        "conversion_type conversion_id touch_event_id model",
        _CREDIT,
    ),
    Promise("v_attribution_default", "conversion_type conversion_id touch_event_id model", _CREDIT),
    Promise("v_attribution_stored", "conversion_type conversion_id touch_event_id model", _CREDIT),
    Promise("v_attribution_stored_by_day", "dimension conversion_type day model key", "conversions revenue"),
    Promise("v_attribution_by_channel", "day model key", f"channel {_BY_KEY}"),
    Promise("v_attribution_by_campaign", "day model key", f"campaign {_BY_KEY}"),
    Promise("v_attribution_by_creative", "day model key", f"creative {_BY_KEY}"),
    Promise("v_attribution_by_product", "day model key", f"product_id {_BY_KEY}"),
    Promise("v_attribution_markov", "run goal dimension model order key", _LEARNED),
    Promise("v_attribution_shapley", "run goal dimension model order key", _LEARNED),
    Promise("v_reconciliation", "day conversion_type model", "orders conversions credits alert"),
    Promise("v_paths", "path", "conversions revenue null_journeys"),
    Promise("v_funnel(steps = ['Product Viewed', 'Order Completed'], window_days = 7, by = 'channel')", "key step"),
    Promise("v_cohorts", "cohort number", "people active"),
    Promise("v_rfm", "profile_id", "recency_days frequency monetary r f m"),
    Promise("v_ltv", "profile_id", "orders revenue margin"),
    Promise("v_cac", "month model channel", "spend new_customers cac"),
    Promise("v_cac_by_market", "month model channel market", "spend new_customers cac"),
    Promise("v_payback_by_market", "cohort model channel market months", "customers cac paid_back"),
    Promise("v_product_performance", "product_id", "orders quantity revenue"),
    Promise("v_purchase_times", "weekday hour", "orders revenue"),
    Promise("v_message_frequency", "segment channel messages", "people conversions revenue unsubscribes"),
    Promise(
        "v_channel_reachability",
        "segment channel day",
        "reachable opted_out no_address bounced stale",
    ),
    Promise("v_decisions", "decision_id", "profile_id outcome gate reason"),
    Promise("v_journeys", "journey step day", "entered sent goal"),
    Promise("v_experiments", "journey", "treated control difference difference_low difference_high"),
    Promise("v_accounting", "hour source", "received stored duplicate suppressed dead_lettered difference"),
]

NEEDS_JOURNEYS = {"v_decisions", "v_journeys", "v_experiments"}
"""Views that no event fills, only what journeys do; their own tests fill them."""


@pytest.fixture(scope="module")
def filled(one_database: Warehouse) -> Warehouse:
    """Forty people, two of them merged, a touch that came twice, learned models and stored credits."""
    empty(one_database)
    fill(one_database)
    again = resolved("1 0", 1, DAY_ONE + timedelta(days=7) - timedelta(hours=5), "Paid Search")
    one_database.store(again)
    one_database.change(merged(1, 2, [1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deploy.settings.settings", lambda: one_database.settings)
        for command in (["refresh"], ["fit", "--bootstrap", "20"]):
            printed = CliRunner().invoke(app, ["attribution", *command])
            assert 0 == printed.exit_code, printed.output
    return one_database


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.view.partition("(")[0])
def test_a_view_has_the_columns_that_were_promised(filled: Warehouse, promise: Promise) -> None:
    columns = {name for name, *_ in filled.rows(f"DESCRIBE (SELECT * FROM {promise.view})")}

    assert set() == {*promise.grain.split(), *promise.columns.split()} - columns


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.view.partition("(")[0])
def test_a_view_has_one_row_for_each_of_what_it_is_about(filled: Warehouse, promise: Promise) -> None:
    key = ", ".join(f"`{name}`" for name in promise.grain.split())

    rows, distinct = filled.rows(f"SELECT count(), uniqExact({key}) FROM {promise.view}")[0]

    assert (rows, promise.view in NEEDS_JOURNEYS) == (distinct, rows == 0)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.view.partition("(")[0])
def test_a_view_and_its_columns_say_what_they_are(filled: Warehouse, promise: Promise) -> None:
    name = promise.view.partition("(")[0]
    comments: list[Any] = [
        *filled.rows(
            "SELECT comment FROM system.tables WHERE database = currentDatabase() AND name = {name:String}", name=name
        ),
        # The server keeps no columns of a view with parameters: a default view of its kind has them.
        *filled.rows(
            "SELECT comment FROM system.columns WHERE database = currentDatabase() AND table = {name:String}",
            name=f"{name}_default" if "(" in promise.view else name,
        ),
    ]

    assert len(comments) > len(promise.grain.split())
    assert [] == [comment for (comment,) in comments if not comment]
