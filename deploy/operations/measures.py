"""Measures a deployment from outside its workers: lag, what waits in Redis, memory, disks, accounts, certificates.

Workers serve these numbers (`deploy/workers/gauges.py`) and `throughline status` shows them: one function for each,
which sets gauges of `schemas/metrics.py`. None changes anything.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.redis import redis_client
from schemas.metrics import (
    ACCOUNTED_AT,
    ACCOUNTED_RECORDS,
    ACCOUNTING_DIFFERENCE,
    ACCOUNTING_MISSING,
    CERTIFICATE_END,
    DISK_FREE,
    DISK_SIZE,
    EMAILS,
    EXPIRY_AT,
    EXPIRY_PEOPLE,
    LAG,
    LAG_AGE,
    OUTBOX,
    OUTBOX_AGE,
    PROFILES_DIFFERING,
    REDIS_MEMORY,
    REDIS_MEMORY_LIMIT,
    SEGMENT_CHECK,
    SEGMENT_DIFFERENCES,
    SNAPSHOTS_BEHIND,
    TIMERS_DUE,
    TIMERS_LATE,
    Meter,
)
from schemas.time import clock_ms, ms_of_text, ms_of_time
from sinks.clickhouse.measures import TIMEOUT_S as ACCOUNT_TIMEOUT_S
from sinks.redis.address import redis_address

if TYPE_CHECKING:
    from deploy.operations.lag import LagReader, MeasuredLags
    from deploy.operations.roles import Role
    from deploy.settings import Settings

TIMEOUT_S = 5.0
_TLS_PORTS = {"clickhouse": 8443, "registry": 443, "collector": 443}


def measure_lag(reader: LagReader, settings: Settings, meter: Meter, *, exact: bool = False) -> None:
    """Measure how many records the workers of each role of the reader have to read, and how long the oldest waits.

    Raises:
        KafkaUnreachableError: The broker does not answer. The last readings are forgotten, since they would say that
            the workers go on: `RoleWithoutWorker` fires when there are none.
    """
    from deploy.operations.lag import KafkaUnreachableError

    try:
        measured = reader.measure(exact=exact)
    except KafkaUnreachableError:
        meter.forget(LAG)
        meter.forget(LAG_AGE)
        raise
    set_lag(measured, settings, meter)


def set_lag(measured: MeasuredLags, settings: Settings, meter: Meter) -> None:
    """Set the gauges of what was measured."""
    behind: dict[tuple[str, str], int] = {}
    for one in measured.partitions:
        place = one.role, one.topic.removeprefix(settings.topic_prefix)
        behind[place] = behind.get(place, 0) + one.records
    for (role, topic), records in behind.items():
        meter.set(LAG, records, role, topic)
        meter.set(LAG_AGE, measured.ages_ms.get((role, settings.topic_prefix + topic), 0) / 1000, role, topic)


def measure_redis(role: Role, settings: Settings, meter: Meter) -> None:
    """Measure what waits in Redis for the workers of a role; `identify` also its memory, `profile` the segments' check.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    from sinks.redis import measures
    from sinks.redis.outbox import identity_outbox, profile_outboxes
    from sinks.redis.segment_backfill import read_check

    namespace, now_ms = settings.redis_namespace, clock_ms()
    with redis_client(settings, timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S) as client:
        if role == "identify":
            _set_outbox(
                meter, "identity", measures.waiting_records(client, [identity_outbox(namespace).stream], now_ms)
            )
            used, limit = measures.memory(client, namespace)
            meter.set(REDIS_MEMORY, used)
            if limit:
                meter.set(REDIS_MEMORY_LIMIT, limit)
        elif role == "record":
            meter.set(SNAPSHOTS_BEHIND, measures.changed_profiles(client, namespace))
        elif role == "profile":
            _set_outbox(meter, "profile", measures.waiting_records(client, profile_outboxes(namespace), now_ms))
            due, late_ms = measures.due_timers(client, namespace, now_ms)
            meter.set(TIMERS_DUE, due)
            meter.set(TIMERS_LATE, late_ms / 1000)
            if last := measures.last_expiry(client, namespace):
                meter.set(EXPIRY_AT, last.pop("ended_ms") / 1000)
                for found, people in last.items():
                    meter.set(EXPIRY_PEOPLE, people, found)
            if (check := read_check(client, namespace)) is not None:
                meter.set(SEGMENT_DIFFERENCES, check["differences"])
                meter.set(SEGMENT_CHECK, ms_of_text(check["at"]) / 1000)


