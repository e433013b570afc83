"""What each role needs of Kafka, Redis and ClickHouse, and no more: printed by `throughline permissions`.

The same lists are used by the tests, which run the whole pipeline with these rights alone, and by `throughline doctor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from deploy.operations.roles import EXPORT_TOPICS, consumed_topics, group_id
from schemas.channels import DELIVERABLE_CHANNELS
from schemas.topics import (
    ACTIONS,
    DEAD_LETTERS,
    DECISIONS,
    DROPPED_TOUCHPOINTS,
    IDENTITY_CHANGES,
    JOURNEY_EVENTS,
    RESOLVED_TOUCHPOINTS,
    deliver_topic,
    touchpoint_topic,
)
from schemas.topics import topics as all_topics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.settings import Settings

Grantee = Literal["collector", "identify", "profile", "record", "deliver", "export", "operator", "analyst"]
GRANTEES: tuple[Grantee, ...] = get_args(Grantee)
Resource = Literal["topic", "group", "cluster"]

_IDENTITY_KEYS = ("i:*", "p:*", "past:*", "identity:*", "split:*", "marks:*", "seen:*", "identify:refused")
_SHARD_KEYS = (
    *("profile:*", "profiles:changed", "timers", "outbox", "applied:*", "gone:*", "absorbed:*", "shard"),
    *("held:*", "released:*", "slots:*", "shown:*"),
)
"""Those of them that are in the shards of people."""
_KEYS_OF_CLUSTER = ("durable", "moving:*")
"""Those that are in every slot: for waits until writes are durable, and two that calls of scripts name, and never are
there (`sinks/redis/cluster.py`)."""
_KEYS: dict[Grantee, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "collector": (  # the preference page, reads of profiles, slots
        (
            *("i:*", "p:*", "profile:*", "absorb:*", "absorbed:*", "identity:version", "definitions"),
            *("definitions:*", "product_facts:*", "recommend:*", "recommend_best", "recommend_products"),
        ),
        (
            *("alias:*", "people", "shards", "shard", "slots:*", "shown:*", "outbox", "gone:*"),
            *("coupons:*", "coupon_codes", "coupon_taken:*"),
        ),
    ),
    "identify": (
        ("definitions", "definitions:*", "rebuild", "erased:*"),
        (*_IDENTITY_KEYS, "alias:*", "absorb:*", "people", "shards", "shard", "durable"),
    ),
    "profile": (
        ("definitions:*", "rebuild", "segments:checked"),
        (
            *_SHARD_KEYS,
            *("i:*", "p:*", "identity:log", "identity:version", "expiry"),
            *("alias:*", "absorb:*", "marks:*", "seen:*", "people", "shards", "durable"),
            *("outbox:relay", "product_facts:*", "watch:*", "segments:defined", "segments:dated"),
            *("journeys:archive", "held", "workers", "definitions", "segments:filled", "broadcast:*"),
        ),
    ),
    "record": (
        ("profile:*", "segments:checked", "identity:version", "rebuild", "people", "shards"),
        ("profiles:changed", "shard", "alias:*", "erased:*", "segments:dated", "durable"),
    ),
    "deliver": (
        (
            *("definitions:*", "rebuild", "identity:version", "i:*", "p:*", "profile:*", "absorb:*"),
            *("gone:*", "absorbed:*"),
            *("product_facts:*", "held", "coupon_codes"),
        ),
        (
            *(
                "definitions",
                "alias:*",
                "delivered:*",
                "delivery:due",
                "coupons:*",
                "coupon_taken:*",
                "workers",
                "journeys:archive",
            ),
            *("recommend:*", "recommend_best", "recommend_products", "recommend_turn", "people", "durable"),
            *("shards", "shard"),
        ),
    ),
    "export": (
        ("i:*", "p:*", "profile:*", "absorb:*", "gone:*", "absorbed:*", "identity:version"),
        ("alias:*", "people", "shards", "shard"),
    ),
    "operator": ((), ("*",)),
    "analyst": ((), ()),
}
"""Keys of Redis, without the name space: those that a role reads, and those that it also writes. A key that is passed
to a script has to be among the latter, also if the script only reads it."""

_COMMANDS = (
    "-@all +@read +@write +@scripting +@connection +@transaction -@dangerous +info +time +wait +waitaof"
    " +cluster|slots +cluster|info"
)
"""Commands of workers and operators: besides the state of the server, nothing that sees or changes other keys."""

RECORDED_TABLES = (
    "bot_verdicts",
    "click_verdicts",
    "conversions",
    "dead_letters",
    "decisions",
    "dropped_touchpoints",
    "identity_log",
    "identity_overrides",
    "journey_events",
    "messages",
    "order_events",
    "product_facts",
    "profiles",
    "segment_changes",
    "source_starts",
    "touchpoints",
)
"""The tables that the record workers write; what is derived of them is written with the rights of who migrated."""
HIDDEN_COLUMNS = {
    "touchpoints": ("identifiers", "traits", "properties", "context"),
    "profiles": ("document", "state"),
    "dead_letters": ("key_base64", "value_base64"),
}
"""Columns with addresses and traits in clear, which analysts may not read; so says `deploy/clickhouse/analyst.xml`."""


@dataclass(frozen=True, slots=True, order=True)
class KafkaPermission:
    """One operation on one resource of Kafka.

    Attributes:
        resource: Its kind.
        name: Its full name, or its beginning if `prefixed`.
        operation: As Kafka names it in ACLs.
        prefixed: Whether it is every resource whose name begins so.
    """

    resource: Resource
    name: str
    operation: str
    prefixed: bool = False


def kafka_permissions(role: Grantee, settings: Settings) -> list[KafkaPermission]:
    """List what a role does in Kafka. To write or read a topic implies to describe it; it is listed all the same."""
    prefix = settings.topic_prefix
    touchpoints = [touchpoint_topic(channel) for channel in settings.channels]

    def topics(names: Iterable[str], *operations: str) -> list[KafkaPermission]:
        return [KafkaPermission("topic", prefix + name, one) for name in names for one in operations]

    def groups(*names: str) -> list[KafkaPermission]:
        return [KafkaPermission("group", group_id(prefix, name), one) for name in names for one in ("Read", "Describe")]

    if role == "collector":
        everything = [topic.name for topic in all_topics(settings.channels)]  # not ready while one is missing
        return [*topics([*touchpoints, DEAD_LETTERS], "Write"), *topics(everything, "Describe")]
    if role == "operator":
        return [
            KafkaPermission("cluster", "kafka-cluster", "Describe"),
            *(
                KafkaPermission("topic", prefix, one, prefixed=True)
                for one in ("Create", "Read", "Write", "Describe", "DescribeConfigs", "AlterConfigs")
            ),
            *(KafkaPermission("group", f"{prefix}throughline-", one, prefixed=True) for one in ("Read", "Describe")),
        ]
    if role == "analyst":
        return []
    if role == "export":
        from deploy.operations.destinations import enabled_destinations

        destinations = enabled_destinations(settings)
        written_by_it = {one.topic.topic for one in destinations if one.topic is not None}
        own_groups = (f"export-{one.name}" for one in destinations)
        return sorted(
            {
                *topics(EXPORT_TOPICS, "Read", "Describe"),
                *topics(written_by_it, "Write", "Describe"),
                *groups("record", "profile", "export", *own_groups),
            }
        )
    written: dict[Grantee, list[str]] = {
        "identify": [RESOLVED_TOUCHPOINTS, IDENTITY_CHANGES, DROPPED_TOUCHPOINTS, DEAD_LETTERS],
        "profile": [RESOLVED_TOUCHPOINTS, DECISIONS, ACTIONS, JOURNEY_EVENTS, DEAD_LETTERS],
        "record": [DEAD_LETTERS],
        "deliver": [*touchpoints, *map(deliver_topic, DELIVERABLE_CHANNELS), DEAD_LETTERS],
    }
    found = [
        *topics(consumed_topics(role, settings.channels), "Read", "Describe"),
        *topics(written[role], "Write", "Describe"),
        *topics([IDENTITY_CHANGES], "Describe"),
        *groups(role, "lag"),
    ]
    if role in ("identify", "profile"):  # they refuse to start where events are kept too long
        found += topics([*touchpoints, RESOLVED_TOUCHPOINTS], "DescribeConfigs")
    if role == "profile":  # timers fire up to what the stages before have read
        found += [*topics(touchpoints, "Read", "Describe"), *groups("identify", "progress")]
    if role != "record":
        found += [KafkaPermission("group", f"{prefix}people", one) for one in ("Read", "Describe")]
    return sorted(set(found))


def redis_keys(role: Grantee, settings: Settings) -> tuple[list[str], list[str]]:
    """List the patterns of the keys that a role reads, and of those that it also writes."""
    space, shards = f"{{{settings.redis_namespace}}}:", f"{{{settings.redis_namespace}:???}}:"
    if role == "operator":
        return [], [f"{space}*", f"{shards}*"]
    read, written = ([(shards if name in _SHARD_KEYS else space) + name for name in names] for names in _KEYS[role])
    if written:
        written += [f"{shards}{_KEYS_OF_CLUSTER[0]}", *(f"{prefix}{_KEYS_OF_CLUSTER[1]}" for prefix in (space, shards))]
    return read, written


def redis_rules(role: Grantee, settings: Settings) -> list[str]:
    """List the ACL rules of a role's user in Redis or Valkey; empty: it does not use it."""
    read, written = redis_keys(role, settings)
    if not (read or written):
        return []
    keys = [*(f"%R~{name}" for name in read), *(f"~{name}" for name in written)]
    return ["resetkeys", "resetchannels", *_COMMANDS.split(), *keys]


