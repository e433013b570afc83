"""A bug in a timer never ends a worker: it is logged, and the timers are tried again later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest

from processors.agents import (
    FAILED_TIMERS_PAUSE_S,
    HELD_BACK_MS,
    MAX_TIMERS,
    TIMER_PAUSE_S,
    Batching,
    Worker,
    _fire_due,
    _follow_log,
)
from processors.profiles.stage import ProfileUpdate
from processors.stream.watermark import MARGIN_MS, Watermark
from schemas.offsets import GroupProgress, LogProgress
from schemas.shards import SHARDS

NOW_MS = 1_700_000_000_000
PROCESSED = LogProgress(NOW_MS, [GroupProgress({}, {("touchpoints", 0): 0}), GroupProgress({}, {("resolved", 0): 0})])
WAITING = LogProgress(NOW_MS, [GroupProgress({}, {("touchpoints", 0): 1}), GroupProgress({}, {("resolved", 0): 0})])


class Timers:
    """Some profiles have a timer that is due."""

    def __init__(self, due: int) -> None:
        self.profile_ids = [f"p{number}" for number in range(due)]

    async def due(self, now_ms: int, count: int, shards: Sequence[int]) -> list[str]:
        return [one for one in self.profile_ids if int(one[1:]) % SHARDS in shards][:count]


class Own:
    """The process reads every `share`-th partition; 0: none. `known`: how many there are is known."""

    def __init__(self, share: int = 1, *, known: bool = True) -> None:
        self.share, self.known = share, known

    def any(self) -> bool:
        return self.share > 0

    def first(self) -> bool:
        return self.share > 0

    def shards(self) -> list[int]:
        return list(range(0, SHARDS, self.share)) if self.share and self.known else []


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


OWN = Own()


def process(passed: list[str]) -> Worker:
    nothing: Any = None
    return Worker(nothing, nothing, nothing, "token", lambda: NOW_MS, Batching(1, 1, 0), passed.append)


async def fire(timers: Timers, stage: Stage, *, own: Own = OWN, known: bool = True) -> tuple[float, list[str]]:
    """The pause after a turn, and the failpoints that it passed; `known`: what is processed has been measured."""
    passed: list[str] = []
    worker = process(passed)
    watermark = Watermark()
    if known:
        watermark.observe(PROCESSED)
    return await _fire_due(worker, cast(ProfileUpdate, stage), timers, own, watermark), passed


@pytest.mark.parametrize(("due", "pause_s"), [(0, TIMER_PAUSE_S), (3, TIMER_PAUSE_S), (MAX_TIMERS, 0)])
async def test_what_is_due_is_fired_at_once_while_there_is_more(due: int, pause_s: float) -> None:
    stage = Stage()

    assert (pause_s, ["timers:fired"] if due else []) == await fire(Timers(due), stage)
    assert due == len(stage.fired)


@pytest.mark.parametrize(
    ("own", "known"),
    [pytest.param(OWN, False, id="nothing measured"), pytest.param(Own(0), True, id="no partitions")],
)
async def test_a_worker_that_may_not_fires_nothing(own: Own, known: bool) -> None:
    stage = Stage()

    assert (TIMER_PAUSE_S, []) == await fire(Timers(3), stage, own=own, known=known)
    assert [] == stage.fired


async def test_timers_of_people_whom_others_read_are_passed_over_however_many_they_are() -> None:
    stage = Stage()
    paused_s, _ = await fire(Timers(4 * MAX_TIMERS), stage, own=Own(SHARDS))

    assert ([f"p{one}" for one in range(0, 4 * MAX_TIMERS, SHARDS)], TIMER_PAUSE_S) == (stage.fired, paused_s)


async def test_a_bug_is_logged_and_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert (FAILED_TIMERS_PAUSE_S, []) == await fire(Timers(3), Stage(KeyError("newer section")))

    assert ["3 timers failed and are tried again in 30 s"] == caplog.messages


class Progress:
    """Says how far the log is processed, and counts how often it was asked."""

    def __init__(self, *answers: LogProgress | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def measure(self) -> LogProgress | None:
        self.asked += 1
        return self.answers.pop(0)


async def follow(progress: Progress, due: int = 1, own: Own = OWN) -> Watermark:
    watermark = Watermark()
    while progress.answers:
        await _follow_log(process([]), Timers(due), own, progress, watermark)
        if not progress.asked:
            break
    return watermark


@pytest.mark.parametrize(
    ("due", "own", "asked"),
    [
        pytest.param(0, OWN, 0, id="no timer waits"),
        pytest.param(1, Own(0), 0, id="no partitions"),
        pytest.param(1, OWN, 1, id="a timer waits"),
        pytest.param(0, Own(known=False), 1, id="how many partitions there are is not known yet"),
    ],
)
async def test_the_log_is_followed_only_while_a_timer_waits(due: int, own: Own, asked: int) -> None:
    progress = Progress(PROCESSED)
    watermark = await follow(progress, due, own)

    assert (asked, asked * (NOW_MS - MARGIN_MS)) == (progress.asked, watermark.current())


async def test_while_the_broker_does_not_answer_the_watermark_stays() -> None:
    assert NOW_MS - MARGIN_MS == (await follow(Progress(PROCESSED, None, None))).current()


async def test_what_timers_have_been_waiting_for_is_told_after_a_while() -> None:
    watermark, progress = Watermark(), Progress(WAITING, WAITING._replace(at_ms=NOW_MS + HELD_BACK_MS))
    told = [await _follow_log(process([]), Timers(1), OWN, progress, watermark) for _ in range(2)]

    assert [[], [("touchpoints", 0)]] == told
