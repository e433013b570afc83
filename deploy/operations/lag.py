"""How far each consumer group is behind, exactly; and whether everything that was published is through.

A broker's own answer for the end of a partition is a hint here: Tansu answers the offset after the *first* record of
the last batch. So the rest is fetched from there until the broker says that there is no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from schemas import topics as t

if TYPE_CHECKING:
    from deploy.settings import Settings

_NO_OFFSET = -1001  # librdkafka: nothing committed
_READ_ON_S = 3.0

# Passes by itself: leaders and coordinators are elected, a broker restarts.
_PASSING = frozenset(
    {
        "NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "UNKNOWN_TOPIC_OR_PART", "UNKNOWN_LEADER_EPOCH",
        "FENCED_LEADER_EPOCH", "NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS",
        "REQUEST_TIMED_OUT", "_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_WAIT_COORD", "_UNKNOWN_PARTITION",
        "_UNKNOWN_TOPIC",
    }
)  # fmt: skip

TopicPartitionKey = tuple[str, int]


class KafkaUnreachableError(RuntimeError):
    """The broker did not answer; the message names the address."""


def consumed_topics(role: str, channels: Iterable[str]) -> list[str]:
    """List the topics that the workers of a role read, without the deployment's prefix."""
    match role:
        case "identify":
            return [t.touchpoint_topic(channel) for channel in channels]
        case "profile":
            return [t.RESOLVED_TOUCHPOINTS]
        case "record":
            return [
                t.RESOLVED_TOUCHPOINTS,
                t.IDENTITY_CHANGES,
                t.DROPPED_TOUCHPOINTS,
                t.DEAD_LETTERS,
                t.DECISIONS,
                t.JOURNEY_EVENTS,
            ]
        case "deliver":
            return [t.ACTIONS]
    raise ValueError(f"no worker has the role {role!r}")


Role = Literal["identify", "profile", "record", "deliver"]
ROLES: tuple[Role, ...] = get_args(Role)


def group_id(topic_prefix: str, role: str) -> str:
    """Name the Kafka consumer group of a role."""
    return f"{topic_prefix}throughline-{role}"


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far one group is behind on one partition.

    Attributes:
        role: The workers' role.
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
class Pending:
    """What has been published and is not through yet.

    Attributes:
        behind: Partitions with records that a group has not committed.
        identity_changes: Entries in the identity outbox.
        outbox: Decisions, actions and journey events that are not in Kafka yet.
        profiles: Profiles whose snapshot is not in ClickHouse.
    """

    behind: tuple[PartitionLag, ...]
    identity_changes: int
    profiles: int
    outbox: int = 0

    @property
    def nothing(self) -> bool:
        """Whether everything is through."""
        return not (self.behind or self.identity_changes or self.profiles or self.outbox)

    def __str__(self) -> str:
        by_role = {role: sum(lag.records for lag in self.behind if lag.role == role) for role in ROLES}
        parts = [f"{records:,} records before {role}" for role, records in by_role.items() if records]
        parts += [f"{self.identity_changes:,} identity changes in the outbox"] if self.identity_changes else []
        parts += [f"{self.outbox:,} decisions and journey events in the outbox"] if self.outbox else []
        parts += [f"{self.profiles:,} changed profiles to export"] if self.profiles else []
        return ", ".join(parts) or "nothing"


