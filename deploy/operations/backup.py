"""Backs up a deployment, and restores it.

What is true is in two places: history, identities, snapshots of profiles and every published version of the definitions
in ClickHouse, and what came since in Kafka. So a backup is one of ClickHouse, with how far its recorder had come; Redis
is made of it by `throughline rebuild`. The identity secret is in no backup: without it, identifiers lead to nobody.

After a restore the recorder reads from where it was then: what Kafka still has comes back with the ids and decisions
that it had, and is stored once. Nothing is decided or sent anew.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.kafka import kafka_connection
from deploy.operations.roles import consumed_topics, group_id
from schemas.time import clock_ms, time_of_ms
from sinks.clickhouse import backup as tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.settings import Settings
    from schemas.offsets import Offsets
    from sinks.clickhouse.backup import BackupNote
    from sinks.kafka.offsets import OffsetReader

_TIMEOUT_S = 30.0
_LEAVING_S = 15.0
_LONGEST_S = 7 * 86_400
"""A backup of a large history may take days: the connection waits for it."""


class NotRestoredError(Exception):
    """A backup cannot be made or restored; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restore.

    Attributes:
        note: What the backup knows of itself.
        events: Rows of touchpoints that it had: fewer than in the note where some were stored twice, or went since.
        migrations: Migrations that were applied to it, since it is of an earlier release.
        unread: Records in Kafka that the recorder reads from here on.
        lost: Records that it had not stored when the backup was begun, and that Kafka does not have any more.
        snapshots: Live profiles that will be stored again; 0: Redis has no people.
    """

    note: BackupNote
    events: int
    migrations: list[str] = field(default_factory=list)
    unread: int = 0
    lost: int = 0
    snapshots: int = 0


def back_up(settings: Settings, where: str) -> BackupNote:
    """Back up a deployment while it runs.

    The offsets are read first: what is stored meanwhile is in the backup and is read once more, which changes nothing.

    Args:
        settings: Of the deployment.
        where: A path that the server may write to, or ClickHouse's expression, such as `S3(…)` or `Disk(…)`.

    Raises:
        KafkaUnreachableError: Kafka does not answer.
        StoreDown: ClickHouse does not answer.
        NotRestoredError: `where` is neither, or the server does not write the backup.
    """
    _check_destination(where)
    cluster, offsets = _committed(settings)
    client = clickhouse_client(settings, timeout_s=_LONGEST_S)
    try:
        note = tables.take_note(client, time_of_ms(clock_ms()), cluster, _secret_check(settings), offsets)
        try:
            tables.back_up(client, settings.clickhouse_database, where)
        except ClickHouseError as error:
            raise NotRestoredError(_advice(error)) from error
        try:
            tables.read_note(client, settings.clickhouse_database, where)
        except ClickHouseError as error:  # a server whose disk is full says that all is well
            raise NotRestoredError(
                f"the backup was written and cannot be read; is its disk full? {_advice(error)}"
            ) from error
        return note
    finally:
        client.close()


def restore(
    settings: Settings, where: str, *, replace: bool = False, progress: Callable[[str], None] = lambda _: None
) -> Restored:
    """Restore ClickHouse, bring it to this release, and put the recorder back to where it was.

    It may be repeated where it broke off, with `replace` once there are events again. The recorder goes back first: one
    that is started too early reads twice what it has, which changes nothing, and leaves nothing out. What there was is
    deleted when the backup is there as a whole.

    Args:
        settings: Of the deployment: its workers do not run.
        where: As of `back_up`.
        replace: Also if the database has events, which are gone then.
        progress: Takes lines.

    Raises:
        KafkaUnreachableError: Kafka does not answer.
        StoreDown: ClickHouse does not answer.
        NotRestoredError: Workers run, there are events, the secret is another one, there is no such backup, or it is of
            a newer release.
    """
    from deploy.operations.provision import apply_topics, migrate

    _check_destination(where)
    database = settings.clickhouse_database
    client = clickhouse_client(settings, None, timeout_s=_LONGEST_S)
    try:
        if not replace and any(tables.has_events(client, name) for name in (database, tables.aside(database))):
            raise NotRestoredError(
                f"the database {database} has events: --replace deletes what there is and takes the backup"
            )
        try:
            note = tables.read_note(client, database, where)
            if note.secret_check != _secret_check(settings):
                raise NotRestoredError(
                    "the backup is of a deployment with another THROUGHLINE_IDENTITY_SECRET: its identifiers would lead"
                    " to nobody. Set that secret"
                )
            if newer := tables.read_newer_migration(client, database, where):
                raise NotRestoredError(
                    f"the backup is of a newer release ({newer}), and workers of this one could not write to it:"
                    " restore it with that release"
                )
            apply_topics(settings)
            progress("the recorder's place in Kafka")
            unread, lost = _set_recorder(settings, note)
            progress("ClickHouse")
            events = tables.restore(client, database, where)
        except LookupError as error:
            raise NotRestoredError(f"the backup cannot be restored: {error}") from error
        except ClickHouseError as error:
            raise NotRestoredError(_advice(error)) from error
    finally:
        client.close()
    progress("migrations")
    applied = migrate(settings)
    progress("profiles")
    return Restored(note, events, applied, unread, lost, _list_profiles(settings))


def _check_destination(where: str) -> None:
    try:
        tables.destination(where)
    except ValueError as error:
        raise NotRestoredError(f"PATH is {error}") from error


def _committed(settings: Settings) -> tuple[str, Offsets]:
    """Return the id of the cluster and the recorder's committed offsets, topics without prefix."""
    from confluent_kafka import KafkaException

    from deploy.operations.lag import kafka_unreachable
    from sinks.kafka.rewind import cluster_id

    prefix, group = settings.topic_prefix, group_id(settings.topic_prefix, "record")
    reader = _reader(settings)
    try:
        places = _places(settings, reader)
        found = reader.committed(group, places)
        cluster = cluster_id(kafka_connection(settings), _TIMEOUT_S)
    except KafkaException as error:
        raise kafka_unreachable(settings, error) from error
    finally:
        reader.close()
    return cluster, {(topic.removeprefix(prefix), number): found.get((topic, number), 0) for topic, number in places}


