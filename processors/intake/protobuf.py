"""Reads Protobuf messages as JSON values; needs the extra `registry` (protobuf).

Fields have the names of their `.proto` file. Timestamps and dates become texts, decimals exact texts, integers stay
integers. A field without presence that has its default value cannot be told from one that was not set: both are absent,
so a producer declares `optional` what may be 0 or false, such as an answer of consent.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)

from processors.intake.avro import NotOfSchemaError
from processors.intake.short_floats import shortest
from schemas.intake.registered_schema import RegisteredSchema

_WELL_KNOWN = (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
_MAX_INDEXES = 100
_MAX_DECIMAL_BYTES, _MAX_DECIMAL_SCALE = 32, 100
"""A decimal's size is of the producer's choice: some bytes could be written as a megabyte, or take minutes to."""


def protobuf_reader(schema: RegisteredSchema) -> Callable[[memoryview], object]:
    """Return the function that reads the messages of a schema, each behind the indexes of its type.

    Args:
        schema: The schema.

    Raises:
        ValueError: It is no Protobuf schema in Base64.
    """
    pool = descriptor_pool.DescriptorPool()
    for module in _WELL_KNOWN:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    try:
        for reference in schema.references:
            _add(pool, reference.definition, reference.name)
        file = pool.FindFileByName(_add(pool, schema.definition, ""))
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    types = list(file.message_types_by_name.values())  # in the order of the file

    def read(payload: memoryview) -> object:
        indexes, start = _indexes(payload)
        try:
            found = types[indexes[0]]
            for index in indexes[1:]:
                found = found.nested_types[index]
        except IndexError:
            raise NotOfSchemaError(f"it has no message of the indexes {indexes}") from None
        message = message_factory.GetMessageClass(found)()
        try:
            message.ParseFromString(bytes(payload[start:]))
            return _fields(message)
        except NotOfSchemaError:
            raise
        except Exception as error:  # the library raises whatever its parts do
            raise NotOfSchemaError(type(error).__name__) from error

    return read


def _add(pool: Any, definition: str, name: str) -> str:
    """Add a file to a pool; return its name. What is known well is there already."""
    proto = descriptor_pb2.FileDescriptorProto.FromString(b64decode(definition, validate=True))
    if name:
        proto.name = name  # by which the others import it
    elif not proto.name:
        proto.name = "record.proto"
    if not proto.name.startswith("google/protobuf/"):
        pool.AddSerializedFile(proto.SerializeToString())
    return str(proto.name)


def _indexes(payload: memoryview) -> tuple[list[int], int]:
    """Read the path to the message's type, zigzag numbers behind their count, and return where the message starts."""
    count, at = _zigzag(payload, 0)
    if count == 0:
        return [0], at
    if not 0 < count <= _MAX_INDEXES:
        raise NotOfSchemaError("its message indexes are broken")
    indexes = []
    for _ in range(count):
        index, at = _zigzag(payload, at)
        if index < 0:
            raise NotOfSchemaError("its message indexes are broken")
        indexes.append(index)
    return indexes, at


def _zigzag(payload: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(payload) and shift < 64:
        byte = payload[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
    raise NotOfSchemaError("its message indexes are broken")


def _fields(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            inner = kind.fields_by_name["value"]
            found[field.name] = {str(key): _value(inner, value[key]) for key in value}
        elif field.is_repeated:
            found[field.name] = [_value(field, one) for one in value]
        else:
            found[field.name] = _value(field, value)
    return found


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        writer = _WRITERS.get(field.message_type.full_name)
        return _fields(value) if writer is None else writer(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if field.type == field.TYPE_BYTES:
        return b64encode(value).decode()
    return shortest(value) if field.type == field.TYPE_FLOAT else value


def _timestamp(message: Any) -> str:
    return (
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    ).isoformat()


def _seconds(message: Any) -> int | float:
    return float(message.seconds + message.nanos / 1e9) if message.nanos else int(message.seconds)


def _confluent_decimal(message: Any) -> str:
    if len(message.value) > _MAX_DECIMAL_BYTES or abs(message.scale) > _MAX_DECIMAL_SCALE:
        raise NotOfSchemaError("a decimal is too large or too exact")
    unscaled = int.from_bytes(message.value, "big", signed=True)
    return f"{Decimal(unscaled).scaleb(-message.scale):f}"


def _date(message: Any) -> str:
    return date(message.year, message.month, message.day).isoformat()


def _wrapped(message: Any) -> Any:
    return _value(message.DESCRIPTOR.fields_by_name["value"], message.value)


def _json(message: Any) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


_WRAPPERS = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
_WRITERS: dict[str, Callable[[Any], Any]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _seconds,
    "google.protobuf.Struct": _json,
    "google.protobuf.Value": _json,
    "google.protobuf.ListValue": _json,
    **{f"google.protobuf.{name}Value": _wrapped for name in _WRAPPERS},
    "google.type.Date": _date,
    "google.type.Decimal": lambda message: message.value,
    "confluent.type.Decimal": _confluent_decimal,
}
