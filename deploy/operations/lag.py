"""The exact lag of each consumer group, by partition."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deploy.connections.faults import kafka_reason
from deploy.connections.kafka import kafka_connection
from deploy.operations.roles import ROLES, Role, consumed_topics, group_id
from schemas.time import clock_ms

if TYPE_CHECKING:
    from confluent_kafka import KafkaException

    from deploy.settings import Settings
    from schemas.offsets import Partition

# Transient: leaders and coordinators are being elected, or a broker restarts.
_TRANSIENT = frozenset(
    {
        "NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "UNKNOWN_TOPIC_OR_PART", "UNKNOWN_LEADER_EPOCH",
        "FENCED_LEADER_EPOCH", "NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS",
        "REQUEST_TIMED_OUT", "_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_WAIT_COORD", "_UNKNOWN_PARTITION",
        "_UNKNOWN_TOPIC",
    }
)  # fmt: skip


MAX_PEEKED = 16
"""The most partitions of which the oldest waiting record is read: each read costs a batch of a producer."""


class KafkaUnreachableError(RuntimeError):
    """The broker did not answer, or refused; the message names the address, and the setting that mends it."""


def kafka_unreachable(settings: Settings, error: KafkaException) -> KafkaUnreachableError:
    """Return the error that says why Kafka cannot be used."""
    return KafkaUnreachableError(f"Kafka at {settings.kafka_bootstrap}: {kafka_reason(settings, error)}")


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The lag of one consumer group on one partition.

    Attributes:
        role: The role of the workers.
        topic: The full name of the topic.
        partition: Its number.
        records: Records after the committed offset, or after the start where nothing is committed.
        end: The offset that the next record will get.
    """

    role: str
    topic: str
    partition: int
    records: int
    end: int = 0


@dataclass(frozen=True, slots=True)
class MeasuredLags:
    """One measurement of a deployment, for all who ask at the same time.

    Attributes:
        partitions: The lag of each group on each partition.
        ages_ms: How long the oldest record of each role and topic waits; left out where none does.
    """

    partitions: list[PartitionLag]
    ages_ms: dict[tuple[str, str], int]


class LagReader:
    """Reads the lags of a deployment's consumer groups over open connections. Use it as a context manager.

    300 partitions take 0.1 s on Apache Kafka and 0.3 s on the local stack's broker; a server that does not answer costs
    `timeout_s` seconds.

    Args:
        settings: Where Kafka is, and the deployment's names.
        timeout_s: Longest wait for an answer, seconds.
        roles: Those whose groups are asked.
    """

    def __init__(self, settings: Settings, timeout_s: float = 10.0, roles: Collection[Role] = ROLES) -> None:
        from sinks.kafka.offsets import OffsetReader

        self._settings = settings
        self._timeout_s = timeout_s
        prefix = settings.topic_prefix
        self._groups = {role: group_id(prefix, role) for role in roles}
        self._offsets = OffsetReader(
            kafka_connection(settings), self._groups.values(), group_id(prefix, "lag"), timeout_s=timeout_s
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._offsets.close()

    def measure(self, *, exact: bool = True) -> MeasuredLags:
        """Measure the lags, and how old they are.

        Args:
            exact: As of `lags`.

        Raises:
            KafkaUnreachableError: The broker did not answer.
        """
        partitions = self.lags(exact=exact)
        return MeasuredLags(partitions, self.ages(partitions, clock_ms()))

    def lags(self, *, exact: bool = True) -> list[PartitionLag]:
        """Measure every partition that the workers read; a topic that does not exist is left out.

        Args:
            exact: Read to the ends, since the local stack's broker reports less; false: believe the broker, which costs
                no reading. What it says is short by a batch at most.

        Raises:
            KafkaUnreachableError: The broker did not answer.
        """
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + 3 * self._timeout_s  # a new topic's leaders can take a while
        while True:
            try:
                return self._measure(exact=exact)
            except KafkaException as error:
                if error.args[0].name() not in _TRANSIENT or time.monotonic() > deadline:
                    raise kafka_unreachable(self._settings, error) from error
            time.sleep(0.1)

    def ages(self, lags: Collection[PartitionLag], now_ms: int) -> dict[tuple[str, str], int]:
        """Measure how long the oldest record of each role and topic waits, in milliseconds; left out where none does.

        Of the partitions, those are asked that have the most records to read: `MAX_PEEKED` at most.

        Args:
            lags: As `lags` has measured them.
            now_ms: The time, milliseconds since 1970.

        Raises:
            KafkaUnreachableError: The broker did not answer.
        """
        from confluent_kafka import KafkaException

        waiting = sorted((lag for lag in lags if lag.records), key=lambda lag: -lag.records)[:MAX_PEEKED]
        found: dict[tuple[str, str], int] = {}
        for role in {lag.role for lag in waiting}:  # two groups may have come to two places of one partition
            own = [lag for lag in waiting if lag.role == role]
            try:
                times = self._offsets.times({(lag.topic, lag.partition): lag.end - lag.records for lag in own})
            except KafkaException as error:
                raise KafkaUnreachableError(
                    f"Kafka at {self._settings.kafka_bootstrap}: {error.args[0].str()}"
                ) from error
            for (topic, _), at in times.items():
                found[role, topic] = max(found.get((role, topic), 0), now_ms - at)
        return found

    def _measure(self, *, exact: bool) -> list[PartitionLag]:
        offsets, prefix = self._offsets, self._settings.topic_prefix
        topics = {
            role: [prefix + name for name in consumed_topics(role, self._settings.channels)] for role in self._groups
        }
        known = offsets.partitions({name for names in topics.values() for name in names})
        wanted = {role: [place for name in names for place in known.get(name, ())] for role, names in topics.items()}
        everything = {place for places in wanted.values() for place in places}
        # Committed offsets first: what is committed meanwhile makes the lag too large, never too small.
        committed = {role: offsets.committed(self._groups[role], places) for role, places in wanted.items()}
        starts = offsets.starts(everything)
        ends = offsets.reported_ends(everything)
        unfinished: set[Partition] = set()
        if exact:
            ends, unfinished = offsets.read_to_end(ends)
        for place in unfinished:
            ends[place] += 1  # producers write faster than this reads: at least one record follows
        return [
            PartitionLag(
                role, *place, max(0, ends[place] - max(committed[role].get(place, 0), starts[place])), ends[place]
            )
            for role, places in wanted.items()
            for place in places
        ]


def measure_lags(settings: Settings, timeout_s: float) -> MeasuredLags | None:
    """Measure a deployment once, for a report that has more to say; None: Kafka does not answer."""
    try:
        with LagReader(settings, timeout_s) as reader:
            return reader.measure()
    except KafkaUnreachableError:
        return None
