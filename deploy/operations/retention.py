"""Compares how long Kafka keeps events with how long their marks are known.

A replay of an event whose mark has expired counts once more in profiles: counts, points and orders double, and nothing
says so. So no topic from which events can be read again may keep them longer than their marks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.connections.kafka import kafka_connection
from schemas.durations import DAY_MS
from schemas.topics import RESOLVED_TOUCHPOINTS, topics, touchpoint_topic
from sinks.redis.deduplication import KNOWN_MS

if TYPE_CHECKING:
    from deploy.settings import Settings

SHORTEN = "`throughline topics apply --shorten-retention`"


class KeptTooLongError(RuntimeError):
    """Topics keep events longer than their marks are known; the message says which, and what to do."""


def check_retention(settings: Settings, timeout_s: float = 10.0) -> None:
    """Check that no event can be read again after its mark has expired; a broker that does not say so passes.

    Raises:
        KeptTooLongError: One can.
    """
    kept = kept_too_long(settings, timeout_s)
    if not kept:
        return
    named = ", ".join(f"{name} ({_days(kept_ms)})" for name, kept_ms in list(kept.items())[:3])
    more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
    raise KeptTooLongError(
        f"Kafka keeps events longer than the {KNOWN_MS // DAY_MS} days for which they are known: {named}{more}. An"
        f" older one that is read again would count twice in its profile. {SHORTEN} mends it, when `throughline status`"
        " shows no lag: what is older is in ClickHouse alone then"
    )


def kept_too_long(settings: Settings, timeout_s: float = 10.0) -> dict[str, int]:
    """Return the topics that keep events longer than their marks are known, with how long, ms; -1: for ever.

    A broker deletes whole segments: the oldest record of one stays for `retention.ms` and `segment.ms`.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

    admin = AdminClient(kafka_connection(settings))
    found: dict[str, int] = {}
    try:
        existing = admin.list_topics(timeout=timeout_s).topics
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in _replayed(settings) if name in existing]
        for resource, future in admin.describe_configs(asked, request_timeout=timeout_s).items() if asked else ():
            config = future.result()
            kept_ms, segment_ms = _number(config, "retention.ms"), _number(config, "segment.ms") or 0
            if kept_ms is not None and (kept_ms < 0 or kept_ms + segment_ms > KNOWN_MS):
                found[resource.name] = kept_ms if kept_ms < 0 else kept_ms + segment_ms
    except KafkaException:
        return {}
    return found


def shorten_retention(settings: Settings, timeout_s: float = 10.0) -> list[str]:
    """Let the topics that keep events too long keep them as long as new ones do; return their names.

    Raises:
        KafkaUnreachableError: The broker does not answer, or refuses; the message says why.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    from deploy.operations.lag import kafka_unreachable

    kept = kept_too_long(settings, timeout_s)
    ours = {settings.topic_prefix + topic.name: topic for topic in topics(settings.channels)}
    changes = []
    for name in kept:
        config = {"retention.ms": str(ours[name].retention_ms), "segment.ms": ours[name].config["segment.ms"]}
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
        ]
        changes.append(ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries))
    admin = AdminClient(kafka_connection(settings))
    try:
        for future in admin.incremental_alter_configs(changes).values() if changes else ():
            future.result(timeout_s)
    except KafkaException as error:
        raise kafka_unreachable(settings, error) from error
    return list(kept)


def _replayed(settings: Settings) -> list[str]:
    names = [RESOLVED_TOUCHPOINTS, *map(touchpoint_topic, settings.channels)]
    return [settings.topic_prefix + name for name in names]


def _number(config: Any, name: str) -> int | None:
    entry = config.get(name)
    try:
        return None if entry is None else int(entry.value)
    except (TypeError, ValueError):
        return None


def _days(kept_ms: int) -> str:
    return "for ever" if kept_ms < 0 else f"{kept_ms / DAY_MS:.0f} days"
