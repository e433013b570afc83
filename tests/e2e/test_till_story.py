"""A till sells through outages of the collector, and its day is confirmed from what ClickHouse has stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.clients.till import CollectorError, Till
from deploy.settings import Settings
from tests.support.collector import RunningCollector, collector
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.e2e

DAY = "2026-11-20"


@pytest.fixture
def running(stack: Settings, tmp_path: Path) -> Iterator[tuple[Pipeline, RunningCollector]]:
    """Workers up to the tables, and a collector before them."""
    with Pipeline(stack, tmp_path, ("identify", "record")) as pipeline, collector(stack, tmp_path) as service:
        yield pipeline, service


def till(path: Path, service: RunningCollector, till_id: str = "berlin-4", key: str = "server-key") -> Till:
    return Till(path / f"{till_id}.db", till_id=till_id, url=service.url, write_key=key)


def test_a_day_with_three_kills_of_the_collector_is_confirmed_to_the_cent(
    running: tuple[Pipeline, RunningCollector], tmp_path: Path
) -> None:
    pipeline, service = running
    shop = till(tmp_path, service)
    outages = 0
    for number in range(1_000):
        shop.sale(str(number), f"{number / 100:.2f}", "EUR", identifiers={"loyalty_id": f"L-{number % 40}"}, day=DAY)
        if number in (250, 500, 750):
            service.process.kill()
            with pytest.raises(CollectorError):
                shop.send()
            outages += 1
            service.start()
        if number % 50 == 0:
            shop.send()
    shop.refund("r-1", "1.50", "EUR", of_receipt="150", day=DAY)

    found = shop.close_day(DAY)

    expected = {"events": 1_001, "amounts": {"EUR": "4993.5000"}}
    assert (3, "confirmed", expected, expected) == (outages, found.status, found.declared, found.stored)
    assert [(1_000, 4995.0)] == pipeline.rows("SELECT count(), toFloat64(sum(revenue)) FROM v_conversions")


@pytest.mark.timed
def test_a_day_is_contested_while_a_receipt_is_refused_and_confirmed_when_it_is_corrected(
    running: tuple[Pipeline, RunningCollector], tmp_path: Path
) -> None:
    _, service = running
    shop = till(tmp_path, service)
    shop.sale("1", "10.00", "EUR", day=DAY)
    shop.sale("2", "7.00", "EUR", properties={"payment_method": {"card": True}}, day=DAY)

    before = shop.close_day(DAY, wait_s=5)
    [refused] = shop.refused()
    properties = {name: value for name, value in refused.body["properties"].items() if name != "payment_method"}
    shop.correct(refused.event_id, {**refused.body, "properties": properties})
    after = shop.close_day(DAY)

    assert ("contested", ((2, 2),), "10.0000") == (before.status, before.missing, before.stored["amounts"]["EUR"])
    assert "properties.payment_method" in refused.reason
    assert ("confirmed", (), "17.0000") == (after.status, after.missing, after.stored["amounts"]["EUR"])


def test_a_till_sees_its_own_source_alone_and_days_without_a_declaration_are_open(
    running: tuple[Pipeline, RunningCollector], tmp_path: Path
) -> None:
    _, service = running
    shop = till(tmp_path, service)
    shop.sale("1", "10.00", "EUR", day=DAY)
    shop.close_day(DAY)
    other = till(tmp_path, service, "wien-1")

    assert "confirmed" == shop.day_sum(DAY).status
    assert "open" == shop.day_sum("2026-11-21").status
    assert "open" == other.day_sum(DAY).status
    answers = [
        service.get("/v1/till-sums?till=berlin-4&day=2026-11-20").status,
        service.get("/v1/till-sums?till=berlin-4&day=2026-11-20&writeKey=web-key").status,
        service.get("/v1/till-sums?till=berlin-4&day=tomorrow&writeKey=server-key").status,
        service.get("/v1/till-sums?day=2026-11-20&writeKey=server-key").status,
    ]
    assert [401, 403, 400, 400] == answers


def test_without_clickhouse_the_collector_takes_events_and_says_that_sums_have_to_wait(
    stack: Settings, tmp_path: Path
) -> None:
    with (
        Pipeline(stack, tmp_path, ()),
        collector(stack, tmp_path, clickhouse_url="http://127.0.0.1:9") as service,
    ):
        shop = till(tmp_path, service)
        shop.sale("1", "10.00", "EUR", day=DAY)

        assert (1, 0, 0) == shop.send()
        with pytest.raises(CollectorError, match="answers 503: Stored events cannot be read now") as caught:
            shop.day_sum(DAY)
        assert 10 == caught.value.retry_after_s
