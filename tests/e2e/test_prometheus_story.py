"""Debian's Prometheus scrapes workers and collector, and the shipped alerts say that a worker has stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.operations.metrics import PROCESSES
from deploy.settings import Settings
from tests.support.builders import order, touchpoint
from tests.support.collector import collector, track
from tests.support.pipeline import Pipeline
from tests.support.prometheus import Prometheus

pytestmark = pytest.mark.e2e

ANN = {"email": "ann@shop.example"}


def test_an_alert_fires_when_a_worker_stops_and_ends_when_it_is_back(stack: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Pipeline(stack, home) as pipeline, collector(stack, home) as service:
        pipeline.wait(lambda: all((home / "metrics" / name).exists() for name in PROCESSES))
        with Prometheus(tmp_path / "prometheus", home, PROCESSES) as prometheus:
            pipeline.publish(touchpoint("Product Viewed", identifiers=ANN), order("o1", identifiers=ANN))
            pipeline.send("web", b"{ no JSON")
            service.post("/v1/batch", {"batch": [track("c1"), track("c2", userId=None)]})
            pipeline.wait(lambda: prometheus.up() == {*PROCESSES}, said=lambda: f"up: {prometheus.up()}")
            # A lag is measured some seconds after a start, and a third of three records is many.
            pipeline.wait(lambda: prometheus.firing() <= {"ManyRefusals", "CollectorRefusesMany"})
            rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

            pipeline.workers.pop("deliver").stop(10)
            pipeline.wait(lambda: {"TargetDown", "RoleWithoutWorker"} <= prometheus.firing())
            pipeline.start("deliver")
            pipeline.wait(lambda: not prometheus.firing() & {"TargetDown", "RoleWithoutWorker"})

    assert len(rules) > 20
    assert {"ok"} == {rule["health"] for rule in rules}
