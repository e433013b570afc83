"""Reads Avro values as JSON values; needs the extra `registry` (fastavro).

Times become RFC 3339 texts and decimals exact texts. A `float` has 32 bits, so that 24.95 is written as
24.950000762939453: it becomes the shortest number that is the same float, which is what its producer had.

The compiled reader of fastavro bounds neither depth nor length: a few kilobytes of a schema that refers to itself end
the process by a stack overflow, and five bytes of an array whose items take no bytes fill the memory. So the former are
read in Python, which stops at its recursion limit, and the latter are no schema here.
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
from fastavro._read_py import schemaless_reader as read_in_python
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
        ValueError: It is no Avro schema, or has an array whose items take no bytes.
    """
    named: dict[str, Any] = {}
    try:
        for reference in schema.references:
            fastavro.parse_schema(_with_short_floats(orjson.loads(reference.definition)), named_schemas=named)
        parsed = fastavro.parse_schema(_with_short_floats(orjson.loads(schema.definition)), named_schemas=named)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    shape = _Shape(named)
    shape.check(parsed, ())
    read_value = read_in_python if shape.recursive else fastavro.schemaless_reader

    def read(payload: memoryview) -> object:
        stream = BytesIO(payload)
        try:
            value = read_value(stream, parsed)
        except Exception as error:  # the library raises whatever its parts do
            raise NotOfSchemaError(type(error).__name__) from error
        if more := len(payload) - stream.tell():
            raise NotOfSchemaError(f"{more} bytes are left over")
        return _json_value(value)

    return read


class _Shape:
    """What a schema says of the size of its values.

    Args:
        named: The named types, by their full names.

    Attributes:
        recursive: A type refers to itself.
    """

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._checked: set[str] = set()
        self.recursive = False

    def check(self, schema: Any, inside: tuple[str, ...]) -> None:
        """Look at a parsed schema, which is within some named types.

        Raises:
            ValueError: It has an array whose items take no bytes.
        """
        if isinstance(schema, list):
            for one in schema:
                self.check(one, inside)
        elif isinstance(schema, str) and schema in self._named:
            self.recursive |= schema in inside
            if schema not in self._checked:
                self.check(self._named[schema], inside)
        elif isinstance(schema, dict):
            if name := schema.get("name"):
                self._checked.add(name)
                inside = (*inside, name)
            for one in schema.get("fields", ()):
                self.check(one["type"], inside)
            for part in ("items", "values", "type"):
                if isinstance(schema.get(part), dict | list | str) and schema[part] != schema:
                    self.check(schema[part], inside)
            if schema["type"] == "array" and self._takes_no_bytes(schema["items"], ()):
                raise ValueError("an array whose items take no bytes may be of any length: give them a field")

    def _takes_no_bytes(self, schema: Any, inside: tuple[str, ...]) -> bool:
        if isinstance(schema, str):
            found = self._named.get(schema)
            return schema == "null" or (
                found is not None and schema not in inside and self._takes_no_bytes(found, (*inside, schema))
            )
        if not isinstance(schema, dict):
            return False  # a union has its index
        if schema["type"] in ("record", "error"):
            return all(self._takes_no_bytes(one["type"], inside) for one in schema["fields"])
        return bool(schema["type"] == "fixed" and not schema["size"]) or self._takes_no_bytes(schema["type"], inside)


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
