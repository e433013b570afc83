"""Metrics: what a process counts, what Prometheus gets of it, and the table of the README."""

from __future__ import annotations

import re
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deploy.home import Home
from deploy.operations import metrics
from deploy.operations.metrics import PrometheusMeter, addresses, serve
from deploy.settings import Settings
from processors.stream.routing import count
from schemas.dead_letters import Reason
from schemas.metrics import DEAD_LETTERED, DELAY, DROPPED, LAG, METRICS, PUBLISHED, RECEIVED, Counter, table
from schemas.outcomes import Drop, DropReason, Ok, Outcome, Reject

ROOT = Path(__file__).parents[3]
FEW_VALUES = {
    "account", "channel", "destination", "disk", "gate", "kind", "outbox", "outcome", "reason", "role", "route",
    "server", "source", "stage", "status", "step", "store", "table", "to", "topic",
}  # fmt: skip


def samples(meter: PrometheusMeter) -> dict[tuple[Any, ...], float]:
    """All samples of our own metrics: name and values of the labels, which are sorted by their names → value."""
    families = text_string_to_metric_families(generate_latest(meter.registry).decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if family.name.startswith("throughline_") and not sample.name.endswith("_created")
    }


def test_the_readme_has_the_table_of_all_metrics() -> None:
    assert table() in (ROOT / "deploy/README.md").read_text("utf-8"), f"put this there:\n\n{table()}"


@pytest.mark.parametrize("metric", METRICS, ids=[one.name for one in METRICS])
def test_a_metric_has_a_name_as_prometheus_wants_it_and_few_labels(metric: Any) -> None:
    assert re.fullmatch(r"throughline_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") is isinstance(metric, Counter)
    assert metric.meaning.endswith(".")
    assert FEW_VALUES >= {*metric.labels}


def test_every_metric_is_listed_once() -> None:
    assert len({one.name for one in METRICS}) == len(METRICS)


def test_outcomes_of_a_batch_are_counted_by_stage_and_reason() -> None:
    meter = PrometheusMeter()
    outcomes: list[Outcome[object]] = [
        Ok(b"resolved"), Ok(None), Drop(DropReason.DUPLICATE, "e1", "web", "web"),
        Drop(DropReason.DUPLICATE, "e2", "web", "web"), Reject(Reason.NOT_JSON, "", "no JSON"),
    ]  # fmt: skip

    count(meter, "identify", outcomes)
    count(meter, "identify", outcomes[:1])

    assert {
        (RECEIVED.name, "identify"): 6,
        (PUBLISHED.name, "identify"): 2,
        (DROPPED.name, "duplicate", "identify"): 2,
        (DEAD_LETTERED.name, "not_json", "identify"): 1,
    } == samples(meter)


def test_a_gauge_has_its_last_value_and_a_histogram_its_buckets() -> None:
    meter = PrometheusMeter()
    for value in (5, 3):
        meter.set(LAG, value, "identify", "touchpoints.web")
    for seconds in (0.2, 400):
        meter.observe(DELAY, seconds, "profile")
    found = samples(meter)

    assert 3 == found[LAG.name, "identify", "touchpoints.web"]
    buckets = [found[f"{DELAY.name}_bucket", bound, "profile"] for bound in ("0.1", "0.25", "900.0", "+Inf")]
    assert [0, 1, 2, 2] == buckets


def test_labels_without_bound_are_counted_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_SERIES", 2)
    meter = PrometheusMeter()
    for name in ("a", "b", "c", "d", "a"):
        meter.add(RECEIVED, 1, name)

    assert {(RECEIVED.name, "a"): 2, (RECEIVED.name, "b"): 1, (RECEIVED.name, "other"): 2} == samples(meter)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(metrics, "home", lambda: tmp_path)
    return Home(tmp_path)


def test_a_process_takes_the_next_port_where_its_own_is_taken_and_says_so(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        meter = PrometheusMeter()
        meter.add(RECEIVED, 7, "identify")
        address = serve(meter, Settings(metrics_address=f"127.0.0.1:{port}"), "identify")

    assert {"identify": address} == addresses({"identify": {}, "record": {}, "redis": {}})
    assert f"http://127.0.0.1:{port}/metrics" != address
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert b'throughline_records_received_total{stage="identify"} 7.0' in answer.read()


def test_metrics_are_served_nowhere_if_so_set(home: Home) -> None:
    file = home.metrics("identify")
    file.parent.mkdir()
    file.write_text("http://127.0.0.1:1/metrics")  # of the last start

    assert "" == serve(PrometheusMeter(), Settings(metrics_address=""), "identify")
    assert {} == addresses({"identify": {}})
