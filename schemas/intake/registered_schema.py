"""A schema of a schema registry, as the decoders of records need it."""

from __future__ import annotations

from typing import NamedTuple

SchemaKey = int | str
"""The id of a schema in one registry, or its GUID, which is the same in all."""


class NamedSchema(NamedTuple):
    """A schema that another one refers to by name.

    Attributes:
        name: The name.
        definition: The schema, as `RegisteredSchema` has it.
    """

    name: str
    definition: str


class RegisteredSchema(NamedTuple):
    """A schema with everything that it refers to.

    Attributes:
        kind: `AVRO`, `PROTOBUF` or `JSON`.
        definition: JSON for Avro and JSON Schema; for Protobuf a `FileDescriptorProto` in Base64.
        references: What it refers to; each comes after what it refers to itself.
    """

    kind: str
    definition: str
    references: tuple[NamedSchema, ...] = ()
