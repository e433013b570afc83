"""Finds the rights that a role lacks in Kafka, Redis and ClickHouse, by asking with the user of the settings.

A server without users, and one that does not say what a user may do, lacks nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.faults import is_denied
from deploy.connections.kafka import kafka_connection
from deploy.connections.redis import redis_client
from deploy.operations.permissions import Grantee, clickhouse_grants, kafka_permissions, redis_keys

if TYPE_CHECKING:
    from deploy.settings import Settings

TIMEOUT_S = 5.0
_OF_ALL = "SELECT, INSERT, ALTER TABLE, CREATE TABLE, CREATE VIEW, DROP TABLE, TRUNCATE"
"""What an operator's commands use of all rights on the database."""


def missing_in_kafka(role: Grantee, settings: Settings) -> list[str]:
    """List the operations on topics and groups that a role needs and its user may not do; topics have to exist.

    Raises:
        KafkaException: Kafka does not answer, or refuses the user.
    """
    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import AdminClient

    admin: Any = AdminClient(kafka_connection(settings))
    needed = _needed_in_kafka(role, settings, set(admin.list_topics(timeout=TIMEOUT_S).topics))
    asked: dict[tuple[str, str], Any] = {}
    options: dict[str, Any] = {"include_authorized_operations": True, "request_timeout": TIMEOUT_S}
    if topics := [name for kind, name in needed if kind == "topic"]:
        found = admin.describe_topics(TopicCollection(topics), **options)
        asked |= {("topic", name): future for name, future in found.items()}
    if groups := [name for kind, name in needed if kind == "group"]:
        found = admin.describe_consumer_groups(groups, **options)
        asked |= {("group", name): future for name, future in found.items()}
    missing = []
    for (kind, name), future in asked.items():
        allowed = _allowed(future)
        if allowed is not None:
            missing += [f"{one} on {kind} {name}" for one in sorted(needed[kind, name]) if one.lower() not in allowed]
    return missing


def _needed_in_kafka(role: Grantee, settings: Settings, visible: set[str]) -> dict[tuple[str, str], set[str]]:
    """Return the operations that a role needs, by kind and name; of prefixes, those on the topics that are visible."""
    needed: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in kafka_permissions(role, settings):
        if not one.prefixed and one.resource != "cluster":
            needed[one.resource, one.name].add(one.operation)
        elif one.resource == "topic" and one.operation != "Create":
            for name in visible:
                if name.startswith(one.name):
                    needed["topic", name].add(one.operation)
    return needed


def _allowed(described: Any) -> set[str] | None:
    """Return the operations that are allowed, in small letters; None: it does not exist, or the broker does not say."""
    from confluent_kafka import KafkaError, KafkaException

    try:
        operations = described.result(2 * TIMEOUT_S).authorized_operations
    except TimeoutError:
        return None
    except KafkaException as error:
        denials = KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED
        return set() if error.args[0].code() in denials else None
    return None if operations is None else {one.name.replace("_", "").lower() for one in operations}


def missing_in_redis(role: Grantee, settings: Settings) -> list[str]:
    """List the keys that a role needs and its user may not read, or write.

    Each is tried: a read of a key, or the removal of an entry that no stream has, which changes nothing.

    Raises:
        redis.RedisError: Redis does not answer, or refuses the user.
    """
    import redis

    missing = []
    read, written = redis_keys(role, settings)
    with redis_client(settings, timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S) as client:
        for keys, command, what in ((read, ("EXISTS",), "read"), (written, ("XDEL", "0-1"), "write")):
            for pattern in keys:
                try:
                    client.execute_command(
                        command[0], pattern.replace("???", "000").replace("*", "doctor"), *command[1:]
                    )
                except redis.ResponseError as error:  # of another type than a stream: then it may be written
                    if is_denied(error):
                        missing.append(f"{what} keys {pattern}")
    return missing


def missing_in_clickhouse(role: Grantee, settings: Settings) -> list[str]:
    """List the grants that a role needs and its user does not have.

    Raises:
        StoreDown: ClickHouse does not answer, or refuses the user.
        ClickHouseError: It does not answer in time.
    """
    missing = []
    grants = [one for one in clickhouse_grants(role, settings, "") if one.startswith("GRANT ")]
    if not grants:
        return []
    client = clickhouse_client(settings, None, timeout_s=int(TIMEOUT_S))
    try:
        for statement in grants:
            right = statement.removeprefix("GRANT ").partition(" TO ")[0]
            if right.startswith("SET DEFINER"):  # which the server does not check without a name
                continue
            right = re.sub(r"^ALL ", f"{_OF_ALL} ", right)
            if not int(client.command(f"CHECK GRANT {right}")):
                missing.append(right)
    finally:
        client.close()
    return missing


def shown(missing: list[str]) -> str:
    """Write what is missing in a line."""
    return "; ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
