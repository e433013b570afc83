"""The topics and the collector of a deployment as an AsyncAPI 3.0 document (https://www.asyncapi.com/docs/reference).

Schemas are embedded in the dialect that AsyncAPI's own are in, JSON Schema draft 07, so that every tool reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import orjson
from pydantic import TypeAdapter

from deploy.settings import Settings
from processors.intake.cloud_events import BATCH, STRUCTURED
from schemas.dead_letters import DeadLetter
from schemas.events.json_schema import touchpoint_schema
from schemas.identity.resolution import ChangeKind, IdentityChange
from schemas.outcomes import DropReason
from schemas.topics import (
    DEAD_LETTERS,
    DELIVER_PREFIX,
    DROPPED_TOUCHPOINTS,
    IDENTITY_CHANGES,
    JOURNEY_EVENTS,
    RESOLVED_TOUCHPOINTS,
    TOUCHPOINTS_PREFIX,
    Topic,
    topics,
)

Node = dict[str, Any]

COLLECTOR_PATH = "/v1/touchpoints"

_JSON = "application/json"
_TEXT: Node = {"type": "string"}
_TIME: Node = {"type": "string", "format": "date-time"}
_NUMBER: Node = {"type": "integer"}
_OF_A_PERSON: Node = {"type": "object", "required": ["profile_id"], "properties": {"profile_id": _TEXT}}
_PAYLOADS = {
    RESOLVED_TOUCHPOINTS: "ResolvedTouchpoint",
    IDENTITY_CHANGES: "IdentityChange",
    DROPPED_TOUCHPOINTS: "DroppedTouchpoint",
    JOURNEY_EVENTS: "JourneyEvent",
    DEAD_LETTERS: "DeadLetter",
}
"""The schema of a topic's values; those of all others are objects of one person."""


def document(settings: Settings) -> Node:
    """Return the document.

    Args:
        settings: The deployment: its channels, its topics' prefix, and the addresses of its servers.
    """
    channels: Node = {"collector": _collector_channel()}
    operations: Node = {"collect": _operation("receive", "collector", method="POST")}
    for topic in topics(settings.channels):
        inbound = topic.name.startswith(TOUCHPOINTS_PREFIX)
        channels[topic.name] = _channel(topic, settings.topic_prefix + topic.name, inbound=inbound)
        verb = "receive" if inbound else "send"
        operations[f"{verb}.{topic.name}"] = _operation(verb, topic.name)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Throughline",
            "version": version("throughline"),
            "description": "Touchpoints of people in all channels: what producers send, and what becomes of it.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": _servers(settings),
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": _messages(),
            "schemas": _schemas(),
            "securitySchemes": {
                "writeKey": {"type": "http", "scheme": "basic", "description": "The write key as the user name."}
            },
        },
    }


def text(settings: Settings) -> str:
    """Return the document as JSON."""
    return orjson.dumps(document(settings), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _servers(settings: Settings) -> Node:
    brokers = [one.strip() for one in settings.kafka_bootstrap.split(",") if one.strip()]
    found: Node = {
        "kafka" if number == 0 else f"kafka-{number + 1}": {"host": host, "protocol": "kafka"}
        for number, host in enumerate(brokers)
    }
    found["collector"] = {
        "host": urlsplit(settings.collector_url).netloc,
        "protocol": "http",
        "security": [{"$ref": "#/components/securitySchemes/writeKey"}],
    }
    return found


def _channel(topic: Topic, address: str, *, inbound: bool) -> Node:
    name = _message_of(topic.name)
    messages = [name, "cloudEvent"] if inbound else [name]
    return {
        "address": address,
        "description": f"The key of a record is {topic.key}.",
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in messages},
        "bindings": {"kafka": {"topic": address, "bindingVersion": "0.5.0"}},
    }


def _collector_channel() -> Node:
    names = ("touchpoint", "cloudEvent", "cloudEventBatch")
    return {
        "address": COLLECTOR_PATH,
        "description": "Events over HTTP, with a server's write key; 200 means that Kafka has confirmed them.",
        "servers": [{"$ref": "#/servers/collector"}],
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in names},
    }


def _operation(action: str, channel: str, *, method: str = "") -> Node:
    operation: Node = {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}
    if method:
        operation["bindings"] = {"http": {"method": method, "bindingVersion": "0.3.0"}}
    return operation


