"""Product news: events about products become derived events of the people who watch those products.

`Price Changed` and `Stock Changed` are about a product and no person. When a price falls, or a product that was sold
out is in stock again, each of its watchers (people who looked at it lately) gets an event: `Product Price Dropped` or
`Product Back In Stock`. Such an event has `derived`: true. Journeys start from it, but the person did nothing, so
neither the profile nor the tables count it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal
from typing import Any

import orjson

from processors.stream.ports import Products
from schemas.events.commerce import ABOUT_PRODUCTS
from schemas.events.envelope import is_historical
from schemas.outcomes import Ok, Outcome, rejected_for_bug
from schemas.records import Outgoing, Record
from schemas.time import ms_of_text
from schemas.topics import RESOLVED_TOUCHPOINTS

PRICE_DROPPED = "Product Price Dropped"
BACK_IN_STOCK = "Product Back In Stock"
CHUNK_RECORDS = 500
"""Derived events that are in memory at once: about 1 KB each."""

Event = dict[str, Any]


class ProductNews:
    """Derives the events that follow from events about products.

    Args:
        products: Keeps the last known facts of products, and who looked at them.
    """

    def __init__(self, products: Products) -> None:
        self._products = products

    async def __call__(
        self, parsed: Iterable[tuple[Record, Outcome[Event]]]
    ) -> AsyncIterator[tuple[Record, Outcome[Sequence[Outgoing]]]]:
        """Derive the events that follow from a batch; the same batch again gives the same.

        A product has up to 10,000 watchers and a batch thousands of prices, so the derived events come in chunks.

        Args:
            parsed: Records of `resolved-touchpoints` with their events.

        Yields:
            A record, and up to `CHUNK_RECORDS` of the records that follow from it; or the record and why none does.
        """
        for record, outcome in parsed:
            if isinstance(outcome, Ok) and outcome.value["event"] in ABOUT_PRODUCTS:
                try:
                    async for chunk in self._chunks(outcome.value):
                        yield record, Ok(chunk)
                except Exception as error:  # noqa: BLE001 - a bug costs one event its derived events
                    yield record, rejected_for_bug(error)

    async def _chunks(self, event: Event) -> AsyncIterator[list[Outgoing]]:
        name, properties = await self._news(event)
        if not name or is_historical(event):
            return
        watchers = await self._products.watchers(properties["product_id"])
        for start in range(0, len(watchers), CHUNK_RECORDS):
            chunk = watchers[start : start + CHUNK_RECORDS]
            yield [_derived(event, name, properties, profile_id) for profile_id in chunk]

    async def _news(self, event: Event) -> tuple[str, dict[str, Any]]:
        """Return the name of the derived event, empty if there is none, and its properties."""
        properties = event["properties"]
        at = ms_of_text(event["occurred_at"])
        product, event_id = properties["product_id"], f"{event['source']} {event['event_id']}"
        if event["event"] == "Price Changed":
            price = properties["price"]
            fact = f"price:{properties.get('currency', '')}"
            before = await self._products.exchange(product, fact, price, event_id, at)
            old = properties.get("previous_price") or before
            fell = old is not None and Decimal(price) < Decimal(old)
            return (PRICE_DROPPED if fell else ""), {**properties, "old_price": old}
        quantity = properties["quantity"]
        fact = f"quantity:{properties.get('store_id', '')}"
        before = await self._products.exchange(product, fact, str(quantity), event_id, at)
        old = properties.get("previous_quantity", before)
        returned = old is not None and float(old) <= 0 < quantity
        return (BACK_IN_STOCK if returned else ""), properties


def _derived(event: Event, name: str, properties: dict[str, Any], profile_id: str) -> Outgoing:
    value = {
        "event_id": f"{event['source']}:{event['event_id']}:{profile_id}",
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
    return Outgoing(RESOLVED_TOUCHPOINTS, profile_id.encode(), orjson.dumps(value))
