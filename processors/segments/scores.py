"""Predictions about a person, written back to the state so that conditions can use them (`scores.<name>`)."""

from __future__ import annotations

from math import exp, isfinite
from typing import Any, NamedTuple

ALL_SEGMENTS = "*"
"""The key in `state["segments"]["due"]` that makes all segments due."""
_DIGITS = 4


class Prediction(NamedTuple):
    """The prediction about one person.

    Attributes:
        alive: Probability of still being a customer.
        orders: Expected number of orders within the horizon.
        revenue: Expected revenue of these orders.
    """

    alive: float
    orders: float
    revenue: float

    def scores(self) -> dict[str, float]:
        """Return the values of `scores.<name>`.

        `purchase_likelihood` is the probability of at least one order within the horizon, if people who are still
        customers order at random times (a Poisson process): alive x (1 - exp(-orders / alive)).

        Raises:
            ValueError: A number is not finite; in a profile it would be `null`.
        """
        if not all(map(isfinite, self)):
            raise ValueError(f"a prediction is not finite: {tuple(self)}")
        likelihood = self.alive * (1 - exp(-self.orders / self.alive)) if self.alive > 0 else 0.0
        return {
            "alive": round(self.alive, _DIGITS),
            "expected_orders": round(self.orders, _DIGITS),
            "predicted_cltv": round(self.revenue, 2),
            "purchase_likelihood": round(likelihood, _DIGITS),
        }


def set_scores(state: dict[str, Any], scores: dict[str, float], at_ms: int) -> bool:
    """Set scores in a person's state, and make all segments due for evaluation.

    Args:
        state: The person's state; changed in place.
        scores: By name.
        at_ms: When they were computed.

    Returns:
        False, without a change, if all of them have these values already.
    """
    known = state.get("scores", {})
    if all(name in known and known[name][0] == value for name, value in scores.items()):
        return False
    state["scores"] = {**known, **{name: [value, at_ms] for name, value in scores.items()}}
    if segments := state.get("segments"):
        segments |= {"of": "", "due": {ALL_SEGMENTS: max(at_ms, segments["at"])}}
    return True


def join(mine: dict[str, Any], other: dict[str, Any]) -> None:
    """Merge the scores of `other` into `mine`, for two profiles of one person: the latest of each name stays."""
    for name, score in other.get("scores", {}).items():
        scores = mine.setdefault("scores", {})
        if name not in scores or scores[name][::-1] < score[::-1]:
            scores[name] = score
