"""Chance that a replay repeats: numbers drawn from a hash, and the Beta distribution."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, pairwise
from math import exp, log, log1p

DRAWS = 256
"""How many equally likely values stand for a distribution."""

_STEPS = 512
_NEGLIGIBLE = 32.0  # e^-32 of the peak


def uniform(*parts: str) -> float:
    """Draw a number from [0, 1): the same for the same parts, and independent of any other's."""
    return _whole(parts) / 2**64


def index(size: int, *parts: str) -> int:
    """Draw a whole number below `size`, likewise."""
    return _whole(parts) * size >> 64


def _whole(parts: tuple[str, ...]) -> int:
    # A zero byte keeps ("ab", "c") and ("a", "bc") apart.
    return int.from_bytes(blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


@lru_cache(maxsize=64)
def shuffled(name: str) -> tuple[int, ...]:
    """The numbers below `DRAWS` in an order of this name's own."""
    return tuple(sorted(range(DRAWS), key=lambda number: _whole((name, str(number)))))


@lru_cache(maxsize=8192)
def beta_quantiles(alpha: float, beta: float) -> tuple[float, ...]:
    """The middles of `DRAWS` equally likely slices of a Beta distribution, ascending.

    On the scale y = log(x / (1 - x)) its density is proportional to exp(alpha * y) / (1 + exp(y)) ** (alpha + beta),
    smooth and with one peak for any positive parameters, so the trapezoidal rule over it is accurate without care for
    the ends at 0 and 1, where the density itself may be infinite.
    """
    total = alpha + beta
    peak = log(alpha / beta)

    def log_density(y: float) -> float:
        return alpha * y - total * (y + log1p(exp(-y)) if y > 0 else log1p(exp(y)))

    top = log_density(peak)
    low, high = (_edge(log_density, peak, top, step) for step in (-1.0, 1.0))
    width = (high - low) / _STEPS
    points = [low + width * step for step in range(_STEPS + 1)]
    heights = [exp(log_density(y) - top) for y in points]
    areas = [0.0, *accumulate((left + right) / 2 for left, right in pairwise(heights))]
    return tuple(_inverse(areas, points, areas[-1] * (draw + 0.5) / DRAWS) for draw in range(DRAWS))


def _edge(log_density: Callable[[float], float], peak: float, top: float, step: float) -> float:
    """Walk from the peak until the density is negligible, then halve back to where it becomes so."""
    while top - log_density(peak + step) < _NEGLIGIBLE:
        step *= 2
    inner, outer = step / 2, step
    for _ in range(8):
        middle = (inner + outer) / 2
        inner, outer = (middle, outer) if top - log_density(peak + middle) < _NEGLIGIBLE else (inner, middle)
    return peak + outer


def _inverse(areas: list[float], points: list[float], area: float) -> float:
    right = bisect_left(areas, area, lo=1)
    left = right - 1
    share = (area - areas[left]) / (areas[right] - areas[left])
    y = points[left] + share * (points[right] - points[left])
    # Rounded, so that the last bit of one machine's exp() decides nothing.
    return round(1 / (1 + exp(-y)) if y > 0 else exp(y) / (1 + exp(y)), 12)
