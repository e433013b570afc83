"""News about products: who is told what."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processors.profiles.product_news import BACK_IN_STOCK, PRICE_DROPPED, Catalogue
from tests.support.profiles import resolved


class Shop:
    """Two people look at the lamp; what was known of it before is given."""

    def __init__(self, before: str | None) -> None:
        self._before = before

    async def exchange(self, product_id: str, name: str, value: str, event_id: str, at_ms: int) -> str | None:
        return self._before

    async def watchers(self, product_id: str) -> list[str]:
        return ["ann", "bob"] if product_id == "lamp" else []


def price(now: str, **properties: Any) -> dict[str, Any]:
    return resolved("Price Changed", properties={"product_id": "lamp", "price": now, "currency": "EUR", **properties})


def stock(quantity: int, **properties: Any) -> dict[str, Any]:
    return resolved("Stock Changed", properties={"product_id": "lamp", "quantity": quantity, **properties})


@pytest.mark.parametrize(
    ("event", "before", "news"),
    [
        pytest.param(price("8"), "10", PRICE_DROPPED, id="a price falls"),
        pytest.param(price("8", previous_price="9"), None, PRICE_DROPPED, id="the producer says that it fell"),
        pytest.param(price("10"), "8", "", id="a price rises"),
        pytest.param(price("10"), "10.00", "", id="a price stays"),
        pytest.param(price("10"), None, "", id="a price that is the first"),
        pytest.param(stock(3), "0", BACK_IN_STOCK, id="a product is back"),
        pytest.param(stock(3, previous_quantity=0), None, BACK_IN_STOCK, id="the producer says that it is back"),
        pytest.param(stock(3), "1", "", id="there was some left"),
        pytest.param(stock(0), "0", "", id="still sold out"),
        pytest.param(stock(3), None, "", id="a stock that is the first"),
        pytest.param(resolved(), "0", "", id="no news"),
    ],
)
async def test_those_who_looked_at_a_product_are_told(event: dict[str, Any], before: str | None, news: str) -> None:
    told = [orjson.loads(record.value) for record in await Catalogue(Shop(before))([event])]

    assert ([(news, "ann"), (news, "bob")] if news else []) == [(one["event"], one["profile_id"]) for one in told]


async def test_the_same_news_has_the_same_ids_so_that_a_second_telling_is_known() -> None:
    event = price("8")
    first, second = await Catalogue(Shop("10"))([event]), await Catalogue(Shop("10"))([event])

    assert first == second
    assert 2 == len({orjson.loads(record.value)["event_id"] for record in first})
