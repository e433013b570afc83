"""Spend by market: in ROMI, CAC and budgets of a market, with what names no market said and never divided."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.provision import market_rows
from deploy.reporting.html.queries import ATTRIBUTION
from processors.identity.countries import country_names
from schemas.markets import MarketDefinitions
from sinks.clickhouse.markets import publish_markets
from sinks.clickhouse.spend import insert_rates, insert_spend, publish_currency
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, ordered, resolved

pytestmark = pytest.mark.integration

DAY = DAY_ONE.date()
MARKETS = MarketDefinitions.model_validate(
    {
        "default": "others",
        "markets": {"others": {}, "france": {"countries": ["FR"]}, "dach": {"countries": ["DE", "AT"]}},
    }
)
SPENT = {("FR", ""): "30.01", ("DE", ""): "20.02", ("AT", ""): "10.03", ("US", ""): "5.04", ("", "dach"): "2.05"}


def spent(amount: str, country: str = "", market: str = "", **fields: Any) -> dict[str, Any]:
    row = {
        "date": DAY, "channel": "Display", "source": "", "campaign": "Display ad", "creative": "", "currency": "EUR",
        "spend": Decimal(amount), "impressions": 0, "clicks": 0,
    }  # fmt: skip
    place = {"country": country, "market": market} if country or market else {}  # older producers of rows have none
    return {**row, **place, **fields}


@pytest.fixture
def story(tables: Warehouse) -> Warehouse:
    publish_markets(tables.client, market_rows(MARKETS, "UTC"), country_names())
    publish_currency(tables.client, "EUR")
    insert_rates(tables.client, [{"date": DAY, "currency": "USD", "rate": Decimal("0.5")},
                                 {"date": DAY, "currency": "EUR", "rate": Decimal(1)}])  # fmt: skip
    for who, (country, currency) in enumerate((("FR", "EUR"), ("DE", "EUR"), ("AT", "USD"), ("US", "GBP")), 1):
        geo = {"geo": {"country": country}}
        click = resolved(f"click-{who}", who, DAY_ONE, "Display", context=geo)
        order = ordered(f"A-{who}", who, DAY_ONE + timedelta(hours=who), revenue=f"{who}0.01", context=geo)
        order["properties"]["currency"] = currency
        tables.store(click, order)
    insert_spend(tables.client, [spent(amount, *place) for place, amount in SPENT.items()])
    insert_spend(tables.client, [spent("7.06", channel="TV", campaign="tv")])
    return tables


def run(*command: str) -> Any:
    found = CliRunner().invoke(app, [*command])
    assert 0 == found.exit_code, found.output
    return found


def test_markets_and_no_market_add_up_to_the_whole_to_the_cent(story: Warehouse) -> None:
    sums = "sum(conversions), sum(revenue), sum(margin), sum(spend), sum(new_customers), sum(not_converted)"
    by_market = story.rows(
        f"SELECT market, {sums} FROM v_marketing_returns_by_market WHERE model = 'linear' GROUP BY market ORDER BY market"  # noqa: E501
    )
    (whole,) = story.rows(f"SELECT {sums} FROM v_marketing_returns WHERE model = 'linear'")

    assert [
        ("", Decimal("7.06")),
        ("dach", Decimal("32.10")),
        ("france", Decimal("30.01")),
        ("others", Decimal("5.04")),
    ] == [(market, spend) for market, _, _, _, spend, *_ in by_market]
    assert [pytest.approx(float(one)) for one in whole] == [
        sum(float(row[place]) for row in by_market) for place in range(1, 7)
    ]


def test_spend_that_comes_by_market_later_is_not_counted_twice_and_a_new_table_restates_it(story: Warehouse) -> None:
    insert_spend(story.client, [spent("4.00", "FR", channel="TV", campaign="tv")])
    insert_spend(story.client, [spent("3.06", "DE", channel="TV", campaign="tv")])
    both = [spent("4.00", "FR", channel="Radio"), spent("1.00", channel="Radio")]
    insert_spend(story.client, both)
    insert_spend(story.client, both)

    assert [("Radio", Decimal("5.00")), ("TV", Decimal("7.06"))] == story.rows(
        "SELECT channel, sum(spend) FROM v_spend WHERE channel != 'Display' GROUP BY channel ORDER BY channel"
    )
    smaller = {"default": "rest", "markets": {"rest": {}, "fr": {"countries": ["FR"]}}}
    publish_markets(story.client, market_rows(MarketDefinitions.model_validate(smaller), "UTC"), country_names())
    assert [("", Decimal("2.05")), ("fr", Decimal("30.01")), ("rest", Decimal("35.09"))] == story.rows(
        "SELECT market, sum(spend) FROM v_spend WHERE channel = 'Display' GROUP BY market ORDER BY market"
    )


def test_reports_of_a_market_have_its_spend_and_say_unknown_rates(story: Warehouse, tmp_path: Path) -> None:
    command = ("attribution", "report", "--model", "linear,markov_1,shapley", "--json")
    found = json.loads(run(*command, "--market", "dach").stdout)
    whole = json.loads(run(*command).stdout)

    assert {("linear", "Display"), ("markov_1", "Display"), ("shapley", "Display")} == {
        (row["model"], row["key"]) for row in found
    }
    assert {("32.1000", "7.0600")} == {(row["spend"], row["spend_of_no_market"]) for row in found}
    assert [pytest.approx(35.015 / 32.1)] * 3 == [row["roas"] for row in found]  # 20.01 EUR and 30.01 USD
    assert {"67.1500"} == {row["spend"] for row in whole if row["key"] == "Display"}
    for row, lacking in (*((row, []) for row in found), *((row, ["GBP of 1 conversions"]) for row in whole)):
        assert "EUR" == row["currency"]
        assert lacking == [text[text.index("GBP") :][:20] for text in row["not_converted"]]

    fitted = json.loads(run("attribution", "fit", "--model", "markov_1,shapley", "--bootstrap", "0", "--json").stdout)
    days = {"first": DAY, "last": DAY, "markets": [], "whole": 1}
    shown = {row["model"] for row in story.client.query(ATTRIBUTION, parameters=days).named_results()}
    assert (1, {"markov_1", "shapley"}) == (len(fitted["not_converted"]), shown & {"markov_1", "shapley"})

    page = tmp_path / "report.html"
    run("report", "--html", str(page), "--market", "dach")
    assert "of spend that is of no market" in page.read_text("utf-8")
    budget = json.loads(run("budget", "--market", "france", "--json").stdout)
    assert (str(DAY), 1, []) == (budget["from"], budget["days"], budget["not_converted"])


def test_a_customer_costs_and_pays_back_by_market(story: Warehouse) -> None:
    story.store(ordered("A-1b", 1, DAY_ONE + timedelta(days=40), revenue="60.00", context={"geo": {"country": "DE"}}))
    cac = "SELECT market, channel, spend, new_customers, cac FROM v_cac_by_market WHERE model = 'linear'"
    payback = (
        "SELECT market, months, customers, cac, margin_per_customer, paid_back FROM v_payback_by_market"
        " WHERE model = 'linear' AND channel = 'Display' ORDER BY market, months"
    )

    assert [
        ("", "(all)", Decimal("7.06"), 0.0, None),
        ("dach", "(all)", Decimal("32.10"), 2.0, pytest.approx(16.05)),
        ("france", "(all)", Decimal("30.01"), 1.0, pytest.approx(30.01)),
        ("others", "(all)", Decimal("5.04"), 1.0, pytest.approx(5.04)),
    ] == story.rows(f"{cac} AND channel = '(all)' AND month = toStartOfMonth(toDate('{DAY}')) ORDER BY market")
    found = story.rows(payback)
    assert [
        ("dach", 0, 2.0, pytest.approx(16.05), 1),
        ("dach", 1, 2.0, pytest.approx(16.05), 1),
        ("france", 0, 1.0, pytest.approx(30.01), 0),
        ("france", 1, 1.0, pytest.approx(30.01), 1),  # with the order in Germany: the customer was won in France
        ("others", 0, 1.0, pytest.approx(5.04), 0),
        ("others", 1, 1.0, pytest.approx(5.04), 0),
    ] == [(market, months, customers, cost, paid) for market, months, customers, cost, _, paid in found]
    (whole,) = story.rows(
        "SELECT customers, cac, margin_per_customer FROM v_payback"
        " WHERE model = 'linear' AND channel = '(all)' AND months = 1"
    )
    assert (4.0, pytest.approx(74.21 / 4), pytest.approx(sum(row[2] * row[4] for row in found if row[1]) / 4)) == whole


def test_amounts_without_a_rate_name_market_and_about_what_they_are_worth(story: Warehouse) -> None:
    insert_rates(story.client, [{"date": DAY - timedelta(days=90), "currency": "GBP", "rate": Decimal("1.2")},
                                {"date": DAY - timedelta(days=90), "currency": "EUR", "rate": Decimal(1)}])  # fmt: skip
    insert_spend(story.client, [spent("9.00", "FR", channel="TV", currency="JPY")])
    insert_spend(story.client, [spent("8.00", channel="Radio", currency="JPY")])
    refund = {"order_id": "A-1", "revenue": "5.00", "currency": "GBP"}
    story.store(resolved("refund", 1, DAY_ONE + timedelta(hours=9), event="Order Refunded", properties=refund))

    assert [
        ("conversions", "others", "GBP", Decimal("40.01"), Decimal("48.012")),
        ("refunds", "france", "GBP", Decimal("5.00"), Decimal("6.00")),
        ("spend", "", "JPY", Decimal("8.00"), None),
        ("spend", "france", "JPY", Decimal("9.00"), None),
    ] == story.rows("SELECT what, market, currency, total, estimate FROM v_missing_rates ORDER BY what, market")
    assert [
        f"40.01 GBP of 1 conversions of others on {DAY} are in no sum of money: there is no rate"
        " (about 48.01 EUR by the nearest)",
        f"8 JPY of 1 spend of no market on {DAY} are in no sum of money: there is no rate",
    ] == [
        warning
        for (warning,) in story.rows(
            "SELECT warning FROM v_missing_rates WHERE market IN ('', 'others') ORDER BY what, market"
        )
    ]
