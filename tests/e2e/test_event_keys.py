"""Events that share an id, and broken ones between them, from Kafka to the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.settings import Settings
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.e2e

SALE = (
    b'{"event_id": "17", "event": "Order Completed", "channel": "store", "source": "pos",'
    b' "occurred_at": "2026-11-20T10:00:00Z", "identifiers": {"loyalty_id": "L-1"},'
    b' "properties": {"order_id": "T-17", "revenue": "20.00", "currency": "EUR"}}'
)
CALL = (
    b'{"event_id": "17", "event": "Call Ended", "channel": "call_center", "source": "pbx",'
    b' "occurred_at": "2026-11-20T12:00:00Z", "identifiers": {"phone": "+4915112345678"},'
    b' "properties": {"duration_s": 90}}'
)
OTHER_SALE = SALE.replace(b"T-17", b"T-18")


def test_an_id_belongs_to_its_source_and_a_broken_record_costs_no_neighbour(stack: Settings, tmp_path: Path) -> None:
    with Pipeline(stack, tmp_path) as pipeline:
        pipeline.send("store", SALE, "k")
        pipeline.send("store", b"\x00\xff not JSON", "k")
        pipeline.send("store", SALE, "k")
        pipeline.send("store", OTHER_SALE, "k")
        for _ in range(2):
            pipeline.send("call_center", CALL, "k")
        pipeline.send("call_center", None, "k")
        pipeline.flush()
        pipeline.drain()

        stored = pipeline.rows("SELECT source, event FROM v_touchpoints WHERE event_id = '17' ORDER BY source")
        dropped = pipeline.rows("SELECT source, reason FROM dropped_touchpoints FINAL ORDER BY source, reason")
        account = pipeline.rows(
            "SELECT sum(received), sum(stored), sum(duplicate), sum(dead_lettered), sum(difference) FROM v_accounting"
        )

    assert [("pbx", "Call Ended"), ("pos", "Order Completed")] == stored
    assert [("pbx", "duplicate"), ("pos", "conflict"), ("pos", "duplicate")] == dropped
    assert [(7, 2, 3, 2, 0)] == account