def clickhouse_grants(role: Grantee, settings: Settings, user: str) -> list[str]:
    """List the statements that give a role's user its rights in ClickHouse; empty: it does not use it."""
    from sinks.clickhouse.backup import aside

    database, name = settings.clickhouse_database, f"`{user}`"
    history = [f"GRANT SELECT ON {database}.{table} TO {name}" for table in ("identity_log", "definition_changes")]
    match role:
        case "collector":
            return [f"GRANT SELECT ON {database}.v_till_sums TO {name}"]
        case "identify":
            return history
        case "profile":
            return [*history, f"GRANT SELECT ON {database}.broadcast_members TO {name}"]
        case "record":
            return [
                *(f"GRANT INSERT ON {database}.{table} TO {name}" for table in RECORDED_TABLES),
                f"GRANT SELECT ON {database}.* TO {name}",
                f"GRANT SELECT ON system.disks TO {name}",  # of which it serves the free bytes as a metric
            ]
        case "deliver":  # it chooses the winners of broadcasts, which the history of changes has
            return [
                f"GRANT SELECT ON {database}.* TO {name}",
                f"GRANT INSERT ON {database}.definition_changes TO {name}",
            ]
        case "export":
            return [
                f"GRANT SELECT ON {database}.* TO {name}",
                f"GRANT INSERT ON {database}.conversion_exports TO {name}",
            ]
        case "operator":
            return [
                f"GRANT ALL ON {database}.* TO {name}",
                f"GRANT ALL ON {aside(database)}.* TO {name}",  # what there was, during a restore
                f"GRANT CREATE TEMPORARY TABLE, TABLE ENGINE ON *.* TO {name}",
                f"GRANT SELECT ON system.* TO {name}",
                f"GRANT SET DEFINER ON {name} TO {name}",
            ]
        case "analyst":
            return [
                f"GRANT SELECT, SHOW ON {database}.* TO {name}",
                f"GRANT CREATE TEMPORARY TABLE ON *.* TO {name}",
                f"GRANT SELECT ON information_schema.* TO {name}",
                f"GRANT SELECT ON INFORMATION_SCHEMA.* TO {name}",
                f"GRANT SELECT ON system.parts TO {name}",
                *(
                    f"REVOKE SELECT({', '.join(columns)}) ON {database}.{table} FROM {name}"
                    for table, columns in HIDDEN_COLUMNS.items()
                ),
            ]


def kafka_commands(permissions: Iterable[KafkaPermission], user: str) -> list[str]:
    """Write Kafka's permissions as calls of Apache Kafka's `kafka-acls.sh`, one for each resource."""
    found: dict[tuple[Resource, str, bool], list[str]] = {}
    for one in permissions:
        found.setdefault((one.resource, one.name, one.prefixed), []).append(one.operation)
    lines = []
    for (resource, name, prefixed), operations in found.items():
        where = "--cluster" if resource == "cluster" else f"--{resource} '{name or '*'}'"
        pattern = " --resource-pattern-type prefixed" if prefixed and name else ""
        what = " ".join(f"--operation {one}" for one in operations)
        lines.append(f"kafka-acls.sh --add --allow-principal User:{user} {what} {where}{pattern}")
    return lines
