"""The roles of workers: which topics each reads, and its Kafka consumer group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from schemas.topics import (
    ACTIONS,
    DEAD_LETTERS,
    DECISIONS,
    DROPPED_TOUCHPOINTS,
    IDENTITY_CHANGES,
    JOURNEY_EVENTS,
    RESOLVED_TOUCHPOINTS,
    touchpoint_topic,
)

Role = Literal["identify", "profile", "record", "deliver"]
ROLES: tuple[Role, ...] = get_args(Role)
EXPORT_TOPICS = (RESOLVED_TOUCHPOINTS, IDENTITY_CHANGES)
"""What the worker `export` reads, which runs where there are destinations: each is a group of its own."""


def consumed_topics(role: str, channels: Iterable[str]) -> list[str]:
    """List the topics that the workers of a role read, without the deployment's prefix.

    Raises:
        ValueError: There is no such role.
    """
    match role:
        case "identify":
            return [touchpoint_topic(channel) for channel in channels]
        case "profile":
            return [RESOLVED_TOUCHPOINTS]
        case "record":
            return [
                RESOLVED_TOUCHPOINTS,
                IDENTITY_CHANGES,
                DROPPED_TOUCHPOINTS,
                DEAD_LETTERS,
                DECISIONS,
                JOURNEY_EVENTS,
            ]
        case "deliver":
            return [ACTIONS]
    raise ValueError(f"no worker has the role {role!r}")


def group_id(topic_prefix: str, role: str) -> str:
    """Name the Kafka consumer group of a role."""
    return f"{topic_prefix}throughline-{role}"


def export_group_id(topic_prefix: str, destination: str) -> str:
    """Name the Kafka consumer group of a destination."""
    return group_id(topic_prefix, f"export-{destination}")
