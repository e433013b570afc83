"""Country, market, store and language in the views: by the same rule as in Python, and restated by a new table."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.provision import market_rows
from processors.enrichment.geography import geography
from processors.identity.countries import country_names
from processors.profiles.market import country_of, market_of
from processors.recording.rows import profile_row
from schemas.markets import MarketDefinitions
from sinks.clickhouse.markets import publish_markets
from sinks.clickhouse.spend import publish_currency
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, ordered, person, resolved

pytestmark = pytest.mark.integration

MARKETS = {
    "default": "others",
    "markets": {
        "others": {},
        "france": {"countries": ["FR", "MC"], "currency": "EUR", "stores": {"monaco": "MC"}},
        "dach": {"countries": ["DE", "AT", "CH"], "stores": {"7": "CH"}},
    },
}  # fmt: skip


def publish(tables: Warehouse, table: dict[str, Any] | None = None) -> MarketDefinitions:
    markets = MarketDefinitions.model_validate(table or MARKETS)
    publish_markets(tables.client, market_rows(markets, "UTC"), country_names())
    return markets


STORES: tuple[dict[str, Any], ...] = (
    {},
    {"store_id": "monaco"},
    {"store_id": 7},
    {"store_id": "lyon"},
    {"store_id": True},
)
ADDRESSES: tuple[dict[str, Any], ...] = (
    {},
    {"shipping_address": {"country": "Germany"}, "billing_address": {"country_code": "FR"}},
    {"billing_address": {"country": " austria "}},
    {"shipping_address": {"country": 5}, "billing_address": "France"},
)
CONTEXTS: tuple[dict[str, Any], ...] = (
    {},
    {"geo": {"country": "ch"}, "locale": "de-CH"},
    {"geo": {"country": "Atlantis"}, "locale": "FR"},
    {"geo": {"city": "Nice"}, "locale": "english", "store_id": "monaco"},
)
FOUND: tuple[dict[str, Any], ...] = ({}, {"enriched": {"country": "US", "by": "geo 1"}})


def test_sql_and_python_agree_on_country_market_store_and_language(tables: Warehouse) -> None:
    markets = publish(tables)
    events = [
        resolved(
            f"{number:03}", 1, DAY_ONE, event="Checkout Started",
            properties={**store, **address}, context=context, **found,
        )
        for number, (store, address, context, found) in enumerate(product(STORES, ADDRESSES, CONTEXTS, FOUND))
    ]  # fmt: skip
    tables.store(*events)
    expected = []
    for event in events:
        country, store_id, language = geography(event, markets)
        expected.append((event["event_id"], country, markets.market_of(country), store_id, language))

    assert expected == tables.rows(
        "SELECT event_id, country, market, store_id, language FROM v_touchpoints ORDER BY event_id"
    )
    assert {"FR", "MC", "DE", "AT", "CH", "US", "Atlantis", ""} - {"FR"} == {country for _, country, *_ in expected}


PLACE = "SELECT conversion_id, country, market, store_id, language FROM v_conversions ORDER BY conversion_id"


def test_an_order_is_where_its_best_report_says_else_where_its_person_lives(tables: Warehouse) -> None:
    publish(tables)
    context = {"geo": {"country": "FR"}, "locale": "fr-FR"}
    webhook = ordered("A", 1, DAY_ONE + timedelta(minutes=1), source="shop-server", channel="api")
    webhook |= {"event_id": "webhook", "order": {"source_kind": "server"}}
    webhook["properties"] |= {"shipping_address": {"country": "Germany"}}
    signup = resolved("signup", 3, DAY_ONE, event="Signed Up", context={"geo": {"country": "AT"}, "store_id": "7"})
    tables.store(
        ordered("A", 1, DAY_ONE, context=context),
        webhook,
        ordered("B", 2, DAY_ONE),
        ordered("C", None, DAY_ONE),
        signup,
    )
    tables.insert("profiles", profile(2, traits={"address": [{"country": "Monaco", "country_code": "MC"}, 1]}))

    assert [
        (":shop::signup", "CH", "dach", "7", ""),
        ("A", "DE", "dach", "", "fr"),
        ("B", "MC", "france", "", ""),
        ("C", "", "others", "", ""),
    ] == tables.rows(PLACE)


def profile(who: int, **sections: Any) -> bytes:
    return profile_row(person(who), 1, orjson.dumps({"profile_id": person(who), **sections}))


def test_a_new_table_restates_what_is_stored_and_the_same_one_is_not_published_again(tables: Warehouse) -> None:
    markets = publish(tables)
    tables.store(ordered("A", 1, DAY_ONE, context={"geo": {"country": "AT"}}))
    before = tables.rows(PLACE)
    again = publish_markets(tables.client, market_rows(markets, "UTC"), country_names())
    publish(tables, {"default": "rest", "markets": {"rest": {}, "alps": {"countries": ["AT", "CH"]}}})

    assert ([("A", "AT", "dach", "", "")], False) == (before, again)
    assert [("A", "AT", "alps", "", "")] == tables.rows(PLACE)


def test_a_person_is_in_the_market_of_the_declared_country_else_of_the_last_seen_one(tables: Warehouse) -> None:
    publish(tables)
    seen = {"country": ["FR", 1], "locale": ["de-AT", 1]}
    tables.insert(
        "profiles", profile(1, traits={"country": ["austria", 1]}, known=seen), profile(2, known=seen), profile(3)
    )

    assert [("AT", "de", "dach"), ("FR", "de", "france"), ("", "", "others")] == tables.rows(
        "SELECT country, language, market FROM v_person_markets ORDER BY profile_id"
    )


DECLARED: tuple[Any, ...] = (
    {}, {"country": "austria"}, {"country": " "}, {"country": "\tFR\n"}, {"country": "Atlantis"}, {"country": 7},
    {"country": "Österreich"}, {"country": "\u00df"}, {"country": "\ufb01"}, {"country": "T\u00dcRK\u0130YE"},
    {"country": "\u0130T"},
    {"address": {"country": "Germany", "country_code": "ch"}, "country": "FR"},
    {"address": {"countryCode": "mc"}}, {"address": {"country_code": 5, "country": "U.S.A."}},
    {"address": {"country_code": " "}, "country": "FR"}, {"address": "Paris", "country": "fra"},
    {"address": {"country_code": ""}, "country": "deu"},
)  # fmt: skip
SEEN: tuple[str | None, ...] = (None, "FR", "deutschland", " at", "Narnia", " ", "\u00a0MC")


def test_sql_and_python_agree_on_the_market_of_a_person(tables: Warehouse) -> None:
    markets = publish(tables)
    documents = []
    for declared, seen in product(DECLARED, SEEN):
        sections: dict[str, Any] = {}
        if declared:
            sections["traits"] = {name: [value, 1] for name, value in declared.items()}
        if seen is not None:
            sections["known"] = {"country": [seen, 1]}
        documents.append(sections)
    tables.insert("profiles", *(profile(who, **sections) for who, sections in enumerate(documents)))
    expected = {
        person(who): (country_of(document), market_of(document, markets)) for who, document in enumerate(documents)
    }

    rows = tables.rows("SELECT toString(profile_id), country, market FROM v_person_markets")
    found = {who: (country, market) for who, country, market in rows}
    assert [] == [(documents[n], one, found[who]) for n, (who, one) in enumerate(expected.items()) if one != found[who]]
    assert {"others", "france", "dach"} == {market for _, market in found.values()}


def test_visits_sales_and_customers_are_told_apart_by_market(tables: Warehouse) -> None:
    publish(tables)
    bought = {"count": 1, "last_at": 1, "sums": {"EUR": {"count": 1, "revenue": "10.00", "refunded": "0"}}}
    for who, country in enumerate(("FR", "DE", "AT"), 1):
        geo = {"geo": {"country": country}, "locale": "de"}
        page = resolved(
            f"page-{who}", who, DAY_ONE, "Paid Search", session_id=f"s-{who}", context={**geo, "session_id": f"s-{who}"}
        )
        tables.store(page, ordered(f"A-{who}", who, DAY_ONE + timedelta(hours=1), revenue="10.00", context=geo))
        tables.insert("profiles", profile(who, known={"country": [country, 1], "locale": ["de", 1]}, orders=bought))

    assert [("dach", 2, 20.0, 2), ("france", 1, 10.0, 1)] == tables.rows(
        "SELECT market, orders, revenue, customers FROM v_sales ORDER BY market"
    )
    for view, rows in {
        "v_touches": "count()",
        "v_sessions": "count()",
        "v_traffic": "sum(sessions)",
        "v_cohorts": "sum(people)",
        "v_ltv": "count()",
        "v_rfm": "count()",
        "v_conversion_values": "count()",
    }.items():
        assert (view, [("dach", 2), ("france", 1)]) == (
            view,
            tables.rows(f"SELECT market, {rows} FROM {view} GROUP BY market ORDER BY market"),
        )
    assert [("AT", "de"), ("DE", "de"), ("FR", "de")] == tables.rows(
        "SELECT country, language FROM v_touches ORDER BY 1"
    )


def test_without_a_table_no_market_is_named(tables: Warehouse) -> None:
    tables.store(ordered("A", 1, DAY_ONE, context={"geo": {"country": "AT"}}))

    assert [("A", "AT", "", "", "")] == tables.rows(PLACE)


def run(*command: str) -> Any:
    found = CliRunner().invoke(app, [*command])
    assert 0 == found.exit_code, found.output
    return found.stdout


def test_commands_report_one_market(tables: Warehouse, tmp_path: Path) -> None:
    publish(tables)
    for who, country in enumerate(("FR", "DE", "AT"), 1):
        geo = {"geo": {"country": country}}
        shown = resolved(f"seen-{who}", who, DAY_ONE, event="Product Viewed", context=geo)
        click = resolved(f"click-{who}", who, DAY_ONE + timedelta(minutes=1), "Paid Search", context=geo)
        order = ordered(f"A-{who}", who, DAY_ONE + timedelta(days=who), revenue="10.00", context=geo)
        tables.store(shown, click, order)
        tables.insert("profiles", profile(who, known={"country": [country, 1]}))
    publish_currency(tables.client, "EUR")

    every = json.loads(run("attribution", "report", "--model", "linear,markov_1", "--json"))
    german = json.loads(run("attribution", "report", "--model", "linear,markov_1", "--market", "dach", "--json"))
    assert {"linear": 30.0, "markov_1": 30.0} == {row["model"]: row["revenue"] for row in every}
    assert {"linear": 20.0, "markov_1": 20.0} == {row["model"]: row["revenue"] for row in german}

    steps = json.loads(run("funnel", "--market", "france", "Product Viewed", "Order Completed", "--json"))
    assert [1, 1] == [row["people"] for row in steps]
    assert 2 == max(row["people"] for row in json.loads(run("reachability", "--market", "dach", "--json")))
    assert [] == json.loads(run("frequency", "--market", "dach", "--json"))

    day = str(DAY_ONE.date() + timedelta(days=2))
    page = tmp_path / "report.html"
    run("report", "--html", str(page), "--market", "dach", "--from", day, "--to", day)
    assert all(part in page.read_text("utf-8") for part in (f"{day} to {day} · dach", "<dt>Orders</dt><dd>1</dd>"))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("funnel", "--market", "narnia"), "narnia: no such market; the markets are dach, france, others"),
        (("budget", "--market", "narnia"), "narnia: no such market"),
        (("ltv", "fit", "--market", "dach"), "the fit is of all customers"),
    ],
)
def test_a_market_without_meaning_is_refused(tables: Warehouse, command: tuple[str, ...], reason: str) -> None:
    publish(tables)
    found = CliRunner().invoke(app, [*command])

    assert (2, True) == (found.exit_code, reason in " ".join(found.output.replace("│", " ").split()))