def _set_recorder(settings: Settings, note: BackupNote) -> tuple[int, int]:
    """Put the recorder back to where it was, as far as Kafka has that.

    Returns:
        Records that are read from there, and those that Kafka has deleted since.

    Raises:
        KafkaUnreachableError: Kafka does not answer.
        NotRestoredError: A recorder runs.
    """
    from confluent_kafka import KafkaException

    from deploy.operations.lag import kafka_unreachable
    from sinks.kafka.rewind import GroupInUseError, cluster_id, rewind

    prefix, group = settings.topic_prefix, group_id(settings.topic_prefix, "record")
    reader = _reader(settings)
    try:
        places = _places(settings, reader)
        starts, ends = reader.starts(places), reader.reported_ends(places)
        is_same = cluster_id(kafka_connection(settings), _TIMEOUT_S) == note.cluster
        wanted, lost = {}, 0
        for place in places:
            known = note.offsets.get((place[0].removeprefix(prefix), place[1]), 0)
            if not is_same or known > ends[place]:
                wanted[place] = starts[place]  # another log: all of it came after the backup
            else:
                wanted[place] = max(known, starts[place])
                lost += max(0, starts[place] - known)
        rewind(kafka_connection(settings), group, wanted, timeout_s=3 * settings.session_timeout_s + _LEAVING_S)
        return sum(max(0, ends[place] - wanted[place]) for place in places), lost
    except GroupInUseError as error:
        raise NotRestoredError(f"{error}: stop all workers and repeat the command") from error
    except KafkaException as error:
        raise kafka_unreachable(settings, error) from error
    finally:
        reader.close()


def _reader(settings: Settings) -> OffsetReader:
    from sinks.kafka.offsets import OffsetReader

    prefix = settings.topic_prefix
    groups = [group_id(prefix, "record")]
    return OffsetReader(kafka_connection(settings), groups, group_id(prefix, "lag"), timeout_s=_TIMEOUT_S)


def _places(settings: Settings, reader: OffsetReader) -> list[tuple[str, int]]:
    topics = [settings.topic_prefix + name for name in consumed_topics("record", settings.channels)]
    return [place for places in reader.partitions(topics).values() for place in places]


def _list_profiles(settings: Settings) -> int:
    """List all live profiles as changed: their snapshots in the backup may be older."""
    import asyncio

    from deploy.connections.redis import async_redis_client
    from sinks.redis.rebuild import RedisRebuild

    async def work() -> int:
        async with async_redis_client(settings, timeout_s=60) as redis:
            return await RedisRebuild(redis, settings.redis_namespace).list_as_changed()

    return asyncio.run(work())


def _secret_check(settings: Settings) -> str:
    key = settings.identity_secret.get_secret_value().encode()
    return hmac.new(key, b"throughline backup", hashlib.sha256).hexdigest()[:16]


def _advice(error: Any) -> str:
    """Return why the server does not do it, and what to do."""
    reason = str(error).strip().partition("\n")[0]
    if "allowed_path" in reason or "allowed_disk" in reason or "INVALID_CONFIG_PARAMETER" in reason:
        return (
            f"{reason}\nThe server writes backups below its `backups.allowed_path` alone, which a path is relative to"
            " (deploy/clickhouse/backups.xml). S3('https://…', 'key', 'secret') and Disk('name', 'path') need none."
        )
    if "BACKUP_ALREADY_EXISTS" in reason:
        return f"{reason}\nChoose another name: a backup is not overwritten."
    return reason
