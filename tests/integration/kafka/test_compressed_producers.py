"""Producers compress as they like; the workers read it."""

from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from deploy.connections.kafka import kafka_connection
from deploy.settings import Settings
from sinks.kafka.producer import producer_config
from tests.support.builders import touchpoint
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.integration


def test_every_codec_of_kafka_is_read(stack: Settings, tmp_path: Path) -> None:
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    with Pipeline(stack, tmp_path) as pipeline:
        for codec in codecs:
            producer = Producer(
                producer_config(kafka_connection(stack), **{"compression.type": codec, "linger.ms": 50})
            )
            for number in range(20):  # enough of a kind that librdkafka does compress them
                event = touchpoint(event_id=f"{codec}-{number}", properties={"text": "again and again " * 20})
                producer.produce(stack.topic_prefix + "touchpoints.web", orjson.dumps(event))
            assert 0 == producer.flush(20)
        pipeline.drain()

        stored = pipeline.value("SELECT uniqExact(event_id) FROM touchpoints")

    assert 20 * len(codecs) == stored
