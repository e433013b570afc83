"""Unmodified SDKs send through the collector and the whole pipeline, and every message is stored once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.settings import Settings
from tests.support.collector import RunningCollector, collector
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.e2e

PEOPLE = 20


@pytest.fixture
def running(stack: Settings, tmp_path: Path) -> Iterator[tuple[Pipeline, RunningCollector]]:
    """The pipeline with a collector before it."""
    with Pipeline(stack, tmp_path) as pipeline, collector(stack, tmp_path) as service:
        yield pipeline, service


def visits(client: Any, mark: str, *, own_ids: bool) -> None:
    """Send the six calls for each person: anonymous first, then known, then buying."""
    for number in range(PEOPLE):
        browser, person = f"{mark}-b{number}", f"{mark}-u{number}"

        def named(call: str, key: str = f"{mark}-{number}") -> dict[str, str]:
            return {"message_id": f"{key}-{call}"} if own_ids else {}

        client.page(anonymous_id=browser, category="Shop", name="Home", properties={"path": "/"}, **named("page"))
        client.identify(person, {"email": f"{person}@shop.example"}, anonymous_id=browser, **named("identify"))
        client.track(
            person,
            "Order Completed",
            {"order_id": person, "revenue": 1.10, "currency": "EUR"},
            anonymous_id=browser,
            **named("track"),
        )
        client.screen(person, name="Orders", **named("screen"))
        client.group(person, "club", {"plan": "gold"}, **named("group"))
        client.alias(browser, person, **named("alias"))


def test_every_message_of_the_python_sdks_is_stored_once_and_tells_one_story(
    running: tuple[Pipeline, RunningCollector],
) -> None:
    from rudderstack.analytics.client import Client as Rudder
    from segment.analytics.client import Client as Segment

    pipeline, service = running
    failures: list[object] = []
    told: dict[str, Any] = {"host": service.url, "on_error": lambda error, _: failures.append(error)}
    clients = {
        "plain": Segment("server-key", **told),
        "packed": Segment("server-key", gzip=True, upload_size=7, **told),
        "rudder": Rudder("server-key", **told),
    }
    for mark, client in clients.items():
        visits(client, mark, own_ids=True)
    for client in clients.values():
        client.flush()
        client.join()
    refused = service.post("/v1/batch", {"batch": [{"type": "track", "event": "Of nobody", "messageId": "nobody"}]})
    pipeline.drain()

    assert ([], 200) == (failures, refused.status)
    events = len(clients) * PEOPLE * 6
    assert (events, events) == pipeline.rows("SELECT count(), uniqExact(event_id) FROM touchpoints FINAL")[0]
    assert len(clients) * PEOPLE == pipeline.value("SELECT uniqExact(profile_id) FROM v_touchpoints")
    assert (60, 66.0) == pipeline.rows("SELECT count(), round(toFloat64(sum(revenue)), 2) FROM v_conversions")[0]
    assert [("server", events, 0, 1, 0)] == pipeline.rows(
        "SELECT source, sum(stored), sum(duplicate), sum(dead_lettered), sum(difference) FROM v_accounting"
        " GROUP BY source"
    )
    assert 0 == pipeline.value("SELECT count() FROM v_missing_offsets")
