"""Reads records in Confluent's wire format: the id or GUID of a schema, and what that schema describes.

Before the value is a zero byte and the id in four bytes, or a byte of one and the GUID; the latter may be in a header.
Decoders are kept by schema id, which means the same schema for ever. The registry itself is behind a port, which the
stage `identify` asks before it decodes a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from schemas.dead_letters import Reason
from schemas.intake.registered_schema import RegisteredSchema, SchemaKey
from schemas.outcomes import Reject
from schemas.records import Headers, Record

HEADER = "__value_schema_id"
SET_REGISTRY = "set THROUGHLINE_SCHEMA_REGISTRY_URL"

_ID_FOLLOWS, _GUID_FOLLOWS = b"\0", b"\1"
_ID_HEAD_BYTES, _GUID_HEAD_BYTES = 5, 17
_MAX_SCHEMAS = 1_000
"""Schemas whose decoders are kept."""

Reader = Callable[[memoryview], object]


class Frame(NamedTuple):
    """A value in the wire format.

    Attributes:
        schema: The id of its schema, or its GUID as text.
        payload: What the schema describes, for Protobuf with the indexes of the message's type before it.
    """

    schema: SchemaKey
    payload: bytes


def frame_of(value: bytes | None, headers: Headers = ()) -> Frame | None:
    """Return a record's value as a frame; None if it is not in the wire format."""
    if value is None:
        return None
    for name, head in headers:
        if name == HEADER and head:
            return _frame(head + value)
    return _frame(value)


def _frame(value: bytes) -> Frame | None:
    if value[:1] == _ID_FOLLOWS and len(value) > _ID_HEAD_BYTES:
        return Frame(int.from_bytes(value[1:_ID_HEAD_BYTES]), value[_ID_HEAD_BYTES:])
    if value[:1] == _GUID_FOLLOWS and len(value) > _GUID_HEAD_BYTES:
        return Frame(str(UUID(bytes=value[1:_GUID_HEAD_BYTES])), value[_GUID_HEAD_BYTES:])
    return None


def with_header(value: bytes, headers: Headers) -> bytes:
    """Return a value with the header of its schema as a prefix, so that it can be read without the header."""
    return next((head for name, head in headers if name == HEADER and head), b"") + value


class Frames:
    """Decodes values of the wire format with the schemas that it was given."""

    def __init__(self) -> None:
        self._readers: dict[SchemaKey, Reader | Reject] = {}

    def unknown(self, records: Iterable[Record]) -> set[SchemaKey]:
        """Return the ids of schemas that a batch needs and that were not given yet."""
        framed = (frame_of(one.value, one.headers) for one in records if one.headers or (one.value or b"{")[0] <= 1)
        return {one.schema for one in framed if one is not None and one.schema not in self._readers}

    def learn(self, asked: Iterable[SchemaKey], found: Mapping[SchemaKey, RegisteredSchema]) -> None:
        """Take schemas.

        Args:
            asked: The ids that the registry was asked for. One that it does not know is asked for again with the next
                batch that needs it, since it may be registered by then.
            found: The schemas that it knows.
        """
        for id_ in [id_ for id_, reader in self._readers.items() if isinstance(reader, Reject)]:
            del self._readers[id_]
        for id_ in asked:
            schema = found.get(id_)
            self._readers[id_] = _unknown(id_) if schema is None else _reader(id_, schema)
        while len(self._readers) > _MAX_SCHEMAS:
            del self._readers[next(iter(self._readers))]

    def decode(self, frame: Frame) -> dict[str, Any] | Reject:
        """Read a value; an object of JSON values, or why there is none."""
        id_, payload = frame
        if payload[:1] == b"{" and (found := _json_object(payload)) is not None:  # JSON Schema
            return found
        reader = self._readers.get(id_) or _no_registry(id_)
        if isinstance(reader, Reject):
            return reader
        from processors.intake.avro import NotOfSchemaError

        try:
            read = reader(memoryview(payload))
        except NotOfSchemaError as error:
            return Reject(Reason.UNKNOWN_SCHEMA, "", f"The record is not what schema {id_} says: {error}.")
        if not isinstance(read, dict):
            return Reject(Reason.NOT_AN_OBJECT, "", f"Schema {id_} is of no record: send one touchpoint a record.")
        return _not_a_number(read, "") or read


def _reader(id_: SchemaKey, schema: RegisteredSchema) -> Reader | Reject:
    try:
        if schema.kind == "AVRO":
            from processors.intake.avro import avro_reader

            return avro_reader(schema)
        if schema.kind == "PROTOBUF":
            from processors.intake.protobuf import protobuf_reader

            return protobuf_reader(schema)
    except ValueError as error:
        return Reject(
            Reason.UNKNOWN_SCHEMA, "", f"Schema {id_}, {schema.kind[:20]}, cannot be read: {str(error)[:200]}."
        )
    if schema.kind == "JSON":
        return Reject(Reason.NOT_JSON, "", f"The record has schema {id_}, a JSON Schema, and what follows is not JSON.")
    return Reject(Reason.UNKNOWN_SCHEMA, "", f"Schema {id_} is of the type {schema.kind[:20]}, which is not read.")


def _unknown(id_: SchemaKey) -> Reject:
    return Reject(
        Reason.UNKNOWN_SCHEMA,
        "",
        f"The registry does not know schema {id_}: does the producer use another registry?",
    )


def _no_registry(id_: SchemaKey) -> Reject:
    return Reject(
        Reason.UNKNOWN_SCHEMA,
        "",
        f"Avro or Protobuf in Confluent's wire format, schema {id_}, no registry set: {SET_REGISTRY}.",
    )


def _json_object(payload: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _not_a_number(value: Any, path: str) -> Reject | None:
    """Refuse a number that JSON cannot hold; without this, it would be taken for absent."""
    if isinstance(value, float) and not isfinite(value):
        return Reject(Reason.INVALID_FIELD, path, f"{path} is NaN or infinite: leave the field out.")
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, float | dict | list) and (found := _not_a_number(inner, f"{path}.{name}".lstrip("."))):
                return found
    return None
