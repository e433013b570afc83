"""Conditions on the stock and the price of products that a person looked at, has in the cart or on the wish list.

What the catalogue says of these products is in the person's state, as the series `p` (`series.py`): brought with the
events by which somebody becomes a watcher, and by a derived event with each change (`profiles/product_news.py`). So
an evaluation asks no store, and a change in either direction moves the watchers. What is not known is neither in stock
nor sold out, neither cheaper nor not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from processors.profiles import cart
from processors.profiles.market import nearness
from processors.profiles.product_news import CATALOGUE, FACTS_CHANGED, WATCHED_EVENTS, buys_at, named_products
from processors.segments.evaluation import EvaluationContext
from processors.segments.event_filters import Event
from processors.segments.series import Series, key_of, merged_products
from schemas.products import PRICE, STOCK, price_for
from schemas.segments.conditions import Condition

UNWISHED = "Product Removed from Wishlist"
_TAKES_OFF = frozenset({UNWISHED, "Wishlist Product Added to Cart"})
PRODUCTS = key_of("p")
"""The key of the series."""


def products() -> Series:
    """Define the series of the products that a person watches, each with what the catalogue says of it."""
    return Series(PRODUCTS, WATCHED_EVENTS | {UNWISHED, FACTS_CHANGED}, _extract)


def times_of(condition: Condition) -> Callable[[EvaluationContext], list[int]]:
    """Return a function that lists when the products that fit a condition were looked at or put in; ascending."""
    lists = [_LISTS[name] for name in condition.product or ()]
    in_stock, cheaper, percent = condition.in_stock, condition.cheaper, condition.cheaper_by
    share = None if percent is None else 1 - Decimal(str(percent)) / 100
    below, start, currency = condition.price_below, condition.price_from, condition.currency

    def fits(context: EvaluationContext, product: str, rows: list[Any]) -> bool:
        if in_stock is not None and _is_in_stock(context.document, rows) is not in_stock:
            return False
        if currency is not None:
            price = _price(context, product, rows, currency)
            if price is None or (below is not None and price >= below) or (start is not None and price < start):
                return False
        if cheaper is None and share is None:
            return True
        prices = _prices(context, product, rows)
        if prices is None:
            return False
        now, seen = prices
        return (cheaper is None or (now < seen) is cheaper) and (share is None or now <= seen * share)

    def times(context: EvaluationContext) -> list[int]:
        known: dict[str, list[Any]] | None = context.features.get(PRODUCTS)
        if not known:
            return []
        found: dict[str, int] = {}
        for listed in lists:
            for product, at in listed(context, known).items():
                if product in known and at > found.get(product, -1):
                    found[product] = at
        return sorted(at for product, at in found.items() if fits(context, product, known[product][3]))

    return times


def _viewed(context: EvaluationContext, known: Mapping[str, Any]) -> Mapping[str, int]:
    viewed: Mapping[str, int] = context.document.get("viewed", {})
    return viewed


def _in_cart(context: EvaluationContext, known: Mapping[str, Any]) -> Mapping[str, int]:
    return cart.abandoned(context.document)


def _wished(context: EvaluationContext, known: Mapping[str, Any]) -> Mapping[str, int]:
    return {product: at for product, (_, at, removed_at, _) in known.items() if at > removed_at}


_LISTS: dict[str, Callable[[EvaluationContext, Mapping[str, Any]], Mapping[str, int]]] = {
    "viewed": _viewed,
    "cart": _in_cart,
    "wishlist": _wished,
}


def _is_in_stock(document: Mapping[str, Any], rows: list[Any]) -> bool | None:
    """Return whether a product is in stock where the person buys; None: it is not known."""
    theirs = [float(value) > 0 for name, _, _, store, _, _, value in rows if name == STOCK and buys_at(document, store)]
    return any(theirs) if theirs else None


def _prices(context: EvaluationContext, product: str, rows: list[Any]) -> tuple[Decimal, Decimal] | None:
    """Return the price now and the one that the person saw last, in that currency; None: one is not known."""
    seen = context.document.get("seen", {}).get(product)
    if not seen or not seen[1]:
        return None
    _, price, currency, _, _ = seen
    theirs = _price(context, product, rows, currency)
    return None if theirs is None else (theirs, Decimal(price))


def _price(context: EvaluationContext, product: str, rows: list[Any], currency: str) -> Decimal | None:
    """Return the price now for the person's market, in a currency; None: it is not known."""
    document = context.document
    market = document.get("seen", {}).get(product, (0, "", "", ""))[3]
    named = [
        {"price": value, "currency": of, "market": where} for name, where, of, _, _, _, value in rows if name == PRICE
    ]
    near = partial(nearness, document=document, markets=context.territory.markets, said=market)
    theirs = price_for({"prices": named}, near, currency)
    return None if theirs is None or theirs["currency"] != currency else Decimal(theirs["price"])


def _extract(event: Event, at: int) -> dict[str, list[Any]] | None:
    """Return products with their times and facts: [watched, put on the wish list, taken off it, facts]."""
    name, found = event["event"], named_products(event)
    if not found:
        return None
    if name == FACTS_CHANGED:
        return {found[0]: [0, 0, 0, [event["properties"]["fact"]]]} if event.get("derived") else None
    wished = at if name == "Product Added to Wishlist" else 0
    unwished = at if name in _TAKES_OFF else 0
    watched = 0 if name == UNWISHED else at
    known = event.get(CATALOGUE) or {}
    return merged_products({product: [watched, wished, unwished, sorted(known.get(product, ()))] for product in found})
