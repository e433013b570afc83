"""Waiting for workers ends when what was published at the start is through, whatever is published meanwhile."""

from __future__ import annotations

from typing import cast

from deploy.operations.catch_up import catch_up
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
