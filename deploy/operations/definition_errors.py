"""Formats validation errors of YAML definitions: the place in the file, and what was expected there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from processors.decisions.labels import alternatives
from schemas.spelling import nearest_names
from schemas.validation_messages import broken_rule

Place = tuple[str | int, ...]

_LIST, _PARTS = "should be a list: [one, another]", "should have parts: {name: value}"
_YAML = {
    "missing": "is missing",
    **dict.fromkeys(("tuple_type", "list_type", "set_type", "frozen_set_type"), _LIST),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _PARTS),
}
"""The wording for YAML, by type of pydantic's errors."""
_EXAMPLES = {
    r"^([01]\d|2[0-3]):[0-5]\d$": "a time of day such as 09:30",
    r"^[a-z][a-z0-9_-]{0,63}$": "a name of small letters, digits, - and _, such as win-back",
    r"^[a-z][a-z0-9_]{0,63}$": "a name of small letters, digits and _, such as big_spenders",
    r"^[a-z][a-z0-9_]{0,49}$": "a name of small letters, digits and _, such as paid_search",
    r"^[a-z][a-z0-9_.]{0,49}$": "an identifier type of small letters, such as user_id or email",
    r"^[a-z0-9][a-z0-9_.-]{0,99}$": "a name of small letters, digits, -, _ and ., such as web or pos-berlin",
    r"^[^.\s]+(\.[^.\s]+)*$": "a property of the event, such as cart_id or products.product_id",
    r"^(event|last|trait)\.[A-Za-z_][\w.]*$": "a date of the event or the person, such as event.starts_at",
    r"^[a-z]{2,3}(-[A-Z][A-Za-z]{1,3})?$": "a language such as en or pt-BR",
    r"^https?://[^\s@]+$": "an address such as https://crm.example/hook",
    r"\S": "a text that is not empty",
}
_MISSING = object()
_WHOLE_NUMBER, _NUMBER = broken_rule("int_type", ""), broken_rule("float_type", "")
_PROPERTY = "a part of the event, such as channel, properties.price or campaign.source"


def definition_error(invalid: ValidationError, value: Any, model: type[BaseModel]) -> tuple[Place, str]:
    """Format the first validation error of a definition.

    Args:
        invalid: The errors of validation.
        value: The content of the file.
        model: The model that it was validated against.

    Returns:
        The place in the file, and what is wrong with it. Where a value of several types would be valid, all are named.
    """
    errors = invalid.errors(include_url=False)
    first = errors[0]
    where = _place(tuple(first["loc"]), value, absent=first["type"] == "missing")
    same = [error for error in errors if _place(tuple(error["loc"]), value, absent=error["type"] == "missing") == where]
    # Where a text or a list is valid and the file has a list, the errors inside the list count.
    inner = [error for error in same if not error["type"].endswith("_type")]
    messages = list(dict.fromkeys(_message(error, model) for error in inner or same))
    if len(messages) > 1 and all(text.startswith("should be ") for text in messages):
        messages = [text for text in messages if text != _WHOLE_NUMBER or _NUMBER not in messages]
        return where, f"should be {alternatives(text.removeprefix('should be ') for text in messages)}"
    return where, messages[0]


def _message(error: Any, model: type[BaseModel]) -> str:
    kind, message, context = error["type"], error["msg"], error.get("ctx", {})
    if kind in _YAML:
        return _YAML[kind]
    if kind == "extra_forbidden":
        name, known = str(error["loc"][-1]), _names(model)
        if name in known:
            return f"{name} does not belong here"
        near = nearest_names(name, known, 0.7)
        return f"nothing is called {name} here{f'; did you mean {near[0]}?' if near else ''}"
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        example = _PROPERTY if pattern.startswith("^(event|channel") else _EXAMPLES.get(pattern)
        return f"should be {example}" if example else f"should look like {pattern}"
    if kind == "too_short":
        return f"should have at least {context['min_length']}, and has {context['actual_length']}"
    if kind == "too_long":
        return f"should have at most {context['max_length']}"
    return broken_rule(kind, message)


def _names(model: type[BaseModel]) -> list[str]:
    """Return every field name that a file of this model may contain."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return sorted({*(name for part in parts for name in part.get("properties", {})), "channel"})


def _place(loc: Place, value: Any, *, absent: bool) -> Place:
    """Translate a location of pydantic into a place of the file.

    A location mixes keys of the file with names of a union's alternatives, which are not in the file. Of all ways to
    tell the two apart, the best one takes the last element as a key of the file, and then has the most keys.
    """
    return max(_readings(loc, value, absent), key=lambda reading: (reading[1], len(reading[0])))[0]


def _readings(loc: Place, value: Any, absent: bool) -> Iterator[tuple[Place, bool]]:
    """Yield each possible place, and whether it contains the last element of the location."""
    if not loc:
        yield (), False
        return
    head, rest = loc[0], loc[1:]
    last = not rest
    child = _child(value, head)
    if child is not _MISSING:
        for place, has_last in _readings(rest, child, absent):
            yield (head, *place), has_last or last
    elif last and absent and isinstance(value, dict):
        yield (head,), True
    yield from _readings(rest, value, absent)


def _child(value: Any, head: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(head, _MISSING)
    if isinstance(value, list) and isinstance(head, int) and head < len(value):
        return value[head]
    return _MISSING
