"""The questions of analysts on the demo: how long each takes, and how much of that is planning."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from deploy.demo.simulator import Options, Simulation
from deploy.settings import Settings
from sinks.clickhouse.bots import judge_bots
from sinks.clickhouse.client import connect
from sinks.clickhouse.tables import questions
from tests.support.pipeline import Pipeline


def questions_of_demo(settings: Settings, home: Path, people: int = 2_000) -> dict[str, Any]:
    """Send the demo's events through the pipeline and ask each question.

    Args:
        settings: Those of a corner of the servers.
        home: Where the workers write their logs.
        people: How many people the simulated retailer has.

    Returns:
        Seconds by question: `answered_s`, the better of two times, and `planned_s`, the same without a row.
    """
    with Pipeline(settings, home) as pipeline:
        pipeline.publish_lines(Simulation(Options(people=people)).lines())
        pipeline.drain(1800)
    client = connect(settings.clickhouse_url, settings.clickhouse_database)
    judge_bots(client)
    found: dict[str, Any] = {"answered_s": {}, "planned_s": {}}
    for one in questions():
        found["answered_s"][one.name] = min(_seconds(client, one.sql) for _ in range(2))
        found["planned_s"][one.name] = _seconds(client, f"SELECT * FROM ({one.sql}\n) WHERE 1 LIMIT 0")
    client.close()
    found["targets_met"] = {"each question below 1 s": max(found["answered_s"].values()) < 1}
    return found


def _seconds(client: Any, sql: str) -> float:
    begun = time.monotonic()
    client.query(sql)
    return round(time.monotonic() - begun, 3)
