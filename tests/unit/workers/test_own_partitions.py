"""A worker's own shards are those in the partitions that it reads now."""

from __future__ import annotations

from typing import Any

import pytest
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from deploy.workers.own_partitions import OwnPartitions
from schemas.shards import SHARDS


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


def test_every_shard_is_of_exactly_one_of_all_workers() -> None:
    workers = [own({TP("resolved", 0), TP("resolved", 2)}), own({TP("resolved", 1)}), own({TP("resolved", 3)})]
    found = [worker.shards() for worker in workers]

    assert list(range(SHARDS)) == sorted(shard for shards in found for shard in shards)
    assert {1} == {shard % 4 for shard in found[1]}


@pytest.mark.parametrize(
    ("assigned", "count"),
    [
        pytest.param(None, 4, id="not started"),
        pytest.param(set(), 4, id="all partitions lost"),
        pytest.param({TP("other", 0)}, 4, id="partitions of another topic"),
        pytest.param({TP("resolved", 0)}, 0, id="number of partitions not known"),
    ],
)
def test_without_partitions_no_shard_is_ones_own(assigned: set[TP] | None, count: int) -> None:
    assert [] == own(assigned, count).shards()


def test_a_partition_that_is_taken_away_takes_its_shards_along() -> None:
    worker = own({TP("resolved", 0), TP("resolved", 1)})
    before = worker.shards()
    app: Any = worker._app
    app.assigned = {TP("resolved", 1)}

    assert [shard for shard in before if shard % 4 == 1] == worker.shards()
