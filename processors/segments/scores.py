"""Predictions about a person, written back so that conditions can be about them (`scores.<name>`)."""

from __future__ import annotations

from math import exp
from typing import Any, NamedTuple

EVERYTHING = "*"
"""Stands, in `state["segments"]["due"]`, among what is due for all segments."""
_DIGITS = 4


class Prediction(NamedTuple):
    """What is expected of a person.

    Attributes:
        alive: Probability of still being a customer.
        orders: Orders expected within the horizon.
        revenue: Revenue expected of them.
    """

    alive: float
    orders: float
    revenue: float

    def scores(self) -> dict[str, float]:
        """The values of `scores.<name>`.

        `purchase_likelihood` is the probability of at least one order within the horizon, if whoever is still a
        customer orders at random times (Poisson): alive x (1 - exp(-orders / alive)).
        """
        likelihood = self.alive * (1 - exp(-self.orders / self.alive)) if self.alive > 0 else 0.0
        return {
            "alive": round(self.alive, _DIGITS),
            "expected_orders": round(self.orders, _DIGITS),
            "predicted_cltv": round(self.revenue, 2),
            "purchase_likelihood": round(likelihood, _DIGITS),
        }


def note(state: dict[str, Any], scores: dict[str, float], at_ms: int) -> bool:
    """Note predictions about a person; all segments are due to be evaluated then.

    Args:
        state: The person's state; changed in place.
        scores: By name.
        at_ms: When they were made.

    Returns:
        False, with nothing changed, when they are what is known already.
    """
    known = state.get("scores", {})
    if all(name in known and known[name][0] == value for name, value in scores.items()):
        return False
    state["scores"] = {**known, **{name: [value, at_ms] for name, value in scores.items()}}
    if segments := state.get("segments"):
        segments |= {"of": "", "due": {EVERYTHING: max(at_ms, segments["at"])}}
    return True


def join(mine: dict[str, Any], other: dict[str, Any]) -> None:
    """Put the predictions about two people who turned out to be one together: of each the latest stays."""
    for name, score in other.get("scores", {}).items():
        scores = mine.setdefault("scores", {})
        if name not in scores or scores[name][::-1] < score[::-1]:
            scores[name] = score
