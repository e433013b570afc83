"""Completion waits: `drain` for everything that is published, `catch_up` for what one role has to read now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy.operations.lag import KafkaUnreachableError, LagReader, PartitionLag
from deploy.operations.roles import ROLES, Role

if TYPE_CHECKING:
    from deploy.settings import Settings

_ASK_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Pending:
    """What has been published and is not processed to the end yet.

    Attributes:
        behind: Partitions with records that a consumer group has not committed.
        identity_changes: Entries in the identity outbox.
        outbox: Entries in the profile outbox: decisions, actions and journey events.
        profiles: Changed profiles whose snapshot is not in ClickHouse.
    """

    behind: tuple[PartitionLag, ...]
    identity_changes: int
    profiles: int
    outbox: int = 0

    @property
    def empty(self) -> bool:
        """Whether everything is processed."""
        return not (self.behind or self.identity_changes or self.profiles or self.outbox)

    def summary(self) -> str:
        """The counts in one line, such as `3 records before record`; `nothing` when there are none."""
        by_role = {role: sum(lag.records for lag in self.behind if lag.role == role) for role in ROLES}
        parts = [f"{records:,} records before {role}" for role, records in by_role.items() if records]
        parts += [f"{self.identity_changes:,} identity changes in the outbox"] if self.identity_changes else []
        parts += [f"{self.outbox:,} decisions and journey events in the outbox"] if self.outbox else []
        parts += [f"{self.profiles:,} changed profiles to export"] if self.profiles else []
        return ", ".join(parts) or "nothing"


def pending(settings: Settings, reader: LagReader, redis: Any) -> Pending:
    """Count what is unprocessed in Kafka and in Redis, in this order.

    Args:
        settings: Of the deployment.
        reader: Open on the same deployment.
        redis: A synchronous Redis client.

    Raises:
        KafkaUnreachableError: The broker did not answer.
        redis.RedisError: Redis did not answer.
    """
    from sinks.redis.outbox import identity_outbox, waiting_in_shards

    lags = reader.lags()
    namespace = settings.redis_namespace
    identity_changes = int(redis.xlen(identity_outbox(namespace).stream))
    profiles = waiting_in_shards(redis, namespace, "ZCARD", "profiles:changed")
    outbox = waiting_in_shards(redis, namespace, "XLEN", "outbox")
    return Pending(tuple(lag for lag in lags if lag.records), identity_changes, profiles, outbox)


def drain(
    check: Callable[[], Pending],
    timeout_s: float,
    *,
    pause_s: float = 0.2,
    progress: Callable[[Pending], None] = lambda _: None,
    has_answered: bool = False,
) -> Pending:
    """Wait until nothing is pending, in two checks in a row.

    One check reads Kafka, then Redis. The relay may move a record from Redis to Kafka between the two reads, so only
    the order Kafka, Redis, Kafka proves that nothing is left.

    A store that has answered before and then does not, as on a busy machine or while it restarts, is asked again for
    half a minute.

    Args:
        check: Returns what is pending now.
        timeout_s: Longest wait, in seconds.
        pause_s: Time between two checks, in seconds.
        progress: Called with the result of each check.
        has_answered: The stores are known to be up.

    Returns:
        The last check: empty, or what was still pending after `timeout_s`.

    Raises:
        KafkaUnreachableError: The broker does not answer.
        redis.RedisError: Redis does not answer.
    """
    from redis import RedisError

    deadline = time.monotonic() + timeout_s
    ask_until = time.monotonic() + _ASK_AGAIN_S if has_answered else 0.0
    empty_checks = 0
    while True:
        try:
            found = check()
        except (KafkaUnreachableError, RedisError):
            if time.monotonic() > min(ask_until, deadline):
                raise
            empty_checks = 0
            time.sleep(pause_s)
            continue
        ask_until = time.monotonic() + _ASK_AGAIN_S
        progress(found)
        empty_checks = empty_checks + 1 if found.empty else 0
        if empty_checks == 2 or time.monotonic() > deadline:
            return found
        time.sleep(pause_s)


def catch_up(
    reader: LagReader,
    role: Role,
    timeout_s: float,
    *,
    pause_s: float = 0.2,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Wait until the workers of a role have committed every record that is in their topics now.

    Records published later are not waited for, so the wait ends under load too.

    Args:
        reader: Open on the deployment.
        role: The role of the workers.
        timeout_s: Longest wait, in seconds.
        pause_s: Time between two checks, in seconds.
        progress: Called at each check with the number of those records that are left.

    Returns:
        How many of those records were left after `timeout_s`; 0 when all are committed.

    Raises:
        KafkaUnreachableError: The broker did not answer.
    """
    deadline = time.monotonic() + timeout_s
    lags = [lag for lag in reader.lags() if lag.role == role]
    goals = {(lag.topic, lag.partition): lag.end for lag in lags}
    while True:
        left = sum(max(0, goals.get((lag.topic, lag.partition), 0) - (lag.end - lag.records)) for lag in lags)
        progress(left)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(pause_s)
        lags = [lag for lag in reader.lags() if lag.role == role]
