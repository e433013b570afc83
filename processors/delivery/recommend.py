"""Recommends products to a person: related to products that they bought or viewed, without those they bought.

The person's latest products are the seeds; each votes for its related products, the latest seed with the greatest
weight. Products bought together go before best sellers of the next category, and general best sellers fill the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

SEEDS = 10
"""The most products of a person whose related products are read."""

PickReason = Literal["together", "category", "best_seller"]
ScoredProducts = Sequence[tuple[str, float]]


class Pick(NamedTuple):
    """A recommended product with the reason."""

    product: str
    why: PickReason


class RelatedProducts(Protocol):
    """Reads stored recommendations."""

    async def related(self, products: Sequence[str]) -> list[dict[str, Any]]:
        """Return the related products of each product: `together` and `category`, lists of product and score."""

    async def best(self) -> ScoredProducts:
        """Return the best sellers."""

    async def product_details(self, products: Iterable[str]) -> list[dict[str, Any]]:
        """Return the details of products that a template shows."""


def seeds(document: Mapping[str, Any]) -> list[str]:
    """Return the seeds of a person: products bought, in the cart, viewed; the latest first."""
    found: dict[str, None] = {}
    for section in ("bought", "viewed"):
        times: Mapping[str, int] = document.get(section) or {}
        found.update(dict.fromkeys(sorted(times, key=lambda product: (-times[product], product))))
    return list(found)[:SEEDS]


def rank(related: Sequence[Mapping[str, Any]], best: ScoredProducts, owned: Iterable[str], count: int) -> list[Pick]:
    """Choose products.

    Args:
        related: The related products of each seed, in the order of the seeds.
        best: Best sellers.
        owned: Products to leave out.
        count: How many.
    """
    out: dict[str, PickReason] = dict.fromkeys(owned, "together")
    already = len(out)
    for why in ("together", "category"):
        votes: dict[str, float] = {}
        for place, one in enumerate(related):
            for product, score in one.get(why, ()):
                votes[product] = votes.get(product, 0.0) + score / (place + 1)
        for product in sorted(votes, key=lambda product: (-votes[product], product)):
            out.setdefault(product, why)
    for product, _ in best:
        out.setdefault(product, "best_seller")
    return [Pick(product, why) for product, why in list(out.items())[already:]][:count]


class Recommender:
    """Recommends products for templates.

    Args:
        source: Reads stored recommendations.
    """

    def __init__(self, source: RelatedProducts) -> None:
        self._source = source

    async def recommend(self, document: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """Return products that the person has not bought, best first; each with its reason `why`."""
        chosen_by = seeds(document)
        picks = rank(
            await self._source.related(chosen_by), await self._source.best(), document.get("bought") or (), count
        )
        product_details = await self._source.product_details(pick.product for pick in picks)
        return [{**one, "why": pick.why} for pick, one in zip(picks, product_details, strict=True)]
