"""Deterministic sampling: numbers from a hash, the same at a replay, and equal slices of Beta distributions."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

DRAWS = 256
"""How many equally likely values stand for a distribution."""

_EDGES = tuple(draw / DRAWS for draw in range(DRAWS + 1))


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
def beta_slice_means(alpha: float, beta: float) -> tuple[float, ...]:
    """Return the means of `DRAWS` equally likely slices of a Beta distribution, ascending.

    Means and not medians, so that all slices together have the very mean of the distribution. With the quantiles q and
    the distribution function F of Beta(alpha + 1, beta), the mean between two quantiles is
    DRAWS * alpha / (alpha + beta) * (F(q[i + 1]) - F(q[i])), since x times the density of Beta(alpha, beta) is the
    density of Beta(alpha + 1, beta) times the mean (Johnson, Kotz and Balakrishnan, Continuous Univariate
    Distributions, volume 2, 1995, chapter 25).

    Args:
        alpha: First parameter, above zero.
        beta: Second parameter, above zero.

    Returns:
        `DRAWS` numbers from 0 to 1.
    """
    # Imported here, as it takes 43 MB and a third of a second: a policy without a choice of channel does without it.
    from scipy.special import betainc, betaincinv

    shares = betainc(alpha + 1, beta, betaincinv(alpha, beta, _EDGES)).tolist()
    whole = DRAWS * alpha / (alpha + beta)
    # Rounded, so that the last bits of one machine's floating point decide nothing.
    return tuple(round(whole * (high - low), 12) for low, high in pairwise(shares))
