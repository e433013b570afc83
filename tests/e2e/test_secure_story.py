"""The whole pipeline over TLS, each role with a user of its own that has the rights of `throughline permissions` alone.

One start of Apache Kafka, Valkey and ClickHouse serves all tests of this file.
"""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import redis
from aiokafka import AIOKafkaConsumer
from clickhouse_connect.driver.exceptions import DatabaseError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.kafka import faust_credentials, kafka_connection
from deploy.connections.redis import async_redis_client, redis_client
from deploy.home import Home
from deploy.local.kafka import missing_tools
from deploy.local.ports import LOOPBACK
from deploy.operations.doctor import examine, servers
from deploy.operations.permissions import GRANTEES, Grantee, kafka_permissions
from deploy.operations.provision import apply_topics, migrate
from deploy.operations.publish import publish
from deploy.operations.rights import missing_in_clickhouse, missing_in_kafka, missing_in_redis
from deploy.operations.roles import ROLES
from deploy.settings import Settings
from tests.support.builders import touchpoint
from tests.support.collector import KEYS, RunningCollector
from tests.support.pipeline import Pipeline, environment
from tests.support.secure_stack import CLIENT_SECRET, SecureStack, password, secure_stack
from tests.support.stack import unavailable

pytestmark = pytest.mark.e2e

DENIED = ("AUTHORIZATION", "Authorization", "ACCESS_DENIED", "NOPERM", "o permissions", "Traceback")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureStack]:
    """The servers, with topics and tables, which the operator has made."""
    if missing := missing_tools():
        unavailable(f"Apache Kafka needs {missing}")
    with secure_stack(tmp_path_factory.mktemp("secure")) as stack:
        operator = stack.settings("operator")
        apply_topics(operator)
        migrate(operator)
        yield stack


def changed(settings: Settings) -> dict[str, str]:
    """The settings of another role, as those of one worker alone."""
    return {name.removeprefix("THROUGHLINE_").lower(): value for name, value in environment(settings).items()}


def logs(home: Path) -> dict[str, str]:
    return {path.stem: path.read_text("utf-8", "replace") for path in (home / "logs").glob("*.log")}


def test_an_event_goes_all_the_way_with_the_least_rights(secure: SecureStack, tmp_path: Path) -> None:
    operator = secure.settings("operator")
    pipeline = Pipeline(operator, tmp_path)
    collector = RunningCollector(secure.settings("collector"), tmp_path, write_keys=KEYS)
    try:
        for role in ROLES:
            pipeline.start(role, **changed(secure.settings(role)))
        collector.start()
        events = [
            touchpoint("Identify", event_id="e1", identifiers={"email": "ann@shop.example", "device_id": "d1"}),
            touchpoint("Product Viewed", event_id="e2", identifiers={"device_id": "d1"}, properties={
                "product_id": "lamp", "price": "49.90", "currency": "EUR"}),
            touchpoint("Order Completed", event_id="e3", identifiers={"email": "ann@shop.example"}, properties={
                "order_id": "o1", "revenue": "49.90", "currency": "EUR"}),
        ]  # fmt: skip
        answers = [collector.post("/v1/touchpoints", event, key="server-key").status for event in events]
        sent = publish([orjson.dumps(touchpoint("", event_id="e4"))], secure.settings("collector"))
        tables = "(SELECT count() FROM touchpoints), (SELECT count() FROM dead_letters)"
        pipeline.wait(lambda: pipeline.rows(f"SELECT {tables}") == [(3, 1)], 90)
        people = "SELECT uniqExact(profile_id) FROM v_touchpoints"
        pipeline.wait(lambda: pipeline.value("SELECT count() FROM profiles") > 0, 60)

        asked = [{"slot": name, "person": "email:ann@shop.example"} for name in ("till_offer", "home_recommendations")]
        shown = [collector.post("/v1/decide", one, key="server-key").body for one in asked]
        pipeline.wait(lambda: pipeline.value("SELECT count() FROM v_decisions") == 2, 60)

        assert [200] * 3 == answers
        assert all(one["decision_id"] for one in shown), shown
        assert sent.ok
        assert 1 == pipeline.value(people)
        pipeline.check()
    finally:
        for process in (*pipeline.workers.values(), collector.process):
            process.stop(10)
    found = logs(tmp_path)

    assert {*ROLES, "collector"} == set(found)
    assert [] == [(name, line) for name, log in found.items() for line in log.splitlines() if any(
        word in line for word in DENIED)]  # fmt: skip
    assert [] == [name for name, log in found.items() if any(password(role) in log for role in GRANTEES)]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
