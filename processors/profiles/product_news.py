"""Product news: events about products become derived events of the people who watch those products.

`Product Updated`, `Price Changed` and `Stock Changed` are about a product and no person. They are facts of the
catalogue (`schemas/products.py`). When a price falls, or what was sold out is in stock again, each watcher of the
product (people who looked at it lately) gets an event: `Product Price Dropped` or `Product Back In Stock`, with what
the catalogue knows of the product. Such an event has `derived`: true. Journeys start from it, but the person did
nothing, so neither the profile nor the tables count it.

Each other price, and a stock that begins or ends, becomes `Product Facts Changed`: for segments alone, while one in
force has a condition on what the catalogue says (`processors/segments/product_conditions.py`).

Whether it concerns the person is decided with their profile (`news_for`): the price that they saw, where they buy. So
a price that is the first one known becomes an event of every watcher, and one that is older than the known one of none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson

from processors.enrichment.enrichment import is_bot
from processors.profiles.market import is_market_of
from processors.stream.ports import Products
from schemas.events.envelope import HISTORICAL, is_historical
from schemas.markets import ONE_MARKET, MarketDefinitions
from schemas.outcomes import Ok, Outcome, rejected_for_bug
from schemas.products import ABOUT_PRODUCTS, DETAILS, PRICE, STOCK, Change, Fact, FactKey, facts_of
from schemas.profiles.document import ITEMS_KEPT
from schemas.records import Outgoing, Record
from schemas.topics import RESOLVED_TOUCHPOINTS

PRICE_DROPPED = "Product Price Dropped"
BACK_IN_STOCK = "Product Back In Stock"
FACTS_CHANGED = "Product Facts Changed"
LISTED_EVENTS = frozenset({"Cart Viewed", "Checkout Started"})
"""Events that list what is in a cart: the person watches the first `ITEMS_KEPT` of these products."""
WATCHED_EVENTS = LISTED_EVENTS | {
    "Product Viewed",
    "Product Added",
    "Product Added to Wishlist",
    "Wishlist Product Added to Cart",
}
"""Events that make a person a watcher of products, who gets an event when a price falls or one is in stock again."""
CATALOGUE = "catalogue"
"""The part of such an event with what was known of its products then: product → rows of `fact_row`; nowhere stored."""
CHUNK_RECORDS = 500
"""Derived events that are in memory at once: about 1 KB each."""
ONLINE_CHANNELS = frozenset({"web", "app", "chat", "social", "messenger", "whatsapp", "telegram"})
"""Whoever was met there can buy what is in stock online."""

Event = dict[str, Any]
Stated = tuple[Record, Event, Sequence[Fact]]


class ProductNews:
    """Keeps the catalogue, and derives the events that follow from events about products.

    Args:
        products: Keeps the facts of products, and who looked at them.
    """

    def __init__(self, products: Products) -> None:
        self._products = products

    async def __call__(
        self, parsed: Iterable[tuple[Record, Outcome[Event]]], *, for_segments: bool = True
    ) -> AsyncIterator[tuple[Record, Outcome[Sequence[Outgoing]]]]:
        """Store the facts of a batch in one call, and derive what follows; the same batch again gives the same.

        A product has up to 10,000 watchers and a batch thousands of prices, so the derived events come in chunks.

        Args:
            parsed: Records of `resolved-touchpoints` with their events.
            for_segments: A segment in force has a condition on products. Without one `Product Facts Changed` would be
                an event of every watcher that nobody reads: more events than all others where prices change often.

        Yields:
            A record, and up to `CHUNK_RECORDS` of the records that follow from it; or the record and why none does.
        """
        stated: list[Stated] = []
        for record, outcome in parsed:
            if isinstance(outcome, Ok) and outcome.value["event"] in ABOUT_PRODUCTS:
                try:
                    stated.append((record, outcome.value, list(facts_of(outcome.value))))
                except Exception as error:  # noqa: BLE001 - a bug costs one event its derived events
                    yield record, rejected_for_bug(error)
        async for one, changes in self._changes(stated):
            record, event, facts = one
            try:
                if isinstance(changes, Exception):
                    raise changes
                for fact, change in zip(facts, changes, strict=True):
                    if for_segments and is_change(fact, change):
                        async for chunk in self._changed(event, fact):
                            yield record, Ok(chunk)
                    if properties := _news(event, fact, change):
                        async for chunk in self._chunks(event, fact, properties):
                            yield record, Ok(chunk)
            except Exception as error:  # noqa: BLE001 - as above
                yield record, rejected_for_bug(error)

    async def _changes(self, stated: Sequence[Stated]) -> AsyncIterator[tuple[Stated, Sequence[Change] | Exception]]:
        """Store the facts of all events at once; after an error, of one event at a time."""
        facts = [fact for *_, found in stated for fact in found]
        if not facts:
            return
        try:
            changes = iter(await self._products.state(facts))
        except Exception:  # noqa: BLE001 - of which event it is, the second attempt finds out
            for one in stated:
                try:
                    alone: Sequence[Change] | Exception = await self._products.state(one[2])
                except Exception as error:  # noqa: BLE001 - it costs this event
                    alone = error
                yield one, alone
        else:
            for one in stated:
                yield one, [next(changes) for _ in one[2]]

    async def _changed(self, event: Event, fact: Fact) -> AsyncIterator[list[Outgoing]]:
        watchers = await self._products.watchers(fact.product_id)
        for start in range(0, len(watchers), CHUNK_RECORDS):
            chunk = watchers[start : start + CHUNK_RECORDS]
            yield [
                Outgoing(RESOLVED_TOUCHPOINTS, one.encode(), orjson.dumps(facts_changed(event, fact, one)))
                for one in chunk
            ]

    async def _chunks(self, event: Event, fact: Fact, properties: dict[str, Any]) -> AsyncIterator[list[Outgoing]]:
        watchers = await self._products.watchers(fact.product_id)
        if not watchers:
            return
        known = (await self._products.products([fact.product_id])).get(fact.product_id, {})
        details = {key.name: value for key, value in known.items() if key.name in DETAILS}
        for start in range(0, len(watchers), CHUNK_RECORDS):
            chunk = watchers[start : start + CHUNK_RECORDS]
            yield [_derived(event, fact, {**details, **properties}, profile_id) for profile_id in chunk]


def _news(event: Event, fact: Fact, change: Change) -> dict[str, Any] | None:
    """Return the properties of the derived event that may follow from a fact; None: none follows."""
    properties = event["properties"]
    if not change.stands or is_historical(event):
        return None
    if fact.key.name == PRICE:
        old = properties.get("previous_price") or change.before
        rose = old is not None and Decimal(fact.value) >= Decimal(old)
        return None if rose else {**properties, **({} if old is None else {"old_price": old})}
    if fact.key.name == STOCK:
        before = properties.get("previous_quantity", change.before)
        returned = before is not None and float(before) <= 0 < float(fact.value)
        return properties if returned else None
    return None


def is_change(fact: Fact, change: Change) -> bool:
    """Return whether a fact says another price than before, or that a stock begins or ends."""
    if not change.stands or fact.key.name not in (PRICE, STOCK):
        return False
    if change.before is None:
        return True
    if fact.key.name == STOCK:
        return (float(change.before) > 0) is not (float(fact.value) > 0)
    return Decimal(change.before) != Decimal(fact.value)


def fact_row(fact: Fact) -> list[Any]:
    """Write a fact as JSON values: name, market, currency, store, time in ms, event, value."""
    return [*fact.key, fact.at_ms, fact.event, fact.value]


def facts_changed(event: Event, fact: Fact, profile_id: str) -> Event:
    """Return the derived event that brings a fact to a watcher of its product."""
    properties = {"product_id": fact.product_id, "fact": fact_row(fact)}
    value = _derived_value(event, fact, FACTS_CHANGED, properties, profile_id)
    value["event_id"] = f"{event['source']}:{event['event_id']}:{fact.key.name} is:{profile_id}"
    if is_historical(event):
        value["context"] = {HISTORICAL: True}
    return value


def _derived(event: Event, fact: Fact, properties: dict[str, Any], profile_id: str) -> Outgoing:
    name = PRICE_DROPPED if fact.key.name == PRICE else BACK_IN_STOCK
    value = _derived_value(event, fact, name, properties, profile_id)
    return Outgoing(RESOLVED_TOUCHPOINTS, profile_id.encode(), orjson.dumps(value))


def _derived_value(event: Event, fact: Fact, name: str, properties: dict[str, Any], profile_id: str) -> Event:
    return {
        "event_id": f"{event['source']}:{event['event_id']}:{fact.key.name}:{profile_id}",
        "event": name,
        "derived": True,
        "channel": event["channel"],
        "source": event["source"],
        "occurred_at": event["occurred_at"],
        "received_at": event["received_at"],
        "profile_id": profile_id,
        "anchor": None,
        "identifiers": [],
        "properties": properties,
        "origin": event["origin"],
    }


def watched_products(event: Event) -> Sequence[str]:
    """Return the products that a person looked at, put somewhere or has in a cart; none: the event is none such."""
    if event["event"] not in WATCHED_EVENTS or is_bot(event):
        return ()
    return named_products(event)


def named_products(event: Event) -> Sequence[str]:
    """Return the product that an event is about, or those that it lists, if it is one of `LISTED_EVENTS`; each once."""
    properties = event.get("properties")
    if type(properties) is not dict:
        return ()
    listed = properties.get("products") if event["event"] in LISTED_EVENTS else [properties]
    if type(listed) is not list:
        return ()
    named = (one.get("product_id") for one in listed if type(one) is dict)
    return [*dict.fromkeys(product for product in named if type(product) is str and product)][:ITEMS_KEPT]


def news_for(
    document: Mapping[str, Any],
    event: Event,
    markets: MarketDefinitions = ONE_MARKET,
    facts: Sequence[Fact] = (),
) -> Event | None:
    """Return an event as it concerns a person; None: it is a derived one that does not.

    * A price has dropped if it is lower than the one that the person saw last, of the same currency and market. Who saw
      none in any currency is told if the price known before was higher.
    * A stock concerns who was in that store, and one without a store who was met online or has ordered anywhere else
      than in a store.

    Args:
        document: The person's profile.
        event: Any event; one that is not derived concerns its person.
        markets: The table of markets.
        facts: What is known of the products of an event by which the person watches them: added to the event as
            `CATALOGUE`, without the stock of stores in which the person never was. An event of a replay has it already.
    """
    if not event.get("derived"):
        known: dict[str, list[list[Any]]] = {}
        for one in facts:
            known.setdefault(one.product_id, []).append(fact_row(one))
        known = known or event.get(CATALOGUE) or {}
        if not known:
            return event
        theirs = {
            product: [row for row in rows if _concerns(document, FactKey(*row[:4]))] for product, rows in known.items()
        }
        return {**event, CATALOGUE: theirs}
    if event["event"] == FACTS_CHANGED:
        return event if _concerns(document, FactKey(*event["properties"]["fact"][:4])) else None
    if event["event"] == PRICE_DROPPED:
        return _dropped(document, event, markets)
    if event["event"] == BACK_IN_STOCK:
        return event if buys_at(document, event["properties"].get("store_id") or "") else None
    return event


def _dropped(document: Mapping[str, Any], event: Event, markets: MarketDefinitions) -> Event | None:
    properties = event["properties"]
    price, market = Decimal(properties["price"]), properties.get("market") or ""
    seen = document.get("seen", {}).get(properties["product_id"])
    _, seen_price, currency, seen_market, name = seen or (0, "", "", "", "")
    if market and is_market_of(market, document, markets, seen_market) is False:  # what is not known excludes nobody
        return None
    if seen_price and (currency or not properties.get("currency")):
        if currency != properties.get("currency", "") or price >= Decimal(seen_price):
            return None
        named = {"name": name} if name and not properties.get("name") else {}
        return {**event, "properties": {**properties, **named, "old_price": seen_price}}
    old = properties.get("old_price")
    return event if old is not None and price < Decimal(old) else None


def _concerns(document: Mapping[str, Any], key: FactKey) -> bool:
    return key.name == PRICE or (key.name == STOCK and (not key.store_id or key.store_id in document.get("stores", ())))


def buys_at(document: Mapping[str, Any], store: str) -> bool:
    """Return whether the stock of a store concerns a person; without a store: of the shop itself, online."""
    if store:
        return store in document.get("stores", ())
    ordered: Iterable[str] = document.get("orders", {}).get("channels", ())
    return not ONLINE_CHANNELS.isdisjoint(document.get("channels", ())) or any(one != "store" for one in ordered)
