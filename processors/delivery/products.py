"""The product that a message is about, for its template: what the catalogue has of it, and its price for the person.

It is the product of the event that led to the message, else of the event that the journey waited for, else of the
message's own `data`. What the catalogue does not say is read from the products that people saw (`recommend.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from processors.profiles.market import nearness
from schemas.markets import ONE_MARKET, MarketDefinitions
from schemas.products import FactKey, price_for, product_card

KEPT_MS = 30_000
"""How long a product is kept after it was read, milliseconds: a message may have a price that is so old."""
PRODUCTS_KEPT = 5_000


class Catalogue(Protocol):
    """Keeps the facts of products."""

    async def products(self, product_ids: Iterable[str]) -> Mapping[str, Mapping[FactKey, str]]:
        """Return the facts of products; one of which nothing is known is left out."""


class SeenProducts(Protocol):
    """Keeps the details of products as people saw them."""

    async def product_details(self, products: Iterable[str]) -> list[dict[str, Any]]:
        """Return the details of products; only `product_id` where nothing is known."""


class ProductCards:
    """Reads products for templates, each at most once in `KEPT_MS`.

    Args:
        catalogue: The facts of products.
        seen: What people saw of them.
        clock: The time, milliseconds since 1970.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        seen: SeenProducts,
        clock: Callable[[], int],
    ) -> None:
        self._catalogue = catalogue
        self._seen = seen
        self._clock = clock
        self._kept: dict[str, tuple[int, dict[str, Any]]] = {}

    async def card(
        self, context: Mapping[str, Any], document: Mapping[str, Any], markets: MarketDefinitions = ONE_MARKET
    ) -> dict[str, Any] | None:
        """Return the product of a message as JSON values; None: it is about no product.

        Args:
            context: Of the action: `event` and `run`.
            document: The person's profile.
            markets: The table of markets.

        Returns:
            `product_id` and what is known: `name`, `sku`, `brand`, `category`, `url`, `image_url`, `stock` (online),
            `stores` (stock by store), `in_stock`; `price` and `currency` are those of the person's market and currency.
        """
        product = product_of(context)
        if not product:
            return None
        card = await self._read(product)
        properties = (context.get("event") or {}).get("properties") or {}
        seen = (document.get("seen") or {}).get(product) or ("", "", "", "")
        said = str(properties.get("market") or seen[3] or "")
        currency = properties.get("currency") or seen[2]
        if card.get("prices"):
            near = partial(nearness, document=document, markets=markets, said=said)
            shown = price_for(card, near, str(currency or ""))
            card = {**card, **{name: (shown or {}).get(name) or None for name in ("price", "currency")}}
        return {name: value for name, value in card.items() if name != "prices"}

    async def _read(self, product: str) -> dict[str, Any]:
        now = self._clock()
        read_at, card = self._kept.get(product, (0, {}))
        if now - read_at < KEPT_MS and card:
            return card
        facts = (await self._catalogue.products([product])).get(product, {})
        (details,) = await self._seen.product_details([product])
        card = {**details, **product_card(product, facts)}
        if len(self._kept) >= PRODUCTS_KEPT:
            self._kept.clear()
        self._kept[product] = (now, card)
        return card


def product_of(context: Mapping[str, Any]) -> str:
    """Return the product that a message is about; empty: none."""
    run = context.get("run") or {}
    for part in (context.get("event"), run.get("last"), {"properties": run.get("data")}):
        properties = (part or {}).get("properties")
        product = properties.get("product_id") if isinstance(properties, Mapping) else None
        if isinstance(product, str) and product:
            return product
    return ""
