"""What is measured of a deployment's servers, on the real ones."""

from __future__ import annotations

import ssl
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_server
from time import monotonic
from typing import Any

import pytest
import redis
from confluent_kafka import Producer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import generate_latest

from deploy.operations import conditions, measures
from deploy.operations.lag import KafkaUnreachableError, LagReader
from deploy.operations.metrics import PrometheusMeter
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from schemas import metrics
from schemas.metrics import Gauge, Metric
from schemas.time import clock_ms
from sinks.redis.keys import person_prefix
from tests.support.warehouse import Warehouse, resolved

pytestmark = pytest.mark.integration


class Gauges(defaultdict[str, dict[tuple[str, ...], float]]):
    """Keeps what was measured: name of the metric → labels → number."""

    def __init__(self) -> None:
        super().__init__(dict)

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        raise AssertionError("nothing is counted here")

    observe = add

    def set(self, metric: Gauge, value: float, *labels: str) -> None:
        self[metric.name][labels] = value

    def forget(self, metric: Gauge) -> None:
        self.pop(metric.name, None)

    def one(self, metric: Gauge, *labels: str) -> float:
        return self[metric.name][labels]


@pytest.fixture
def gauges() -> Gauges:
    return Gauges()


def test_the_oldest_waiting_record_has_an_age_and_none_has_none(stack: Settings, gauges: Gauges) -> None:
    apply_topics(stack)
    producer = Producer({"bootstrap.servers": stack.kafka_bootstrap})
    for number, age_s in enumerate((90, 600, 30)):
        producer.produce(
            f"{stack.topic_prefix}touchpoints.web", b"{}", partition=number, timestamp=clock_ms() - age_s * 1000
        )
    assert 0 == producer.flush(30)

    with LagReader(stack, 20, ["identify"]) as reader:
        measures.measure_lag(reader, stack, gauges, exact=True)

    assert 3 == gauges.one(metrics.LAG, "identify", "touchpoints.web")
    assert 0 == gauges.one(metrics.LAG, "identify", "touchpoints.app")
    assert 0 == gauges.one(metrics.LAG_AGE, "identify", "touchpoints.app")
    assert gauges.one(metrics.LAG_AGE, "identify", "touchpoints.web") == pytest.approx(600, abs=60)


def test_a_lag_that_cannot_be_measured_any_more_is_served_no_more(stack: Settings) -> None:
    apply_topics(stack)
    meter = PrometheusMeter()
    with LagReader(stack, 20, ["identify"]) as reader:
        measures.measure_lag(reader, stack, meter)
    measured = generate_latest(meter.registry)
    down = stack.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    with LagReader(down, 0.2, ["identify"]) as reader, pytest.raises(KafkaUnreachableError):
        measures.measure_lag(reader, down, meter)

    for metric in (metrics.LAG, metrics.LAG_AGE):
        assert metric.name.encode() in measured
        assert metric.name.encode() not in generate_latest(meter.registry)
    with LagReader(stack, 20, ["identify"]) as reader:
        measures.measure_lag(reader, stack, meter)
    assert metrics.LAG.name.encode() in generate_latest(meter.registry)


def test_what_waits_in_redis_has_a_number_and_an_age(stack: Settings, gauges: Gauges) -> None:
    now_ms, namespace = clock_ms(), f"{{{stack.redis_namespace}}}"
    with redis.Redis.from_url(stack.redis_url) as client:
        client.xadd(f"{namespace}:identity:log", {"c": b"x"}, id=f"{now_ms - 70_000}-0")
        client.xadd(f"{namespace}:identity:log", {"c": b"x"}, id=f"{now_ms - 10_000}-0")
        for person, due_ms in (("a", now_ms - 120_000), ("b", now_ms - 5_000), ("c", now_ms + 60_000)):
            client.zadd(f"{person_prefix(stack.redis_namespace, person)}timers", {person: due_ms})
    for role in ("identify", "profile", "record", "deliver"):
        measures.measure_redis(role, stack, gauges)

    assert 2 == gauges.one(metrics.OUTBOX, "identity")
    assert gauges.one(metrics.OUTBOX_AGE, "identity") == pytest.approx(70, abs=30)
    assert (0, 0) == (gauges.one(metrics.OUTBOX, "profile"), gauges.one(metrics.OUTBOX_AGE, "profile"))
    assert 2 == gauges.one(metrics.TIMERS_DUE)
    assert gauges.one(metrics.TIMERS_LATE) == pytest.approx(120, abs=30)
    assert 0 < gauges.one(metrics.REDIS_MEMORY) < gauges.one(metrics.REDIS_MEMORY_LIMIT)


