"""What `throughline status` and `doctor` say of what is measured, by the limits of the shipped alerts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from deploy.operations.conditions import LIMITS, Condition, Readings, conditions
from schemas import metrics
from schemas.metrics import Gauge
from schemas.time import clock_ms

[GROUP] = yaml.safe_load((Path(__file__).parents[3] / "deploy/observability/alerts.yaml").read_text("utf-8"))["groups"]
RULES = {rule["alert"]: rule["expr"] for rule in GROUP["rules"]}


@pytest.mark.parametrize("alert", LIMITS)
def test_a_limit_is_that_of_the_alert(alert: str) -> None:
    [written] = re.findall(
        r"[<>] ([\d.]+)(?: \* 86400)?(?=$|\s+and )", RULES[alert].split("\nand ")[0].split(" and ")[0]
    )

    assert LIMITS[alert] == float(written)


def said(*readings: tuple[Gauge, float, *tuple[str, ...]]) -> list[Condition]:
    found = Readings()
    for metric, value, *labels in readings:
        found.set(metric, value, *labels)
    return conditions(found)


def test_what_could_not_be_measured_is_left_out() -> None:
    assert [] == said()


ACCOUNT = (metrics.ACCOUNTING_DIFFERENCE, 0.0), (metrics.ACCOUNTING_MISSING, 0.0)
NOW_S = clock_ms() / 1000


@pytest.mark.parametrize(
    ("readings", "name", "found", "alert"),
    [
        pytest.param(
            ACCOUNT, "accounting", "accounting difference 0, missing 0 of the records of the last two days", "",
            id="an account that closes",
        ),
        pytest.param(
            (ACCOUNT[0], (metrics.ACCOUNTING_MISSING, 3.0)), "accounting",
            "accounting difference 0, missing 3 of the records of the last two days", "RecordsMissing", id="missing",
        ),
        pytest.param(
            ((metrics.ACCOUNTING_DIFFERENCE, 2.0), ACCOUNT[1]), "accounting",
            "accounting difference 2, missing 0 of the records of the last two days", "AccountingDifference",
            id="a difference",
        ),
        pytest.param(
            ((metrics.ACCOUNTED_RECORDS, 200.0, "received"), (metrics.ACCOUNTED_RECORDS, 5.0, "dead_lettered")),
            "refusals", "5 of 200 records of the last two days (2.5%)", "ManyRefusals", id="refusals",
        ),
        pytest.param(
            ((metrics.ACCOUNTED_RECORDS, 0.0, "received"), (metrics.ACCOUNTED_RECORDS, 0.0, "dead_lettered")),
            "refusals", "0 of 0 records of the last two days (0.0%)", "", id="nothing has come",
        ),
        pytest.param(
            ((metrics.LAG, 0.0, "record", "t"), (metrics.LAG_AGE, 0.0, "record", "t")), "lag", "no worker is behind",
            "", id="no lag",
        ),
        pytest.param(
            (
                (metrics.LAG, 5.0, "record", "t"), (metrics.LAG_AGE, 900.0, "record", "t"),
                (metrics.LAG, 2.0, "profile", "t"), (metrics.LAG_AGE, 1.0, "profile", "t"),
            ),
            "lag", "7 records wait; the oldest 15 min, for record on t", "LagGrowing", id="a lag",
        ),
        pytest.param(
            ((metrics.OUTBOX, 4.0, "profile"), (metrics.OUTBOX_AGE, 61.0, "profile")), "outbox",
            "profile 4; the oldest record waits 61 s", "OutboxNotDraining", id="an outbox",
        ),
        pytest.param(
            ((metrics.TIMERS_DUE, 0.0), (metrics.TIMERS_LATE, 0.0)), "timers", "0 people have one that is due", "",
            id="timers",
        ),
        pytest.param(
            ((metrics.REDIS_MEMORY, 9e8), (metrics.REDIS_MEMORY_LIMIT, 1e9)), "memory",
            "Redis uses 900 MB of 1,000 MB (90%)", "RedisMemoryHigh", id="memory",
        ),
        pytest.param(
            ((metrics.DISK_FREE, 1e9, "default"), (metrics.DISK_SIZE, 10e9, "default")), "disk",
            "10% of ClickHouse's disk default are free: 1 GB", "DiskFilling", id="a disk",
        ),
        pytest.param(
            ((metrics.CERTIFICATE_END, NOW_S + 3.01 * 86_400, "redis"),), "certificate",
            "that of redis is valid for 3 days", "CertificateEnding", id="a certificate",
        ),
    ],
)  # fmt: skip
def test_what_is_measured_is_said_with_the_alert_that_comes_of_it(
    readings: tuple[tuple[Gauge, float]], name: str, found: str, alert: str
) -> None:
    assert [Condition(name, found, alert)] == said(*readings)
