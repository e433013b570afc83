"""The names that may stand at a place of a definition file, by the JSON schema of its model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

Schema = Mapping[str, Any]

_ALTERNATIVES = ("anyOf", "oneOf", "allOf")
_CONTAINERS = frozenset({"properties", "patternProperties", "additionalProperties", "items", "prefixItems"})
_SHORT_FORMS = {"channels": "channel"}
"""Names that a definition takes besides one of its schema: `channel: email` for `channels: [email]`."""


def known_parts(model: type[BaseModel], place: Iterable[str | int], value: Any) -> list[str]:
    """Return the names that may stand at a place, in the order of the documentation.

    Args:
        model: The model of the file.
        place: Keys and indexes from the top of the file.
        value: The content of the file. Where several parts may stand there, such as the steps of a journey, those count
            that have the most names in common with the one that does.

    Returns:
        The names; empty: any name may stand there, or nothing is known of it.
    """
    whole = model.model_json_schema()
    found: list[Schema] = [*_alternatives(whole, whole)]
    for step in place:
        found = [one for schema in found for one in _inside(schema, step, whole)]
        value = value[step] if _has(value, step) else None
    forms = [schema["properties"] for schema in found if schema.get("properties")]
    given = value.keys() if isinstance(value, dict) else ()
    matches = [len([name for name in given if name in _names(form)]) for form in forms]
    best = [form for form, count in zip(forms, matches, strict=True) if count == max(matches)]
    return list(dict.fromkeys(name for form in best for name in _names(form)))


def _names(form: Mapping[str, Any]) -> list[str]:
    names = list(form)
    return [*names, *(short for long, short in _SHORT_FORMS.items() if long in form and short not in form)]


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _inside(schema: Schema, step: str | int, whole: Schema) -> Iterator[Schema]:
    """Yield the schemas of a part of a value."""
    if isinstance(step, int):
        in_order = schema.get("prefixItems", ())
        inner = in_order[step] if step < len(in_order) else schema.get("items")
    else:
        others = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
        inner = schema.get("properties", {}).get(step) or next((one for one in others if isinstance(one, dict)), None)
    if isinstance(inner, dict):
        yield from _alternatives(inner, whole)


def _alternatives(schema: Schema, whole: Schema) -> Iterator[Schema]:
    """Yield a schema without references, once for each of its alternatives."""
    if reference := schema.get("$ref"):
        yield from _alternatives(whole["$defs"][reference.rpartition("/")[2]], whole)
    for key in _ALTERNATIVES:
        for one in schema.get(key, ()):
            yield from _alternatives(one, whole)
    if not _CONTAINERS.isdisjoint(schema):
        yield schema
