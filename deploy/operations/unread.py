"""Reads from Kafka what a rebuild of Redis does not find in ClickHouse.

That is which events the profile workers have not read yet, and the events that were derived for them (a fallen price):
these are in no table, and a replay must not tell people twice.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from deploy.connections.kafka import kafka_connection
from deploy.operations.lag import KafkaUnreachableError, LagReader
from deploy.operations.roles import group_id
from processors.identity.claims import event_key
from schemas.time import ms_of_text

if TYPE_CHECKING:
    from deploy.settings import Settings

_SILENCE_S = 30.0
_DERIVED = b'"derived"'


class ResolvedTopic(NamedTuple):
    """What is in `resolved-touchpoints` and not in ClickHouse.

    Attributes:
        unread: Keys of the events after the committed offsets of the profile workers.
        derived: Key and time of receipt, ms since 1970, of each derived event before them.
    """

    unread: set[bytes]
    derived: list[tuple[bytes, int]]


def read_resolved(settings: Settings, lags: LagReader) -> ResolvedTopic:
    """Read `resolved-touchpoints` from its beginning: a minute for some million events.

    Args:
        settings: Of the deployment.
        lags: Open on it.

    Raises:
        KafkaUnreachableError: The broker did not answer.
    """
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    found = ResolvedTopic(set(), [])
    left = {(lag.topic, lag.partition): lag for lag in lags.lags() if lag.role == "profile" and lag.end}
    if not left:
        return found
    consumer: Any = Consumer(
        {
            **kafka_connection(settings),
            "group.id": group_id(settings.topic_prefix, "lag"),  # required, and never used: partitions are assigned
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.assign([TopicPartition(*key, OFFSET_BEGINNING) for key in left])
        heard = time.monotonic()
        while left:
            for message in consumer.consume(1000, timeout=1.0):
                key = (message.topic(), message.partition())
                if message.error() is not None:
                    if message.error().code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (librdkafka's public name)
                        left.pop(key, None)
                    continue
                heard = time.monotonic()
                if (lag := left.get(key)) is not None:
                    _take(found, message.value() or b"", message.offset() >= lag.end - lag.records)
                    if message.offset() + 1 >= lag.end:
                        del left[key]
            if left and time.monotonic() - heard > _SILENCE_S:
                raise KafkaUnreachableError(f"Kafka at {settings.kafka_bootstrap} gave nothing for {_SILENCE_S:g} s")
    finally:
        consumer.close()
    return found


def _take(found: ResolvedTopic, value: bytes, is_unread: bool) -> None:
    if not is_unread and _DERIVED not in value:
        return
    try:
        event = orjson.loads(value)
        key = event_key(event["source"], event["event_id"])
        if is_unread:
            found.unread.add(key)
        elif event.get("derived"):
            found.derived.append((key, ms_of_text(event["received_at"])))
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError, ValueError):
        return  # the profile workers refuse it
