"""Product recommendations, which are computed from orders and read by templates."""

from __future__ import annotations

from dataclasses import dataclass, field

ScoredProducts = list[tuple[str, float]]
"""Product ids with their scores, best first."""


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Recommendations for every product that was sold.

    Attributes:
        together: Product → products that are bought together with it.
        category: Product → best sellers of the category that people buy from next.
        best: Best sellers; the score is the share of the best one's orders.
        products: Product → its details for a template: `product_id` and, where known, `name`, `category`, `price`,
            `currency`, `url`, `image_url`.
    """

    together: dict[str, ScoredProducts] = field(default_factory=dict)
    category: dict[str, ScoredProducts] = field(default_factory=dict)
    best: ScoredProducts = field(default_factory=list)
    products: dict[str, dict[str, str]] = field(default_factory=dict)
