"""Recommendations: computed from orders in ClickHouse, kept in Redis, chosen for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from math import sqrt
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.connections.redis import async_redis_client
from deploy.operations.recommendations import RETRY_INTERVAL_S, refresh, refresh_if_due
from deploy.settings import Settings
from processors.delivery.recommend import Pick, Recommender, rank, seeds
from sinks.clickhouse.recommendations import compute_recommendations
from sinks.redis.recommendations import RedisRecommendations
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, resolved, warehouse

pytestmark = pytest.mark.integration

NOW = DAY_ONE + timedelta(days=100)
CATEGORY = {"lamp": "light", "bulb": "light", "desk": "office", "chair": "office", "mug": "kitchen"}


def basket(number: int, who: int, day: int, *products: str) -> dict[str, Any]:
    lines = [
        {
            "product_id": name,
            "name": name.title(),
            "category": CATEGORY[name],
            "price": "9.90",
            "url": f"https://x.example/{name}",
        }
        for name in products
    ]
    return resolved(
        f"o{number}", who, DAY_ONE + timedelta(days=day), event="Order Completed",
        properties={"order_id": f"o{number}", "currency": "EUR", "revenue": "10.00", "products": lines},
    )  # fmt: skip


BASKETS = [
    basket(1, 1, 1, "lamp", "bulb"),
    basket(2, 2, 1, "lamp", "bulb"),
    basket(3, 3, 1, "lamp", "desk"),
    basket(4, 1, 9, "desk", "chair"),
    basket(5, 2, 9, "desk", "chair"),
    basket(6, 4, 9, "mug"),
    {**basket(6, 4, 9, "mug"), "event_id": "the same order from the till"},
    basket(7, 5, -99, "mug", "bulb"),  # too long ago
    basket(8, 5, -99, "mug", "bulb"),
]


@pytest.fixture
def tables(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    with warehouse(stack) as found:
        found.store(*BASKETS)
        yield found


def test_products_of_the_same_orders_are_related(tables: Warehouse) -> None:
    found = compute_recommendations(tables.client, NOW, days=150)

    # Orders: lamp 3, desk 3, bulb 2, chair 2, mug 1; together: lamp and bulb 2, desk and chair 2, lamp and desk once.
    both = round(2 / sqrt(3 * 2), 6)
    assert {
        "lamp": [("bulb", both)],
        "bulb": [("lamp", both)],
        "desk": [("chair", both)],
        "chair": [("desk", both)],
    } == found.together
    assert [("desk", 1.0), ("lamp", 1.0), ("bulb", 0.666667), ("chair", 0.666667), ("mug", 0.333333)] == found.best
    # Two people went from light to office; nobody went on from there.
    office = [("desk", 1.0), ("chair", 0.666667)]
    assert {"lamp": office, "bulb": office} == found.category
    assert {
        "product_id": "lamp", "name": "Lamp", "category": "light", "price": "9.90", "currency": "EUR",
        "url": "https://x.example/lamp",
    } == found.products["lamp"]  # fmt: skip


async def test_a_person_is_recommended_related_products_and_then_best_sellers(
    tables: Warehouse, stack: Settings
) -> None:
    await refresh(stack, tables.client, days=150, now=NOW)
    async with async_redis_client(stack, timeout_s=10) as redis:
        recommender = Recommender(RedisRecommendations(redis, stack.redis_namespace))
        lamp = await recommender.recommend({"bought": {"lamp": 1}}, 9)
        nothing_known = await recommender.recommend({}, 2)

    assert [("bulb", "together"), ("desk", "category"), ("chair", "category"), ("mug", "best_seller")] == [
        (one["product_id"], one["why"]) for one in lamp
    ]
    assert ["Desk", "Lamp"] == [one["name"] for one in nothing_known]


async def test_before_the_first_refresh_there_is_nothing(stack: Settings) -> None:
    async with async_redis_client(stack, timeout_s=10) as redis:
        assert [] == await Recommender(RedisRecommendations(redis, stack.redis_namespace)).recommend({}, 3)


def test_the_command_says_how_much_it_found(tables: Warehouse) -> None:
    printed = CliRunner().invoke(app, ["recommendations", "refresh", "--days", "3650", "--json"])

    assert (0, {"products": 5, "pairs": 6, "best": 5}) == (printed.exit_code, json.loads(printed.stdout))


async def test_one_worker_refreshes_in_an_interval_and_retries_soon_if_there_was_nothing(
    tables: Warehouse, stack: Settings
) -> None:
    turn = f"{{{stack.redis_namespace}}}:recommend_turn"
    first, other = await refresh_if_due(stack, now=NOW), await refresh_if_due(stack, now=NOW)
    async with async_redis_client(stack, timeout_s=10) as redis:
        long = await redis.ttl(turn)
        await redis.delete(turn)
        tables.client.command("TRUNCATE TABLE touchpoints")
        tables.client.command("TRUNCATE TABLE order_events")
        nothing = await refresh_if_due(stack, now=NOW)
        short = await redis.ttl(turn)

    assert (5, None, 0) == (first and first.best, other, nothing and nothing.best)
    assert short <= RETRY_INTERVAL_S < long


async def test_workers_go_on_without_clickhouse(stack: Settings) -> None:
    assert await refresh_if_due(stack.model_copy(update={"clickhouse_url": "http://127.0.0.1:9"})) is None


def test_without_orders_there_are_no_recommendations(tables: Warehouse) -> None:
    found = compute_recommendations(tables.client, NOW, days=1)

    assert ({}, {}, [], {}) == (found.together, found.category, found.best, found.products)


def test_the_products_bought_and_viewed_last_are_the_strongest_seeds() -> None:
    document = {"bought": {"old": 1, "new": 9}, "viewed": {"seen": 5, "new": 3}}

    assert ["new", "old", "seen"] == seeds(document)


def test_the_earlier_seed_outweighs_the_later_and_nothing_owned_comes_back() -> None:
    related = [
        {"together": [["a", 0.5], ["mine", 0.9]]},
        {"together": [["b", 0.8]], "category": [["a", 1.0], ["c", 0.1]]},
    ]

    picks = rank(related, [("d", 1.0), ("a", 0.5)], ["mine"], 9)

    assert [Pick("a", "together"), Pick("b", "together"), Pick("c", "category"), Pick("d", "best_seller")] == picks
