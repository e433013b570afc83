"""Deterministic sampling: numbers from a hash, the same at a replay, and equal slices of Beta distributions."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

DRAWS = 256
"""The number of equally likely values by which a distribution is represented."""

_EDGES = tuple(draw / DRAWS for draw in range(DRAWS + 1))


def uniform(*parts: str) -> float:
    """Return a number from [0, 1), by a hash of the parts."""
    return _whole(parts) / 2**64


def index(size: int, *parts: str) -> int:
    """Return a whole number from 0 up to `size` - 1, by a hash of the parts."""
    return _whole(parts) * size >> 64


def _whole(parts: tuple[str, ...]) -> int:
    # The zero byte makes ("ab", "c") and ("a", "bc") different inputs.
    return int.from_bytes(blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


@lru_cache(maxsize=64)
def shuffled(name: str) -> tuple[int, ...]:
    """Return the numbers below `DRAWS` in an order that a hash of the name determines."""
    return tuple(sorted(range(DRAWS), key=lambda number: _whole((name, str(number)))))


@lru_cache(maxsize=8192)
def beta_slice_means(alpha: float, beta: float) -> tuple[float, ...]:
    """Return the means of `DRAWS` equally likely slices of a Beta distribution, ascending.

    Means and not medians, so that their average is the mean of the distribution. With the quantiles q and the
    distribution function F of Beta(alpha + 1, beta), the mean between two quantiles is DRAWS * alpha / (alpha + beta) *
    (F(q[i + 1]) - F(q[i])), since x times the density of Beta(alpha, beta) is the density of Beta(alpha + 1, beta)
    times the mean (Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 2, 1995, chapter 25).

    Args:
        alpha: First parameter, above zero.
        beta: Second parameter, above zero.

    Returns:
        `DRAWS` numbers from 0 to 1.
    """
    # Imported here, since it takes 43 MB and a third of a second, and many policies never choose a channel.
    from scipy.special import betainc, betaincinv

    shares = betainc(alpha + 1, beta, betaincinv(alpha, beta, _EDGES)).tolist()
    whole = DRAWS * alpha / (alpha + beta)
    # Rounded, so that results do not depend on the last bits of a machine's floating point.
    return tuple(round(whole * (high - low), 12) for low, high in pairwise(shares))
