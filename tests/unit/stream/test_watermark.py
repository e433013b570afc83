"""The watermark stands before everything that is in the log and not processed."""

from __future__ import annotations

import pytest

from processors.stream.watermark import MARGIN_MS, MAX_CHECKPOINTS, Watermark
from schemas.offsets import GroupProgress, LogProgress, Offsets

NOON = 1_793_534_400_000
WEB, EMAIL, RESOLVED, OTHER = ("touchpoints.web", 0), ("touchpoints.email", 0), ("resolved", 0), ("resolved", 1)


def progress(at_ms: int, touchpoints: Offsets, identified: Offsets, resolved: Offsets, applied: Offsets) -> LogProgress:
    """What is measured: ends and committed offsets of both groups."""
    return LogProgress(at_ms, [GroupProgress(identified, touchpoints), GroupProgress(applied, resolved)])


def test_it_is_not_known_before_it_was_measured() -> None:
    assert 0 == Watermark().current()


def test_when_everything_is_processed_it_is_now_but_for_a_margin() -> None:
    watermark = Watermark()
    watermark.observe(progress(NOON, {WEB: 7, EMAIL: 0}, {WEB: 7}, {RESOLVED: 7, OTHER: 0}, {RESOLVED: 7}))

    assert NOON - MARGIN_MS == watermark.current()


@pytest.mark.parametrize(
    ("identified", "applied"),
    [
        pytest.param({WEB: 6}, {RESOLVED: 7}, id="before identify"),
        pytest.param({}, {RESOLVED: 7}, id="before identify, which has committed nothing"),
        pytest.param({WEB: 7}, {RESOLVED: 6}, id="before profile"),
        pytest.param({WEB: 7}, {}, id="before profile, which has committed nothing"),
    ],
)
def test_one_record_that_is_not_processed_stops_it(identified: Offsets, applied: Offsets) -> None:
    watermark = Watermark()
    watermark.observe(progress(NOON, {WEB: 7}, {WEB: 7}, {RESOLVED: 7}, {RESOLVED: 7}))
    for second in range(1, 100):
        watermark.observe(progress(NOON + second * 1000, {WEB: 7}, identified, {RESOLVED: 7}, applied))

    assert NOON - MARGIN_MS == watermark.current()


def test_under_load_it_follows_at_the_distance_of_the_lag() -> None:
    watermark = Watermark()
    behind = []
    for second in range(10, 50):  # ten records a second; identify is two seconds late, profile one more
        at, sent = NOON + second * 1000, second * 10
        watermark.observe(progress(at, {WEB: sent}, {WEB: sent - 20}, {RESOLVED: sent - 20}, {RESOLVED: sent - 30}))
        behind.append(at - watermark.current() - MARGIN_MS)

    assert {3000} == {*behind[10:]}


def test_an_older_event_behind_a_newer_one_is_waited_for() -> None:
    """Partitions are read at different speeds, so what comes out of identify is not in the order of its receipt."""
    watermark = Watermark()
    watermark.observe(progress(NOON, {WEB: 1, EMAIL: 1}, {WEB: 1}, {RESOLVED: 1}, {}))
    watermark.observe(progress(NOON + 1000, {WEB: 1, EMAIL: 1}, {WEB: 1, EMAIL: 1}, {RESOLVED: 2}, {RESOLVED: 1}))
    between = watermark.current()
    watermark.observe(progress(NOON + 2000, {WEB: 1, EMAIL: 1}, {WEB: 1, EMAIL: 1}, {RESOLVED: 2}, {RESOLVED: 2}))

    assert (0, NOON + 2000 - MARGIN_MS) == (between, watermark.current())


def test_a_log_that_was_lost_is_not_waited_for() -> None:
    """The local stack's broker keeps everything in memory."""
    watermark = Watermark()
    watermark.observe(progress(NOON, {WEB: 7}, {WEB: 3}, {RESOLVED: 3}, {RESOLVED: 3}))
    watermark.observe(progress(NOON + 1000, {WEB: 0}, {}, {RESOLVED: 0}, {}))

    assert NOON + 1000 - MARGIN_MS == watermark.current()


def test_offsets_that_were_set_back_stop_it_until_all_is_read_again() -> None:
    watermark = Watermark()
    watermark.observe(progress(NOON, {WEB: 7}, {WEB: 7}, {RESOLVED: 7}, {RESOLVED: 7}))
    watermark.observe(progress(NOON + 1000, {WEB: 7}, {WEB: 0}, {RESOLVED: 7}, {RESOLVED: 7}))
    reading = watermark.current()
    watermark.observe(progress(NOON + 2000, {WEB: 7}, {WEB: 7}, {RESOLVED: 14}, {RESOLVED: 14}))

    assert (NOON - MARGIN_MS, NOON + 2000 - MARGIN_MS) == (reading, watermark.current())


def test_a_clock_that_was_an_hour_ahead_lets_nothing_fire_ahead_afterwards() -> None:
    watermark = Watermark()
    watermark.observe(progress(NOON + 3_600_000, {WEB: 7}, {WEB: 7}, {RESOLVED: 7}, {RESOLVED: 7}))
    watermark.observe(progress(NOON, {WEB: 8}, {WEB: 7}, {RESOLVED: 7}, {RESOLVED: 7}))

    assert 0 == watermark.current()


def test_an_outage_of_any_length_takes_bounded_memory_and_ends_where_it_should() -> None:
    watermark = Watermark()
    for second in range(20 * MAX_CHECKPOINTS):
        watermark.observe(progress(NOON + second * 1000, {WEB: second + 1}, {WEB: 0}, {RESOLVED: 0}, {}))
    held = watermark.held_back_by(60_000)
    kept = len(watermark._checkpoints)
    at = NOON + 20 * MAX_CHECKPOINTS * 1000
    watermark.observe(progress(at, {WEB: 10_000}, {WEB: 9_000}, {RESOLVED: 9_000}, {RESOLVED: 9_000}))

    assert ([WEB], True) == (held, kept <= MAX_CHECKPOINTS + 1)
    assert at - 2000 - MARGIN_MS <= watermark.current() < at - MARGIN_MS


def test_only_a_long_wait_is_told() -> None:
    watermark = Watermark()
    for second in range(60):
        watermark.observe(progress(NOON + second * 1000, {WEB: 1}, {}, {RESOLVED: 0}, {}))
    early = watermark.held_back_by(60_000)
    watermark.observe(progress(NOON + 60_000, {WEB: 1}, {}, {RESOLVED: 0}, {}))

    assert ([], [WEB]) == (early, watermark.held_back_by(60_000))