async def test_both_kafka_libraries_sign_in(secure: SecureStack, mechanism: str) -> None:
    changes: dict[str, Any] = {"kafka_sasl_mechanism": mechanism}
    if mechanism == "OAUTHBEARER":
        changes |= {
            "kafka_sasl_username": "",
            "kafka_sasl_oauthbearer_token_endpoint_url": secure.token_url,
            "kafka_sasl_oauthbearer_client_id": "identify",
            "kafka_sasl_oauthbearer_client_secret": CLIENT_SECRET,
        }
    settings = secure.settings("identify", **changes)
    ours = AdminClient(kafka_connection(settings)).list_topics(timeout=20).topics
    auth = credentials_to_aiokafka_auth(faust_credentials(settings))
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, **auth)
    await consumer.start()
    try:
        theirs = await consumer.topics()
    finally:
        await consumer.stop()

    assert "secure-touchpoints.web" in ours
    assert set(ours) == theirs  # those that this user may see


def test_an_analyst_reads_no_addresses_and_writes_nothing(secure: SecureStack) -> None:
    client = clickhouse_client(secure.settings("analyst"))
    try:
        client.query("SELECT count() FROM v_touchpoints")
        for denied in ("SELECT properties FROM touchpoints", "TRUNCATE TABLE touchpoints"):
            with pytest.raises(DatabaseError, match="ACCESS_DENIED"):
                client.command(denied)
    finally:
        client.close()


