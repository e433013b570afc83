"""Completion waits: `catch_up` for what was published at its start, `drain` until nothing is pending."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import redis

from deploy.operations.completion import Pending, catch_up, drain
from deploy.operations.lag import KafkaUnreachableError, LagReader, PartitionLag


class Reader:
    """Returns the given lags in turn, then the last of them again and again."""

    def __init__(self, *checks: list[PartitionLag]) -> None:
        self.checks = list(checks)

    def lags(self) -> list[PartitionLag]:
        return self.checks.pop(0) if len(self.checks) > 1 else self.checks[0]


def lag(records: int, end: int, role: str = "record", partition: int = 0) -> PartitionLag:
    return PartitionLag(role, "resolved-touchpoints", partition, records, end)


class Clock:
    """Time that passes by sleeping, and a microsecond with each look."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        self.now_s += 1e-6
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.operations.completion.time", Clock())


def waited(*checks: list[PartitionLag]) -> tuple[int, list[int]]:
    progress: list[int] = []
    left = catch_up(cast(LagReader, Reader(*checks)), "record", 0.05, pause_s=0.001, progress=progress.append)
    return left, progress


def test_nothing_to_do_is_no_wait() -> None:
    assert (0, [0]) == waited([lag(0, 10)])


def test_what_is_published_meanwhile_is_not_waited_for() -> None:
    assert (0, [4, 2, 0]) == waited([lag(4, 10)], [lag(12, 20)], [lag(90, 100)])


def test_every_partition_counts_and_other_roles_do_not() -> None:
    first = [lag(1, 5), lag(2, 7, partition=1), lag(9, 9, role="profile")]
    second = [lag(0, 5), lag(0, 7, partition=1), lag(9, 9, role="profile")]

    assert (0, [3, 0]) == waited(first, second)


def test_what_is_left_when_the_time_is_over_is_told() -> None:
    left, progress = waited([lag(4, 10)], [lag(3, 10)])

    assert (3, {4, 3}) == (left, set(progress))


NOTHING = Pending((), 0, 0)
BUSY = Pending((PartitionLag("identify", "touchpoints.web", 3, 1200),), 2, 1)


def checks_of(*found: Pending) -> Callable[[], Pending]:
    """Answer with one after the other, then with the last for ever."""
    left = list(found)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_it_is_drained_when_two_checks_in_a_row_find_nothing() -> None:
    seen: list[Pending] = []
    assert drain(checks_of(BUSY, NOTHING, BUSY, NOTHING, NOTHING), 10, pause_s=0, progress=seen.append) == NOTHING
    assert seen == [BUSY, NOTHING, BUSY, NOTHING, NOTHING]


def failing(*found: Pending | Exception) -> Callable[[], Pending]:
    """Answer or fail with one after the other."""
    left = list(found)

    def check() -> Pending:
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return check


@pytest.mark.parametrize("error", [KafkaUnreachableError("timed out"), redis.TimeoutError("timed out")])
def test_a_store_that_answered_and_then_does_not_for_a_moment_is_asked_again(error: Exception) -> None:
    check = failing(BUSY, NOTHING, error, error, NOTHING, NOTHING)

    assert NOTHING == drain(check, 10, pause_s=0)


def test_a_store_that_never_answered_is_an_error_at_once_unless_it_is_known_to_be_up() -> None:
    error = KafkaUnreachableError("refused")
    with pytest.raises(KafkaUnreachableError):
        drain(failing(error, NOTHING, NOTHING), 10, pause_s=0)

    assert NOTHING == drain(failing(error, NOTHING, NOTHING), 10, pause_s=0, has_answered=True)


def test_a_store_that_does_not_answer_until_the_time_is_over_is_an_error() -> None:
    with pytest.raises(KafkaUnreachableError):
        drain(failing(BUSY, *[KafkaUnreachableError("refused")] * 1_000), 60, pause_s=1)


def test_after_the_timeout_it_says_what_is_left() -> None:
    assert drain(checks_of(BUSY), 0, pause_s=0) == BUSY


@pytest.mark.parametrize(
    ("pending", "text"),
    [
        pytest.param(NOTHING, "nothing", id="nothing"),
        pytest.param(
            BUSY,
            "1,200 records before identify, 2 identity changes in the outbox, 1 changed profiles to export",
            id="everything",
        ),
        pytest.param(
            Pending((PartitionLag("record", "a", 0, 1), PartitionLag("record", "b", 5, 2)), 0, 0),
            "3 records before record",
            id="partitions of one role add up",
        ),
    ],
)
def test_what_is_pending_has_a_summary(pending: Pending, text: str) -> None:
    assert pending.summary() == text
