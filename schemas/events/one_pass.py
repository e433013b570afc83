"""Validators that write what they read: from a parsed JSON object straight to its canonical form.

A model validates an event into objects, which a serializer then writes. That takes two to three times as long as the
validation alone, for every event that there is. Here the model's own schema is rewritten so that its validator yields
what the serializer would: dicts for models, texts for times and amounts, nothing for what is absent. The rules stay in
the models; `tests/property/test_decode_never_raises.py` holds the two together.

A rewritten validator may refuse what the model accepts (a field that is explicitly null) and never the other way round,
so whoever uses it asks the model about what it refuses, also for the words of the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, SchemaValidator

AT_ONCE = "at_once"
"""Key of a schema's metadata: a function that reads and writes a value of this type at once."""

_Node = dict[str, Any]
_CHILDREN = ("schema", "items_schema", "keys_schema", "values_schema")
_UNCHANGED = frozenset(
    {"any", "bool", "definition-ref", "float", "int", "literal", "none", "str", "function-plain", "datetime"}
)
_WITH_CHILDREN = frozenset({"dict", "list", "union", "default", "function-before", "function-after", "definitions"})


def one_pass_validator(model: type[BaseModel], without: str = "") -> SchemaValidator:
    """Make the validator that gives `model_dump(mode="json", exclude_none=True)` of what it reads.

    Args:
        model: Frozen, without validators that need an instance (`mode="after"` or `"wrap"` on the model).
        without: Name of the models' validators of `mode="before"` that have nothing to do, so they are not called.

    Raises:
        TypeError: The model uses a kind of schema that this module does not know how to rewrite.
    """
    rewritten = _rewrite(cast(_Node, model.__pydantic_core_schema__))
    return SchemaValidator(cast(CoreSchema, _without(rewritten, without) if without else rewritten))


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Annotates a type with the function that reads a value and gives it as it is written.

    Args:
        function: Raises what the type's own validator raises, or anything of it: the model is asked for the words.
    """

    function: Callable[[object], object]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Leave the schema as it is, and note the function beside it."""
        schema = cast(_Node, handler(source))
        schema["metadata"] = {**schema.get("metadata", {}), AT_ONCE: self.function}
        return cast(CoreSchema, schema)


def _rewrite(node: _Node) -> _Node:
    kind = node["type"]
    if AT_ONCE in node.get("metadata", {}):
        return {"type": "function-plain", "function": {"type": "no-info", "function": node["metadata"][AT_ONCE]}}
    if kind == "model":
        return _model(node)
    if kind == "nullable":  # explicit null: the model knows what that means
        return _rewrite(node["schema"])
    if kind == "tuple":
        return _list(node)
    if kind == "function-after" and node["schema"]["type"] == "model":
        raise TypeError("a function-after of a model needs an instance: it can not be applied in one pass")
    if kind not in _UNCHANGED and kind not in _WITH_CHILDREN:
        raise TypeError(f"a schema of type {kind!r} can not be written in one pass: teach schemas/events/one_pass.py")
    out = {name: value for name, value in node.items() if name != "serialization"}
    for name in _CHILDREN:
        if name in node:
            out[name] = _rewrite(node[name])
    for name in ("choices", "definitions"):
        if name in node:
            out[name] = [_rewrite(inner) for inner in node[name]]
    return _written(out, node)


def _written(out: _Node, node: _Node) -> _Node:
    """Apply a serializer of the model to what its validator gives."""
    how = node.get("serialization")
    if how is None:
        return out
    if how["type"] != "function-plain" or how.get("info_arg") or how.get("is_field_serializer"):
        raise TypeError("only plain serializers can be applied in one pass: teach schemas/events/one_pass.py")
    return {"type": "function-after", "function": {"type": "no-info", "function": how["function"]}, "schema": out}


def _list(node: _Node) -> _Node:
    (items,) = node["items_schema"]
    bounds: _Node = {name: node[name] for name in ("min_length", "max_length") if name in node}
    return {"type": "list", "items_schema": _rewrite(items), **bounds}


def _model(node: _Node) -> _Node:
    if node.get("custom_init") or node.get("root_model") or node.get("post_init"):
        raise TypeError(f"{node['cls'].__name__} has code of its own: it can not be written in one pass")
    out = _fields_of(node["schema"], node.get("config", {}))
    return {**out, "ref": node["ref"]} if "ref" in node else out


def _fields_of(node: _Node, config: _Node) -> _Node:
    """Rewrite the fields of a model, inside the functions that run before them."""
    if node["type"] == "function-before":
        return {**node, "schema": _fields_of(node["schema"], config)}
    if node["type"] != "model-fields":
        raise TypeError(f"a validator {node['type']!r} of a model can not be applied in one pass")
    fields = {
        name: _LEFT_OUT if field.get("serialization_exclude") else _field(field["schema"])
        for name, field in node["fields"].items()
    }
    return {
        "type": "typed-dict",
        "fields": fields,
        "extra_behavior": config.get("extra_fields_behavior", "ignore"),
        "config": {name: value for name, value in config.items() if name != "extra_fields_behavior"},
    }


def _without(part: Any, name: str) -> Any:
    """Leave the functions of a name out of a schema: each is a call from Rust into Python."""
    if isinstance(part, list):
        return [_without(inner, name) for inner in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "function-before" and getattr(part["function"]["function"], "__name__", "") == name:
        inner = _without(part["schema"], name)
        return {**inner, "ref": part["ref"]} if "ref" in part else inner
    return {key: _without(inner, name) for key, inner in part.items()}


class _Nothing:
    """No JSON value is one of these."""


# A field that is read and not written. The validator leaves out what does not fit, so let nothing fit.
_LEFT_OUT: _Node = {
    "type": "typed-dict-field",
    "schema": {"type": "default", "schema": {"type": "is-instance", "cls": _Nothing}, "on_error": "omit"},
    "required": False,
}


def _field(node: _Node) -> _Node:
    if node["type"] != "default":
        return {"type": "typed-dict-field", "schema": _rewrite(node), "required": True}
    schema = inner = _rewrite(node["schema"])
    default = _default(node, inner)
    if default is not None and default != {}:  # what is empty is not written
        # A list or dict would be shared by all that lack it.
        schema = {"type": "default", "schema": inner, "default": default, "copy_default": True}
    return {"type": "typed-dict-field", "schema": schema, "required": False}


def _default(node: _Node, inner: _Node) -> object:
    """Write the value of a field that is absent."""
    if "default_factory" in node:
        made = node["default_factory"]()
        return made.model_dump(mode="json", exclude_none=True) if isinstance(made, BaseModel) else made
    if node["default"] is None or node["default"] == ():
        return None if node["default"] is None else []
    return SchemaValidator(cast(CoreSchema, inner)).validate_python(node["default"])
