"""The router: turns a stage's outcomes into records and publishes them.

Invariants: `route` gives exactly one entry for each record, in order. A record that is larger than a broker takes stops
no stage: it becomes a dead letter of the record that it was made from, and everything else is published.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import TypeVar

import orjson

from processors.stream.ports import Publisher
from schemas.dead_letters import Kept, Reason, dead_letter
from schemas.metrics import DEAD_LETTERED, DROPPED, NO_METER, PUBLISHED, RECEIVED, Meter
from schemas.outcomes import Drop, Ok, Outcome, Reject
from schemas.records import NO_PARTITION, Outgoing, Record, RecordsTooLargeError, UnloggedRecord, unlogged_offset
from schemas.time import text_of_ms
from schemas.topics import DROPPED_TOUCHPOINTS

Value = TypeVar("Value")


def route(stage: str, records: Sequence[Record], outcomes: Sequence[Outcome[Value]]) -> list[Value | Outgoing]:
    """Turn outcomes into the records to publish.

    Args:
        stage: The agent, for dead letters.
        records: The records of a batch.
        outcomes: The stage's outcome of each.

    Returns:
        For each record in order: the value of its `Ok`, a record of `dropped-touchpoints`, or its dead letter.
    """
    return [
        outcome.value if isinstance(outcome, Ok) else _set_aside(stage, record, outcome)
        for record, outcome in zip(records, outcomes, strict=True)
    ]


class Router:
    """Publishes what the outcomes of one stage lead to.

    Args:
        publisher: Writes to Kafka, and waits for a broker that is down.
        stage: The agent, for dead letters.
        clock: The time, milliseconds since 1970.
        topic_prefix: The deployment's prefix of topic names; a dead letter has the full name.
        meter: Counts the outcomes, once a batch.
    """

    def __init__(
        self,
        publisher: Publisher,
        stage: str,
        clock: Callable[[], int],
        *,
        topic_prefix: str = "",
        meter: Meter = NO_METER,
    ) -> None:
        self._publisher = publisher
        self._meter = meter
        self._stage = stage
        self._clock = clock
        self._topic_prefix = topic_prefix

    async def publish(self, records: Sequence[Record], outcomes: Sequence[Outcome[Outgoing | None]]) -> None:
        """Publish what the outcomes of a batch lead to; returns when the broker has confirmed all of it.

        Args:
            records: The records of the batch.
            outcomes: The stage's outcome of each; an `Ok` of None leads to no record.
        """
        routed = route(self._stage, records, outcomes)
        count(self._meter, self._stage, outcomes)
        try:
            await self._publisher.send([outgoing for outgoing in routed if outgoing is not None])
        except RecordsTooLargeError as error:
            sent = [one for one in zip(records, outcomes, routed, strict=True) if one[2] is not None]
            oversized = [sent[place] for place in error.places]
            await self._reject(
                (record, outcome if isinstance(outcome, Reject) else _too_large(outgoing))
                for record, outcome, outgoing in oversized
            )

    async def send(self, outgoing: Sequence[Outgoing], origin: Record | None = None) -> None:
        """Publish records that are not the outcome of one record each.

        Args:
            outgoing: The records.
            origin: The record that all of them were made from; None: a store's outbox.
        """
        try:
            await self._publisher.send(outgoing)
        except RecordsTooLargeError as error:
            oversized = [outgoing[place] for place in error.places]
            await self._reject((origin or self._unlogged(one), _too_large(one)) for one in oversized)

    async def publish_derived(self, derived: AsyncIterable[tuple[Record, Outcome[Sequence[Outgoing]]]]) -> None:
        """Publish what follows from some records beside their own outcomes, chunk by chunk.

        Args:
            derived: A record with a chunk of the records that follow from it, or with why none can be made.
        """
        async for record, outcome in derived:
            if isinstance(outcome, Ok):
                await self.send(outcome.value, record)
            else:
                await self.publish([record], [outcome])

    async def _reject(self, oversized: Iterable[tuple[Record, Reject]]) -> None:
        """Publish dead letters of records that were too large: with a part of the original, or else with nothing of it.

        The letter itself may have been too large, where a topic takes less than our producers send.
        """
        rejected = list(oversized)
        try:
            await self._publisher.send([self._letter(*one, keep="part") for one in rejected])
        except RecordsTooLargeError as error:
            await self._publisher.send([self._letter(*rejected[place], keep="nothing") for place in error.places])

    def _letter(self, record: Record, reject: Reject, keep: Kept) -> Outgoing:
        return dead_letter(
            record, self._stage, reject.reason, reject.message, reject.field, keep=keep, value=reject.kept
        )

    def _unlogged(self, outgoing: Outgoing) -> UnloggedRecord:
        topic = self._topic_prefix + outgoing.topic
        offset = unlogged_offset(outgoing.topic.encode() + outgoing.key + outgoing.value)
        return UnloggedRecord(topic, NO_PARTITION, offset, self._clock(), outgoing.key, outgoing.value)


def count(meter: Meter, stage: str, outcomes: Sequence[Outcome[object]]) -> None:
    """Count the outcomes of a batch."""
    meter.add(RECEIVED, len(outcomes), stage)
    aside = [one for one in outcomes if not isinstance(one, Ok)]
    meter.add(PUBLISHED, sum(isinstance(one, Ok) and one.value is not None for one in outcomes), stage)
    for one in aside:
        if isinstance(one, Reject):
            meter.add(DEAD_LETTERED, 1, stage, one.reason.value)
        else:
            meter.add(DROPPED, 1, stage, one.reason)


def _too_large(outgoing: Outgoing | None) -> Reject:
    topic, size = (outgoing.topic, len(outgoing.key) + len(outgoing.value)) if outgoing else ("", 0)
    return Reject(Reason.TOO_LARGE, "", f"Its record of {topic} has {size} bytes, more than the broker takes.")


def _set_aside(stage: str, record: Record, outcome: Drop | Reject) -> Outgoing:
    if isinstance(outcome, Reject):
        return dead_letter(record, stage, outcome.reason, outcome.message, outcome.field, value=outcome.kept)
    dropped = {
        "event_id": outcome.event_id,
        "reason": outcome.reason,
        "source": outcome.source,
        "channel": outcome.channel,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "received_at": text_of_ms(record.timestamp),
    }
    return Outgoing(DROPPED_TOUCHPOINTS, outcome.event_id.encode(), orjson.dumps(dropped))