def _message_of(topic: str) -> str:
    if topic.startswith(TOUCHPOINTS_PREFIX):
        return "touchpoint"
    return "outboundMessage" if topic.startswith(DELIVER_PREFIX) else topic


def _messages() -> Node:
    """Return one message for all producers' topics, one for all outbound ones, and one for each other topic."""
    found = {
        "touchpoint": _message("Touchpoint", _JSON),
        "cloudEvent": _message("CloudEvent", STRUCTURED),
        "cloudEventBatch": _message("CloudEvents", BATCH),
    }
    for topic in topics():
        name = _message_of(topic.name)
        found.setdefault(name, _message(_PAYLOADS.get(topic.name, "OfAPerson"), _JSON))
    return found


def _message(schema: str, content_type: str) -> Node:
    return {
        "contentType": content_type,
        "payload": {"$ref": f"#/components/schemas/{schema}"},
    }


def _schemas() -> Node:
    touchpoint = touchpoint_schema()
    touchpoint.pop("$schema")
    head = dict.fromkeys(("specversion", "id", "source", "type"), _TEXT)
    return {
        "Touchpoint": _draft_07(touchpoint, "Touchpoint"),
        "ResolvedTouchpoint": {
            "description": "A valid touchpoint in its canonical form, with the person that it was resolved to.",
            "type": "object",
            "required": ["event_id", "event", "channel", "occurred_at", "received_at", "identifiers"],
            "properties": {
                **dict.fromkeys(("event_id", "event", "channel", "source"), _TEXT),
                "occurred_at": _TIME,
                "received_at": _TIME,
                "identifiers": {"type": "array", "items": {"type": "object"}},
                "profile_id": {"type": ["string", "null"], "format": "uuid"},
                "anchor": {"type": ["string", "null"], "format": "uuid"},
                "identity_version": _NUMBER,
                "origin": {"type": "object"},
            },
        },
        "IdentityChange": _identity_change(),
        "DroppedTouchpoint": {
            "type": "object",
            "properties": {
                **dict.fromkeys(("event_id", "source", "channel", "topic"), _TEXT),
                "reason": {"type": "string", "enum": [str(reason) for reason in DropReason]},
                "partition": _NUMBER,
                "offset": _NUMBER,
                "received_at": _TIME,
            },
        },
        "JourneyEvent": {
            "description": "Somebody entered, waited in or left a journey or a segment, or a click was judged.",
            **_OF_A_PERSON,
            "required": ["id", "kind", "at", "profile_id"],
            "properties": {"id": _TEXT, "kind": _TEXT, "at": _TIME, "profile_id": _TEXT, "detail": {"type": "object"}},
        },
        "DeadLetter": _draft_07(DeadLetter.model_json_schema(mode="serialization"), "DeadLetter"),
        "OfAPerson": _OF_A_PERSON,
        "CloudEvent": {
            "description": "CloudEvents 1.0. Its data is a touchpoint, whose head the attributes complete.",
            "type": "object",
            "required": list(head),
            "properties": {**head, "time": _TIME, "subject": _TEXT, "channel": _TEXT, "data": {"type": "object"}},
        },
        "CloudEvents": {"type": "array", "items": {"$ref": "#/components/schemas/CloudEvent"}},
    }


def _identity_change() -> Node:
    hints = get_type_hints(IdentityChange)
    properties = {name: TypeAdapter(kind).json_schema() for name, kind in hints.items() if name != "anchors"}
    properties["kind"] = {"type": "string", "enum": list(get_args(ChangeKind))}
    pair = {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2}
    properties["anchors"] = {"type": "array", "items": pair}
    return {"type": "object", "required": list(IdentityChange._fields), "properties": properties}


def _draft_07(schema: Mapping[str, Any], name: str) -> Node:
    """Return a self-contained schema as a part of the document: its definitions are under another name and place."""
    changed: Node = _relocated(dict(schema), f"#/components/schemas/{name}/definitions/")
    return changed


def _relocated(node: Any, place: str) -> Any:
    if isinstance(node, Mapping):
        found = {("definitions" if key == "$defs" else key): _relocated(inner, place) for key, inner in node.items()}
        reference = found.get("$ref")
        if isinstance(reference, str):
            target = {"$ref": place + reference.removeprefix("#/$defs/")}
            # In draft 07 nothing counts beside a reference.
            beside = {key: inner for key, inner in found.items() if key != "$ref"}
            return {**beside, "allOf": [target]} if beside else target
        return found
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [_relocated(inner, place) for inner in node]
    return node
