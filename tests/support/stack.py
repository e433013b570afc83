"""Where the tests' servers come from, and a corner of them that belongs to one test."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import wait
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import clickhouse_connect
import pytest
import redis
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.connections.redis import redis_client
from deploy.local.broker import speaks_kafka
from deploy.local.clickhouse_server import speaks_clickhouse
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.server import ServerFailedError
from deploy.local.servers import Broker, Servers
from deploy.local.valkey import speaks_redis
from deploy.settings import Settings
from sinks.redis.keys import patterns

Addresses = Mapping[str, str]
"""The three addresses, named as the fields of `Settings`."""

_COMPOSE = Path(__file__).parents[2] / "deploy/compose.yaml"
_FIELDS = ("kafka_bootstrap", "redis_url", "clickhouse_url")


def unavailable(reason: str) -> NoReturn:
    """Skip the test on a laptop, fail it in CI: a suite that skips everything must not be green there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def addresses(directory: Path) -> Iterator[Addresses]:
    """Find servers: those named in the environment, else containers, else the local stack in `directory`."""
    found = {field: os.environ.get(f"THROUGHLINE_{field.upper()}", "") for field in _FIELDS}
    if all(found.values()):
        yield found
    elif docker_answers():
        with containers() as started:
            yield started
    else:
        with local_stack(directory) as servers:
            yield servers.settings


@contextmanager
def local_stack(directory: Path, broker: Broker = "tansu") -> Iterator[Servers]:
    """Run the local stack in `directory`; without it there is no test."""
    servers = Servers(directory, broker=broker)
    try:
        servers.start()
    except ServerFailedError as error:
        unavailable(str(error))
    with servers:
        yield servers


def docker_answers() -> bool:
    """Tell whether a Docker engine runs here."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True  # whoever names a remote engine means it
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(2)
            engine.connect(host.removeprefix("unix://"))
            engine.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in engine.recv(64)
    except OSError:
        return False


def image_of(service: str) -> str:
    """Return the image that a service of compose.yaml names: tests run on what is deployed."""
    services = yaml.safe_load(_COMPOSE.read_text("utf-8"))["services"]
    return str(services[service]["image"])


@contextmanager
def containers() -> Iterator[Addresses]:
    """Run the three servers as containers, on free ports of loopback."""
    from testcontainers.core.container import DockerContainer

    kafka, controller, valkey, http = (free_port() for _ in range(4))
    listeners = f"PLAINTEXT://:{kafka},CONTROLLER://:{controller}"
    # Clients are told the broker's own port, so it is the same inside and outside.
    broker = DockerContainer(image_of("kafka")).with_bind_ports(kafka, kafka)
    for name, value in {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": listeners,
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{LOOPBACK}:{kafka}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@localhost:{controller}",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }.items():
        broker = broker.with_env(name, value)
    with ExitStack() as running:
        running.enter_context(broker)
        running.enter_context(DockerContainer(image_of("valkey")).with_bind_ports(6379, valkey))
        clickhouse = DockerContainer(image_of("clickhouse")).with_env("CLICKHOUSE_SKIP_USER_SETUP", "1")
        backups = _COMPOSE.parent / "clickhouse/backups.xml"
        clickhouse = clickhouse.with_volume_mapping(str(backups), "/etc/clickhouse-server/config.d/backups.xml", "ro")
        running.enter_context(clickhouse.with_bind_ports(8123, http))
        _wait(lambda: speaks_kafka(kafka) and speaks_redis(valkey) and speaks_clickhouse(http), timeout_s=120)
        yield {
            "kafka_bootstrap": f"{LOOPBACK}:{kafka}",
            "redis_url": f"redis://{LOOPBACK}:{valkey}/0",
            "clickhouse_url": f"http://{LOOPBACK}:{http}",
        }


@contextmanager
def corner(servers: Addresses) -> Iterator[Settings]:
    """Settings with names nobody else uses; their topics, Redis keys and database are removed afterwards."""
    name = f"t{secrets.token_hex(4)}"
    values: dict[str, Any] = {
        **servers,
        "topic_prefix": f"{name}-",
        "redis_namespace": name,
        "clickhouse_database": name,
        "partitions": 4,
        "session_timeout_s": 6,  # Tansu lets a member wait half of it before it may join
    }
    settings = Settings(**values)
    try:
        yield settings
    finally:
        forget(settings)


def forget(settings: Settings) -> None:
    """Remove the topics, the Redis keys and the ClickHouse database, as far as their servers are still up."""
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 0})
    try:
        topics = [name for name in admin.list_topics(timeout=2).topics if name.startswith(settings.topic_prefix)]
        if topics:
            wait(admin.delete_topics(topics).values(), timeout=10)
    except KafkaException:
        pass
    try:
        with redis_client(settings, timeout_s=10) as client:
            for pattern in patterns(settings.redis_namespace):
                keys = client.scan_iter(match=pattern, count=1000)
                while part := list(islice(keys, 1000)):
                    client.unlink(*part)
    except redis.ConnectionError:
        pass  # a fault test may have left it down
    try:
        clickhouse = clickhouse_connect.get_client(dsn=settings.clickhouse_url)
    except clickhouse_connect.driver.exceptions.Error:
        return
    try:
        clickhouse.command(f"DROP DATABASE IF EXISTS {settings.clickhouse_database} SYNC")
    finally:
        clickhouse.close()


def _wait(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the containers did not answer within {timeout_s:g} s")
        time.sleep(0.1)
