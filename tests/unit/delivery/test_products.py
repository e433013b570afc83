"""The product that a message is about, with its price for the person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from processors.delivery.products import KEPT_MS, ProductCards
from processors.delivery.templates import TemplateError, Templates
from schemas.delivery.templates import TemplateDefinition
from schemas.markets import MarketDefinitions
from schemas.products import PRICE, STOCK, Fact, FactKey
from tests.oracles.catalogue import Catalogue
from tests.support.profiles import resolved, told

ABOUT_LAMP = {"event": {"properties": {"product_id": "lamp"}}}


class Shelf(Catalogue):
    """A catalogue, and what people saw beside it; counts the reads."""

    def __init__(self, *facts: tuple[FactKey, str]) -> None:
        super().__init__()
        self.reads = 0
        self.now = 0
        self._facts = [Fact("lamp", key, value, "erp 1", 1) for key, value in facts]

    async def products(self, product_ids: Iterable[str]) -> dict[str, dict[FactKey, str]]:
        self.reads += 1
        await self.state(self._facts)
        return await super().products(product_ids)

    async def product_details(self, products: Iterable[str]) -> list[dict[str, Any]]:
        seen = {"lamp": {"product_id": "lamp", "name": "Lamp as seen", "price": "9", "currency": "USD", "brand": "Lux"}}
        return [seen.get(product, {"product_id": product}) for product in products]

    async def card(self, context: Any = ABOUT_LAMP, document: dict[str, Any] | None = None) -> dict[str, Any] | None:
        return await ProductCards(self, self, lambda: self.now).card(context, document or {})


EUR, DE, PLN = FactKey(PRICE, currency="EUR"), FactKey(PRICE, "DE", "EUR"), FactKey(PRICE, "PL", "PLN")
GERMAN = told(resolved(context={"geo": {"country": "DE"}}))
SAW_PLN = told(
    resolved("Product Viewed", properties={"product_id": "lamp", "price": "9", "currency": "PLN", "market": "PL"})
)


@pytest.mark.parametrize(
    ("prices", "document", "shown"),
    [
        ([(EUR, "10")], {}, ("10", "EUR")),
        ([(EUR, "10"), (DE, "11")], GERMAN, ("11", "EUR")),
        ([(EUR, "10"), (DE, "11")], {}, ("10", "EUR")),
        ([(EUR, "10"), (PLN, "40")], SAW_PLN, ("40", "PLN")),
        ([(EUR, "10")], SAW_PLN, (None, None)),
        ([(EUR, "10"), (FactKey(PRICE, currency="USD"), "12")], {}, (None, None)),
        ([], {}, ("9", "USD")),
    ],
    ids=[
        "the only one", "of their country", "of no market", "of the market that they saw",
        "none in another currency", "none where nothing says which", "as people saw it where none is stated",
    ],
)  # fmt: skip
async def test_the_price_is_that_of_the_person(prices: Any, document: dict[str, Any], shown: tuple[str, str]) -> None:
    card = await Shelf(*prices).card(document=document)

    assert card is not None
    assert shown == (card["price"], card["currency"])


MARKETS = MarketDefinitions.model_validate(
    {
        "default": "others",
        "markets": {"others": {}, "dach": {"countries": ["DE", "AT"]}, "poland": {"countries": ["PL"]}},
    }
)
AUSTRIAN = told(resolved(traits={"address": {"country": "Austria"}}, context={"geo": {"country": "PL"}}))
DACH, AT = FactKey(PRICE, "DACH", "EUR"), FactKey(PRICE, "at", "EUR")


@pytest.mark.parametrize(
    ("prices", "document", "shown"),
    [
        ([(EUR, "10"), (DACH, "11"), (PLN, "40")], AUSTRIAN, "11"),
        ([(DACH, "11"), (AT, "12"), (DE, "13")], AUSTRIAN, "12"),
        ([(EUR, "10"), (DE, "13")], AUSTRIAN, "10"),
        ([(DACH, "11"), (DE, "13")], GERMAN, "13"),
        ([(EUR, "10"), (DACH, "11"), (FactKey(PRICE, "poland", "PLN"), "40")], SAW_PLN, "40"),
        ([(EUR, "10"), (FactKey(PRICE, "others", "EUR"), "9")], {}, "10"),
    ],
    ids=[
        "of the market of the declared country", "of their country before that of their market",
        "none of another country of their market", "their country in any letter case", "of the market of what they saw",
        "of no market, if their country is not known",
    ],
)  # fmt: skip
async def test_the_price_is_that_of_the_market_of_the_person(prices: Any, document: dict[str, Any], shown: str) -> None:
    shelf = Shelf(*prices)
    card = await ProductCards(shelf, shelf, lambda: 0).card(ABOUT_LAMP, document, MARKETS)

    assert card is not None
    assert shown == card["price"]


async def test_what_the_catalogue_states_counts_before_what_people_saw() -> None:
    facts = [(FactKey("name"), "Lamp"), (FactKey(STOCK), "0"), (FactKey(STOCK, store_id="minsk"), "4")]
    about = {"name": "Lamp", "brand": "Lux", "stock": 0, "stores": {"minsk": 4}, "in_stock": True}

    assert about.items() <= (await Shelf(*facts).card() or {}).items()


@pytest.mark.parametrize(
    ("context", "product"),
    [
        ({"event": {"properties": {"product_id": "p1"}}, "run": {"data": {"product_id": "p2"}}}, "p1"),
        ({"event": {"properties": {}}, "run": {"last": {"properties": {"product_id": "p2"}}}}, "p2"),
        ({"run": {"data": {"product_id": "p3"}}}, "p3"),
        ({"event": {"properties": {"product_id": 7}}}, None),
        ({}, None),
    ],
)
async def test_which_product_a_message_is_about(context: dict[str, Any], product: str | None) -> None:
    card = await Shelf().card(context)

    assert product == (card and card["product_id"])


async def test_a_product_is_read_once_for_many_messages() -> None:
    shelf = Shelf((EUR, "10"))
    cards = ProductCards(shelf, shelf, lambda: shelf.now)
    for now in (0, 1, KEPT_MS - 1, KEPT_MS):
        shelf.now = now
        await cards.card(ABOUT_LAMP, {})

    assert 2 == shelf.reads


def templates(text: str) -> Templates:
    return Templates(
        {"t": TemplateDefinition.model_validate({"description": "d", "channels": {"sms": {"en": {"text": text}}}})}
    )


def test_a_template_says_name_and_price_of_the_product() -> None:
    found = templates(
        '{{ product.name | default: event.properties.name | default: "It" }}: '
        "{{ product.price | money: product.currency }}"
    )
    product = {"name": "Lamp", "price": "9.5", "currency": "EUR"}

    assert "Lamp: €9.50" == found.render("t", "sms", {"product": product}).text
    assert (
        "It: €9.50"
        == found.render("t", "sms", {"event": {"properties": {}}, "product": {**product, "name": None}}).text
    )
    assert (True, False) == (found.uses("t", "sms", "product"), found.uses("t", "sms", "coupon"))


def test_a_template_without_a_product_takes_the_default_or_fails() -> None:
    assert (
        "It"
        == templates('{{ product.name | default: event.properties.name | default: "It" }}')
        .render("t", "sms", {"event": {}})
        .text
    )
    with pytest.raises(TemplateError, match="not known"):
        templates("{{ product.name }}").render("t", "sms", {})


def test_the_linter_knows_the_names_of_a_product() -> None:
    (error,) = templates("{{ product.prize }}").unknown_names

    assert error.message.startswith(
        "product.prize is not known: did you mean product.price? (known: product_id, name, "
    )
