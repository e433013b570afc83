"""The dashboards are made from the metrics, and every metric is on one of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.observability.dashboards import CLICKHOUSE, FOLDER, PROMETHEUS, dashboards, written
from schemas.metrics import METRICS

MADE = dashboards()
ROOM = Path(FOLDER).parents[1]
SOURCES = yaml.safe_load((ROOM / "grafana/provisioning/datasources/throughline.yaml").read_text("utf-8"))["datasources"]


def expressions() -> str:
    """All queries to Prometheus."""
    panels = [panel for dashboard in MADE.values() for panel in dashboard["panels"]]
    return "\n".join(target.get("expr", "") for panel in panels for target in panel.get("targets", ()))


@pytest.mark.parametrize("name", MADE)
def test_the_file_of_a_dashboard_is_what_the_module_makes(name: str) -> None:
    assert written(MADE[name]) == (FOLDER / name).read_text("utf-8"), "run python -m deploy.observability.dashboards"


def test_there_is_no_file_that_nothing_makes() -> None:
    assert MADE.keys() == {file.name for file in FOLDER.iterdir()}


@pytest.mark.parametrize("metric", METRICS, ids=[one.name for one in METRICS])
def test_every_metric_has_a_panel(metric: Any) -> None:
    assert metric.name in expressions()


@pytest.mark.parametrize("name", MADE)
def test_panels_have_ids_of_their_own_and_lie_side_by_side(name: str) -> None:
    panels = MADE[name]["panels"]
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(cells) == len(set(cells))
    assert all(0 <= x < 24 for x, _ in cells)
    assert all(before["y"] <= after["y"] for before, after in pairwise(places))


@pytest.mark.parametrize("name", MADE)
def test_a_dashboard_lets_one_choose_its_data_source_among_those_that_are_provisioned(name: str) -> None:
    [variable] = MADE[name]["templating"]["list"]

    assert variable["query"] in {PROMETHEUS["type"], CLICKHOUSE["type"]} == {source["type"] for source in SOURCES}
