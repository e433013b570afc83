"""Producers with Confluent's serialisers and CloudEvents on the real broker: every event is stored, exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from confluent_kafka import SerializingProducer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer

from deploy.settings import Settings
from tests.support.pipeline import Pipeline
from tests.support.schema_registry import SchemaRegistry, schema_registry

pytestmark = pytest.mark.e2e

ORDER = {"type": "record", "name": "Order", "fields": [
    {"name": "event_id", "type": "string"}, {"name": "event", "type": "string"}, {"name": "channel", "type": "string"},
    {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "identifiers", "type": {"type": "map", "values": "string"}},
    {"name": "properties", "type": {"type": "record", "name": "P", "fields": [
        {"name": "order_id", "type": "string"}, {"name": "currency", "type": "string"},
        {"name": "revenue", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}]}},
]}  # fmt: skip


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    with schema_registry() as running:
        yield running


def test_avro_cloud_events_and_json_on_one_topic_are_one_history(
    stack: Settings, registry: SchemaRegistry, tmp_path: Path
) -> None:
    settings = stack.model_copy(update={"schema_registry_url": registry.url})
    serializer = AvroSerializer(SchemaRegistryClient({"url": registry.url}), json.dumps(ORDER))
    producer = SerializingProducer({"bootstrap.servers": settings.kafka_bootstrap, "value.serializer": serializer})
    topic = f"{settings.topic_prefix}touchpoints.web"
    with Pipeline(settings, tmp_path) as pipeline:
        for number in range(50):
            producer.produce(topic, key=f"u{number}", value={
                "event_id": f"avro-{number}", "event": "Order Completed", "channel": "web",
                "occurred_at": datetime(2026, 11, 22, 8, tzinfo=UTC), "identifiers": {"user_id": f"u{number}"},
                "properties": {"order_id": f"A-{number}", "currency": "EUR", "revenue": Decimal("0.10")},
            })  # fmt: skip
        producer.flush(30)
        registry.is_down = True  # what was learnt is kept
        pipeline.publish({"event_id": "json-1", "event": "Order Completed", "channel": "web",
                          "occurred_at": "2026-11-22T08:00:00Z", "identifiers": {"user_id": "u1"},
                          "properties": {"order_id": "J-1", "currency": "EUR", "revenue": "0.10"}})  # fmt: skip
        pipeline.send("web", b"\x1f\x8b\x08 not JSON")
        headers = {"ce_specversion": "1.0", "ce_id": "ce-1", "ce_source": "/till", "ce_time": "2026-11-22T08:00:00Z",
                   "ce_type": "com.example.order.completed", "content-type": "application/json"}  # fmt: skip
        data = {"identifiers": {"user_id": "u1"}, "properties": {"order_id": "C-1", "currency": "EUR", "revenue": 0.1}}
        pipeline._producer.produce(topic, json.dumps(data).encode(), headers=headers)
        pipeline.flush()
        registry.is_down = False
        pipeline.drain()

        assert (52, 5.2) == pipeline.rows("SELECT count(), toFloat64(sum(revenue)) FROM v_conversions")[0]
        gzip = "The record is gzip: let the producer compress batches (compression.type), not values."
        assert [("not_json", gzip)] == pipeline.rows("SELECT reason, message FROM dead_letters")
