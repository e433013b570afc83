"""Country, market, store and language in the views: by the same rule as in Python, and restated by a new table."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any

import orjson
import pytest

from deploy.operations.provision import market_rows
from processors.enrichment.geography import geography
from processors.identity.countries import country_names
from processors.recording.rows import profile_row
from schemas.markets import MarketDefinitions
from sinks.clickhouse.markets import publish_markets
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


def test_without_a_table_no_market_is_named(tables: Warehouse) -> None:
    tables.store(ordered("A", 1, DAY_ONE, context={"geo": {"country": "AT"}}))

    assert [("A", "AT", "", "", "")] == tables.rows(PLACE)
