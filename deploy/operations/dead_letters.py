"""Publishes dead letters again: other stages' as the original bytes, the collector's with the rights of their source.

A record that a stage refused was in a topic, so its producer may write there. What the collector refused was in none:
its dead letter goes through the collector's own translation and validation, and what is refused again stays a dead
letter.

What the broker has confirmed is marked (`dead_letter_replays`), so that the next replay leaves it out: a letter that is
refused again is a new one, and only that is published again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from deploy.connections.kafka import kafka_connection
from deploy.operations.hooks import load_hooks
from deploy.operations.plans import plan_in_force
from deploy.operations.sources import collect_for, load_sources
from deploy.operations.transforms import transforms_in_force
from processors.intake.collect import STAGE as COLLECTOR
from processors.intake.decode import decode
from processors.intake.routing import routing_key
from processors.intake.segment_calls import Arrival
from schemas.dead_letters import truncation
from schemas.intake.transforms import Transform
from schemas.outcomes import Reject
from schemas.records import Headers
from schemas.topics import touchpoint_topic

if TYPE_CHECKING:
    from deploy.settings import Settings
    from sinks.clickhouse.dead_letters import LetterKey, StoredDeadLetter

    Mark = Callable[[Sequence[LetterKey]], None]

_IDENTIFY = "identify"
_NO_EVENT = "a transform is for events that identify or the collector has refused"
_LETTERS_PER_MARK = 10_000
"""Confirmed letters that are marked at once; as many may be published a second time after a kill."""


class ReplayRecord(NamedTuple):
    """One record to publish: the topic's full name, key, value, headers."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


@dataclass(slots=True)
class Replay:
    """Counts of a replay.

    Attributes:
        published: How many records the broker confirmed; in a dry run, how many would be published.
        refused: How many letters are not published, by the reason in words.
        failure: The first failure to publish, or empty.
    """

    published: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failure: str = ""


class Replayer:
    """Turns dead letters into the records to publish.

    Args:
        settings: The deployment.
        transform: Corrects the events before they are judged again. Then those of other stages are judged here too, and
            what is refused still stays a letter.

    Raises:
        DefinitionError: The sources are not what they should be.
    """

    def __init__(self, settings: Settings, transform: Transform | None = None) -> None:
        self._sources = load_sources(settings)
        self._collect = collect_for(settings, transform)
        self._judge = _TransformedRecords(settings, transform) if transform else None
        self._mappings = {name: hook.mapping for name, hook in load_hooks(settings, self._sources).items()}
        self._prefix = settings.topic_prefix

    def records(self, letter: StoredDeadLetter) -> list[ReplayRecord] | str:
        """Return the records to publish for a letter, several for a webhook's, or the reason why there is none."""
        if truncation(letter.message, letter.key or b"", letter.value) is not None:
            place = f"is at {letter.topic} {letter.partition} {letter.offset}"
            where = "is in no topic: send it again" if letter.stage == COLLECTOR else place
            return f"truncated: the letter does not keep the whole record, which {where}"
        if letter.stage != COLLECTOR:
            if self._judge is not None:
                return self._judge(letter) if letter.stage == _IDENTIFY else f"of the stage {letter.stage}: {_NO_EVENT}"
            return [ReplayRecord(letter.topic, letter.key, letter.value)]
        # The id depends on the letter alone, so a second replay publishes a duplicate.
        arrival = Arrival(letter.received_at, None, f"dead-letter-{letter.offset}")
        collected = self._collect.replay(letter.value, self._sources, arrival, self._mappings)
        if collected.refusals:
            rejected = collected.refusals[0].rejected
            return f"{rejected.reason.value}: {rejected.message}"
        return [
            ReplayRecord(self._prefix + one.topic, one.key or None, one.value, one.headers)
            for one in collected.outgoing
        ]


