"""Refuses to start workers on a Redis that has lost its people, or keeps profiles as an earlier release has."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.faults import explain, is_denied, kafka_reason
from deploy.connections.kafka import kafka_connection
from deploy.connections.redis import redis_client
from schemas.topics import IDENTITY_CHANGES
from sinks.redis.people import LOST, LostPeopleError, has_its_people, has_people_key, keep_people

if TYPE_CHECKING:
    from deploy.settings import Settings

log = logging.getLogger(__name__)

_PAUSE_S = 5.0
_TIMEOUT_S = 5.0


def check_people(settings: Settings, *, tries: int | None = None) -> None:
    """Return when workers may start; a new deployment is told from one that has lost its people.

    A store that does not answer is asked again, since only its answer tells.

    Args:
        settings: Of the deployment.
        tries: How often; None: until it answers.

    Raises:
        LostPeopleError: Redis knows nobody, and ClickHouse or Kafka has people; or a rebuild has not ended.
        UnmigratedStateError: The profiles in Redis are as an earlier release has kept them.
        OSError: A store did not answer in so many tries.
    """
    tried = 0
    while (waits_for := _try(settings)) and (tries is None or (tried := tried + 1) < tries):
        log.warning("%s: waiting, to know whether Redis has lost its people", waits_for)
        time.sleep(_PAUSE_S)
    if waits_for:
        raise OSError(waits_for)


def check_layout(settings: Settings) -> None:
    """Raise an error if the profiles in Redis are as an earlier release has kept them, and Redis answers.

    Raises:
        UnmigratedStateError: They are.
    """
    import redis

    from sinks.redis.layout import UNMIGRATED, UnmigratedStateError
    from sinks.redis.migration import StateMigration

    with (
        suppress(redis.RedisError),
        redis_client(settings, timeout_s=_TIMEOUT_S, connect_timeout_s=_TIMEOUT_S) as client,
    ):
        if StateMigration(client, settings.redis_namespace).is_due():
            raise UnmigratedStateError(UNMIGRATED)


def _try(settings: Settings) -> str:
    """Check once; return what there is to wait for, or nothing."""
    import redis
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from confluent_kafka import KafkaException

    from sinks.clickhouse.client import StoreDown
    from sinks.redis.layout import UNMIGRATED, UnmigratedStateError, has_layout
    from sinks.redis.rebuild import is_under_way, knows_people

    namespace = settings.redis_namespace
    try:
        with redis_client(settings, timeout_s=_TIMEOUT_S, connect_timeout_s=_TIMEOUT_S) as client:
            if has_its_people(client, namespace):
                return ""
            if has_people_key(client, namespace) and not knows_people(client, namespace):
                keep_people(client, namespace)  # nobody has come yet, or an operator begins anew
                return ""
            if is_under_way(client, namespace):
                raise LostPeopleError("a rebuild of Redis has not ended: repeat `throughline rebuild`")
            if knows_people(client, namespace):
                if has_layout(client, namespace):
                    raise LostPeopleError(LOST)  # some of its shards are not there
                raise UnmigratedStateError(UNMIGRATED)
            if _in_clickhouse(settings) or _in_kafka(settings):
                raise LostPeopleError(LOST)
            keep_people(client, namespace)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        return explain("redis", error) or "Redis does not answer"
    except redis.ResponseError as error:
        if not is_denied(error):
            raise
        return explain("redis", error)
    except (StoreDown, ClickHouseError) as error:
        return explain("clickhouse", error) or "ClickHouse does not answer"
    except KafkaException as error:
        return f"Kafka does not answer: {kafka_reason(settings, error)}"
    return ""


def _in_clickhouse(settings: Settings) -> bool:
    from clickhouse_connect.driver.exceptions import DatabaseError

    from sinks.clickhouse.rebuild import has_people

    tables = clickhouse_client(settings, None, timeout_s=int(_TIMEOUT_S))
    try:
        tables.database = settings.clickhouse_database
        return has_people(tables)
    except DatabaseError as error:
        if "UNKNOWN_DATABASE" in str(error) or "UNKNOWN_TABLE" in str(error):  # before the first `migrate`
            return False
        raise
    finally:
        tables.close()


def _in_kafka(settings: Settings) -> bool:
    """Return whether a change of identity was ever published, also one that has expired since."""
    from sinks.kafka.offsets import OffsetReader

    topic = settings.topic_prefix + IDENTITY_CHANGES
    reader = OffsetReader(kafka_connection(settings), (), f"{settings.topic_prefix}people", timeout_s=_TIMEOUT_S)
    try:
        places = reader.partitions([topic]).get(topic, [])
        return any(reader.reported_ends(places).values())
    finally:
        reader.close()