@pytest.mark.parametrize("role", ["identify", "record", "deliver"])
def test_a_role_has_no_right_on_what_it_does_not_need(secure: SecureStack, role: Grantee) -> None:
    settings = secure.settings(role)
    with redis_client(settings, timeout_s=5) as client:
        for denied in (["FLUSHALL"], ["GET", "{another}:people"], ["CONFIG", "GET", "*"], ["KEYS", "*"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*denied)
    client = clickhouse_client(settings)
    try:
        for statement in ("DROP TABLE touchpoints", "ALTER TABLE touchpoints DELETE WHERE 1", "CREATE DATABASE other"):
            with pytest.raises(DatabaseError, match="ACCESS_DENIED"):
                client.command(statement)
    finally:
        client.close()
    new = AdminClient(kafka_connection(settings))
    with pytest.raises(KafkaException, match="AUTHORIZATION"):
        new.delete_topics(["secure-actions"])["secure-actions"].result(10)


async def test_a_client_certificate_is_shown_where_redis_asks_for_one(secure: SecureStack) -> None:
    with secure.redis_with_client_certificates() as (url, certificate):
        settings = secure.settings("record", redis_url=url, redis_ssl_certificate_location=str(certificate))
        async with async_redis_client(settings, timeout_s=5) as client:
            assert await client.ping()
        async with async_redis_client(secure.settings("record", redis_url=url), timeout_s=5) as client:
            with pytest.raises(redis.exceptions.ConnectionError):
                await client.ping()


def test_permissions_are_printed_with_the_names_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(topic_prefix="shop-", redis_namespace="shop", clickhouse_database="shop")
    monkeypatch.setattr("deploy.settings.settings", lambda: settings)
    shown = CliRunner().invoke(app, ["permissions", "--role", "record", "--user", "writer"]).output
    listed = json.loads(CliRunner().invoke(app, ["permissions", "--role", "record", "--json"]).output)

    assert "--allow-principal User:writer --operation Describe --operation Read --topic 'shop-decisions'" in shown
    assert "ACL SETUSER writer on '>PASSWORD'" in shown
    assert "'~{shop:???}:profiles:changed'" in shown
    assert "GRANT INSERT ON shop.touchpoints TO `writer`;" in shown
    assert {"kafka", "redis", "clickhouse"} == set(listed)


class Fault(NamedTuple):
    """Something that is wrong with a connection.

    Attributes:
        changes: Settings, by store.
        said: What is said of it; `{store}` is the store's prefix in settings, `{user}` its word for a user.
    """

    changes: dict[str, str]
    said: str


STORES = {"kafka": "Kafka", "redis": "Redis", "clickhouse": "ClickHouse"}


def fault(secure: SecureStack, name: str) -> Fault:
    """What is wrong, and what is to be said."""
    ports, unknown = secure.ports, str(secure.unknown.certificate)
    at = {store: f"{LOOPBACK}:{ports[f'expired_{store}']}" for store in STORES}
    return {
        "a wrong password": Fault(
            {"kafka_sasl_password": "wrong", "redis_password": "wrong", "clickhouse_password": "wrong"},
            "refuses the user or the password: set THROUGHLINE_{store}",
        ),
        "an unknown authority": Fault(
            {f"{store}_ssl_ca_location": unknown for store in STORES},
            "authority that is not known here: name the file of its certificate (PEM) in THROUGHLINE_{store}_SSL_CA",
        ),
        "an expired certificate": Fault(
            {
                "kafka_bootstrap": at["kafka"],
                "redis_url": f"rediss://{at['redis']}/0",
                "clickhouse_url": f"https://{at['clickhouse']}",
            },
            "certificate has expired: renew it on the server",
        ),
    }[name]


@pytest.mark.parametrize("name", ["a wrong password", "an unknown authority", "an expired certificate"])
def test_a_fault_is_said_in_a_sentence_that_names_the_setting(
    secure: SecureStack, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fault(secure, name)
    settings = secure.settings("operator", **expected.changes)
    monkeypatch.setattr("deploy.settings.settings", lambda: settings)
    for wait in ("provision.LONGEST_WAIT_S", "doctor._TIMEOUT_S"):  # librdkafka tries again until it is over
        monkeypatch.setattr(f"deploy.operations.{wait}", 1)
    found = {check.name: check for check in servers(settings)}
    commands = {
        "kafka": ["topics", "apply"],
        "redis": ["identity", "refusals"],
        "clickhouse": ["migrate"],
    }
    for store, word in STORES.items():
        said = expected.said.format(store=store.upper())
        outcome = CliRunner().invoke(app, commands[store])

        assert (False, True) == (found[store].ok, said in found[store].found), found[store]
        assert (1, True) == (outcome.exit_code, said in outcome.stderr), (word, outcome.stderr)
        assert password("operator") not in outcome.stderr + found[store].found + found[store].hint
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # a command that ends does not wait until the server has ended TLS, too


def test_a_worker_waits_for_a_right_and_goes_on_when_it_is_granted(secure: SecureStack, tmp_path: Path) -> None:
    settings = secure.settings("record")
    reads = next(one for one in kafka_permissions("record", settings) if one.name.endswith("decisions"))
    right = replace(reads, operation="Read")
    secure.acl(right, "record", allowed=False)
    pipeline = Pipeline(settings, tmp_path)
    try:
        worker = pipeline.start("record")
        log = tmp_path / "logs" / "record.log"
        said = "rights are missing, Read on topic secure-decisions: `throughline permissions --role record`"
        pipeline.wait(lambda: log.exists() and said in log.read_text("utf-8"), 60, lambda: worker.last_log_lines())
        (check,) = (one for one in examine(settings, "record") if one.name == "kafka rights")
        secure.acl(right, "record", allowed=True)
        heartbeat = Home(tmp_path).heartbeat("record")
        pipeline.wait(heartbeat.exists, 60, lambda: worker.last_log_lines())
    finally:
        secure.acl(right, "record", allowed=True)
        worker.stop(10)

    assert (False, "1 are missing for record: Read on topic secure-decisions") == (check.ok, check.found)


@pytest.mark.parametrize("role", ["collector", "identify", "profile", "record", "deliver", "operator"])
def test_doctor_finds_no_right_missing_of_what_is_printed(secure: SecureStack, role: Grantee) -> None:
    settings = secure.settings(role)

    assert [[], [], []] == [
        missing(role, settings) for missing in (missing_in_kafka, missing_in_redis, missing_in_clickhouse)
    ]


def test_doctor_names_what_another_role_would_need(secure: SecureStack) -> None:
    settings = secure.settings("identify")

    assert "Read on group secure-throughline-record" in missing_in_kafka("record", settings)
    assert "write keys {secure:???}:profiles:changed" in missing_in_redis("record", settings)
    assert "INSERT ON secure.touchpoints" in missing_in_clickhouse("record", settings)
