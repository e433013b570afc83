"""Stores the codes of coupon pools, and counts what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from schemas.coupons import CouponCode
from schemas.time import time_of_ms
from sinks.clickhouse.client import without_deduplication

_CODES_AT_ONCE = 100_000


class PoolCounts(NamedTuple):
    """What became of the codes of a pool; each is counted once, but in `given`, `by_another`, `too_late`, `elsewhere`.

    Attributes:
        pool: The pool.
        codes: All of them.
        given: Given by messages, used or not.
        redeemed: Used.
        expired: Ended before they were used.
        by_another: Used by another person than the one to whom they were given.
        too_late: Used after their end.
        elsewhere: Used in a channel in which they may not be.
    """

    pool: str
    codes: int
    given: int
    redeemed: int
    expired: int
    by_another: int
    too_late: int
    elsewhere: int


def insert_codes(client: Any, pool: str, codes: Iterable[CouponCode], channels: Sequence[str]) -> int:
    """Store codes; one that is stored again has its new end and channels.

    Args:
        client: A clickhouse-connect client, connected to the product's database.
        pool: Their pool.
        codes: The codes.
        channels: The channels in which they may be used; empty: all.

    Returns:
        How many were stored.
    """
    stored, remaining = 0, iter(codes)
    columns = ["pool", "code", "channels", "expires_at"]
    while part := list(islice(remaining, _CODES_AT_ONCE)):
        rows = [
            [pool, one.code, list(channels), None if one.ends_ms is None else time_of_ms(one.ends_ms)] for one in part
        ]
        client.insert("coupon_codes", rows, column_names=columns, settings=without_deduplication())
        stored += len(part)
    return stored


def count_pools(client: Any) -> list[PoolCounts]:
    """Count what became of the codes of each pool, by name."""
    query = """
        SELECT pool, count(), countIf(issued_at IS NOT NULL), countIf(state = 'redeemed'), countIf(state = 'expired'),
            countIf(by_another), countIf(too_late), countIf(elsewhere)
        FROM v_coupons GROUP BY pool ORDER BY pool
    """
    return [PoolCounts(*row) for row in client.query(query).result_rows]
