"""Of several workers of a role one takes the accounts, and the others do not serve those of former times."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from deploy.operations.metrics import PrometheusMeter
from deploy.settings import Settings
from deploy.workers import gauges
from deploy.workers.gauges import Measurement
from deploy.workers.own_partitions import OwnPartitions
from schemas.metrics import PROFILES_DIFFERING, STORE_ANSWERS, Meter
from sinks.clickhouse.client import StoreDown


def measure(settings: Settings, meter: Meter) -> None:
    meter.set(PROFILES_DIFFERING, 1)


def test_an_account_is_served_by_who_reads_the_first_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    partitions = [{1, 2}, {0, 1}, {0}, {1}, {1, 0}]
    meter, served = PrometheusMeter(), []
    reads = iter(partitions)
    app: Any = SimpleNamespace(should_stop=False, consumer=None)

    def turn(_: float) -> None:  # between two turns partitions go to other workers
        served.append(meter.registry.get_sample_value(PROFILES_DIFFERING.name))
        assigned = {TP("t", one) for one in next(reads, ())}
        app.consumer = SimpleNamespace(assignment=lambda: assigned)
        app.should_stop = len(served) > len(partitions)

    monkeypatch.setattr(gauges, "time", SimpleNamespace(sleep=turn, monotonic=lambda: 0.0))
    own = OwnPartitions(app, "t", lambda: 0)
    gauges._repeat(app, Measurement(measure, 60, (PROFILES_DIFFERING,)), Settings(), meter, own.first)

    assert [None, None, 1, 1, None, 1] == served


@pytest.mark.parametrize(
    ("error", "answers"),
    [
        pytest.param(None, 1, id="it answers"),
        pytest.param(StoreDown("timed out"), 0, id="it is frozen"),
        pytest.param(RedisConnectionError(), 0, id="it is away"),
        pytest.param(ResponseError("NOPERM"), 1, id="it refuses, which is an answer"),
    ],
)
def test_a_measurement_says_whether_its_store_answered(error: Exception | None, answers: int) -> None:
    def ask(*_: Any) -> None:
        if error is not None:
            raise error

    meter = PrometheusMeter()
    gauges._measure(Measurement(ask, 60, store="redis"), Settings(), meter)

    assert answers == meter.registry.get_sample_value(STORE_ANSWERS.name, {"store": "redis"})
