"""What confluent-kafka's serialisers write is read with the schemas of a registry, which may be down for a while."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient as ConfluentClient
from confluent_kafka.schema_registry import header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.definition_files import DefinitionError
from deploy.operations.doctor import servers
from deploy.operations.schema_registry import register_touchpoint_schema, registry_client
from deploy.settings import Settings
from deploy.workers.retry import with_retry
from processors.identity.stage import Identify
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Resolution
from schemas.outcomes import Ok, Reject
from schemas.records import UnloggedRecord
from sinks.kafka.schema_registry import RegistryDown, SchemaRegistryClient
from tests.support.protobuf_messages import touchpoint_messages
from tests.support.schema_registry import SchemaRegistry, schema_registry

pytestmark = pytest.mark.integration

TOPIC = "touchpoints.web"
ADDRESS = {"type": "record", "name": "Line", "namespace": "shop", "fields": [
    {"name": "product_id", "type": "string"}, {"name": "price", "type": "float"}]}  # fmt: skip
ORDER = {"type": "record", "name": "Order", "fields": [
    {"name": "event_id", "type": "string"}, {"name": "event", "type": "string"}, {"name": "channel", "type": "string"},
    {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "identifiers", "type": {"type": "map", "values": "string"}},
    {"name": "properties", "type": {"type": "record", "name": "P", "fields": [
        {"name": "order_id", "type": "string"}, {"name": "currency", "type": "string"},
        {"name": "revenue", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "products", "type": {"type": "array", "items": "shop.Line"}}]}},
]}  # fmt: skip
VALUE = {"event_id": "a-1", "event": "Order Completed", "channel": "web", "identifiers": {"user_id": "u1"},
         "occurred_at": datetime(2026, 11, 22, 8, tzinfo=UTC),
         "properties": {"order_id": "A", "currency": "EUR", "revenue": Decimal("42.50"),
                        "products": [{"product_id": "P-1", "price": 24.95}]}}  # fmt: skip


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    with schema_registry() as running:
        yield running


@pytest.fixture
async def client(registry: SchemaRegistry) -> AsyncIterator[SchemaRegistryClient]:
    found = SchemaRegistryClient(registry.url)
    yield found
    await found.close()


class NewPeople:
    """An identity store to which every event is of a person of its own."""

    async def resolve(self, requests: Any) -> list[Resolution]:
        return [Resolution(one.event_id, one.event_id, None, duplicate=False) for one in requests]


def stage(client: Any) -> Identify:
    return Identify(
        NewPeople(), policy=IdentityPolicy(), secret=b"s", channels=frozenset(TOUCHPOINT_CHANNELS),
        max_event_bytes=65_536, registry=with_retry(client, down=(RegistryDown,), longest_pause_s=0.1),
    )  # fmt: skip


def batch(*values: bytes) -> list[Any]:
    return [UnloggedRecord(TOPIC, 0, at, 1_795_341_600_000, b"", value) for at, value in enumerate(values)]


def confluent(registry: SchemaRegistry) -> ConfluentClient:
    settings = {"url": registry.url}
    if registry.auth:
        settings["basic.auth.user.info"] = registry.auth
    return ConfluentClient(settings)


def avro_value(registry: SchemaRegistry) -> bytes:
    line = registry.register("shop.Line", {"schema": json.dumps(ADDRESS)})
    assert line
    from confluent_kafka.schema_registry import Schema, SchemaReference

    schema = Schema(json.dumps(ORDER), "AVRO", [SchemaReference("shop.Line", "shop.Line", 1)])
    return bytes(AvroSerializer(confluent(registry), schema)(VALUE, SerializationContext(TOPIC, MessageField.VALUE)))


def protobuf_value(registry: SchemaRegistry) -> bytes:
    kind = touchpoint_messages()["Touch"]
    message = kind(event_id="p-1", event="Order Completed", channel="web")
    message.occurred_at.FromDatetime(datetime(2026, 11, 22, 8, tzinfo=UTC))
    message.identifiers.add(type="user_id", value="u1")
    message.properties.order_id, message.properties.revenue_minor, message.properties.currency = "A", 4250, "EUR"
    serializer = ProtobufSerializer(
        kind, confluent(registry), {"use.deprecated.format": False, "skip.known.types": True}
    )
    return bytes(serializer(message, SerializationContext(TOPIC, MessageField.VALUE)))


async def test_orders_in_avro_and_protobuf_are_the_events_that_they_are_in_json(
    registry: SchemaRegistry, client: SchemaRegistryClient
) -> None:
    outcomes = await stage(client)(batch(avro_value(registry), protobuf_value(registry)))
    avro, protobuf = (orjson.loads(one.value.value) for one in outcomes if isinstance(one, Ok))

    assert ("a-1", "42.50", "2026-11-22T08:00:00.000Z") == (
        avro["event_id"], avro["properties"]["revenue"], avro["occurred_at"],
    )  # fmt: skip
    assert [{"product_id": "P-1", "price": "24.95", "quantity": 1}] == avro["properties"]["products"]
    assert ("p-1", "42.50", "2026-11-22T08:00:00.000Z") == (
        protobuf["event_id"], protobuf["properties"]["revenue"], protobuf["occurred_at"],
    )  # fmt: skip


async def test_a_schema_may_be_named_in_a_header(registry: SchemaRegistry, client: SchemaRegistryClient) -> None:
    plain = {"type": "record", "name": "Seen", "fields": [
        {"name": name, "type": "string"} for name in ("event_id", "event", "channel", "occurred_at")]}  # fmt: skip
    serializer = AvroSerializer(
        confluent(registry), json.dumps(plain), conf={"schema.id.serializer": header_schema_id_serializer}
    )
    headers: list[tuple[str, bytes]] = []
    value = {"event_id": "h-1", "event": "Seen", "channel": "web", "occurred_at": "2026-11-22T08:00:00Z"}
    raw = serializer(value, SerializationContext(TOPIC, MessageField.VALUE, headers))
    record = UnloggedRecord(TOPIC, 0, 1, 1_795_341_600_000, b"", raw, headers)
    (outcome,) = await stage(client)([record])

    assert b"\x06h-1" == raw[:4]
    assert isinstance(outcome, Ok)
    assert "h-1" == orjson.loads(outcome.value.value)["event_id"]


async def test_a_schema_is_fetched_once_and_json_asks_for_none(
    registry: SchemaRegistry, client: SchemaRegistryClient
) -> None:
    value, identify = avro_value(registry), stage(client)
    id_ = int.from_bytes(value[1:5])
    registry.requests.clear()
    for _ in range(3):
        await identify(batch(value, value, b'{"event_id": "1"}'))

    assert 1 == registry.requests[f"/schemas/ids/{id_}"]
    assert 2 == sum(registry.requests.values())  # and its reference


async def test_a_batch_waits_for_a_registry_that_is_down_and_loses_nothing(
    registry: SchemaRegistry, client: SchemaRegistryClient
) -> None:
    value = avro_value(registry)
    registry.is_down = True
    waiting = asyncio.create_task(stage(client)(batch(value)))
    await asyncio.sleep(0.5)
    waited = not waiting.done()
    registry.is_down = False

    assert waited
    assert [True] == [isinstance(one, Ok) for one in await asyncio.wait_for(waiting, 20)]


async def test_a_schema_that_the_registry_does_not_know_costs_its_own_record_alone(
    registry: SchemaRegistry, client: SchemaRegistryClient
) -> None:
    value = avro_value(registry)
    unknown = b"\0" + (9999).to_bytes(4) + value[5:]
    outcomes = await stage(client)(batch(unknown, value))

    assert isinstance(outcomes[0], Reject)
    assert "The registry does not know schema 9999" in outcomes[0].message
    assert isinstance(outcomes[1], Ok)


async def test_a_wrong_password_is_a_registry_that_is_down_and_the_right_one_opens_it(registry: SchemaRegistry) -> None:
    registry.auth = "till:secret"
    value = avro_value(registry)
    id_ = int.from_bytes(value[1:5])
    right, wrong = SchemaRegistryClient(registry.url, "till:secret"), SchemaRegistryClient(registry.url, "till:other")
    try:
        found = await right.schemas([id_])
        with pytest.raises(RegistryDown, match="401 Unauthorized"):
            await wrong.schemas([id_])
    finally:
        await right.close()
        await wrong.close()

    assert ["AVRO"] == [one.kind for one in found.values()]
    assert ["shop.Line"] == [one.name for one in found[id_].references]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "{}/not-a-registry"])
async def test_what_is_no_registry_is_one_that_is_down(registry: SchemaRegistry, url: str) -> None:
    client = SchemaRegistryClient(url.format(registry.url))
    try:
        with pytest.raises(RegistryDown):
            await client.schemas([1])
    finally:
        await client.close()


async def test_a_second_node_answers_for_one_that_is_down(registry: SchemaRegistry) -> None:
    id_ = int.from_bytes(avro_value(registry)[1:5])
    client = SchemaRegistryClient(f"http://127.0.0.1:1, {registry.url}/")
    try:
        found = await client.schemas([id_])
    finally:
        await client.close()

    assert {id_} == found.keys()


async def test_our_json_schema_is_registered_for_the_topics_of_the_channels(registry: SchemaRegistry) -> None:
    settings = Settings(schema_registry_url=registry.url, topic_prefix="eu.")
    first = await register_touchpoint_schema(settings, ["web", "store"])
    again = await register_touchpoint_schema(settings, ["web"])

    assert {"eu.touchpoints.web-value", "eu.touchpoints.store-value"} == registry.subjects.keys() == first.keys()
    assert again["eu.touchpoints.web-value"] == first["eu.touchpoints.web-value"]


def test_a_registry_that_is_not_set_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(DefinitionError, match="set THROUGHLINE_SCHEMA_REGISTRY_URL"):
        registry_client(Settings(schema_registry_url=""))


def test_the_command_registers_for_one_channel_and_says_where_no_registry_answers(
    registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for url in (registry.url, "http://127.0.0.1:1", ""):
        monkeypatch.setattr("deploy.settings.settings", lambda url=url: Settings(schema_registry_url=url))
        outcomes.append(CliRunner().invoke(app, ["schema", "register", "--channel", "web"]))

    assert [0, 1, 1] == [one.exit_code for one in outcomes]
    assert "touchpoints.web-value: schema 101\n" == outcomes[0].output
    assert "The schema registry does not take it: " in outcomes[1].output
    assert "set THROUGHLINE_SCHEMA_REGISTRY_URL" in outcomes[2].output


def test_the_doctor_says_whether_a_registry_that_is_set_answers(registry: SchemaRegistry) -> None:
    registry.register("a-value", {"schema": '"string"'})
    registry.auth = "till:secret"
    nowhere: Any = {"kafka_bootstrap": "127.0.0.1:1", "redis_url": "redis://127.0.0.1:1",
                    "clickhouse_url": "http://127.0.0.1:1"}  # fmt: skip
    right, wrong, without = (
        servers(Settings(**nowhere, schema_registry_url=url, schema_registry_auth=SecretStr(auth)))[0]
        for url, auth in ((registry.url, "till:secret"), (registry.url, "till:other"), ("", ""))
    )

    assert (True, f"{registry.url}: 1 subjects") == (right.ok, right.found)
    assert (False, f"{registry.url}: 401 Unauthorized") == (wrong.ok, wrong.found)
    assert "Avro and Protobuf records wait for it" in wrong.hint
    assert "kafka" == without.name
