"""Products, prices and stock in SQL: the last statement by time of the event counts, whatever order they come in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from deploy.settings import Settings
from schemas.products import PRICE, STOCK, facts_of
from tests.oracles.catalogue import Catalogue
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, resolved, warehouse

pytestmark = pytest.mark.integration


@pytest.fixture
def tables(stack: Settings) -> Iterator[Warehouse]:
    with warehouse(stack) as found:
        yield found


def about(event: str, day: int, number: int = 0, **properties: Any) -> dict[str, Any]:
    return resolved(
        f"{event} {day} {number}",
        None,
        DAY_ONE + timedelta(days=day),
        event=event,
        source="erp",
        properties={"product_id": "lamp", **properties},
    )


def price(day: int, amount: str, **properties: Any) -> dict[str, Any]:
    return about("Price Changed", day, price=amount, currency="EUR", **properties)


def test_a_product_is_named_by_the_catalogue_and_else_by_what_people_saw(tables: Warehouse) -> None:
    viewed = {"product_id": "lamp", "name": "A lamp on the page", "brand": "Lux", "url": "https://shop.example/lamp"}
    line = {"product_id": "sofa", "name": "Sofa", "price": "9.00"}
    events = [
        resolved("view", 1, DAY_ONE, event="Product Viewed", properties=viewed),
        resolved(
            "bad", 1, DAY_ONE, event="Product Viewed", properties={**viewed, "product_id": "x", "url": "javascript:"}
        ),
        resolved("order", 1, DAY_ONE, event="Order Completed", properties={"order_id": "1", "products": [line]}),
        about("Product Updated", 1, name="Lamp", category="light", quantity=3, price="5.00", currency="EUR"),
        about("Stock Changed", 1, quantity=2, store_id="berlin"),
        about("Stock Changed", 1, 1, quantity=0, store_id="minsk"),
    ]
    for _ in range(2):  # and a replay changes nothing
        tables.store(*events)

    assert [
        ("lamp", "Lamp", "Lux", "light", "https://shop.example/lamp", "catalogue", 3, 2, 1, 1),
        ("sofa", "Sofa", "", "", "", "events", None, None, 0, 0),
        ("x", "A lamp on the page", "Lux", "", "", "events", None, None, 0, 0),
    ] == tables.rows(
        "SELECT product_id, name, brand, category, url, named_by, online_stock, store_stock, stores_in_stock, prices"
        " FROM v_products ORDER BY product_id"
    )


def test_prices_with_what_they_were_before(tables: Warehouse) -> None:
    tables.store(
        price(70, "70"), price(0, "100"), price(40, "80"), price(50, "80"), price(60, "90"), price(1, "60", market="PL")
    )
    (_, low) = tables.rows("SELECT price, since, previous_price, lowest_30_days, changes FROM v_prices ORDER BY market")
    everywhere = tables.rows(
        "SELECT toFloat64(price), toDate(since), toFloat64(previous_price), toFloat64(lowest_30_days), changes"
        " FROM v_prices WHERE market = ''"
    )

    assert [(70.0, (DAY_ONE + timedelta(days=70)).date(), 90.0, 80.0, 3)] == everywhere
    assert (Decimal(60), None, None, 0) == (low[0], *low[2:])


def test_stock_by_store_and_since_when_it_is_back(tables: Warehouse) -> None:
    tables.store(
        about("Stock Changed", 5, quantity=4, store_id="minsk"),
        about("Stock Changed", 1, quantity=7, store_id="minsk"),
        about("Stock Changed", 2, quantity=0, store_id="minsk"),
        about("Stock Changed", 6, quantity=9, store_id="minsk"),
        about("Product Updated", 1, quantity=0),
    )
    days = ", ".join(f"dateDiff('day', {{first:DateTime64(3, 'UTC')}}, {at})" for at in ("sold_out_at", "back_at"))

    assert [("", 0, 0, 1, None), ("minsk", 9, 1, 2, 5)] == tables.rows(
        f"SELECT store_id, quantity, in_stock, {days} FROM v_stock ORDER BY store_id", first=DAY_ONE
    )


@pytest.mark.parametrize("seed", range(2))
def test_statements_in_any_order_and_twice_make_one_catalogue(tables: Warehouse, seed: int) -> None:
    drawn, oracle = Random(seed), Catalogue()
    events = [
        about(
            "Product Updated",
            drawn.randrange(4),
            number,
            quantity=number,
            price=f"{number}.5",
            currency=drawn.choice(["EUR", "PLN"]),
            market=drawn.choice(["DE", "PL"]),
            store_id=drawn.choice(["minsk", "berlin"]),
        )
        for number in range(40)
    ]
    for event in events:
        asyncio.run(oracle.state(list(facts_of(event))))
    shuffled = drawn.sample(events * 2, 80)
    tables.store(*shuffled[:30])
    tables.store(*shuffled[30:])
    known = asyncio.run(oracle.products(["lamp"]))["lamp"]

    assert {key[1:]: float(value) for key, value in known.items() if key.name == PRICE} == {
        (market, currency, ""): float(value)
        for market, currency, value in tables.rows("SELECT market, currency, price FROM v_prices")
    }
    assert {key.store_id: int(value) for key, value in known.items() if key.name == STOCK} == dict(
        tables.rows("SELECT store_id, quantity FROM v_stock")
    )
