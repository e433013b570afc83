"""The servers of the tests as containers, as all tests have them where a Docker engine answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.containers.engine import Engine
from tests.support.builders import order, touchpoint
from tests.support.pipeline import Pipeline
from tests.support.stack import containers, corner

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


def test_the_pipeline_runs_on_servers_in_containers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image is not among ours
    with containers() as servers, corner(servers) as settings, Pipeline(settings, tmp_path) as pipeline:
        pipeline.publish(touchpoint(event_id="visit"), order("A-1", event_id="order"))
        pipeline.drain()
        stored = pipeline.rows("SELECT event_id, profile_id FROM touchpoints FINAL ORDER BY event_id")

    assert ["order", "visit"] == [event_id for event_id, _ in stored]
    assert 1 == len({profile_id for _, profile_id in stored})