def measure_disks(settings: Settings, meter: Meter) -> None:
    """Measure the disks of ClickHouse; for the errors, see `_tables`."""
    from sinks.clickhouse import measures

    with _tables(settings, TIMEOUT_S) as client:
        for disk in measures.disks(client):
            meter.set(DISK_FREE, disk.free_bytes, disk.name)
            meter.set(DISK_SIZE, disk.size_bytes, disk.name)


def measure_records(settings: Settings, meter: Meter, *, timeout_s: int = ACCOUNT_TIMEOUT_S) -> None:
    """Take the account of the records of the last days, and count the e-mail events of a day; errors: `_tables`."""
    from sinks.clickhouse import measures

    with _tables(settings, timeout_s) as client:
        account = measures.account_of_records(client, timeout_s=timeout_s)
        meter.set(ACCOUNTING_DIFFERENCE, account.difference)
        meter.set(ACCOUNTING_MISSING, account.missing)
        for outcome, records in account.records.items():
            meter.set(ACCOUNTED_RECORDS, records, outcome)
        meter.set(ACCOUNTED_AT, clock_ms() / 1000, "records")
        for step, events in measures.emails_of_a_day(client).items():
            meter.set(EMAILS, events, step)


def measure_profiles(settings: Settings, meter: Meter) -> None:
    """Take the account of the profiles, which reads all events; for the errors, see `_tables`."""
    from sinks.clickhouse import measures

    with _tables(settings, ACCOUNT_TIMEOUT_S) as client:
        meter.set(PROFILES_DIFFERING, measures.differing_profiles(client))
        meter.set(ACCOUNTED_AT, clock_ms() / 1000, "profiles")


def measure_certificates(settings: Settings, meter: Meter) -> None:
    """Measure until when the certificates of servers with TLS are valid; one that does not answer is left out."""
    redis = redis_address(settings.redis_url)
    addresses = {"redis": list(redis.hosts) if redis.has_tls else []}
    for server, url in (
        ("clickhouse", settings.clickhouse_url),
        ("registry", settings.schema_registry_url),
        ("collector", settings.collector_public_url),
    ):
        parts = urlsplit(url)
        if parts.hostname and parts.scheme == "https":
            addresses[server] = [(parts.hostname, parts.port or _TLS_PORTS[server])]
    for server, hosts in addresses.items():
        ends = []
        for host, port in hosts:
            try:
                ends.append(certificate_end(host, port))
            except (OSError, ValueError):
                continue  # that a server does not answer is for other metrics to say
        if ends:
            meter.set(CERTIFICATE_END, min(ends), server)


def certificate_end(host: str, port: int) -> float:
    """Return until when the certificate of a server is valid, seconds since 1970, whoever has signed it.

    Raises:
        OSError: It does not answer, or not in TLS.
    """
    from cryptography import x509

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # one that has ended is to be read too
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_S) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        certificate = secured.getpeercert(binary_form=True)
    if certificate is None:
        raise OSError("no certificate")
    return ms_of_time(x509.load_der_x509_certificate(certificate).not_valid_after_utc) / 1000


def _set_outbox(meter: Meter, outbox: str, queue: Any) -> None:
    meter.set(OUTBOX, queue.entries, outbox)
    meter.set(OUTBOX_AGE, queue.waiting_ms / 1000, outbox)


@contextmanager
def _tables(settings: Settings, timeout_s: float) -> Iterator[Any]:
    """Open a client of ClickHouse that waits for an answer for so many seconds, and a little longer than the server.

    Raises:
        StoreDown: ClickHouse does not answer.
        ClickHouseError: It refuses, or a query took too long.
    """
    client = clickhouse_client(settings, timeout_s=int(timeout_s) + 1)
    try:
        yield client
    finally:
        client.close()
