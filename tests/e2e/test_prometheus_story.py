"""Debian's Prometheus scrapes workers and collector, and the shipped alerts say that a worker has stopped."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.observability.dashboards import dashboards
from deploy.operations.roles import ROLES
from deploy.settings import Settings
from schemas.metrics import METRICS
from sinks.clickhouse.client import connect
from tests.support.builders import order, touchpoint
from tests.support.collector import collector, track
from tests.support.pipeline import Pipeline
from tests.support.prometheus import Prometheus

pytestmark = pytest.mark.e2e

ANN = {"email": "ann@shop.example"}
RUNNING = (*ROLES, "collector")
SQL_MACROS = {
    r"\$__timeInterval\((\w+)\)": r"toStartOfInterval(toDateTime(\1), INTERVAL 3600 second)",
    r"\$__timeFilter\((\w+)\)": r"\1 >= toDateTime(0) AND \1 <= toDateTime(4000000000)",
    r"\$__dateFilter\((\w+)\)": r"\1 >= toDate('1970-01-01') AND \1 <= toDate('2100-01-01')",
}
"""What Grafana's ClickHouse data source makes of its macros."""


def status(settings: Settings, home: Path) -> dict[str, Any]:
    """What `throughline status --json` says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deploy.settings.settings", lambda: settings)
        result = CliRunner().invoke(app, ["status", "--json"], env={"THROUGHLINE_HOME": str(home)})
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def silent_panels(prometheus: Prometheus) -> list[str]:
    """Ask the query of every panel about metrics; returns those of served metrics that show nothing."""
    now = time.time()
    served = set(prometheus.ask("label/__name__/values"))
    silent = []
    for title, target in targets("expr"):
        asked = target.replace("$__rate_interval", "1m").replace(" > 0)", ")")  # 0: a time that is not known yet
        found = prometheus.ask("query_range", query=asked, start=f"{now - 60}", end=f"{now}", step="5")["result"]
        if not found and set(re.findall(r"throughline_\w+", asked)) <= served:
            silent.append(title)
    assert len(served & {metric.name for metric in METRICS}) > 20
    return silent


def ask_clickhouse(settings: Settings) -> None:
    """Ask the query of every panel about ClickHouse."""
    client = connect(settings.clickhouse_url, settings.clickhouse_database)
    for _, sql in targets("rawSql"):
        for macro, text in SQL_MACROS.items():
            sql = re.sub(macro, text, sql)
        assert "$__" not in sql
        client.query(sql)
    client.close()


def targets(name: str) -> list[tuple[str, str]]:
    """The titles and queries of the panels of one data source."""
    panels = [panel for dashboard in dashboards().values() for panel in dashboard["panels"]]
    return [(panel["title"], target[name]) for panel in panels for target in panel.get("targets", ()) if name in target]


def test_an_alert_fires_when_a_worker_stops_and_ends_when_it_is_back(stack: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Pipeline(stack, home) as pipeline, collector(stack, home) as service:
        pipeline.wait(lambda: all((home / "metrics" / name).exists() for name in RUNNING))
        with Prometheus(tmp_path / "prometheus", home, RUNNING) as prometheus:
            pipeline.publish(touchpoint("Product Viewed", identifiers=ANN), order("o1", identifiers=ANN))
            pipeline.send("web", b"{ no JSON")
            service.post("/v1/batch", {"batch": [track("c1"), track("c2", userId=None)]})
            pipeline.wait(lambda: prometheus.up() == {*RUNNING}, said=lambda: f"up: {prometheus.up()}")
            # A lag is measured some seconds after a start, and a third of three records is many.
            pipeline.wait(lambda: prometheus.firing() <= {"ManyRefusals", "CollectorRefusesMany"})
            # A rate needs two samples, so a metric that is new shows nothing for a moment.
            pipeline.wait(lambda: not silent_panels(prometheus), said=lambda: f"empty: {silent_panels(prometheus)}")
            ask_clickhouse(stack)
            rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

            pipeline.workers.pop("deliver").stop(10)
            pipeline.wait(lambda: {"TargetDown", "RoleWithoutWorker"} <= prometheus.firing())
            pipeline.start("deliver")
            pipeline.wait(lambda: not prometheus.firing() & {"TargetDown", "RoleWithoutWorker"})

            served = set(prometheus.ask("label/__name__/values"))
        pipeline.drain()
        measured = status(stack, home)
        [(received, refused)] = pipeline.rows("SELECT sum(received), sum(dead_lettered) FROM v_accounting")

    assert "accounting difference 0, missing 0" in measured["conditions"][0]["found"]
    assert (True, True) == (received >= 4, refused >= 1)
    [refusals] = (one for one in measured["conditions"] if one["name"] == "refusals")
    assert refusals["found"].startswith(f"{refused} of {received} records of the last two days")
    assert "ManyRefusals" == refusals["alert"]
    assert {one["metric"] for one in measured["measured"]} <= served
    assert len(rules) > 20
    assert {"ok"} == {rule["health"] for rule in rules}
