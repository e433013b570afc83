"""Product news: which events of its watchers follow from an event about a product."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import orjson
import pytest

from processors.profiles.product_news import BACK_IN_STOCK, CHUNK_RECORDS, PRICE_DROPPED, ProductNews
from processors.stream.routing import Router
from schemas.dead_letters import DeadLetter, Reason
from schemas.outcomes import Ok, Outcome, Reject
from schemas.records import Headers, Outgoing, Record
from schemas.topics import DEAD_LETTERS
from tests.support.profiles import resolved


class Shop:
    """Two people look at the lamp; what was known of it before is given."""

    def __init__(self, before: str | None) -> None:
        self._before = before

    async def exchange(self, product_id: str, name: str, value: str, event_id: str, at_ms: int) -> str | None:
        return self._before

    async def watchers(self, product_id: str) -> list[str]:
        return ["ann", "bob"] if product_id == "lamp" else []


class Raw(NamedTuple):
    offset: int
    topic: str = "resolved-touchpoints"
    partition: int = 0
    timestamp: int = 0
    key: bytes | None = b""
    value: bytes | None = b"{}"
    headers: Headers = ()


def parsed(*events: dict[str, Any]) -> list[tuple[Record, Outcome[dict[str, Any]]]]:
    return [(Raw(offset), Ok(event)) for offset, event in enumerate(events)]


async def derived(shop: Shop, event: dict[str, Any]) -> list[Outgoing]:
    """The records that follow from an event."""
    found: list[Outgoing] = []
    async for _, outcome in ProductNews(shop)(parsed(event)):
        assert isinstance(outcome, Ok)
        found += outcome.value
    return found


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
    told = [orjson.loads(record.value) for record in await derived(Shop(before), event)]

    assert ([(news, "ann"), (news, "bob")] if news else []) == [(one["event"], one["profile_id"]) for one in told]


async def test_the_same_news_has_the_same_ids_so_that_a_second_telling_is_known() -> None:
    event = price("8")
    first, second = await derived(Shop("10"), event), await derived(Shop("10"), event)

    assert first == second
    assert 2 == len({orjson.loads(record.value)["event_id"] for record in first})


class Crowd(Shop):
    """Two thousand people look at every product."""

    async def watchers(self, product_id: str) -> list[str]:
        return [f"{product_id}-{number}" for number in range(2_000)]


class Kafka:
    """Takes records, and counts how many it was ever handed at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.letters: list[DeadLetter] = []

    async def send(self, records: Any) -> None:
        self.sizes.append(len(records))
        self.letters += [DeadLetter.model_validate_json(one.value) for one in records if one.topic == DEAD_LETTERS]


async def test_the_news_of_a_price_list_are_in_memory_a_chunk_at_a_time() -> None:
    kafka, in_hand, most = Kafka(), 0, 0
    prices = [{**price("8"), "properties": {"product_id": f"p{n}", "price": "8", "currency": "EUR"}} for n in range(7)]

    async def watched() -> AsyncIterator[tuple[Record, Outcome[list[Outgoing]]]]:
        nonlocal in_hand, most
        async for record, outcome in ProductNews(Crowd("10"))(parsed(*prices)):
            assert isinstance(outcome, Ok)
            in_hand += len(outcome.value)
            most = max(most, in_hand - sum(kafka.sizes))
            yield record, Ok(list(outcome.value))

    await Router(kafka, "update_profile", lambda: 0).publish_derived(watched())

    assert 7 * 2_000 == sum(kafka.sizes)
    assert CHUNK_RECORDS == most == max(kafka.sizes)


class Broken(Shop):
    """A store that fails for one product."""

    async def exchange(self, product_id: str, name: str, value: str, event_id: str, at_ms: int) -> str | None:
        if product_id == "broken":
            raise KeyError("a bug")
        return await super().exchange(product_id, name, value, event_id, at_ms)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"product_id": "broken", "price": "1", "currency": "EUR"}, id="an error of the store"),
        pytest.param({"price": "1", "currency": "EUR"}, id="no product"),
        pytest.param({"product_id": "lamp", "price": "cheap", "currency": "EUR"}, id="no price"),
        pytest.param({"product_id": "lamp"}, id="nothing"),
        pytest.param(None, id="no properties"),
    ],
)
async def test_an_error_costs_one_event_its_news_and_is_recorded(bad: dict[str, Any] | None) -> None:
    kafka = Kafka()
    events = [price("8"), {**price("8"), "properties": bad}, price("8")]
    await Router(kafka, "update_profile", lambda: 0).publish_derived(ProductNews(Broken("10"))(parsed(*events)))

    assert [2, 1, 2] == kafka.sizes
    assert [(Reason.BUG, 1)] == [(letter.reason, letter.offset) for letter in kafka.letters]


async def test_rejected_records_have_no_news() -> None:
    rejected: list[tuple[Record, Outcome[dict[str, Any]]]] = [(Raw(0), Reject(Reason.NOT_JSON, "", "no JSON"))]

    assert [] == [one async for one in ProductNews(Shop("10"))(rejected)]


async def test_an_imported_price_is_no_news() -> None:
    event = price("10.00", previous_price="20.00")
    told_later = {**event, "context": {"historical": True}}

    assert (2, 0) == (len(await derived(Shop(None), event)), len(await derived(Shop(None), told_later)))
