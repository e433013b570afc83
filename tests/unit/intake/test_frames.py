"""Values in Confluent's wire format become JSON values, exactly; what cannot be read says which schema is at fault."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import fastavro
import orjson
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from processors.intake.frames import Frame, Frames, frame_of
from processors.intake.record_forms import decode_record
from processors.intake.short_floats import shortest
from processors.intake.validation_mark import ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import Reason
from schemas.intake.registered_schema import NamedSchema, RegisteredSchema
from schemas.outcomes import Reject
from schemas.records import Headers, UnloggedRecord
from tests.support.builders import touchpoint
from tests.support.protobuf_messages import touchpoint_messages

EVERY_TYPE = {
    "type": "record", "name": "T", "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "at_micros", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}},
        {"name": "fixed", "type": {"type": "fixed", "name": "F", "size": 8, "logicalType": "decimal", "precision": 18,
                                   "scale": 2}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "raw", "type": "bytes"},
        {"name": "short", "type": "float"},
        {"name": "shorts", "type": {"type": "array", "items": ["null", "float"]}},
        {"name": "short_map", "type": {"type": "map", "values": "float"}},
        {"name": "long", "type": "double"},
        {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["A", "B"]}},
        {"name": "inner", "type": {"type": "record", "name": "I", "fields": [{"name": "x", "type": ["null", "I"]}]}},
    ],
}  # fmt: skip
VALUES = {
    "at": datetime(2026, 11, 22, 10, 0, 0, 123000, UTC), "at_micros": datetime(2026, 11, 22, 10, 0, 0, 123456, UTC),
    "local": datetime(2026, 11, 22, 10),  # noqa: DTZ001 - that is what it is
    "day": date(1990, 5, 15), "price": Decimal("1234567890123456.7891"),
    "fixed": Decimal("-0.10"), "id": UUID("0c8ac6b1-73ff-4b3c-9a79-6d3ad3c9c0a1"), "raw": b"\x00\xff", "short": 24.95,
    "shorts": [0.1, None, 3.0], "short_map": {"a": 1e-7}, "long": 0.1, "kind": "B", "inner": {"x": {"x": None}},
}  # fmt: skip


def framed(id_: int, payload: bytes) -> bytes:
    return b"\0" + id_.to_bytes(4) + payload


def avro(schema: Any, value: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return stream.getvalue()


def frame(id_: int, payload: bytes) -> Frame:
    found = frame_of(framed(id_, payload))
    return found or Frame(id_, payload)


def knowing(**schemas: RegisteredSchema) -> Frames:
    """Frames that know schemas, named by `s` and their ids."""
    frames = Frames()
    frames.learn([int(name[1:]) for name in schemas], {int(name[1:]): one for name, one in schemas.items()})
    return frames


def of_avro(schema: Any, value: Any) -> Any:
    return knowing(s12=RegisteredSchema("AVRO", json.dumps(schema))).decode(frame(12, avro(schema, value)))


def read(value: bytes, frames: Frames | None = None, headers: Headers = ()) -> Any:
    record = UnloggedRecord("touchpoints.web", 0, 1, 1_795_341_600_000, b"", value, headers)
    return decode_record(
        record, ValidationMark(b"s"), channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536,
        frames=frames or Frames(),
    )  # fmt: skip


def test_avro_values_are_exact_whatever_their_type() -> None:
    assert {
        "at": "2026-11-22T10:00:00.123000+00:00", "at_micros": "2026-11-22T10:00:00.123456+00:00",
        "local": "2026-11-22T10:00:00", "day": "1990-05-15", "price": "1234567890123456.7891", "fixed": "-0.10",
        "id": "0c8ac6b1-73ff-4b3c-9a79-6d3ad3c9c0a1", "raw": "AP8=", "short": 24.95, "shorts": [0.1, None, 3.0],
        "short_map": {"a": 1e-7}, "long": 0.1, "kind": "B", "inner": {"x": {"x": None}},
    } == of_avro(EVERY_TYPE, VALUES)  # fmt: skip


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_shortest_number_is_the_same_float(value: float) -> None:
    from struct import pack

    assert pack("<f", value) == pack("<f", shortest(value))


def test_an_avro_schema_may_refer_to_others() -> None:
    address = {"type": "record", "name": "Address", "namespace": "shop", "fields": [{"name": "zip", "type": "float"}]}
    person = {"type": "record", "name": "Person", "fields": [{"name": "home", "type": "shop.Address"}]}
    named: dict[str, Any] = {}
    fastavro.parse_schema(address, named_schemas=named)
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(person, named_schemas=named), {"home": {"zip": 0.1}})
    schema = RegisteredSchema("AVRO", json.dumps(person), (NamedSchema("shop.Address", json.dumps(address)),))

    assert {"home": {"zip": 0.1}} == knowing(s1=schema).decode(frame(1, stream.getvalue()))


def order_message() -> Any:
    classes = touchpoint_messages()
    message = classes["Touch"](event_id="pb-1", event="Order Completed", channel="web")
    message.occurred_at.FromDatetime(datetime(2026, 11, 22, 8, 0, 0, 5000, UTC))
    message.identifiers.add(type="user_id", value="u1")
    message.properties.CopyFrom(
        classes["Order"](order_id="A", revenue_minor=2**40, currency="EUR", tip=24.95, weight=0.1, scan=b"\0")
    )
    return message


def protobuf_schema() -> RegisteredSchema:
    file = touchpoint_messages()["Touch"].DESCRIPTOR.file
    return RegisteredSchema("PROTOBUF", b64encode(file.serialized_pb).decode())


INDEXES_OF_TOUCH = b"\x02\x06"
"""One index, 3: zigzag numbers."""


def test_a_protobuf_message_is_read_by_its_place_in_the_file() -> None:
    payload = INDEXES_OF_TOUCH + order_message().SerializeToString()

    assert {
        "event_id": "pb-1", "event": "Order Completed", "channel": "web",
        "occurred_at": "2026-11-22T08:00:00.005000+00:00",
        "identifiers": [{"type": "user_id", "value": "u1"}],
        "properties": {"order_id": "A", "revenue_minor": 2**40, "currency": "EUR", "tip": 24.95, "weight": 0.1,
                       "scan": "AA=="},
    } == knowing(s7=protobuf_schema()).decode(frame(7, payload))  # fmt: skip


def of_protobuf(message: Any) -> Any:
    return knowing(s7=protobuf_schema()).decode(frame(7, INDEXES_OF_TOUCH + message.SerializeToString()))


def test_an_optional_false_is_told_from_an_answer_that_was_not_given() -> None:
    answered = order_message()
    answered.consent.marketing = False

    assert {"marketing": False} == of_protobuf(answered)["consent"]
    assert "consent" not in of_protobuf(order_message())


def test_a_free_object_of_protobuf_is_one_of_json() -> None:
    message = order_message()
    message.traits.update({"a": [1, {"b": None}], "c": True})

    assert {"a": [1, {"b": None}], "c": True} == of_protobuf(message)["traits"]


def test_json_schema_frames_need_no_registry() -> None:
    event = touchpoint()

    assert read(orjson.dumps(event)) == read(framed(3, orjson.dumps(event)))


def test_an_avro_order_is_judged_as_a_json_one_is() -> None:
    schema = {"type": "record", "name": "Order", "fields": [
        {"name": "event_id", "type": "string"}, {"name": "event", "type": "string"},
        {"name": "channel", "type": "string"},
        {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "campaign", "type": ["null", {"type": "map", "values": "string"}]},
        {"name": "identifiers", "type": {"type": "map", "values": "string"}},
        {"name": "properties", "type": {"type": "record", "name": "P", "fields": [
            {"name": "order_id", "type": "string"}, {"name": "currency", "type": "string"},
            {"name": "revenue", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}]}},
    ]}  # fmt: skip
    value = {"event_id": "a-1", "event": "Order Completed", "channel": "web", "campaign": None,
             "occurred_at": datetime(2026, 11, 22, 8, tzinfo=UTC), "identifiers": {"user_id": "u1"},
             "properties": {"order_id": "A", "currency": "EUR", "revenue": Decimal("42.50")}}  # fmt: skip
    frames = knowing(s12=RegisteredSchema("AVRO", json.dumps(schema)))
    good = read(framed(12, avro(schema, value)), frames)
    bad = read(framed(12, avro(schema, {**value, "channel": "moon"})), frames)

    assert ("a-1", "42.50", "2026-11-22T08:00:00.000Z") == (
        good["event_id"], good["properties"]["revenue"], good["occurred_at"],
    )  # fmt: skip
    assert (Reason.UNKNOWN_CHANNEL, "channel") == (bad.reason, bad.field)


def test_a_guid_in_a_header_or_before_the_value_names_a_schema_too_and_is_kept() -> None:
    guid = UUID(int=7)
    head, value = b"\1" + guid.bytes, avro(ONE_TEXT, {"a": "b"})
    frames = Frames()
    frames.learn([str(guid)], {str(guid): RegisteredSchema("AVRO", json.dumps(ONE_TEXT))})
    by_header = read(value, frames, (("__value_schema_id", head),))
    by_prefix = read(head + value, frames)

    long = read(avro(ONE_TEXT, {"a": "b" * 70}), frames, (("__value_schema_id", head),))  # its first byte is 140

    assert Reason.MISSING_FIELD == long.reason
    assert (Reason.MISSING_FIELD, head + value) == (by_header.reason, by_header.kept)
    assert by_header == by_prefix
    assert {str(guid)} == Frames().unknown([UnloggedRecord("t", 0, 1, 0, b"", value, (("__value_schema_id", head),))])


def test_the_data_of_a_cloud_event_may_be_avro() -> None:
    schema = {
        "type": "record",
        "name": "D",
        "fields": [{"name": "identifiers", "type": {"type": "map", "values": "string"}}],
    }
    headers = tuple((f"ce_{name}", value) for name, value in (("specversion", b"1.0"), ("id", b"1"), ("source", b"/s"),
                    ("type", b"opened")))  # fmt: skip
    frames = knowing(s12=RegisteredSchema("AVRO", json.dumps(schema)))
    found = read(
        framed(12, avro(schema, {"identifiers": {"user_id": "u1"}})),
        frames,
        (*headers, ("content-type", b"application/avro")),
    )

    assert ("1", "opened", "u1") == (found["event_id"], found["event"], found["identifiers"][0]["value"])


def test_a_frame_without_a_registry_says_what_it_is_and_what_to_set() -> None:
    found = read(framed(12, b"\x02\x04ab"))

    assert Reason.UNKNOWN_SCHEMA == found.reason
    expected = (
        "Avro or Protobuf in Confluent's wire format, schema 12, no registry set: set THROUGHLINE_SCHEMA_REGISTRY_URL."
    )
    assert expected == found.message


ONE_TEXT = {"type": "record", "name": "T", "fields": [{"name": "a", "type": "string"}]}
TREE = {"type": "record", "name": "Tree", "fields": [{"name": "inner", "type": ["null", "Tree"]}]}


def list_of(items: Any) -> RegisteredSchema:
    schema = {"type": "record", "name": "T", "fields": [{"name": "a", "type": {"type": "array", "items": items}}]}
    return RegisteredSchema("AVRO", json.dumps(schema))


def test_what_refers_to_itself_and_lists_of_what_may_be_null_are_read() -> None:
    nullable = json.loads(list_of(["null", "string"]).definition)

    assert {"inner": {"inner": None}} == of_avro(TREE, {"inner": {"inner": None}})
    assert {"a": [None, "b"]} == of_avro(nullable, {"a": [None, "b"]})


@pytest.mark.parametrize(
    ("value", "scale", "expected"),
    [
        (b"\x09\xbf", 2, {"total": "24.95"}),
        (b"\xff", 0, {"total": "-1"}),
        (b"\x7f" * 33, 2, None),
        (b"\x01", -900_000, None),
        (b"\x01", 900_000, None),
    ],
    ids=["an amount", "negative", "too many digits", "a scale that writes zeros", "a scale that writes decimal places"],
)
def test_a_decimal_of_confluents_is_exact_and_of_a_size_that_amounts_have(
    value: bytes, scale: int, expected: dict[str, str] | None
) -> None:
    kind = descriptor_pb2.FieldDescriptorProto
    decimal = descriptor_pb2.FileDescriptorProto(name="confluent/type/decimal.proto", package="confluent.type")
    message = decimal.message_type.add(name="Decimal")
    message.field.add(name="value", number=1, label=kind.LABEL_OPTIONAL, type=kind.TYPE_BYTES)
    message.field.add(name="scale", number=3, label=kind.LABEL_OPTIONAL, type=kind.TYPE_INT32)
    order = descriptor_pb2.FileDescriptorProto(name="order.proto", dependency=[decimal.name])
    order.message_type.add(name="Order").field.add(
        name="total", number=1, label=kind.LABEL_OPTIONAL, type=kind.TYPE_MESSAGE,
        type_name=".confluent.type.Decimal",
    )  # fmt: skip
    names = [b64encode(file.SerializeToString()).decode() for file in (decimal, order)]
    schema = RegisteredSchema("PROTOBUF", names[1], (NamedSchema(decimal.name, names[0]),))
    pool = descriptor_pool.DescriptorPool()
    for file in (decimal, order):
        pool.AddSerializedFile(file.SerializeToString())
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("Order"))(total={"value": value, "scale": scale})
    found = knowing(s5=schema).decode(frame(5, b"\0" + made.SerializeToString()))

    if expected is not None:
        assert expected == found
    else:
        assert isinstance(found, Reject)
        assert "a decimal is too large or too exact" in found.message


@pytest.mark.parametrize(
    ("schema", "payload", "words"),
    [
        (None, b"\x02a", "The registry does not know schema 12"),
        (RegisteredSchema("AVRO", json.dumps(ONE_TEXT)), b"\x7f\xff", "not what schema 12 says"),
        (RegisteredSchema("AVRO", json.dumps(ONE_TEXT)), b"\x02a\x00", "1 bytes are left over"),
        (RegisteredSchema("AVRO", '"string"'), b"\x02a", "Schema 12 is of no record"),
        (RegisteredSchema("AVRO", "{"), b"\x02a", "Schema 12, AVRO, cannot be read"),
        (RegisteredSchema("AVRO", '{"type": "shop.Unknown"}'), b"\x02a", "Schema 12, AVRO, cannot be read"),
        (RegisteredSchema("PROTOBUF", "syntax = 'proto3';"), b"\0", "Schema 12, PROTOBUF, cannot be read"),
        (protobuf_schema(), b"\x02\x14", "it has no message of the indexes [10]"),
        (protobuf_schema(), b"\xff", "its message indexes are broken"),
        (protobuf_schema(), b"\x02\x06\xff\xff", "not what schema 12 says: DecodeError"),
        (RegisteredSchema("JSON", "{}"), b"[1", "a JSON Schema, and what follows is not JSON"),
        (RegisteredSchema("THRIFT", ""), b"1", "of the type THRIFT"),
        (RegisteredSchema("AVRO", '{"type":"record","name":"N","fields":[{"name":"a","type":"double"}]}'),
         b"\0\0\0\0\0\0\xf8\x7f", "a is NaN or infinite"),
        (RegisteredSchema("AVRO", json.dumps(TREE)), b"\x02" * 50_000 + b"\0", "schema 12 says: RecursionError"),
        (list_of("null"), b"\x80\x80\x80\x80\x80\x40\0", "an array whose items take no bytes"),
        (list_of({"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]}),
         b"\x80\x80\x80\x80\x80\x40\0", "an array whose items take no bytes"),
        (list_of({"type": "fixed", "name": "E", "size": 0}), b"\x80\x80\x80\x80\x80\x40\0",
         "an array whose items take no bytes"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_read_says_why(schema: RegisteredSchema | None, payload: bytes, words: str) -> None:
    frames = Frames()
    frames.learn([12], {} if schema is None else {12: schema})
    found = read(framed(12, payload), frames)

    assert isinstance(found, Reject)
    assert words in found.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\x1f\x8b\x08\x00", "The record is gzip: let the producer compress batches"),
        (b"\x28\xb5\x2f\xfd\x00", "The record is Zstandard"),
        (b"Obj\x01\x04", "The record is an Avro file"),
        (b"PAR1\x15", "The record is a Parquet file"),
        ('{"a": 1}'.encode("utf-16"), "The record is text in UTF-16: send UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "The record is text in UTF-16: send UTF-8"),
        ('{"a": 1}'.encode("utf-16-be"), "The record is text in UTF-16: send UTF-8"),
        (b"\x82\xa1a\x01", "The record is binary, perhaps MessagePack"),
        (b"\xac\xed\x00\x05", "The record is a serialised object of Java"),
        (b"<?xml version='1.0'?>", "The record is XML"),
        (b"\x03\x00" + bytes(16), "The record is AWS Glue's wire format"),
        (b"\0", "The record is not JSON: unexpected character"),
        (b"plain", "The record is not JSON: unexpected character"),
    ],
)
def test_a_value_of_another_format_is_named(value: bytes, words: str) -> None:
    found = read(value)

    assert Reason.NOT_JSON == found.reason
    assert words in found.message


def test_a_schema_is_asked_for_once_and_one_that_is_unknown_with_each_batch() -> None:
    records = [
        UnloggedRecord("t", 0, number, 0, b"", value)
        for number, value in enumerate((framed(1, b"x"), framed(2, b"x"), framed(1, b"y"), b"{}", b"\0", b""))
    ]
    frames = Frames()
    first = frames.unknown(records)
    frames.learn(first, {1: RegisteredSchema("AVRO", json.dumps(ONE_TEXT))})

    assert ({1, 2}, set()) == (first, frames.unknown(records[2:]))
    frames.learn({3}, {})
    assert {2} == frames.unknown(records)


@given(st.binary(max_size=40))
def test_no_frame_makes_a_decoder_raise(payload: bytes) -> None:
    frames = knowing(
        s1=RegisteredSchema("AVRO", json.dumps(ONE_TEXT)), s2=protobuf_schema(),
        s3=RegisteredSchema("AVRO", json.dumps(EVERY_TYPE)),
    )  # fmt: skip
    for number in (1, 2, 3, 4):
        found = frames.decode(frame(number, payload))
        assert isinstance(found, dict | Reject)
    assert frame_of(framed(9, payload)) in (None, Frame(9, payload))
