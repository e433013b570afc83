"""Anonymous people expire also after a clock was wrong for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import orjson

from processors.profiles.expiry import GRACE_MS, PASS_EVERY_MS, SETTLING_MS, AnonymousExpiry
from schemas.durations import DAY_MS
from schemas.profiles.document import IdleProfile, IdleStep

RETENTION_MS = 395 * DAY_MS
NOW_MS = 1_796_000_000_000


class OneIdleProfile:
    """A store with one profile, which nobody changes."""

    def __init__(self) -> None:
        self.note: bytes | None = None
        self.deleted = False
        self._last: Mapping[str, int] = {}

    async def last_pass(self) -> Mapping[str, int]:
        return self._last

    async def end_pass(self, ended_ms: int, counts: Mapping[str, int]) -> None:
        self._last = {"ended_ms": ended_ms, **counts}

    async def ids(self) -> AsyncIterator[list[str]]:
        yield ["p"]

    async def find(self, profile_ids: Sequence[str], before_ms: int) -> list[IdleProfile]:
        document = orjson.dumps({"last_seen": NOW_MS - RETENTION_MS - DAY_MS})
        return [] if self.deleted else [IdleProfile("p", 1, document, None, self.note, waits=False)]

    async def take(self, steps: Sequence[IdleStep]) -> int:
        for step in steps:
            self.note, self.deleted = step.note, step.delete
        return int(self.deleted)


class Identities:
    """Nobody has an identifier of the person."""

    async def expire(self, profile_ids: Sequence[str], at_ms: int, first_seen_before_ms: int) -> list[bool]:
        return [True for _ in profile_ids]


async def test_a_clock_that_was_years_ahead_for_one_pass_delays_nobody_by_years() -> None:
    profiles = OneIdleProfile()
    expiry = AnonymousExpiry(profiles, Identities(), RETENTION_MS, lambda *_: ())
    years_ahead_ms = NOW_MS + 3 * 365 * DAY_MS
    deleted = []
    for now_ms in (years_ahead_ms, NOW_MS, NOW_MS + GRACE_MS, NOW_MS + GRACE_MS + SETTLING_MS):
        assert await expiry.is_due(now_ms)
        async for _ in expiry.run(now_ms):
            pass
        assert not await expiry.is_due(now_ms + PASS_EVERY_MS - 1)
        deleted.append(profiles.deleted)

    assert [False, False, False, True] == deleted
