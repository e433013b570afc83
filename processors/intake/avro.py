"""Reads Avro values as JSON values; needs the extra `registry` (fastavro).

Times become RFC 3339 texts and decimals exact texts. A `float` has 32 bits, so that 24.95 is written as
24.950000762939453: it becomes the shortest number that is the same float, which is what its producer had.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import fastavro
import orjson
from fastavro.read import LOGICAL_READERS

from processors.intake.short_floats import shortest
from schemas.intake.registered_schema import RegisteredSchema

_FLOAT = {"type": "float", "logicalType": "throughline-shortest"}
LOGICAL_READERS["float-throughline-shortest"] = lambda value, *_: shortest(value)


class NotOfSchemaError(Exception):
    """The bytes are not of the schema; the text says why, without quoting them."""


def avro_reader(schema: RegisteredSchema) -> Callable[[memoryview], object]:
    """Return the function that reads the values of a schema.

    Args:
        schema: The schema.

    Raises:
        ValueError: It is no Avro schema.
    """
    named: dict[str, Any] = {}
    try:
        for reference in schema.references:
            fastavro.parse_schema(_with_short_floats(orjson.loads(reference.definition)), named_schemas=named)
        parsed = fastavro.parse_schema(_with_short_floats(orjson.loads(schema.definition)), named_schemas=named)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error

    def read(payload: memoryview) -> object:
        stream = BytesIO(payload)
        try:
            value = fastavro.schemaless_reader(stream, parsed)
        except Exception as error:  # the library raises whatever its parts do
            raise NotOfSchemaError(type(error).__name__) from error
        if more := len(payload) - stream.tell():
            raise NotOfSchemaError(f"{more} bytes are left over")
        return _json_value(value)

    return read


def _with_short_floats(schema: Any) -> Any:
    """Return a schema in which each `float` is read as the shortest number."""
    if schema == "float":
        return _FLOAT
    if isinstance(schema, list):
        return [_with_short_floats(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {
        name: _with_short_floats(part) if name in ("type", "items", "values") else part for name, part in schema.items()
    }
    if changed.get("type") == _FLOAT and "fields" not in changed and "name" not in changed:
        return {**schema, **_FLOAT}
    if isinstance(fields := schema.get("fields"), list):
        changed["fields"] = [
            {**one, "type": _with_short_floats(one.get("type"))} if isinstance(one, dict) else one for one in fields
        ]
    return changed


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(inner) for inner in value]
    writer = _WRITERS.get(type(value))
    return value if writer is None else writer(value)


def _duration(value: timedelta) -> float:
    return value.total_seconds()


_WRITERS: dict[type[Any], Callable[[Any], object]] = {
    bytes: lambda value: b64encode(value).decode(),
    Decimal: lambda value: f"{value:f}",
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: _duration,
    UUID: str,
}
