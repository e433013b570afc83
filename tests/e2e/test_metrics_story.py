"""Metrics of running workers add up, and name nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from deploy.operations.roles import ROLES
from deploy.settings import Settings
from tests.support.builders import order, touchpoint
from tests.support.pipeline import Pipeline
from tests.support.prometheus import scraped

pytestmark = pytest.mark.e2e

TABLES = ("touchpoints", "conversions", "dead_letters", "dropped_touchpoints")
MEASURED = {
    "record": {
        "consumer_lag_records record resolved-touchpoints": 0,
        "consumer_lag_seconds record resolved-touchpoints": 0,
    },
    "profile": {
        "outbox_records profile": 0,
        "outbox_age_seconds profile": 0,
        "timers_due": 0,
        "timers_late_seconds": 0,
    },
}
"""What workers measure once everything is processed."""
ANN = {"email": "ann@shop.example"}


def has_measured(home: Path, role: str, expected: Mapping[str, float]) -> bool:
    """Whether a worker serves these readings."""
    return expected.items() <= scraped(home, role)[0].items()


def test_what_comes_in_goes_out_and_is_counted_where_it_happens(stack: Settings, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Pipeline(stack.model_copy(update={"log_format": "json"}), home) as pipeline:
        view = touchpoint("Product Viewed", identifiers=ANN, properties={"product_id": "p1"})
        signed_in = touchpoint("Signed In", identifiers={**ANN, "user_id": "u1"})
        other = touchpoint("Signed In", identifiers={"user_id": "u1"}, source="ann@shop.example")
        pipeline.publish(other, key="ann")
        pipeline.drain(180)
        pipeline.publish(view, view, order("o1", identifiers=ANN), signed_in, key="ann")
        pipeline.send("web", b"{ no JSON")
        pipeline.drain()
        for role, measured in MEASURED.items():  # every ten seconds, so what is there may be of a moment before
            pipeline.wait(partial(has_measured, home, role, measured))
        pipeline.wait(lambda: "profiles_differing" in scraped(home, "record")[0])
        pipeline.wait(lambda: "redis_memory_bytes" in scraped(home, "identify")[0])
        found = {role: scraped(home, role) for role in ROLES}
        stored = {name: pipeline.value(f"SELECT count() FROM {name}") for name in TABLES}
        pipeline.publish(touchpoint("Stock Changed", "api", properties={"product_id": "p1", "quantity": 5}))
        pipeline.drain()
        later, _ = scraped(home, "profile")

    identify, profile, record, _ = (found[role][0] for role in ROLES)
    assert 6 == identify["records_received_total identify"]
    assert 4 == identify["records_published_total identify"]
    assert 1 == identify["records_dropped_total duplicate identify"]
    assert 1 == identify["dead_letters_total not_json identify"]
    assert 1 == identify["identity_changes_total merge"]
    assert 4 == profile["records_received_total update_profile"]
    assert 5 == later["records_received_total update_profile"]  # no segment asks for stock: no event for who watches p1
    assert stored == {name: record[f"rows_written_total {name}"] for name in stored}
    assert {"touchpoints": 4, "dead_letters": 1, "dropped_touchpoints": 1}.items() <= stored.items()
    assert (3, 1) == (record["source_events_total test"], record["source_events_total other"])
    assert record["source_last_event_timestamp_seconds test"] == pytest.approx(time.time(), abs=120)
    assert record["snapshot_timestamp_seconds"] == pytest.approx(time.time(), abs=120)
    assert 0 == record["accounting_difference_records"] == record["profiles_differing"]
    assert identify["redis_memory_bytes"] > 0
    assert record["disk_free_bytes default"] > 0
    for counts, name in ((profile, "profile"), (record, "tables")):
        assert counts[f"delay_seconds_count {name}"] >= 1
    assert identify["stage_duration_seconds_count identify"] >= 1
    for role in ROLES:
        lines = [json.loads(line) for line in (home / "logs" / f"{role}.log").read_text("utf-8").splitlines()]
        assert {role} == {line["process"] for line in lines}
        assert "ann@" not in str(lines)
    for _, text in found.values():
        assert "ann" not in text.replace("channel", "")
