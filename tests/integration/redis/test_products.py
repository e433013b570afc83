"""Facts of products in Redis: the last statement by time of the event counts, in whatever order they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest

from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from schemas.products import PRICE, STOCK, Change, Fact, FactKey
from sinks.redis.products import FACTS_A_CALL, RedisProducts
from tests.oracles.catalogue import Catalogue

pytestmark = [pytest.mark.integration, pytest.mark.on_cluster]

EUR = FactKey(PRICE, currency="EUR")
KEYS = (EUR, FactKey(PRICE, "DE", "EUR"), FactKey(STOCK), FactKey(STOCK, store_id="berlin"), FactKey("name"))


@pytest.fixture
async def products(stack: Settings) -> AsyncIterator[RedisProducts]:
    async with async_redis_client(stack, timeout_s=10) as redis:
        yield RedisProducts(redis, stack.redis_namespace)


def price(value: str, event: str, at_ms: int) -> Fact:
    return Fact("lamp", EUR, value, event, at_ms)


async def test_a_statement_is_answered_with_the_one_before(products: RedisProducts) -> None:
    facts = [
        price("9", "e1", 1),
        price("7", "e2", 2),
        price("7", "e2", 2),  # delivered again
        price("8", "e0", 0),  # late
        price("6", "e3", 3),
        price("7", "e2", 2),  # delivered again after another
        price("5", "e2b", 3),  # at the same time, earlier in the alphabet
    ]
    after_nine = Change(True, "9")
    late = Change(False)

    assert [Change(True), after_nine, after_nine, late, Change(True, "7"), after_nine, late] == (
        await products.state(facts)
    )
    assert {"lamp": {EUR: "6"}} == await products.products(["lamp", "chair"])


@pytest.mark.parametrize("seed", range(3))
async def test_statements_in_any_order_and_twice_make_one_catalogue(products: RedisProducts, seed: int) -> None:
    drawn, oracle = Random(seed), Catalogue()
    stated = [
        Fact(drawn.choice(["lamp", "chair"]), drawn.choice(KEYS), f"{number}", f"shop {number}", drawn.randrange(6))
        for number in range(60)
    ]
    await products.state(stated)
    expected = await products.products(["lamp", "chair"])
    shuffled = drawn.sample(stated * 2, 2 * len(stated))
    await oracle.state(shuffled)
    elsewhere = RedisProducts(products._redis, f"shuffled-{seed}-{id(products)}")
    await elsewhere.state(shuffled)

    assert expected == await oracle.products(["lamp", "chair"]) == await elsewhere.products(["lamp", "chair"])


async def test_a_price_list_is_stated_in_several_calls(products: RedisProducts) -> None:
    number = 2 * FACTS_A_CALL + 1
    facts = [Fact(f"p{n}", EUR, "1.00", "shop list", 1) for n in range(number)]

    assert [Change(True)] * number == await products.state(facts)
    assert number == len(await products.products(f"p{n}" for n in range(number)))
