"""The retailer: its products, shops and coupons. Prices are without tax: cents here, decimal strings in events."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

CURRENCY = "EUR"
SITE = "https://shop.example"


class Product(NamedTuple):
    """One article of the catalogue; `card` is its properties in events, without a quantity."""

    product_id: str
    name: str
    category: str
    price_cents: int
    card: dict[str, Any]


class Store(NamedTuple):
    """A shop with tills.

    Attributes:
        store_id: Its id.
        city: Where it is.
        country: ISO 3166.
        closes_days: Its till counts receipts by itself and declares each business day (`tills.py`).
        pads_texts: Its till writes texts of a fixed length, filled up with NUL.
    """

    store_id: str
    city: str
    country: str = "FR"
    closes_days: bool = False
    pads_texts: bool = False

    @property
    def source(self) -> str:
        """Name of the producer of its events."""
        return "tills" if self.closes_days else f"till-{self.store_id.removeprefix('store-')}"


STORES = (
    Store("store-01", "Paris"),
    Store("store-02", "Lyon"),
    Store("store-03", "Lille", pads_texts=True),
    Store("store-04", "Nantes"),
    Store("store-05", "Bordeaux"),
    Store("store-06", "Toulouse"),
    Store("berlin", "Berlin", "DE", closes_days=True),
    Store("wien", "Vienna", "AT", closes_days=True),
)

COUPONS = {"WELCOME10": 10, "BASKET5": 5, "AUTUMN15": 15}
"""Coupon code → discount in percent."""

_RANGE = {
    "Chairs": (("Oak chair", 8900), ("Folding chair", 3900), ("Desk chair", 14900), ("Stool", 4500)),
    "Tables": (("Coffee table", 12900), ("Side table", 5900), ("Desk", 18900), ("Dining table", 34900)),
    "Lighting": (("Floor lamp", 7900), ("Table lamp", 3490), ("Pendant", 5990), ("String lights", 1490)),
    "Textiles": (("Wool throw", 4990), ("Cushion", 1990), ("Linen curtain", 3990), ("Cotton rug", 8990)),
    "Kitchen": (("Chef's knife", 5490), ("Cast-iron pan", 6490), ("Teapot", 2990), ("Cutting board", 1890)),
    "Garden": (("Planter", 1590), ("Watering can", 2190), ("Garden bench", 15900), ("Lantern", 2490)),
    "Storage": (("Shelf", 6900), ("Wicker basket", 1990), ("Wardrobe", 29900), ("Hook rail", 1790)),
    "Bath": (("Bath towel", 1690), ("Bath mat", 1990), ("Mirror", 7490), ("Soap dish", 890)),
}
_VARIANTS = ("natural", "black", "white", "sage")
_BRANDS = ("Atelier Nord", "Maison Fil", "Rive", "Lumen")


TAX_PERCENT = 20


def money(cents: int) -> str:
    """Return cents as a decimal string: 4990 → `"49.90"`, -5 → `"-0.05"`."""
    units, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{units}.{rest:02d}"


def catalogue(rng: Random) -> list[Product]:
    """Return all articles, best sellers first; prices of variants differ a little."""
    products: list[Product] = []
    for category, models in _RANGE.items():
        for model, base in models:
            brand = _BRANDS[int(rng.random() * len(_BRANDS))]
            for variant in _VARIANTS:
                product_id = f"p-{len(products) + 1:04d}"
                price = base + int(rng.random() * 5) * 100
                card = {
                    "product_id": product_id,
                    "sku": f"{category[:3].upper()}-{product_id[2:]}",
                    "name": model,
                    "category": category,
                    "brand": brand,
                    "variant": variant,
                    "price": money(price),
                }
                products.append(Product(product_id, model, category, price, card))
    rng.shuffle(products)
    return products
