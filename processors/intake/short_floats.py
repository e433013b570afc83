"""Floats of 32 bits: the shortest number that is the same float."""

from __future__ import annotations

from math import isfinite
from struct import pack

_FEWEST_DIGITS, _MOST_DIGITS = 6, 9


def shortest(value: float) -> float:
    """Return the number with the fewest digits that is the same float of 32 bits: 24.95 for 24.950000762939453."""
    if not isfinite(value):
        return value
    try:
        bits = pack("<f", value)
    except OverflowError:
        return value
    for digits in range(_FEWEST_DIGITS, _MOST_DIGITS):
        short = float(f"{value:.{digits}g}")
        try:
            if pack("<f", short) == bits:
                return short
        except OverflowError:  # the largest float, rounded up
            continue
    return value
