"""Completion waits: `catch_up` for what was published at its start, `drain` until nothing is pending."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from deploy.operations.completion import Pending, catch_up, drain
from deploy.operations.lag import LagReader, PartitionLag


class Reader:
    """Answers one look after the other; the last one again and again."""

    def __init__(self, *looks: list[PartitionLag]) -> None:
        self.looks = list(looks)

    def lags(self) -> list[PartitionLag]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def look(records: int, end: int, role: str = "record", partition: int = 0) -> PartitionLag:
    return PartitionLag(role, "resolved-touchpoints", partition, records, end)


def waited(*looks: list[PartitionLag]) -> tuple[int, list[int]]:
    told: list[int] = []
    left = catch_up(cast(LagReader, Reader(*looks)), "record", 0.05, pause_s=0.001, progress=told.append)
    return left, told


def test_nothing_to_do_is_no_wait() -> None:
    assert (0, [0]) == waited([look(0, 10)])


def test_what_is_published_meanwhile_is_not_waited_for() -> None:
    assert (0, [4, 2, 0]) == waited([look(4, 10)], [look(12, 20)], [look(90, 100)])


def test_every_partition_counts_and_other_roles_do_not() -> None:
    first = [look(1, 5), look(2, 7, partition=1), look(9, 9, role="profile")]
    second = [look(0, 5), look(0, 7, partition=1), look(9, 9, role="profile")]

    assert (0, [3, 0]) == waited(first, second)


def test_what_is_left_when_the_time_is_over_is_told() -> None:
    left, told = waited([look(4, 10)], [look(3, 10)])

    assert (3, {4, 3}) == (left, set(told))


NOTHING = Pending((), 0, 0)
BUSY = Pending((PartitionLag("identify", "touchpoints.web", 3, 1200),), 2, 1)


def looks(*found: Pending) -> Callable[[], Pending]:
    """Answer with one after the other, then with the last for ever."""
    left = list(found)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_it_is_drained_when_two_looks_in_a_row_find_nothing() -> None:
    seen: list[Pending] = []
    assert drain(looks(BUSY, NOTHING, BUSY, NOTHING, NOTHING), 10, pause_s=0, progress=seen.append) == NOTHING
    assert seen == [BUSY, NOTHING, BUSY, NOTHING, NOTHING]


def test_after_the_timeout_it_says_what_is_left() -> None:
    assert drain(looks(BUSY), 0, pause_s=0) == BUSY


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
def test_what_is_pending_is_put_into_words(pending: Pending, text: str) -> None:
    assert pending.summary() == text
