"""Money: one currency for all reports, margins of what was sold, what a customer cost and when that is paid back."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from schemas.events.touchpoint import read
from sinks.clickhouse.predictions import fit_state, newest_run
from sinks.clickhouse.reports import publish_settings
from sinks.clickhouse.spend import insert_margins, insert_rates, insert_spend, missing_rates, publish_currency
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, ordered, resolved

pytestmark = pytest.mark.integration

TODAY = DAY_ONE.date()


def sold(order_id: str, who: int | None, revenue: str, currency: str = "EUR", **more: Any) -> dict[str, Any]:
    event = ordered(order_id, who, more.pop("at", DAY_ONE), revenue)
    event["properties"] |= {"currency": currency, **more}
    return event


def spent(channel: str, amount: str, currency: str = "EUR", day: date = TODAY, campaign: str = "") -> dict[str, Any]:
    return {
        "date": day, "channel": channel, "source": "", "campaign": campaign, "creative": "", "spend": Decimal(amount),
        "currency": currency, "impressions": 0, "clicks": 0,
    }  # fmt: skip


def rate(day: date, currency: str, worth: str) -> dict[str, Any]:
    return {"date": day, "currency": currency, "rate": Decimal(worth)}


def test_amounts_are_converted_at_the_rate_of_their_day(tables: Warehouse) -> None:
    publish_currency(tables.client, "EUR")
    insert_rates(
        tables.client,
        [rate(TODAY - timedelta(days=2), "USD", "0.5"), rate(TODAY + timedelta(days=1), "USD", "0.8")],
    )
    tables.store(
        sold("euros", 1, "100.01"),
        sold("today", 1, "50.00", "USD"),
        sold("tomorrow", 1, "50.00", "USD", at=DAY_ONE + timedelta(days=1)),
        sold("late", 1, "50.00", "USD", at=DAY_ONE + timedelta(days=8)),
        sold("pounds", 1, "30.00", "GBP"),
    )
    insert_spend(tables.client, [spent("TV", "20.00", "USD"), spent("Radio", "7.00", "GBP")])

    revenue = dict(tables.rows("SELECT conversion_id, revenue FROM v_conversion_values"))
    spend = dict(tables.rows("SELECT channel, spend FROM v_spend"))

    money = {"euros": Decimal("100.01"), "today": Decimal(25), "tomorrow": Decimal(40), "late": None, "pounds": None}
    assert money == revenue
    assert {"TV": Decimal(10), "Radio": None} == spend
    assert [
        ("conversions", TODAY, "GBP", 1, Decimal(30)),
        ("spend", TODAY, "GBP", 1, Decimal(7)),
        ("conversions", TODAY + timedelta(days=8), "USD", 1, Decimal(50)),
    ] == tables.rows("SELECT what, day, currency, amounts, total FROM v_missing_rates ORDER BY day, currency, what")
    assert (
        f"30 GBP of 1 conversions on {TODAY} are in no sum of money: there is no rate"
        == missing_rates(tables.client)[0]
    )
    assert [(165.01, 2)] == [
        (round(total, 6), missing)
        for total, missing in tables.rows(
            "SELECT sum(revenue), sum(not_converted) FROM v_marketing_returns"
            " WHERE model = 'linear' AND channel = '(unattributed)'"
        )
    ]


def test_reports_may_be_in_another_currency_than_the_rates(tables: Warehouse) -> None:
    publish_currency(tables.client, "USD")
    insert_rates(tables.client, [rate(TODAY, "USD", "0.8"), rate(TODAY, "EUR", "1"), rate(TODAY, "GBP", "1.2")])
    tables.store(sold("euros", 1, "8.00"), sold("pounds", 1, "8.00", "GBP"), sold("dollars", 1, "8.00", "USD"))

    revenue = dict(tables.rows("SELECT conversion_id, revenue FROM v_conversion_values"))

    assert {"euros": Decimal(10), "pounds": Decimal(12), "dollars": Decimal(8)} == revenue


def test_without_a_setting_reports_are_in_the_currency_of_most_conversions(tables: Warehouse) -> None:
    tables.store(sold("one", 1, "8.00", "CHF"), sold("two", 1, "8.00", "CHF"), sold("three", 1, "8.00", "EUR"))

    assert [("CHF",)] == tables.rows("SELECT currency FROM v_report_settings")
    assert [True, False] == [publish_currency(tables.client, "EUR"), publish_currency(tables.client, "EUR")]
    assert [("EUR",)] == tables.rows("SELECT currency FROM v_report_settings")


def test_lines_share_the_revenue_of_their_order_and_have_their_own_margins(tables: Warehouse) -> None:
    publish_settings(tables.client, goal="purchase", direct_channels=["Direct"], margin=0.5, timezone="UTC")
    insert_margins(
        tables.client,
        [
            {"kind": "product", "key": "p-1", "margin": 0.9},
            {"kind": "category", "key": "Chairs", "margin": 0.2},
        ],
    )
    lines = [
        {"product_id": "p-1", "category": "Chairs", "price": "10.00", "quantity": 3},
        {"product_id": "p-2", "category": "Chairs", "price": "30.00"},
        {"product_id": "p-3", "category": "Lamps", "price": "40.00"},
    ]
    tables.store(sold("o1", 1, "90.00", products=lines), sold("o2", None, "7.00"))

    items = tables.rows(
        "SELECT order_id, product_id, revenue, margin_rate FROM v_order_items ORDER BY order_id, position"
    )
    rates = dict(tables.rows("SELECT conversion_id, margin_rate FROM v_conversion_values"))

    assert [("o1", "p-1", 27.0, 0.9), ("o1", "p-2", 27.0, 0.2), ("o1", "p-3", 36.0, 0.5), ("o2", "", 7.0, 0.5)] == items
    assert {"o1": pytest.approx((27 * 0.9 + 27 * 0.2 + 36 * 0.5) / 90), "o2": 0.5} == rates
    assert [("p-1", 1, 3.0, 27.0)] == tables.rows(
        "SELECT product_id, orders, quantity, revenue FROM v_product_performance WHERE product_id = 'p-1'"
    )
    assert [("Chairs", 2, 54.0)] == tables.rows(
        "SELECT category, products, revenue FROM v_category_performance WHERE category = 'Chairs'"
    )


def test_weighed_goods_count_by_their_weight(tables: Warehouse) -> None:
    lines = [
        {"product_id": "cheese", "price": "19.90", "quantity": "0.375"},
        {"product_id": "bag", "price": "2.50", "quantity": 1},
    ]
    event = {"event_id": "e", "event": "Cart Viewed", "channel": "web", "occurred_at": "2026-11-22T10:15:30Z"}
    canonical = read({**event, "properties": {"products": lines}})["properties"]["products"]
    tables.store(sold("o1", 1, "9.9625", products=canonical))

    assert [("bag", 1.0, 2.5), ("cheese", 0.375, 7.4625)] == [
        (product, quantity, round(revenue, 4))
        for product, quantity, revenue in tables.rows(
            "SELECT product_id, quantity, revenue FROM v_product_performance ORDER BY product_id"
        )
    ]


def test_a_campaign_has_its_own_margin_and_spend_without_credit_stays(tables: Warehouse) -> None:
    insert_margins(tables.client, [{"kind": "campaign", "key": "Display ad", "margin": 0.1}])
    tables.store(
        resolved("ad", 1, DAY_ONE - timedelta(hours=1), "Display"),
        sold("o1", 1, "100.00"),
        sold("o2", 1, "60.00", at=DAY_ONE + timedelta(hours=1)),
    )
    insert_spend(tables.client, [spent("Display", "8.00", campaign="Display ad"), spent("TV", "40.00")])

    found = tables.rows(
        "SELECT channel, conversions, new_customers, revenue, margin, roas, romi, cpa, cac FROM v_marketing_returns"
        " WHERE model = 'last_touch' ORDER BY channel"
    )

    assert [
        ("Display", 2.0, 1.0, 160.0, 16.0, 20.0, 1.0, 4.0, 8.0),
        ("TV", 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, None, None),
    ] == found


def test_a_customer_is_paid_back_when_the_margin_reaches_the_cost(tables: Warehouse) -> None:
    publish_settings(tables.client, goal="purchase", direct_channels=["Direct"], margin=0.5, timezone="UTC")
    tables.store(
        resolved("ad", 1, DAY_ONE - timedelta(hours=1), "Display"),
        sold("o1", 1, "40.00"),
        sold("o2", 1, "60.00", at=DAY_ONE + timedelta(days=65)),
    )
    insert_spend(tables.client, [spent("Display", "30.00"), spent("TV", "20.00")])

    months = tables.rows(
        "SELECT channel, months, customers, cac, margin_per_customer, paid_back FROM v_payback"
        " WHERE model = 'linear' ORDER BY channel, months"
    )

    assert [
        ("(all)", 0, 1.0, 50.0, 20.0, 0), ("(all)", 1, 1.0, 50.0, 20.0, 0), ("(all)", 2, 1.0, 50.0, 50.0, 1),
        ("Display", 0, 1.0, 30.0, 20.0, 0), ("Display", 1, 1.0, 30.0, 20.0, 0), ("Display", 2, 1.0, 30.0, 50.0, 1),
    ] == months  # fmt: skip
    assert [("(all)", 50.0), ("Display", 30.0), ("TV", None)] == tables.rows(
        "SELECT channel, cac FROM v_cac WHERE model = 'linear' AND month = '2026-11-01' ORDER BY channel"
    )


def test_value_is_after_refunds_and_of_the_person_known_now(tables: Warehouse) -> None:
    refund = resolved(
        "refund", 1, DAY_ONE + timedelta(days=2), event="Order Refunded",
        properties={"order_id": "o1", "revenue": "40.00", "currency": "EUR"},
    )  # fmt: skip
    tables.store(sold("o1", 1, "100.00"), refund, sold("o2", 2, "50.00", at=DAY_ONE + timedelta(days=1)))
    before = tables.rows("SELECT orders, revenue FROM v_ltv ORDER BY revenue")

    tables.change(merged(1, 1, [2]))

    assert [(1, 50.0), (1, 60.0)] == before
    assert [(2, 110.0, 110.0)] == tables.rows("SELECT orders, revenue, lifetime_value FROM v_ltv")
    assert [(2, 150.0, 40.0, 1, 75.0)] == tables.rows("SELECT orders, revenue, refunded, customers, aov FROM v_sales")


def test_bots_are_no_active_people(tables: Warehouse) -> None:
    bot = resolved("crawl", 3, DAY_ONE, enriched={"bot": "crawler"})
    tables.store(sold("o1", 1, "100.00"), resolved("page", 2, DAY_ONE), bot)

    assert [(2, 50.0)] == tables.rows("SELECT active_people, arpu FROM v_sales")


def test_rates_are_imported_and_what_is_missing_is_said(tables: Warehouse, tmp_path: Path) -> None:
    tables.store(
        sold("o1", 1, "100.00"), sold("o2", 1, "1.00"), sold("o3", 1, "50.00", "USD"), sold("o4", 1, "9.00", "GBP")
    )
    file = tmp_path / "rates.csv"
    file.write_text(f"date,currency,rate\n{TODAY},USD,2\n", "utf-8")

    for _ in range(2):
        printed = CliRunner().invoke(app, ["import", "rates", "--inverse", str(file)])

    assert (0, True) == (printed.exit_code, "imported 1 rows" in printed.stderr)
    assert "warning: 9 GBP of 1 conversions" in printed.stderr
    assert [(Decimal(126),)] == tables.rows("SELECT sum(revenue) FROM v_conversion_values")


class TestAttributionInSeveralCurrencies:
    @pytest.fixture
    def report(self, tables: Warehouse) -> Any:
        """Two journeys of two channels, in euros and in zlotys of 0.25, and an order in yen without a rate."""
        publish_currency(tables.client, "EUR")
        insert_rates(tables.client, [rate(TODAY, "PLN", "0.25")])
        for who, currency in ((1, "EUR"), (2, "PLN"), (3, "JPY")):
            at = DAY_ONE + timedelta(hours=2)
            tables.store(
                resolved(f"ad {who}", who, at - timedelta(hours=2), "Display"),
                resolved(f"mail {who}", who, at - timedelta(hours=1), "Email"),
                sold(f"o{who}", who, "400.00", currency, at=at),
            )
        insert_spend(tables.client, [spent("Display", "80.00", "PLN")])
        return CliRunner().invoke(app, ["attribution", "report", "--json"])

    def test_every_model_credits_converted_amounts(self, report: Any) -> None:
        revenue: dict[str, float] = {}
        for row in json.loads(report.stdout):
            if row["model"] != "participation":
                revenue[row["model"]] = revenue.get(row["model"], 0.0) + row["revenue"]

        assert {"linear", "shapley", "markov_1"} <= revenue.keys()
        assert dict.fromkeys(revenue, pytest.approx(500.0)) == revenue

    def test_spend_is_converted_too(self, report: Any) -> None:
        spend = {row["spend"] for row in json.loads(report.stdout) if row["key"] == "Display"}

        assert {Decimal(20)} == {Decimal(one) for one in spend}

    def test_an_amount_without_a_rate_is_a_conversion_and_a_warning(self, report: Any) -> None:
        conversions = sum(row["conversions"] for row in json.loads(report.stdout) if row["model"] == "linear")
        as_csv = CliRunner().invoke(app, ["attribution", "report", "--csv", "-"])

        assert 0 == report.exit_code
        assert 3.0 == pytest.approx(conversions)
        assert "warning: 400 JPY of 1 conversions" in report.stderr
        assert "warning: 400 JPY of 1 conversions" in as_csv.stderr


class TestCommands:
    def orders(self, tables: Warehouse) -> None:
        """Sixty customers, each with an order every so many days, after an ad that cost more on some days."""
        events = []
        for who in range(1, 61):
            for number in range(1 + who % 5):
                at = DAY_ONE + timedelta(days=who % 9 + number * (8 + who % 7))
                events.append(resolved(f"ad {who} {number}", who, at - timedelta(hours=1), "Display"))
                events.append(sold(f"o{who}-{number}", who, f"{20 + who}.00", at=at))
        tables.store(*events)
        days = [TODAY + timedelta(days=day) for day in range(56)]
        insert_spend(tables.client, [spent("Display", f"{10 + day.day % 7}.00", day=day) for day in days])

    def steady_orders(self, tables: Warehouse) -> None:
        """A hundred and twenty customers who buy at rates of their own for ten weeks."""
        rng, events = Random(1), []
        for who in range(1, 121):
            rate, day = rng.gammavariate(1.5, 1 / 40), rng.uniform(0, 60)
            while day < 70:
                at = DAY_ONE + timedelta(days=int(day))
                events.append(sold(f"o{who}-{int(day)}", who, f"{20 + who}.00", at=at))
                day += rng.expovariate(rate) + 1
        tables.store(*events)

    def test_lifetime_value_is_fitted_and_judged(self, tables: Warehouse) -> None:
        pytest.importorskip("clvkit")
        self.steady_orders(tables)

        printed = CliRunner().invoke(app, ["ltv", "fit", "--horizon-days", "30", "--holdout-days", "14", "--json"])

        assert 0 == printed.exit_code, printed.output
        run = json.loads(printed.stdout)
        assert (120, 14, 30) == (run["customers"], run["holdout_days"], run["horizon_days"])
        assert [(run["run_id"], run["holdout_orders"])] == tables.rows("SELECT run_id, holdout_orders FROM v_ltv_runs")
        ((predicted, people),) = tables.rows("SELECT sum(predicted_revenue), countIf(predicted_orders >= 0) FROM v_ltv")
        assert (120, run["revenue"]) == (people, pytest.approx(predicted))
        self.has_a_card(tables, run)

    def test_a_fit_that_is_far_off_on_held_out_days_is_not_used_and_the_one_before_it_stays(
        self, tables: Warehouse
    ) -> None:
        pytest.importorskip("clvkit")
        self.steady_orders(tables)
        fit = ["ltv", "fit", "--horizon-days", "30", "--holdout-days", "14", "--json"]
        used = json.loads(CliRunner().invoke(app, fit).stdout)
        before = tables.rows("SELECT profile_id, predicted_orders FROM v_ltv ORDER BY profile_id")
        tables.store(resolved("a visit, and nobody buys any more", 1, DAY_ONE + timedelta(days=200), "Display"))
        fit[5] = "160"

        printed = CliRunner().invoke(app, fit)

        refused, card = (
            json.loads(printed.stdout),
            json.loads(CliRunner().invoke(app, ["ltv", "card", "--json"]).stdout),
        )
        assert (1, "the number of orders") == (printed.exit_code, refused["objection"][:20])
        assert (refused["run_id"], refused["objection"], 0) == (card["run_id"], card["objection"], card["is_used"])
        assert before == tables.rows("SELECT profile_id, predicted_orders FROM v_ltv ORDER BY profile_id")
        assert (used["run_id"], False) == (newest_run(tables.client), fit_state(tables.client).is_used)
        assert "not used: the number" in CliRunner().invoke(app, ["ltv", "card"]).stdout

    @staticmethod
    def has_a_card(tables: Warehouse, run: dict[str, Any]) -> None:
        card = json.loads(CliRunner().invoke(app, ["ltv", "card", "--json"]).stdout)
        text = CliRunner().invoke(app, ["ltv", "card"]).stdout

        assert {name: run[name] for name in ("run_id", "orders", "holdout_orders", "predicted_revenue")}.items() <= (
            card.items()
        )
        assert 10 == len(card["calibration"])
        assert run["holdout_orders"] == sum(one["orders"] for one in card["calibration"])
        assert f"{run['orders']:,} orders of 120 customers" in text
        assert "validated on the last 14 days" in text
        assert [(10, pytest.approx(run["predicted_orders"]))] == tables.rows(
            "SELECT count(), sum(predicted_orders) FROM v_ltv_calibration"
        )

    def test_too_few_customers_end_with_a_reason(self, tables: Warehouse) -> None:
        pytest.importorskip("clvkit")
        tables.store(sold("o1", 1, "10.00"))

        printed = CliRunner().invoke(app, ["ltv", "fit"])

        assert (1, True) == (printed.exit_code, "at least 30 are needed" in printed.stderr)

    def test_a_budget_is_split_among_channels_that_spend(self, tables: Warehouse) -> None:
        self.orders(tables)

        printed = CliRunner().invoke(app, ["budget", "--total", "5", "--json"])

        (channel,) = json.loads(printed.stdout)["channels"]
        assert "Display" == channel["channel"]
        assert 5.0 == pytest.approx(channel["best_spend"])
        assert channel["marginal_low"] <= channel["marginal"] <= channel["marginal_high"]

    def test_a_day_is_one_of_the_days_with_spend_and_not_of_years_of_history(self, tables: Warehouse) -> None:
        self.orders(tables)
        tables.store(ordered("of 2024", 900, DAY_ONE.replace(year=2024)))

        found = json.loads(CliRunner().invoke(app, ["budget", "--json"]).stdout)

        days = [TODAY + timedelta(days=day) for day in range(56)]
        spent = sum(10 + day.day % 7 for day in days)
        assert (str(days[0]), str(days[-1]), 56) == (found["from"], found["to"], found["days"])
        assert spent / 56 == pytest.approx(found["channels"][0]["spend"])

    def test_the_days_of_a_budget_can_be_chosen(self, tables: Warehouse) -> None:
        self.orders(tables)
        first, last = (str(TODAY + timedelta(days=day)) for day in (-7, 6))

        chosen = ["budget", "--from", first, "--to", last]
        found = json.loads(CliRunner().invoke(app, [*chosen, "--json"]).stdout)

        spent = sum(10 + (TODAY + timedelta(days=day)).day % 7 for day in range(7))
        assert spent / 14 == pytest.approx(found["channels"][0]["spend"])
        assert f"spend and revenue of 14 days, {first} to {last}" in CliRunner().invoke(app, chosen).stdout

    def test_days_without_spend_have_no_budget(self, tables: Warehouse) -> None:
        self.orders(tables)

        printed = CliRunner().invoke(app, ["budget", "--to", "2024-01-01"])
        wrong = CliRunner().invoke(app, ["budget", "--to", "yesterday"])

        assert (1, True) == (printed.exit_code, "no spend is known for these days" in printed.stderr)
        assert (2, True) == (wrong.exit_code, "--to" in wrong.stderr)
