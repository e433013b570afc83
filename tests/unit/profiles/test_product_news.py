"""Product news: which events of its watchers follow from an event about a product, and whom they concern."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import orjson
import pytest

from processors.profiles.product_news import (
    BACK_IN_STOCK,
    CATALOGUE,
    CHUNK_RECORDS,
    FACTS_CHANGED,
    PRICE_DROPPED,
    ProductNews,
    news_for,
)
from processors.stream.routing import Router
from schemas.dead_letters import DeadLetter, Reason
from schemas.markets import MarketDefinitions
from schemas.outcomes import Ok, Outcome, Reject
from schemas.products import Change, Fact, facts_of
from schemas.records import Headers, Outgoing, Record
from schemas.topics import DEAD_LETTERS
from tests.oracles.catalogue import Catalogue
from tests.support.builders import at
from tests.support.profiles import resolved, told


def shop() -> Catalogue:
    """Two people look at the lamp."""
    return Catalogue({"lamp": ["ann", "bob"]})


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


async def derived(products: Catalogue, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """The news that follow from events, without the facts for segments."""
    return [one for one in await all_derived(products, *events) if one["event"] != FACTS_CHANGED]


async def all_derived(products: Catalogue, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """The events that follow from events."""
    found: list[Outgoing] = []
    async for _, outcome in ProductNews(products)(parsed(*events)):
        assert isinstance(outcome, Ok)
        found += outcome.value
    return [orjson.loads(record.value) for record in found]


def price(now: str, hour: int = 1, **properties: Any) -> dict[str, Any]:
    about = {"product_id": "lamp", "price": now, "currency": "EUR", **properties}
    return resolved("Price Changed", "api", occurred_at=at(hours=hour), properties=about)


def stock(quantity: int, hour: int = 1, **properties: Any) -> dict[str, Any]:
    about = {"product_id": "lamp", "quantity": quantity, **properties}
    return resolved("Stock Changed", "api", occurred_at=at(hours=hour), properties=about)


def updated(hour: int = 1, **properties: Any) -> dict[str, Any]:
    return resolved(
        "Product Updated", "api", occurred_at=at(hours=hour), properties={"product_id": "lamp", **properties}
    )


@pytest.mark.parametrize(
    ("event", "before", "news"),
    [
        pytest.param(price("8"), price("10", 0), PRICE_DROPPED, id="a price falls"),
        pytest.param(updated(price="8", currency="EUR"), price("10", 0), PRICE_DROPPED, id="the catalogue says so"),
        pytest.param(price("8", previous_price="9"), None, PRICE_DROPPED, id="the producer says that it fell"),
        pytest.param(price("10"), None, PRICE_DROPPED, id="a price that is the first may be lower than what was seen"),
        pytest.param(price("10"), price("8", 0), "", id="a price rises"),
        pytest.param(price("10"), price("10.00", 0), "", id="a price stays"),
        pytest.param(price("8"), price("9", 2), "", id="a later price is known"),
        pytest.param(price("8"), price("7", 0, currency="USD"), PRICE_DROPPED, id="another currency is another price"),
        pytest.param(stock(3), stock(0, 0), BACK_IN_STOCK, id="a product is back"),
        pytest.param(stock(3, previous_quantity=0), None, BACK_IN_STOCK, id="the producer says that it is back"),
        pytest.param(stock(3), stock(1, 0), "", id="there was some left"),
        pytest.param(stock(0), stock(0, 0), "", id="still sold out"),
        pytest.param(stock(3), None, "", id="a stock that is the first"),
        pytest.param(stock(3), stock(0, 2), "", id="sold out again since"),
        pytest.param(stock(3), stock(0, 0, store_id="berlin"), "", id="another store was sold out"),
        pytest.param(updated(name="Lamp"), None, "", id="a name"),
        pytest.param(resolved(), stock(0, 0), "", id="no news"),
    ],
)
async def test_those_who_looked_at_a_product_are_told(
    event: dict[str, Any], before: dict[str, Any] | None, news: str
) -> None:
    products = shop()
    if before is not None:
        await derived(products, before)
    found = await derived(products, event)

    assert ([(news, "ann"), (news, "bob")] if news else []) == [(one["event"], one["profile_id"]) for one in found]


async def test_the_same_news_has_the_same_ids_so_that_a_second_telling_is_known() -> None:
    products, event = shop(), updated(price="8", currency="EUR", quantity=3)
    await derived(products, price("10", 0), stock(0, 0))
    first, second = await derived(products, event), await derived(products, event)

    assert first == second
    assert 4 == len({one["event_id"] for one in first})


async def test_news_have_what_the_catalogue_knows_of_the_product() -> None:
    products = shop()
    address = "https://shop.example/lamp"
    await derived(products, updated(0, name="Lamp", category="light", url=address, image_url="javascript:alert(1)"))
    (first, _) = await derived(products, price("8", previous_price="9"))

    assert {"name": "Lamp", "category": "light", "url": address, "price": "8", "old_price": "9"}.items() <= (
        first["properties"].items()
    )
    assert "image_url" not in first["properties"]


class Crowd(Catalogue):
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
        async for record, outcome in ProductNews(Crowd())(parsed(*prices)):
            assert isinstance(outcome, Ok)
            in_hand += len(outcome.value)
            most = max(most, in_hand - sum(kafka.sizes))
            yield record, Ok(list(outcome.value))

    await Router(kafka, "update_profile", lambda: 0).publish_derived(watched())

    assert 2 * 7 * 2_000 == sum(kafka.sizes)  # what segments know of the price, and the news
    assert CHUNK_RECORDS == most == max(kafka.sizes)


async def test_no_watcher_gets_an_event_for_segments_where_none_asks() -> None:
    names = []
    async for _, outcome in ProductNews(Crowd())(parsed(price("8")), for_segments=False):
        assert isinstance(outcome, Ok)
        names += [orjson.loads(one.value)["event"] for one in outcome.value]

    assert 2_000 * [PRICE_DROPPED] == names


class Broken(Catalogue):
    """A store that fails for one product, and counts its calls."""

    calls = 0

    async def state(self, facts: Sequence[Fact]) -> list[Change]:
        self.calls += 1
        if any(fact.product_id == "broken" for fact in facts):
            raise KeyError("a bug")
        return await super().state(facts)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"product_id": "broken", "price": "1", "currency": "EUR"}, id="an error of the store"),
        pytest.param({"price": "1", "currency": "EUR"}, id="no product"),
        pytest.param(None, id="no properties"),
    ],
)
async def test_an_error_costs_one_event_its_news_and_is_recorded(bad: dict[str, Any] | None) -> None:
    kafka = Kafka()
    products = Broken({"lamp": ["ann", "bob"]})
    events = [price("8"), {**price("8"), "properties": bad}, price("7", 2)]
    await Router(kafka, "update_profile", lambda: 0).publish_derived(ProductNews(products)(parsed(*events)))

    assert [1, 2, 2, 2, 2] == sorted(kafka.sizes)
    assert [(Reason.BUG, 1)] == [(letter.reason, letter.offset) for letter in kafka.letters]


async def test_the_facts_of_a_batch_are_one_call() -> None:
    products = Broken()
    await derived(products, *(price(f"{number}", number) for number in range(1, 9)))

    assert 1 == products.calls


async def test_rejected_records_have_no_news() -> None:
    rejected: list[tuple[Record, Outcome[dict[str, Any]]]] = [(Raw(0), Reject(Reason.NOT_JSON, "", "no JSON"))]

    assert [] == [one async for one in ProductNews(shop())(rejected)]


async def test_an_imported_price_is_known_and_no_news() -> None:
    products = shop()
    imported = {**price("10.00", 0, previous_price="20.00"), "context": {"historical": True}}

    assert [] == await derived(products, imported)
    assert ["10.00", "10.00"] == [one["properties"]["old_price"] for one in await derived(products, price("8"))]


@pytest.mark.parametrize(
    ("event", "before", "value"),
    [
        pytest.param(price("8"), price("10", 0), "8", id="a price falls"),
        pytest.param(price("10"), price("8", 0), "10", id="a price rises"),
        pytest.param(price("10"), None, "10", id="a price that is the first"),
        pytest.param(price("10"), price("10.00", 0), "", id="a price stays"),
        pytest.param(price("8"), price("9", 2), "", id="a later price is known"),
        pytest.param(stock(3), stock(0, 0), "3", id="a product is back"),
        pytest.param(stock(0), stock(3, 0), "0", id="a product is sold out"),
        pytest.param(stock(0), None, "0", id="a stock that is the first"),
        pytest.param(stock(2), stock(3, 0), "", id="one was sold"),
        pytest.param(stock(0), stock(0, 0), "", id="still sold out"),
        pytest.param(updated(name="Lamp"), None, "", id="a name"),
    ],
)
async def test_another_price_and_the_begin_and_end_of_a_stock_are_brought_to_those_who_watch_for_their_segments(
    event: dict[str, Any], before: dict[str, Any] | None, value: str
) -> None:
    products = shop()
    if before is not None:
        await all_derived(products, before)
    found = [one for one in await all_derived(products, event) if one["event"] == FACTS_CHANGED]

    assert ([("ann", value), ("bob", value)] if value else []) == [
        (one["profile_id"], one["properties"]["fact"][-1]) for one in found
    ]
    assert all(one["derived"] for one in found)


async def test_an_imported_price_moves_watchers_without_starting_a_journey() -> None:
    imported = {**price("10.00", 0), "context": {"historical": True}}
    (first, _) = await all_derived(shop(), imported)

    assert (FACTS_CHANGED, {"historical": True}) == (first["event"], first["context"])


def test_the_stock_of_a_store_in_which_the_person_never_was_is_not_kept() -> None:
    document = told(looked(0), resolved("Store Visited", "store", properties={"store_id": "berlin"}))
    facts = [one for where in ("", "berlin", "paris") for one in facts_of(stock(1, 0, store_id=where))]

    found = news_for(document, looked(1), facts=facts)

    assert found is not None
    assert ["", "berlin"] == [row[3] for row in found[CATALOGUE]["lamp"]]
    changed = {"event": FACTS_CHANGED, "derived": True, "properties": {"product_id": "lamp"}}
    rows = [[*one.key, one.at_ms, one.event, one.value] for one in facts]
    news = [news_for(document, {**changed, "properties": {"product_id": "lamp", "fact": row}}) for row in rows]
    assert [True, True, False] == [one is not None for one in news]


# Whom it concerns


def looked(hour: int = 0, event: str = "Product Viewed", channel: str = "web", **properties: Any) -> dict[str, Any]:
    return resolved(event, channel, occurred_at=at(hours=hour), properties={"product_id": "lamp", **properties})


def dropped(now: str, **properties: Any) -> dict[str, Any]:
    return {**price(now, 5, **properties), "event": PRICE_DROPPED, "derived": True}


def back(**properties: Any) -> dict[str, Any]:
    return {**stock(4, 5, **properties), "event": BACK_IN_STOCK, "derived": True}


IN_POLAND = resolved(context={"geo": {"country": "Poland"}})


@pytest.mark.parametrize(
    ("did", "news", "old_price"),
    [
        ([looked(price="100", currency="EUR")], dropped("80"), "100"),
        ([looked(price="100", currency="EUR")], dropped("80", old_price="90"), "100"),
        ([looked(event="Product Added to Wishlist", price="100", currency="EUR")], dropped("80"), "100"),
        ([looked(price="80", currency="EUR")], dropped("80.00", old_price="90"), None),
        ([looked(1, price="70", currency="EUR"), looked(0, price="100", currency="EUR")], dropped("80"), None),
        ([looked(price="100", currency="PLN")], dropped("80", old_price="90"), None),
        ([looked(price="100")], dropped("80"), None),
        ([looked(price="100")], dropped("80", old_price="90"), "90"),
        ([looked(price="100")], {**dropped("80"), "properties": {"product_id": "lamp", "price": "80"}}, "100"),
        ([looked()], dropped("80"), None),
        ([looked()], dropped("80", old_price="90"), "90"),
        ([looked(price="100", currency="EUR", market="AT")], dropped("80", market="DE"), None),
        ([looked(price="100", currency="EUR", market="de")], dropped("80", market="DE"), "100"),
        ([looked(price="100", currency="EUR"), IN_POLAND], dropped("80", market="DE"), None),
        ([looked(price="100", currency="EUR"), IN_POLAND], dropped("80", market="PL"), "100"),
        ([looked(price="100", currency="EUR"), IN_POLAND], dropped("80", market="outlet"), "100"),
    ],
    ids=[
        "they saw more, and nothing was known before", "what they saw counts, not what was known", "on a wish list",
        "they saw the same", "the last that they saw was less", "they saw another currency",
        "they saw no currency, and nothing was known", "they saw no currency, and it fell", "no currency at all",
        "they saw no price, and nothing was known", "they saw no price, and it fell", "in another market",
        "in their market", "of another country", "of their country", "a market that is no country",
    ],
)  # fmt: skip
def test_a_price_has_dropped_if_it_is_lower_than_what_the_person_saw(
    did: list[dict[str, Any]], news: dict[str, Any], old_price: str | None
) -> None:
    for history in (did, did[::-1]):
        found = news_for(told(*history), news)

        assert old_price == (found and found["properties"]["old_price"])


MARKETS = MarketDefinitions.model_validate(
    {
        "default": "others",
        "markets": {"others": {}, "dach": {"countries": ["DE", "AT"]}, "poland": {"countries": ["PL"]}},
    }
)
FROM_AUSTRIA = resolved(traits={"address": {"country": "Austria"}})


@pytest.mark.parametrize(
    ("did", "market", "concerns"),
    [
        ([IN_POLAND, FROM_AUSTRIA], "dach", True),
        ([IN_POLAND, FROM_AUSTRIA], "DACH", True),
        ([IN_POLAND, FROM_AUSTRIA], "poland", False),
        ([IN_POLAND, FROM_AUSTRIA], "at", True),
        ([IN_POLAND, FROM_AUSTRIA], "DE", False),
        ([IN_POLAND], "others", False),
        ([looked(price="100", currency="EUR", market="AT")], "dach", True),
        ([looked(price="100", currency="EUR", market="poland")], "dach", False),
        ([], "dach", True),
    ],
    ids=[
        "the market of the declared country", "in any letter case", "that of the country seen last", "their country",
        "another country of their market", "the default market, and theirs is another", "a country that they saw it in",
        "another market that they saw it in", "nothing is known of them",
    ],
)  # fmt: skip
def test_a_price_of_a_market_concerns_those_whom_the_table_puts_there(
    did: list[dict[str, Any]], market: str, concerns: bool
) -> None:
    news = dropped("80", market=market, old_price="90")

    assert concerns is (news_for(told(*did), news, MARKETS) is not None)


def test_the_name_that_the_person_saw_is_told_where_the_catalogue_has_none() -> None:
    document = told(looked(price="100", currency="EUR", name="The lamp"))
    told_names = [
        (news_for(document, event) or {})["properties"]["name"] for event in (dropped("80"), dropped("80", name="Lamp"))
    ]

    assert ["The lamp", "Lamp"] == told_names


BOUGHT_BY_TELEPHONE = resolved(
    "Order Completed", "call_center", properties={"order_id": "o1", "total": "9.00", "currency": "EUR"}
)


@pytest.mark.parametrize(
    ("did", "news", "concerns"),
    [
        ([looked()], back(), True),
        ([looked(channel="app")], back(store_id="minsk-1"), False),
        ([looked(channel="store", store_id="minsk-1")], back(store_id="minsk-1"), True),
        ([looked(channel="store", store_id="minsk-1")], back(store_id="minsk-2"), False),
        ([looked(channel="store", store_id="minsk-1")], back(), False),
        ([looked(store_id="minsk-1")], back(store_id="minsk-1"), True),
        ([looked(channel="store"), BOUGHT_BY_TELEPHONE], back(), True),
    ],
    ids=[
        "online, and they are online", "in a store where they never were", "in their store", "in another store",
        "online, and they only go to the store", "in the store at which they look on the web",
        "they order by telephone",
    ],
)  # fmt: skip
def test_a_stock_concerns_those_who_buy_there(did: list[dict[str, Any]], news: dict[str, Any], concerns: bool) -> None:
    assert concerns is (news_for(told(*did), news) is not None)


def test_what_a_person_did_concerns_them() -> None:
    event = looked()

    assert event is news_for({}, event)
