"""Keeps pools of single-use coupon codes, of which each message takes one.

* `{ns}:coupons:<pool>` sorted set of the codes that are free, by their end, ms; those that end first go first;
* `{ns}:coupon_codes` hash of every code ever added, in capitals, to its pool: a code is added once;
* `{ns}:coupon_taken:<idempotency key>` hash of `code`, `at` and `ends`: a message that is handled again gets it again.

None of them names a person. A code leaves its pool with the step that gives it to a message, so no two messages have
the same one; a message that is not sent after all has used its code up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgpack
from redis.asyncio import Redis

from schemas.coupons import CouponCode, TakenCoupon, comparable
from schemas.durations import DAY_MS
from sinks.redis.lua import source

KEPT_MS = 35 * DAY_MS
"""Life of an answer, milliseconds: as long as the delivery ledger keeps the message."""
CODES_A_CALL = 1_000


class AddedCodes(NamedTuple):
    """The result of an import: codes added, codes that the pool had already, and codes of other pools, not added."""

    added: int
    known: int
    elsewhere: Sequence[str]


class PoolLevel(NamedTuple):
    """How many codes of a pool are left: free, and ended before anybody got them."""

    free: int
    expired: int


class RedisCoupons:
    """Keeps the pools.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._slot = f"{self._prefix}coupon_codes"
        self._script = redis.register_script(source("coupons"))

    async def add(self, pool: str, codes: Iterable[CouponCode]) -> AddedCodes:
        """Add codes to a pool; one that it has already gets the new end, if it is still free."""
        added, known, elsewhere = 0, 0, list[str]()
        remaining = iter(codes)
        while part := list(islice(remaining, CODES_A_CALL)):
            packed = msgpack.packb(
                [(one.code, comparable(one.code), "inf" if one.ends_ms is None else one.ends_ms) for one in part],
                use_bin_type=False,
            )
            answer: Any = await self._call("add", pool, packed)
            added, known = added + answer[0], known + answer[1]
            elsewhere += [code.decode() for code in answer[2]]
        return AddedCodes(added, known, elsewhere)

    async def take(self, key: str, pool: str, now_ms: int, valid_ms: int) -> TakenCoupon | None:
        """Take a code for a message; the same message gets the same code again.

        Args:
            key: The message's idempotency key.
            pool: The pool.
            now_ms: The time, milliseconds since 1970.
            valid_ms: How long it may be used from now, milliseconds; 0: until its own end.

        Returns:
            The code; None: the pool has none left that has not ended, or there is no such pool.
        """
        return _taken(await self._call("take", key, pool, now_ms, valid_ms, KEPT_MS))

    async def taken(self, key: str) -> TakenCoupon | None:
        """Return the code that a message has taken; None: none."""
        return _taken(await self._call("taken", key))

    async def level(self, pool: str, now_ms: int) -> PoolLevel:
        """Count what is left of a pool."""
        key = f"{self._prefix}coupons:{pool}"
        ended = int(await self._redis.zcount(key, "-inf", now_ms))
        return PoolLevel(int(await self._redis.zcard(key)) - ended, ended)

    async def _call(self, *arguments: Any) -> Any:
        return await self._script(keys=[self._slot], args=[self._prefix, *arguments])


def _taken(answer: Any) -> TakenCoupon | None:
    if not answer or answer[0] is None:
        return None
    code, at, ends = answer
    return TakenCoupon(code.decode(), int(at), int(ends) or None)
