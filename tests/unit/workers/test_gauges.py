"""Of several workers of a role one takes the accounts, and the others do not serve those of former times."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from deploy.operations.metrics import PrometheusMeter
from deploy.settings import Settings
from deploy.workers import gauges
from deploy.workers.gauges import Measurement
from deploy.workers.own_partitions import OwnPartitions
from schemas.metrics import PROFILES_DIFFERING, Meter


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
