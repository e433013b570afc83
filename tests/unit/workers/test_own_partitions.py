"""A worker's own people are those in the partitions that it reads now."""

from __future__ import annotations

from typing import Any

import pytest
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from deploy.workers.own_partitions import OwnPartitions
from schemas.shards import partition_of

PEOPLE = [f"p{number}" for number in range(100)]


class App:
    """A Faust app with a consumer that has some partitions; None: it has not started."""

    def __init__(self, assigned: set[TP] | None) -> None:
        self.assigned = assigned

    @property
    def consumer(self) -> App:
        return self

    def assignment(self) -> set[TP]:
        if self.assigned is None:
            raise ConsumerNotStarted
        return self.assigned


def own(assigned: set[TP] | None, count: int = 4) -> OwnPartitions:
    app: Any = App(assigned)
    return OwnPartitions(app, "resolved", lambda: count)


def test_every_person_is_of_exactly_one_of_all_workers() -> None:
    workers = [own({TP("resolved", 0), TP("resolved", 2)}), own({TP("resolved", 1)}), own({TP("resolved", 3)})]
    found = [set(worker.of(PEOPLE)) for worker in workers]

    assert set(PEOPLE) == set.union(*found)
    assert len(PEOPLE) == sum(map(len, found))
    assert {number for number in PEOPLE if partition_of(number.encode(), 4) == 1} == found[1]


@pytest.mark.parametrize(
    ("assigned", "count"),
    [
        pytest.param(None, 4, id="not started"),
        pytest.param(set(), 4, id="all partitions lost"),
        pytest.param({TP("other", 0)}, 4, id="partitions of another topic"),
        pytest.param({TP("resolved", 0)}, 0, id="number of partitions not known"),
    ],
)
def test_without_partitions_nobody_is_ones_own(assigned: set[TP] | None, count: int) -> None:
    assert [] == own(assigned, count).of(PEOPLE)


def test_whoever_reads_a_partition_says_so() -> None:
    assert [False, False, True] == [own(None).any(), own(set()).any(), own({TP("resolved", 0)}).any()]
