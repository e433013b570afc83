"""What may please a person: products that go with what they bought or looked at, less what they have already.

The latest purchases and views vote for what goes with them, the later the louder; what is bought together goes before
the best of the next category, and best sellers fill up what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

SEEDS = 10
"""Products of a person that are asked what goes with them."""

PickReason = Literal["together", "category", "best_seller"]
ScoredProducts = Sequence[tuple[str, float]]


class Pick(NamedTuple):
    """A product, and why it is recommended."""

    product: str
    why: PickReason


class RelatedProducts(Protocol):
    """Knows what goes with what."""

    async def related(self, products: Sequence[str]) -> list[dict[str, Any]]:
        """What goes with each product: `together` and `category`, lists of product and score."""

    async def best(self) -> ScoredProducts:
        """Best sellers."""

    async def product_details(self, products: Iterable[str]) -> list[dict[str, Any]]:
        """What a template shows of products."""


def seeds(document: Mapping[str, Any]) -> list[str]:
    """The products that say most of a person's taste: bought, in the cart, viewed; the latest first."""
    found: dict[str, None] = {}
    for section in ("bought", "viewed"):
        times: Mapping[str, int] = document.get(section) or {}
        found.update(dict.fromkeys(sorted(times, key=lambda product: (-times[product], product))))
    return list(found)[:SEEDS]


def rank(related: Sequence[Mapping[str, Any]], best: ScoredProducts, owned: Iterable[str], count: int) -> list[Pick]:
    """Choose products.

    Args:
        related: What goes with each seed, in their order.
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
    """Answers what a template recommends.

    Args:
        source: Knows what goes with what.
    """

    def __init__(self, source: RelatedProducts) -> None:
        self._source = source

    async def recommend(self, document: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """Products that the person has not bought, best first; each with `why`."""
        chosen_by = seeds(document)
        picks = rank(
            await self._source.related(chosen_by), await self._source.best(), document.get("bought") or (), count
        )
        product_details = await self._source.product_details(pick.product for pick in picks)
        return [{**one, "why": pick.why} for pick, one in zip(picks, product_details, strict=True)]
