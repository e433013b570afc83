"""The touchpoint event as JSON Schema, for producers in any language: `schemas/touchpoint.schema.json`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter

from schemas.events.envelope import Touchpoint
from schemas.events.properties import Product, Properties, money_fields
from schemas.events.touchpoint import EVENT_NAMES, PROPERTIES, adapter
from schemas.minor_units import MINOR
from schemas.topics import TOUCHPOINTS_PREFIX

FILE = Path(__file__).parents[1] / "touchpoint.schema.json"
"""The published file; a test compares it with the models."""

_ATTRIBUTE = re.compile(r"    (\w+): (.*)")
_SCALARS = frozenset({"string", "integer", "number", "boolean", "null"})

Schema = dict[str, Any]


def touchpoint_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a touchpoint event: the envelope, and one alternative a kind of event.

    It says what `parse` accepts, but for the bounds of the whole event (depth, keys, length of any text) and for rules
    over several fields, which the language cannot express. `null` is the same as absent.
    """
    exported = adapter().json_schema()
    parts: dict[str, Schema] = exported["$defs"]
    alternatives = [parts.pop(option["$ref"].rpartition("/")[2]) for option in exported["oneOf"]]
    # The last is the custom event. Only without the known names is `oneOf` true.
    alternatives[-1]["properties"]["event"] = {"type": "string", "not": {"enum": sorted(EVENT_NAMES)}}
    for shape in (Product, Properties, *PROPERTIES):
        parts[shape.__name__] = _with_minor_units(parts[shape.__name__], sorted(money_fields(shape)))
    envelope = TypeAdapter(Touchpoint).json_schema()
    del envelope["$defs"]
    for part in (envelope, *parts.values()):
        _describe(part)
        if part is envelope or part["additionalProperties"]:
            _allow_null(part)
    known = len(EVENT_NAMES)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **envelope,
        "description": f"A record of a topic {TOUCHPOINTS_PREFIX}<channel>: {known} known events and others.",
        "oneOf": [_alternative(one, needed=set(envelope["required"])) for one in alternatives],
        "$defs": parts,
    }
    simple: Schema = _simplified(schema)
    return {"$schema": simple.pop("$schema"), "title": "Touchpoint", **simple}


def text() -> str:
    """Return the schema as the text of the published file."""
    return orjson.dumps(touchpoint_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _alternative(model: Schema, needed: set[str]) -> Schema:
    """Return the parts of a model that distinguish it: the events' names and their properties."""
    own = {name: model["properties"][name] for name in ("event", "properties")}
    required = ["event", *sorted(set(model["required"]) - needed)]
    if "properties" not in required:
        own["properties"] = {"anyOf": [own["properties"], {"type": "null"}]}
    return {"properties": own, "required": required}


def _with_minor_units(part: Schema, money: list[str]) -> Schema:
    """Add to a schema that `price_minor` may replace `price`."""
    rules: Schema = {}
    for name in money:
        part["properties"][name + MINOR] = {
            "type": "integer",
            "description": f"`{name}` in minor units of `currency`, instead of `{name}`.",
        }
        if name in part.get("required", ()):
            part["required"] = [other for other in part["required"] if other != name]
            rules = {"anyOf": [{"required": [name]}, {"required": [name + MINOR]}]}
    return dict(sorted({**rules, **part}.items()))  # in the order in which pydantic writes keywords


def _describe(part: Schema) -> None:
    """Move the lines of a docstring's section `Attributes` to the fields that they describe."""
    summary, _, attributes = part.get("description", "").partition("\n\nAttributes:\n")
    part["description"] = " ".join(summary.split())
    for name, meaning in _ATTRIBUTE.findall(attributes):
        part["properties"][name]["description"] = meaning


def _allow_null(part: Schema) -> None:
    """Add to a schema that `null` is the same as absent."""
    for name, field in part["properties"].items():
        if name not in part.get("required", ()) and name != "received_at":
            description = {"description": field.pop("description")} if "description" in field else {}
            field.pop("default", None)
            part["properties"][name] = {**description, "anyOf": [*field.get("anyOf", [field]), {"type": "null"}]}


def _simplified(node: Any, *, names: bool = False) -> Any:
    """Drop what says nothing (titles, empty defaults), join alternatives of scalars; `names`: keys are field names."""
    if isinstance(node, list):
        return [_simplified(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _simplified(inner) for key, inner in node.items()}
    kept = {
        key: _simplified(inner, names=key in ("properties", "$defs", "patternProperties"))
        for key, inner in node.items()
        if key != "title" and not (key == "default" and not inner)
    }
    options = kept.get("anyOf", [])
    options = [option for position, option in enumerate(options) if option not in options[:position]]
    types = [option.get("type") for option in options]
    # Every keyword but `type` is about one type only, so scalars can share a schema.
    if types and len(set(map(str, types))) == len(types) and all(type(t) is str and t in _SCALARS for t in types):
        if not any("enum" in option or "const" in option for option in options):
            del kept["anyOf"]
            return {**kept, **{k: v for option in options for k, v in option.items()}, "type": types}
    elif options:
        kept["anyOf"] = options
    return kept