def recent(event_id: str, offset: int, minutes_ago: float, **more: Any) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    return resolved(event_id, 1, at, origin={"topic": "touchpoints.web", "partition": 0, "offset": offset}, **more)


def test_a_record_without_an_outcome_is_missing_once_it_is_no_work_in_progress(
    tables: Warehouse, gauges: Gauges
) -> None:
    tables.store(recent("e1", 1, 40), recent("e2", 4, 30), recent("e3", 9, 5))
    measures.measure_records(tables.settings, gauges)

    assert 2 == gauges.one(metrics.ACCOUNTING_MISSING)
    assert 0 == gauges.one(metrics.ACCOUNTING_DIFFERENCE)
    assert gauges.one(metrics.ACCOUNTED_AT, "records") == pytest.approx(clock_ms() / 1000, abs=60)


def test_a_record_with_two_outcomes_is_a_difference(tables: Warehouse, gauges: Gauges) -> None:
    tables.store(recent("e1", 1, 30))
    tables.client.command(
        "INSERT INTO arrivals (topic, partition, offset, outcome, event_id, source, received_at)"
        " SELECT topic, partition, offset, 'dead_lettered', '', source, received_at FROM arrivals"
    )
    measures.measure_records(tables.settings, gauges)

    assert 1 == gauges.one(metrics.ACCOUNTING_DIFFERENCE)


def test_e_mail_complaints_of_a_day_are_counted(tables: Warehouse, gauges: Gauges) -> None:
    tables.store(
        recent("e1", 1, 30, event="Email Sent", channel="email"),
        recent("e2", 2, 20, event="Email Marked as Spam", channel="email"),
        recent("e3", 3, 25 * 60, event="Email Marked as Spam", channel="email"),
    )
    measures.measure_records(tables.settings, gauges)

    assert {("sent",): 1, ("bounced",): 0, ("complained",): 1} == gauges[metrics.EMAILS.name]


def test_profiles_and_disks_are_measured(tables: Warehouse, gauges: Gauges) -> None:
    measures.measure_profiles(tables.settings, gauges)
    measures.measure_disks(tables.settings, gauges)

    assert 0 == gauges.one(metrics.PROFILES_DIFFERING)
    assert 0 < gauges.one(metrics.DISK_FREE, "default") <= gauges.one(metrics.DISK_SIZE, "default")


@contextmanager
def tls_server(folder: Path, valid_until: datetime) -> Iterator[str]:
    """Serve a certificate of our own; yields host and port."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "events.shop.example")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(valid_until - timedelta(days=90)).not_valid_after(valid_until)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection, context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize("days", [20, -1], ids=["valid", "ended"])
def test_the_end_of_a_certificate_is_known_whoever_has_signed_it(tmp_path: Path, gauges: Gauges, days: int) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    with tls_server(tmp_path, ends) as address:
        settings = Settings(collector_public_url=f"https://{address}", schema_registry_url="https://127.0.0.1:1")
        measures.measure_certificates(settings, gauges)

    assert {("collector",): ends.timestamp()} == gauges[metrics.CERTIFICATE_END.name]


def test_a_clickhouse_that_takes_connections_and_never_answers_costs_seconds_and_hides_nothing_else(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "TIMEOUT_S", 0.5)
    apply_topics(stack)
    with create_server(("127.0.0.1", 0)) as silent, LagReader(stack) as reader:
        hung = stack.model_copy(update={"clickhouse_url": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        started = monotonic()
        readings = conditions.read(hung, reader.measure())
        took_s = monotonic() - started

    assert took_s < 30
    assert readings.one(metrics.OUTBOX, "profile") == 0
    assert readings.of(metrics.LAG)
    assert not readings.of(metrics.DISK_FREE)