class _TransformedRecords:
    """Corrects the events of letters of other stages, and judges them as `identify` will."""

    def __init__(self, settings: Settings, transform: Transform) -> None:
        secret = settings.identity_secret.get_secret_value().encode()
        transforms = transforms_in_force(settings, load_sources(settings), transform)
        assert transforms is not None
        self._transforms, self._plan = transforms, plan_in_force(settings)
        self._key = partial(routing_key, secret=secret)
        self._channels, self._max_bytes = frozenset(settings.channels), settings.max_event_bytes
        self._prefix = settings.topic_prefix

    def __call__(self, letter: StoredDeadLetter) -> list[ReplayRecord] | str:
        """Return the record to publish for a letter, or the reason why it is refused still."""
        try:
            event = self._transforms(orjson.loads(letter.value))
        except orjson.JSONDecodeError as error:
            return f"not_json: {error}"
        value = orjson.dumps(event)
        judged = decode(value, channels=self._channels, max_bytes=self._max_bytes)
        if not isinstance(judged, Reject) and self._plan is not None:
            judged = self._plan.apply(judged) or judged
        if isinstance(judged, Reject):
            return f"{judged.reason.value}: {judged.message}"
        topic = self._prefix + touchpoint_topic(judged["channel"])
        return [ReplayRecord(topic, self._key(judged), value)]


def replay(
    letters: Iterable[StoredDeadLetter],
    settings: Settings,
    *,
    dry_run: bool = False,
    mark: Mark | None = None,
    transform: Transform | None = None,
) -> Replay:
    """Publish dead letters again and wait until the broker has confirmed every record.

    Args:
        letters: The letters.
        settings: The deployment.
        dry_run: Publish nothing; only count.
        mark: Takes the keys of letters whose records the broker has confirmed; None: they are not marked.
        transform: As `Replayer`.

    Raises:
        DefinitionError: As `Replayer`.
    """
    replayer, outcome = Replayer(settings, transform), Replay()

    def records() -> Iterator[tuple[_Unconfirmed, ReplayRecord]]:
        for letter in letters:
            found = replayer.records(letter)
            if isinstance(found, str):
                outcome.refused[found] += 1
            else:
                waiting = _Unconfirmed(letter.letter_key, len(found))
                yield from ((waiting, record) for record in found)

    if dry_run:
        outcome.published = sum(1 for _ in records())
    else:
        outcome.published, outcome.failure = _publish(records(), settings, mark or (lambda keys: None))
    return outcome


@dataclass(slots=True)
class _Unconfirmed:
    """A letter, and how many of its records the broker has not confirmed yet."""

    letter: LetterKey
    records: int


def _publish(records: Iterable[tuple[_Unconfirmed, ReplayRecord]], settings: Settings, mark: Mark) -> tuple[int, str]:
    """Publish records, mark their letters; return how many were confirmed, and the first failure or an empty text."""
    from confluent_kafka import KafkaException, Producer

    from sinks.kafka.placement import Placement
    from sinks.kafka.producer import DELIVERY_TIMEOUT_S, producer_config

    confirmed = 0
    unmarked: list[LetterKey] = []
    failures: list[str] = []

    def delivery_of(waiting: _Unconfirmed) -> Callable[[object, object], None]:
        def delivered(error: object, _message: object) -> None:
            nonlocal confirmed
            if error is None:
                confirmed += 1
                waiting.records -= 1
                if not waiting.records:
                    unmarked.append(waiting.letter)
            else:
                failures.append(str(error))

        return delivered

    producer: Any = Producer(producer_config(kafka_connection(settings)))
    placement = Placement(settings.topic_prefix)
    for waiting, (topic, key, value, headers) in records:
        while not failures:
            try:
                partition = placement.partition(producer, topic, key or b"")
                producer.produce(topic, value, key, partition, on_delivery=delivery_of(waiting), headers=list(headers))
                break
            except BufferError:
                producer.poll(0.1)
            except KafkaException as error:
                failures.append(str(error))
        if failures:
            break
        producer.poll(0)
        if len(unmarked) >= _LETTERS_PER_MARK:
            mark(unmarked)
            unmarked.clear()
    unconfirmed = producer.flush(DELIVERY_TIMEOUT_S + 5)
    mark(unmarked)
    if unconfirmed and not failures:
        failures.append(f"no answer for {unconfirmed:,} records")
    return confirmed, failures[0] if failures else ""
