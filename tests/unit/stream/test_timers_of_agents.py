"""A bug in a timer never ends a worker: it is logged, and the timers are tried again later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest

from processors.agents import (
    FAILED_TIMERS_PAUSE_S,
    MAX_TIMERS,
    TIMER_PAUSE_S,
    Batching,
    Worker,
    _fire_due,
)
from processors.profiles.stage import ProfileUpdate
from processors.stream.watermark import Watermark

NOW_MS = 1_700_000_000_000


class Timers:
    """Some profiles have a timer that is due."""

    def __init__(self, due: int, *, leased: bool = True) -> None:
        self.profile_ids = [f"p{number}" for number in range(due)]
        self.leased = leased

    async def acquire_timers(self, token: str, ttl_ms: int) -> bool:
        return self.leased

    async def due(self, now_ms: int, count: int) -> list[str]:
        return self.profile_ids[:count]


class Stage:
    """Fires timers; may fail as a whole, as it does where the time of a next timer cannot be computed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.fired: list[str] = []

    async def fire(self, profile_ids: Sequence[str], now_ms: int) -> list[str]:
        if self.error is not None:
            raise self.error
        self.fired += profile_ids
        return []


async def fire(timers: Timers, stage: Stage, *, assigned: bool = True) -> tuple[float, list[str]]:
    """The pause after a turn, and the failpoints that it passed."""
    passed: list[str] = []
    nothing: Any = None
    worker = Worker(nothing, nothing, nothing, "token", lambda: NOW_MS, Batching(1, 1, 0), passed.append)
    watermark = Watermark(lambda: NOW_MS)
    if assigned:
        watermark.assign()
    return await _fire_due(worker, cast(ProfileUpdate, stage), timers, watermark), passed


@pytest.mark.parametrize(("due", "pause_s"), [(0, TIMER_PAUSE_S), (3, TIMER_PAUSE_S), (MAX_TIMERS, 0)])
async def test_what_is_due_is_fired_at_once_while_there_is_more(due: int, pause_s: float) -> None:
    stage = Stage()

    assert (pause_s, ["timers:fired"] if due else []) == await fire(Timers(due), stage)
    assert due == len(stage.fired)


@pytest.mark.parametrize(
    ("timers", "assigned"),
    [pytest.param(Timers(3), False, id="no partitions"), pytest.param(Timers(3, leased=False), True, id="no lease")],
)
async def test_a_worker_that_may_not_fires_nothing(timers: Timers, assigned: bool) -> None:
    stage = Stage()

    assert (TIMER_PAUSE_S, []) == await fire(timers, stage, assigned=assigned)
    assert [] == stage.fired


async def test_a_bug_is_logged_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert (FAILED_TIMERS_PAUSE_S, []) == await fire(Timers(3), Stage(KeyError("newer section")))

    assert ["3 timers failed and are tried again in 30 s"] == caplog.messages