class LagReader:
    """Reads lags of the groups of one deployment over connections that it keeps. Use it as a context manager.

    300 partitions take 0.1 s on Apache Kafka and 0.3 s on Tansu; a server that is silent costs `timeout_s` seconds.
    """

    def __init__(self, settings: Settings, timeout_s: float = 10.0) -> None:
        from confluent_kafka import Consumer
        from confluent_kafka.admin import AdminClient

        self._settings = settings
        self._timeout_s = timeout_s
        connection = {
            "bootstrap.servers": settings.kafka_bootstrap,
            "log_level": 0,
            "socket.timeout.ms": int(timeout_s * 1000),
        }
        self._admin: Any = AdminClient(connection)
        self._reader: Any = Consumer(
            {
                **connection,
                "group.id": group_id(settings.topic_prefix, "lag"),  # required, and never used: partitions are assigned
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,  # the answer awaited is "there is no more"
                "fetch.queue.backoff.ms": 1,  # the default pauses a partition for a second after each batch
            }
        )
        self._committed: dict[str, Any] = {
            role: Consumer({**connection, "group.id": group_id(settings.topic_prefix, role)}) for role in ROLES
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for consumer in (self._reader, *self._committed.values()):
            consumer.close()

    def lags(self) -> list[PartitionLag]:
        """Measure every partition that the workers read; a topic that does not exist is left out.

        Raises:
            KafkaUnreachableError: The broker did not answer.
        """
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + 3 * self._timeout_s  # a new topic's leaders can take a while
        while True:
            try:
                return self._measure()
            except KafkaException as error:
                if error.args[0].name() not in _PASSING or time.monotonic() > deadline:
                    said = f"Kafka at {self._settings.kafka_bootstrap}: {error.args[0].str()}"
                    raise KafkaUnreachableError(said) from error
            time.sleep(0.1)

    def _measure(self) -> list[PartitionLag]:
        wanted = self._partitions()
        everything = {key for keys in wanted.values() for key in keys}
        # Committed first: an offset that is read before the end can only make the lag look larger, never smaller.
        committed = {role: self._committed_offsets(role, keys) for role, keys in wanted.items()}
        starts, ends = self._offsets(everything)
        return [
            PartitionLag(role, *key, max(0, ends[key] - max(committed[role].get(key, 0), starts[key])), ends[key])
            for role, keys in wanted.items()
            for key in keys
        ]

    def _partitions(self) -> dict[str, list[TopicPartitionKey]]:
        known = self._admin.list_topics(timeout=self._timeout_s).topics
        prefix = self._settings.topic_prefix
        return {
            role: [
                (prefix + name, partition)
                for name in consumed_topics(role, self._settings.channels)
                if prefix + name in known
                for partition in sorted(known[prefix + name].partitions)
            ]
            for role in ROLES
        }

    def _committed_offsets(self, role: str, keys: list[TopicPartitionKey]) -> dict[TopicPartitionKey, int]:
        from confluent_kafka import KafkaException, TopicPartition

        if not keys:
            return {}
        found = self._committed[role].committed([TopicPartition(*key) for key in keys], timeout=self._timeout_s)
        for at in found:
            if at.error is not None:
                raise KafkaException(at.error)
        return {(at.topic, at.partition): at.offset for at in found if at.offset != _NO_OFFSET}

    def _offsets(
        self, keys: Iterable[TopicPartitionKey]
    ) -> tuple[dict[TopicPartitionKey, int], dict[TopicPartitionKey, int]]:
        """First and next offset of each partition."""
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec

        def ask(spec: Any) -> dict[TopicPartitionKey, int]:
            answers = self._admin.list_offsets(
                {TopicPartition(*key): spec for key in keys}, request_timeout=self._timeout_s
            )
            return {(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}

        if not keys:
            return {}, {}
        return ask(OffsetSpec.earliest()), self._to_the_end(ask(OffsetSpec.latest()))

    def _to_the_end(self, hints: dict[TopicPartitionKey, int]) -> dict[TopicPartitionKey, int]:
        """Read on from where the broker says each partition ends, until it has no more."""
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        ends = dict(hints)
        unfinished = set(hints)
        self._reader.assign([TopicPartition(*key, offset) for key, offset in hints.items()])
        deadline = time.monotonic() + min(_READ_ON_S, self._timeout_s)
        try:
            while unfinished and time.monotonic() < deadline:
                for message in self._reader.consume(len(unfinished), timeout=0.1):
                    error = message.error()
                    key = (message.topic(), message.partition())
                    if error is None:
                        ends[key] = message.offset() + 1
                    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (librdkafka's public name)
                        unfinished.discard(key)
                    else:
                        raise KafkaException(error)
        finally:
            self._reader.unassign()
        for key in unfinished:
            if ends[key] == hints[key]:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            ends[key] += 1  # it is written to faster than it is read: at least one more is there
        return ends


def pending(settings: Settings, reader: LagReader, redis: Any) -> Pending:
    """Look at every place where something can be under way.

    Args:
        settings: Of the deployment.
        reader: Open on the same deployment.
        redis: A synchronous Redis client.

    Raises:
        KafkaUnreachableError: The broker did not answer.
        redis.RedisError: Redis did not answer.
    """
    from sinks.redis.outbox import identity_outbox, profile_outbox

    lags = reader.lags()
    namespace = settings.redis_namespace
    identity_changes = int(redis.xlen(identity_outbox(namespace).stream))
    profiles = int(redis.zcard(f"{{{namespace}}}:profiles:changed"))
    outbox = int(redis.xlen(profile_outbox(namespace).stream))
    return Pending(tuple(lag for lag in lags if lag.records), identity_changes, profiles, outbox)


def drain(
    look: Callable[[], Pending],
    timeout_s: float,
    *,
    pause_s: float = 0.2,
    progress: Callable[[Pending], None] = lambda _: None,
) -> Pending:
    """Wait until nothing is pending, twice in a row.

    Twice, because what the first look still found in Redis may have become a Kafka record behind its back: if Kafka is
    through, then Redis is empty, and then Kafka is through again, nothing can be left.

    Args:
        look: What is pending now.
        timeout_s: Longest wait, in seconds.
        pause_s: Time between two looks, in seconds.
        progress: Told what each look found.

    Returns:
        The last look: `nothing`, or what was still pending when the time was over.
    """
    deadline = time.monotonic() + timeout_s
    quiet = 0
    while True:
        found = look()
        progress(found)
        quiet = quiet + 1 if found.nothing else 0
        if quiet == 2 or time.monotonic() > deadline:
            return found
        time.sleep(pause_s)
