"""Every Kafka topic: its name, its key, its partitions and how long it keeps records.

Invariant: no other file spells a topic's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.channels import DELIVERABLE_CHANNELS, TOUCHPOINT_CHANNELS
from schemas.durations import DAY_MS

TOUCHPOINTS_PREFIX = "touchpoints."
DELIVER_PREFIX = "deliver."
RESOLVED_TOUCHPOINTS = "resolved-touchpoints"
IDENTITY_CHANGES = "identity-changes"
DROPPED_TOUCHPOINTS = "dropped-touchpoints"
DECISIONS = "decisions"
ACTIONS = "actions"
JOURNEY_EVENTS = "journey-events"
DEAD_LETTERS = "dead-letters"
PARTITIONED_BY_SHARD = frozenset({RESOLVED_TOUCHPOINTS})
"""Topics whose records are in the partition of their person's shard (`schemas/shards.py`)."""


# Events must not be read again after their marks have expired (`deploy/operations/retention.py`), and a broker deletes
# whole segments.
_EVENT_SEGMENTS = {"segment.ms": str(DAY_MS)}


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic.

    Attributes:
        name: The name without the deployment's prefix.
        key: What the record key holds.
        retention_ms: How long records are kept, in milliseconds; -1 keeps them for ever.
        config: Further broker settings for the topic.
    """

    name: str
    key: str
    retention_ms: int
    config: dict[str, str] = field(default_factory=dict)


def touchpoint_topic(channel: str) -> str:
    """Return the topic to which producers of `channel` publish."""
    return TOUCHPOINTS_PREFIX + channel


def deliver_topic(channel: str) -> str:
    """Return the topic of rendered messages on a channel that has no adapter."""
    return DELIVER_PREFIX + channel


def topics(channels: Iterable[str] = TOUCHPOINT_CHANNELS) -> list[Topic]:
    """List every topic of a deployment that knows `channels`, producers' topics first."""
    # Broker time, so that `received_at` cannot be set by a client.
    inbound = {"message.timestamp.type": "LogAppendTime", **_EVENT_SEGMENTS}
    return [
        *(
            Topic(touchpoint_topic(channel), "the producer's strongest identifier", 12 * DAY_MS, dict(inbound))
            for channel in channels
        ),
        Topic(RESOLVED_TOUCHPOINTS, "profile_id", 7 * DAY_MS, dict(_EVENT_SEGMENTS)),
        Topic(IDENTITY_CHANGES, "profile_id", 30 * DAY_MS),
        Topic(DROPPED_TOUCHPOINTS, "event_id", 7 * DAY_MS),
        Topic(DECISIONS, "profile_id", 30 * DAY_MS),
        Topic(ACTIONS, "profile_id", 7 * DAY_MS),
        *(Topic(deliver_topic(channel), "profile_id", 7 * DAY_MS) for channel in DELIVERABLE_CHANNELS),
        Topic(JOURNEY_EVENTS, "profile_id", 30 * DAY_MS),
        Topic(DEAD_LETTERS, "the original record's key", 90 * DAY_MS),
    ]
