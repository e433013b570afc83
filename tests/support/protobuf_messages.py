"""The Protobuf message of a touchpoint, as a producer's generated code has it."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2, timestamp_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {"text": _FIELD.TYPE_STRING, "int64": _FIELD.TYPE_INT64, "bool": _FIELD.TYPE_BOOL, "float": _FIELD.TYPE_FLOAT,
          "double": _FIELD.TYPE_DOUBLE, "bytes": _FIELD.TYPE_BYTES}  # fmt: skip

_MESSAGES = {
    "Identifier": {"type": "text", "value": "text", "verified": "bool"},
    "Order": {"order_id": "text", "revenue_minor": "int64", "currency": "text", "tip": "float", "weight": "double",
              "scan": "bytes"},
    "Consent": {"marketing": "optional bool"},
    "Touch": {"event_id": "text", "event": "text", "channel": "text", "occurred_at": ".google.protobuf.Timestamp",
              "identifiers": "repeated .shop.Identifier", "properties": ".shop.Order", "consent": ".shop.Consent",
              "traits": ".google.protobuf.Struct"},
}  # fmt: skip


def touchpoint_messages() -> dict[str, Any]:
    """Return the classes of the messages by name; `Touch` is the fourth of its file."""
    file = descriptor_pb2.FileDescriptorProto(
        name="touch.proto", package="shop", syntax="proto3",
        dependency=["google/protobuf/timestamp.proto", "google/protobuf/struct.proto"],
    )  # fmt: skip
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            _add_field(message, number, field, kind)
    pool = descriptor_pool.DescriptorPool()
    for known in (timestamp_pb2, struct_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"shop.{name}")) for name in _MESSAGES}


def _add_field(message: Any, number: int, name: str, kind: str) -> None:
    label, _, named = kind.rpartition(" ")
    field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    if label == "repeated":
        field.label = _FIELD.LABEL_REPEATED
    if label == "optional":
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    if named.startswith("."):
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, named
    else:
        field.type = _TYPES[named]
