"""Every alert fires when it should and stays quiet when it should, by Prometheus' own `promtool`; and has a runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from deploy.operations.metrics import PROCESSES
from deploy.settings import Settings
from schemas.metrics import METRICS, Histogram
from tests.support.stack import unavailable

ROOT = Path(__file__).parents[3]
FILE = ROOT / "deploy/observability/alerts.yaml"
[GROUP] = yaml.safe_load(FILE.read_text("utf-8"))["groups"]
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}
LAGS = {f'throughline_consumer_lag_records{{role="{role}"}}': "0x99" for role in ("identify", "profile", "record")}
DELIVER = 'throughline_consumer_lag_records{role="deliver"}'
ACCOUNTED = 'throughline_accounting_timestamp_seconds{account="records"}'
OF_PROFILES = 'throughline_accounting_timestamp_seconds{account="profiles"}'
MESSAGES = 'throughline_messages_total{{channel="email",outcome="{}"}}'
COLLECTOR_UP = 'up{job="throughline",process="collector",instance="a:9468"}'
IDENTIFY_UP = 'up{job="throughline",process="identify",instance="a:9464"}'
DAY = 24 * 60


class Case(NamedTuple):
    """Series as promtool writes them, a sample each so many minutes; and at which minute the alert is looked at."""

    series: dict[str, str]
    minute: int = 30
    interval: int = 1


def dead_letters(refused: int, received: int) -> Case:
    return Case(
        {
            'throughline_dead_letters_total{stage="identify",reason="not_json"}': f"0+{refused}x60",
            'throughline_records_received_total{stage="identify"}': f"0+{received}x60",
        }
    )


def collected(refused: int, accepted: int) -> Case:
    of = "throughline_collector_events_total"
    return Case({f'{of}{{outcome="refused"}}': f"0+{refused}x60", f'{of}{{outcome="accepted"}}': f"0+{accepted}x60"})


def answers(failed: int, good: int, route: str = "/v1/batch") -> Case:
    of = "throughline_collector_answers_total"
    return Case(
        {
            f'{of}{{route="{route}",status="503"}}': f"0+{failed}x60",
            f'{of}{{route="/v1/batch",status="200"}}': f"0+{good}x60",
        }
    )


def requests(slow: int, quick: int, route: str = "/v1/batch") -> Case:
    of = f'throughline_collector_request_duration_seconds_bucket{{route="{route}",le='
    both = slow + quick
    return Case({f'{of}"1"}}': f"0+{quick}x60", f'{of}"2.5"}}': f"0+{both}x60", f'{of}"+Inf"}}': f"0+{both}x60"})


def messages(failed: int, sent: int) -> Case:
    of = 'throughline_messages_total{channel="email",outcome='
    return Case({f'{of}"failed"}}': f"0+{failed}x60", f'{of}"sent"}}': f"0+{sent}x60"})


def messages_at(failed: str, sent: str) -> Case:
    of = 'throughline_messages_total{channel="email",outcome='
    return Case({f'{of}"failed"}}': failed, f'{of}"sent"}}': sent}, 33)


def emails(complained: int, sent: int) -> Case:
    of = "throughline_email_events_of_a_day{step="
    return Case({f'{of}"complained"}}': f"{complained}x60", f'{of}"sent"}}': f"{sent}x60"})


def gauge(name: str, values: str) -> Case:
    return Case({f"throughline_{name}": values})


def source_events(*hours: int) -> Case:
    """Events of one source, in each hour of eight days; the last hours as given."""
    counts = [30] * (8 * 24 - len(hours)) + list(hours)
    steps = "".join(f" {sum(counts[:hour])}+{count / 4}x3" for hour, count in enumerate(counts))
    return Case({'throughline_source_events_total{source="shop"}': steps.strip()}, minute=8 * DAY - 15, interval=15)


def hourly_file(stops: bool) -> Case:
    """A source that sends a file of 30 events each hour; its worker is started anew before the last one of eight days.

    The counter of the new worker begins with these 30, so that nothing seems to increase.
    """
    hours = 8 * 24
    counts = "".join(f" {30 * hour}x3" for hour in range(hours))
    times = "".join(f" {hour * 3600}x3" for hour in range(hours))
    anew = " _x6" if stops else " _x1 30x4"
    seen = " _x6" if stops else f" _x1 {(hours * 60 + 30) * 60}x4"
    return Case(
        {
            'throughline_source_events_total{source="till"}': (counts + anew).strip(),
            'throughline_source_last_event_timestamp_seconds{source="till"}': (times + seen).strip(),
        },
        minute=hours * 60 + 75, interval=15,
    )  # fmt: skip


def last_events(at_minute: int, seen_at: int) -> Case:
    """The last event of a source was at a minute; its worker was started again later and has seen none since."""
    name = 'throughline_source_last_event_timestamp_seconds{source="shop"}'
    return Case({name: f"{at_minute * 60}x{seen_at // 10}"}, minute=at_minute + DAY + 30, interval=10)


# The end of a certificate, seconds after the first sample.
LONG, SOON = 15 * 86400, 13 * 86400

CASES: dict[str, list[tuple[str, Case, bool]]] = {
    "TargetDown": [
        ("a worker that does not answer", Case({'up{job="throughline",instance="a:9464"}': "0x60"}), True),
        ("one that answers", Case({'up{job="throughline",instance="a:9464"}': "1x60"}), False),
        ("another job's", Case({'up{job="other",instance="a:9464"}': "0x60"}), False),
    ],
    "ProcessGone": [
        ("its only container", Case({COLLECTOR_UP: "1x20 _x40", IDENTIFY_UP: "1x60"}), True),
        ("one of two containers", Case({COLLECTOR_UP: "1x20 _x40", COLLECTOR_UP.replace("a:", "b:"): "1x60"}), False),
        ("a day later", Case({COLLECTOR_UP: "1x20 _x1600", IDENTIFY_UP: "1x1620"}, DAY + 60), False),
        ("a container that does not answer is another alert's", Case({COLLECTOR_UP: "0x60"}), False),
    ],
    "RoleWithoutWorker": [
        ("no worker delivers", Case(LAGS), True),
        ("all roles have workers", Case({**LAGS, DELIVER: "0x99"}), False),
        ("a restart of a minute", Case({**LAGS, DELIVER: "0x10 _ _ 0x60"}, 13), False),
    ],
    "LagGrowing": [
        ("older each minute", gauge('consumer_lag_seconds{role="profile",topic="t"}', "0+60x60"), True),
        ("a backlog that shrinks", gauge('consumer_lag_seconds{role="profile",topic="t"}', "9000-60x60"), False),
        ("little, however long", gauge('consumer_lag_seconds{role="profile",topic="t"}', "0+1x60"), False),
    ],
    "ExportPaused": [
        ("for an hour", gauge('export_paused{destination="meta"}', "1x60"), True),
        ("for ten minutes", gauge('export_paused{destination="meta"}', "0x20 1x9 0x30"), False),
    ],
    "ExportBehind": [
        ("by two hours", gauge('export_lag_seconds{destination="meta"}', "7200x60"), True),
        ("by half an hour", gauge('export_lag_seconds{destination="meta"}', "1800x60"), False),
    ],
    "AccountingDifference": [
        ("a record with two outcomes", gauge("accounting_difference_records", "0x5 1x60"), True),
        ("none", gauge("accounting_difference_records", "0x60"), False),
    ],
    "RecordsMissing": [
        ("a record without an outcome", gauge("accounting_missing_records", "0x5 1x60"), True),
        ("for one account only", gauge("accounting_missing_records", "0x20 1x4 0x60"), False),
    ],
    "ProfilesDiffer": [
        ("one profile", gauge("profiles_differing", "1x60"), True),
        ("none", gauge("profiles_differing", "0x60"), False),
    ],
    "AccountNotTaken": [
        ("for two hours", Case({ACCOUNTED: "0x200", OF_PROFILES: "0+60x200"}, 120), True),
        ("never since the worker started", Case({OF_PROFILES: "0+60x200"}, 120), True),
        (
            "for half an hour, with a new worker",
            Case({ACCOUNTED: "0+60x60 _x30", OF_PROFILES: "0+60x60 _x30"}, 89),
            False,
        ),
        ("each five minutes", Case({ACCOUNTED: "0+60x200", OF_PROFILES: "0+60x200"}), False),
        ("that of profiles for four hours", Case({ACCOUNTED: "0+60x300", OF_PROFILES: "0x300"}, 240), True),
        ("that of profiles an hour ago", Case({ACCOUNTED: "0+60x300", OF_PROFILES: "0x300"}, 60), False),
        ("that of profiles never", Case({ACCOUNTED: "0+60x300"}, 240), True),
    ],
    "ManyRefusals": [
        ("three of a hundred", dead_letters(3, 100), True),
        ("one of a hundred", dead_letters(1, 100), False),
        ("nothing comes", dead_letters(0, 0), False),
    ],
    "CollectorRefusesMany": [
        ("six of a hundred", collected(6, 94), True),
        ("four of a hundred", collected(4, 96), False),
        ("nothing comes", collected(0, 0), False),
    ],
    "SourceSilent": [
        ("an hour without events that had some before", source_events(0, 0), True),
        ("a quiet hour", source_events(1, 1), False),
        ("an hour in which it never sends", source_events(*[0] * (24 * 7 + 1)), False),
        ("a file each hour, and its worker was started anew", hourly_file(stops=False), False),
        ("a file each hour that stays away", hourly_file(stops=True), True),
        ("a day, and its worker was started anew", last_events(at_minute=100, seen_at=200), True),
        ("half a day", Case(last_events(100, 200).series, 100 + DAY // 2, 10), False),
    ],
    "TimersLate": [
        ("for a quarter of an hour", gauge("timers_late_seconds", "900x60"), True),
        ("for two minutes", gauge("timers_late_seconds", "120x60"), False),
    ],
    "OutboxNotDraining": [
        ("records wait longer and longer", gauge('outbox_age_seconds{outbox="profile"}', "0+60x60"), True),
        ("records wait a moment", gauge('outbox_age_seconds{outbox="profile"}', "3x60"), False),
    ],
    "SnapshotsLate": [
        ("none since half an hour", gauge("snapshot_timestamp_seconds", "0x60"), True),
        ("one each minute", gauge("snapshot_timestamp_seconds", "0+60x60"), False),
    ],
    "StoreNotAnswering": [
        ("a retry each ten seconds", gauge('store_retries_total{store="redis"}', "0+6x60"), True),
        ("one retry", gauge('store_retries_total{store="redis"}', "0x20 1x60"), False),
        ("it is frozen, so that nothing is refused", gauge('store_answers{store="clickhouse"}', "1x20 0x40"), True),
        ("it answers", gauge('store_answers{store="clickhouse"}', "1x60"), False),
        (
            "one worker of two does not reach it",
            Case(
                {
                    'throughline_store_answers{store="redis",instance="a"}': "0x60",
                    'throughline_store_answers{store="redis",instance="b"}': "1x60",
                }
            ),
            False,
        ),
    ],
    "RedisMemoryHigh": [
        (
            "nine tenths",
            Case({"throughline_redis_memory_bytes": "90x60", "throughline_redis_memory_limit_bytes": "100x60"}),
            True,
        ),
        (
            "the half",
            Case({"throughline_redis_memory_bytes": "50x60", "throughline_redis_memory_limit_bytes": "100x60"}),
            False,
        ),
    ],
    "DiskFilling": [
        (
            "a tenth is free",
            Case(
                {
                    'throughline_disk_free_bytes{disk="default"}': "10x60",
                    'throughline_disk_size_bytes{disk="default"}': "100x60",
                }
            ),
            True,
        ),
        (
            "the half is free",
            Case(
                {
                    'throughline_disk_free_bytes{disk="default"}': "50x60",
                    'throughline_disk_size_bytes{disk="default"}': "100x60",
                }
            ),
            False,
        ),
    ],
    "CollectorErrors": [
        ("two of a hundred", answers(2, 98), True),
        ("none", answers(0, 100), False),
        ("the probe alone, which says so on purpose", answers(50, 50, "/ready"), False),
    ],
    "CollectorSlow": [
        ("two of a hundred take seconds", requests(2, 98), True),
        ("one of a thousand takes seconds", requests(1, 999), False),
        ("probes alone", requests(50, 50, "/ready"), False),
    ],
    "MessagesFailing": [
        ("a fifth", messages(20, 80), True),
        ("one of a hundred", messages(1, 99), False),
        (
            "a journey was stopped",
            Case({MESSAGES.format("stopped"): "0+20x60", MESSAGES.format("sent"): "0+9x60"}),
            False,
        ),
        ("one of two in a quiet quarter of an hour", messages_at("0x20 1x60", "0x22 1x60"), False),
    ],
    "EmailComplaints": [
        ("two of a thousand", emails(20, 10_000), True),
        ("one of ten thousand", emails(5, 50_000), False),
        ("one of ten", emails(1, 10), False),
    ],
    "SegmentsDiffer": [
        ("one segment", gauge("segment_differences", "1x60"), True),
        ("none", gauge("segment_differences", "0x60"), False),
    ],
    "CertificateEnding": [
        (
            "thirteen days before",
            gauge('certificate_expiry_timestamp_seconds{server="redis"}', f"{SOON}x60"),
            True,
        ),
        ("fifteen days before", gauge('certificate_expiry_timestamp_seconds{server="redis"}', f"{LONG}x60"), False),
    ],
}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        unavailable("promtool is not installed (on Debian: apt-get install prometheus)")
    return found


@pytest.mark.parametrize(
    ("alert", "case", "fires"),
    [
        pytest.param(alert, case, fires, id=f"{alert} {'fires' if fires else 'is quiet'}: {name}")
        for alert, cases in CASES.items()
        for name, case, fires in cases
    ],
)
def test_an_alert(alert: str, case: Case, fires: bool, promtool: str, tmp_path: Path) -> None:
    looked_at = {
        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
        "eval_time": f"{case.minute}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
    }
    rules = tmp_path / "alert.yaml"  # the one alone: all of them, over days, take seconds
    rules.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [RULES[alert]]}]}), "utf-8")
    test = {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{case.interval}m",
        "tests": [
            {
                "interval": f"{case.interval}m",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [looked_at],
            }
        ],
    }
    file = tmp_path / "case.yaml"
    file.write_text(yaml.safe_dump(test), "utf-8")
    tested = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)

    assert 0 == tested.returncode, tested.stdout + tested.stderr


def test_the_files_are_such_as_prometheus_loads(promtool: str) -> None:
    file = FILE.with_name("prometheus.yaml")  # with its rules
    checked = subprocess.run([promtool, "check", "config", str(file)], capture_output=True, text=True, check=False)

    assert 0 == checked.returncode, checked.stdout + checked.stderr


def test_prometheus_asks_every_service_at_the_port_of_its_process() -> None:
    config = yaml.safe_load(FILE.with_name("prometheus.yaml").read_text("utf-8"))
    [job] = config["scrape_configs"]
    first = int(Settings.model_fields["metrics_address"].default.rpartition(":")[2])
    asked = {name: one["port"] for one in job["dns_sd_configs"] for name in one["names"]}

    assert {process: first + number for number, process in enumerate(PROCESSES)} == asked
    assert asked.keys() <= yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))["services"].keys()


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_has_a_case_that_fires_and_one_that_does_not(alert: str) -> None:
    assert {True, False} == {fires for _, _, fires in CASES[alert]}


def test_no_case_is_of_an_alert_that_is_gone() -> None:
    assert set() == CASES.keys() - RULES.keys()


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_has_a_runbook(alert: str) -> None:
    page, _, anchor = RULES[alert]["annotations"]["runbook"].partition("#")
    section = re.search(rf"^### {alert}\n\n(.*?)(?=^##)", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)

    assert alert.lower() == anchor
    assert section is not None
    assert all(f"*{word}*" in " ".join(section[1].split()) for word in ("Meaning.", "Look at.", "Do."))
    assert RULES[alert]["labels"]["severity"] in {"warning", "critical"}


KNOWN = {one.name: one for one in METRICS} | {
    f"{one.name}_{part}": one for one in METRICS if isinstance(one, Histogram) for part in ("bucket", "sum", "count")
}


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_names_metrics_that_exist_and_labels_that_they_have(alert: str) -> None:
    expression = RULES[alert]["expr"]
    for name, labels in re.findall(r"(throughline_[a-z_]+)(?:\{([^}]*)\})?", expression):
        assert {label for label, _ in re.findall(r"(\w+)(=~|!~|!=|=)", labels)} <= {*KNOWN[name].labels}, name
