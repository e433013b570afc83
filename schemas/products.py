"""The catalogue: what events about products say of them, fact by fact.

A *fact* is one detail of a product: its name, its price in a market and currency, its stock in a store or online. Of
several statements of a fact the one that happened last counts, at the same time the one whose event is later in the
alphabet. So any order of arrival, and every replay, gives one catalogue.

A stock without a store is that of the shop itself, which sells online. A price without a market is valid in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from schemas.time import ms_of_text

ABOUT_PRODUCTS = ("Product Updated", "Price Changed", "Stock Changed")
"""Events about a product and no person: they may come without identifiers."""

DETAILS = ("name", "sku", "brand", "category", "url", "image_url")
"""Facts of a product that are the same everywhere."""
PRICE, STOCK = "price", "stock"
_ADDRESSES = ("url", "image_url")


class FactKey(NamedTuple):
    """What a fact is about.

    Attributes:
        name: One of `DETAILS`, `price` or `stock`.
        market: Of a price; empty: of all markets.
        currency: Of a price, ISO 4217; empty: it is not said.
        store_id: Of a stock; empty: online.
    """

    name: str
    market: str = ""
    currency: str = ""
    store_id: str = ""


class Fact(NamedTuple):
    """A statement of an event about a product.

    Attributes:
        product_id: The product.
        key: What it is about.
        value: A text; a price is a decimal string, a stock a whole number.
        event: Source and id of the event, which order statements of one time.
        at_ms: When it happened, milliseconds since 1970.
    """

    product_id: str
    key: FactKey
    value: str
    event: str
    at_ms: int


class Change(NamedTuple):
    """What a statement has changed.

    Attributes:
        stands: It is, or was when it came, the last statement of its fact; False: a later one was known.
        before: The value before it; None: none was known.
    """

    stands: bool
    before: str | None = None


class Look(NamedTuple):
    """A person watches a product.

    Attributes:
        product_id: The product.
        profile_id: The live profile of the person.
        at_ms: When the event arrived by which they do, milliseconds since 1970.
    """

    product_id: str
    profile_id: str
    at_ms: int


def facts_of(event: Mapping[str, Any]) -> Iterator[Fact]:
    """Read the facts that an event about a product states.

    Args:
        event: A valid event, one of `ABOUT_PRODUCTS`.

    Raises:
        Exception: It is none.
    """
    properties = event["properties"]
    product, stated_by = properties["product_id"], f"{event['source']} {event['event_id']}"
    at_ms = ms_of_text(event["occurred_at"])
    if event["event"] == "Product Updated":
        for name in DETAILS:
            value = properties.get(name)
            if value and (name not in _ADDRESSES or value.startswith(("https://", "http://"))):
                yield Fact(product, FactKey(name), value, stated_by, at_ms)
    if event["event"] != "Stock Changed" and (price := properties.get("price")) is not None:
        key = FactKey(PRICE, properties.get("market", ""), properties.get("currency", ""))
        yield Fact(product, key, price, stated_by, at_ms)
    if event["event"] != "Price Changed" and (quantity := properties.get("quantity")) is not None:
        yield Fact(product, FactKey(STOCK, store_id=properties.get("store_id", "")), str(quantity), stated_by, at_ms)


def product_card(product_id: str, facts: Mapping[FactKey, str]) -> dict[str, Any]:
    """Describe a product as JSON values.

    Returns:
        `product_id`, of the details those that are known, `prices` (a list of `{price, currency, market}`), and where
        anything is known of stock `stock` (online), `stores` (store → stock) and `in_stock` (anywhere).
    """
    card: dict[str, Any] = {"product_id": product_id, "prices": []}
    stores: dict[str, int] = {}
    for key, value in sorted(facts.items()):
        if key.name == PRICE:
            card["prices"].append({"price": value, "currency": key.currency, "market": key.market})
        elif key.name == STOCK:
            stores[key.store_id] = int(float(value))
        else:
            card[key.name] = value
    if stores:
        card["in_stock"] = any(quantity > 0 for quantity in stores.values())
        if "" in stores:
            card["stock"] = stores.pop("")
        card["stores"] = stores
    return card


def price_for(card: Mapping[str, Any], nearness: Callable[[str], int], currency: str = "") -> dict[str, str] | None:
    """Return the price of a product for somebody: of their market and currency, else as near as there is one.

    A price of another market is none of theirs, and so is one in another currency if theirs is known.

    Args:
        card: As `product_card` makes it.
        nearness: How near a market, as a price names it, is to the person; 0: it is not theirs.
        currency: The person's; empty: not known.

    Returns:
        An entry of `prices`; None: there is none for them, or several and nothing says which.
    """
    theirs = [
        (nearness(one["market"]), one)
        for one in card.get("prices", ())
        if not currency or one["currency"] in ("", currency)
    ]
    nearest = max((near for near, _ in theirs), default=0)
    local = [one for near, one in theirs if near == nearest]
    return local[0] if nearest and len(local) == 1 else None
