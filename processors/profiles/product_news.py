"""News about products, told to those who looked at them.

`Price Changed` and `Stock Changed` are about a product and no person. When a price falls, or a product that was sold
out is there again, each person who looked at it lately gets an event of their own: `Product Price Dropped` or
`Product Back In Stock`. Such an event is derived (`derived`: true): journeys start from it, but it is nothing that the
person did, so that neither the profile nor the tables count it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import orjson

from processors.stream.ports import Products
from schemas.records import Outgoing
from schemas.time import ms_of_text
from schemas.topics import RESOLVED_TOUCHPOINTS

ABOUT_PRODUCTS = ("Price Changed", "Stock Changed")
PRICE_DROPPED = "Product Price Dropped"
BACK_IN_STOCK = "Product Back In Stock"

Event = dict[str, Any]


class Catalogue:
    """Finds the news in events about products.

    Args:
        products: What was known of them, and who looks at them.
    """

    def __init__(self, products: Products) -> None:
        self._products = products

    async def __call__(self, events: Sequence[Event]) -> list[Outgoing]:
        """Write the derived events that follow from a batch; the same batch again gives the same."""
        news: list[Outgoing] = []
        for event in events:
            if event["event"] in ABOUT_PRODUCTS:
                name, properties = await self._news(event)
                if name:
                    for profile_id in await self._products.watchers(properties["product_id"]):
                        news.append(_derived(event, name, properties, profile_id))
        return news

    async def _news(self, event: Event) -> tuple[str, dict[str, Any]]:
        """Say which news an event is, if any, and its properties."""
        properties = event["properties"]
        at = ms_of_text(event["occurred_at"])
        product, event_id = properties["product_id"], event["event_id"]
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
        "event_id": f"{event['event_id']}:{profile_id}",
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
