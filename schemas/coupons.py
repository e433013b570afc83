"""Coupons: codes of a pool, each for one use, and how two spellings of a code are compared."""

from __future__ import annotations

from typing import NamedTuple

COUPON_ISSUED = "Coupon Issued"
"""The event by which the delivery worker says that a message has taken a code."""
MAX_CODE = 100
"""Longest code, characters."""


class CouponCode(NamedTuple):
    """A code that is added to a pool, and its end, milliseconds since 1970; None: it has none."""

    code: str
    ends_ms: int | None = None


class TakenCoupon(NamedTuple):
    """A code that a message has taken: when, and until when it may be used (None: for ever), ms since 1970."""

    code: str
    taken_ms: int
    ends_ms: int | None


def comparable(code: str) -> str:
    """Return a code as it is compared: people and tills write it in small letters, or with blanks around it."""
    return code.strip().upper()
