"""Records that no stage can process, of any size and kind, become dead letters; their neighbours go on."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.connections.kafka import kafka_connection
from deploy.settings import Settings
from schemas.dead_letters import RECORD_LIMIT_BYTES, truncation
from schemas.records import Outgoing, RecordsTooLargeError
from schemas.topics import RESOLVED_TOUCHPOINTS, Topic
from sinks.clickhouse.client import connect
from sinks.clickhouse.dead_letters import DeadLetterFilter, StoredDeadLetter, read_dead_letters
from sinks.kafka.producer import KafkaPublisher, create_topics
from tests.support.builders import touchpoint
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.integration


def letters(settings: Settings) -> list[StoredDeadLetter]:
    client = connect(settings.clickhouse_url, settings.clickhouse_database)
    try:
        return list(read_dead_letters(client, DeadLetterFilter()))
    finally:
        client.close()


def growing(bytes_sent: int) -> bytes:
    """An event of a custom kind whose canonical form is longer: `1e9` is written as `1000000000.0`."""
    event = {**touchpoint("Grown", event_id="grown"), "properties": {"numbers": []}}
    text = orjson.dumps(event)
    numbers = b",".join([b"1e9"] * ((bytes_sent - len(text)) // 4))
    return text.replace(b'"numbers":[]', b'"numbers":[' + numbers + b"]")


async def test_the_publisher_names_what_is_too_large_and_sends_the_others(stack: Settings) -> None:
    create_topics(
        kafka_connection(stack), [Topic("decisions", "key", -1)], prefix=stack.topic_prefix, partitions=1, replicas=1
    )
    publisher = KafkaPublisher(kafka_connection(stack), stack.topic_prefix)
    sizes = [10, RECORD_LIMIT_BYTES, 20, RECORD_LIMIT_BYTES + 1, 30]
    with pytest.raises(RecordsTooLargeError, match="2 records of decisions") as raised:
        await publisher.send([Outgoing("decisions", b"k", b"v" * size) for size in sizes])
    publisher.close()

    assert (1, 3) == raised.value.places


def test_records_of_every_size_and_their_neighbours(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = stack.model_copy(update={"max_event_bytes": 900_000})
    monkeypatch.setattr("deploy.settings.settings", lambda: settings)
    refused = orjson.dumps({**touchpoint(), "identifiers": {"user_id": "x" * 889_000}})
    grown = growing(890_000)
    oversized: dict[str, Any] = {"not JSON": b"x" * 760_000, "refused": refused, "grown": grown}
    with Pipeline(settings, tmp_path, roles=("identify", "profile", "record")) as pipeline:
        names = []
        for number, value in enumerate(oversized.values()):
            neighbours = [touchpoint(event_id=f"{side}-{number}") for side in ("before", "after")]
            pipeline.publish(neighbours[0], key="k")
            pipeline.send("web", value, "k")
            pipeline.publish(neighbours[1], key="k")
            names += [one["event_id"] for one in neighbours]
        pipeline.drain()
        stored = [row[0] for row in pipeline.rows("SELECT event_id FROM touchpoints FINAL ORDER BY event_id")]
        pipeline.publish(touchpoint(event_id="later"))
        pipeline.drain()

        assert sorted(names) == stored
        assert 1 == pipeline.value("SELECT count() FROM touchpoints WHERE event_id = 'later'")

    found = {letter.reason + letter.stage: letter for letter in letters(settings)}
    assert {"not_jsonidentify", "invalid_fieldidentify", "too_largeidentify"} == set(found)
    for letter in found.values():
        kept = truncation(letter.message, letter.key or b"", letter.value)
        assert kept
        assert kept.value_size in {len(value) for value in oversized.values()}
        assert len(letter.value) < 100_000

    outcome = CliRunner().invoke(app, ["dead-letters", "replay", "--json"])
    told = json.loads(outcome.stdout)
    assert (0, 0, 3) == (outcome.exit_code, told["published"], told["refused"]), outcome.stderr
    for letter in found.values():
        assert f"{letter.topic} {letter.partition} {letter.offset}" in outcome.stderr


def test_malformed_resolved_records_cost_no_neighbour_its_profile_or_its_row(stack: Settings, tmp_path: Path) -> None:
    newer = {
        "event_id": "n",
        "event": "Price Changed",
        "profile_id": "p",
        "occurred_at": "soon",
        "received_at": "later",
    }
    malformed = [b"{", b"[]", b"{}", orjson.dumps(newer), orjson.dumps({**newer, "profile_id": {"shard": 7}})]
    publisher = KafkaPublisher(kafka_connection(stack), stack.topic_prefix)
    with Pipeline(stack, tmp_path, roles=("identify", "profile", "record")) as pipeline:
        asyncio.run(publisher.send([Outgoing(RESOLVED_TOUCHPOINTS, b"p", value) for value in malformed]))
        pipeline.publish(*(touchpoint(event_id=f"good-{number}") for number in range(3)))
        pipeline.drain()
        publisher.close()

        assert 3 == pipeline.value("SELECT count() FROM touchpoints FINAL")
        assert 3 == pipeline.value("SELECT sum(JSONExtractInt(document, 'event_count')) FROM profiles FINAL")
        refused = pipeline.rows("SELECT DISTINCT value_base64 FROM dead_letters")
    assert {b64encode(value).decode() for value in malformed} == {row[0] for row in refused}
