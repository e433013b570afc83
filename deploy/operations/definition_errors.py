"""Formats the validation errors of a YAML definition: the places in the file, and what was expected there."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator
from datetime import date, time
from typing import Any

from pydantic import BaseModel, ValidationError

from deploy.operations.definition_parts import known_parts
from processors.decisions.labels import alternatives
from schemas.durations import DEFINITION_FILE
from schemas.spelling import known_names, nearest_names
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
    r"^[A-Za-z]{3}$": "a currency of three letters, such as EUR",
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
_STEPS = ("delay", "until", "wait_for", "if", "random", "message", "set_trait", "webhook", "exit")
_STEP_WORDS = {
    "send": "message: …", "template": "message: …", "email": "message: …", "sms": "message: …", "push": "message: …",
    "wait": "delay: …", "sleep": "delay: …", "pause": "delay: …", "wait_until": "until: {time: '10:00'}",
    "condition": "if: …", "branch": "if: …", "split": "random: [{name: a, steps: []}, {name: b, steps: []}]",
    "trait": "set_trait: {name: value}", "set": "set_trait: {name: value}", "post": "webhook: …",
    "end": "exit: …", "stop": "exit: …", "goto": "exit: …",
}  # fmt: skip
"""Words of other tools for steps, each with the step as it is written here."""
_MISSING = object()
_WHOLE_NUMBER, _NUMBER = broken_rule("int_type", ""), broken_rule("float_type", "")
_TEXT = broken_rule("string_type", "")
_PROPERTY = "a part of the event, such as channel, properties.price or campaign.source"


def definition_errors(invalid: ValidationError, value: Any, model: type[BaseModel]) -> list[tuple[Place, str]]:
    """Format all validation errors of a definition, in the order of the file.

    A rule about several parts is checked once each part is valid. So parts that do not belong there are left out, and
    days written as texts, to find what else is wrong.

    Args:
        invalid: The errors of validation.
        value: The content of the file.
        model: The model that it was validated against.

    Returns:
        The places in the file, and what is wrong with each. Where a value of several types would be valid, all are
        named.
    """
    found = _by_place(invalid, value, model)
    try:
        model.model_validate(_mended(value, invalid), context=DEFINITION_FILE)
    except ValidationError as further:
        more = _by_place(further, value, model)
        found = {place: more.get(place, text) if text == _TEXT else text for place, text in found.items()}
        found = {**found, **{place: text for place, text in more.items() if place not in found}}
    return [(place, found[place]) for place in _in_order(found, value)]


def _by_place(invalid: ValidationError, value: Any, model: type[BaseModel]) -> dict[Place, str]:
    """Return one message for each place with an error."""
    by_place: dict[Place, list[Any]] = {}
    for error in invalid.errors(include_url=False):
        # A list of which each item is wrong is called too short.
        if error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]:
            continue
        by_place.setdefault(_place(tuple(error["loc"]), value, absent=error["type"] == "missing"), []).append(error)
    misplaced = _misplaced(by_place, value, model)
    return misplaced | {
        place: _words(errors, model, place, value) for place, errors in by_place.items() if place not in misplaced
    }


def _words(same: list[Any], model: type[BaseModel], place: Place, value: Any) -> str:
    # Where a text or a list is valid and the file has a list, the errors inside the list count.
    inner = [error for error in same if not error["type"].endswith("_type")]
    messages = list(dict.fromkeys(_message(error, model, place, value) for error in inner or same))
    if len(messages) > 1 and all(text.startswith("should be ") for text in messages):
        messages = [text for text in messages if text != _WHOLE_NUMBER or _NUMBER not in messages]
        return f"should be {alternatives(text.removeprefix('should be ') for text in messages)}"
    return messages[0]


def _misplaced(errors: dict[Place, list[Any]], value: Any, model: type[BaseModel]) -> dict[Place, str]:
    """Return the message for names at the top of a file that belong to the items of one of its lists.

    The message is at the first of them, and the others have none of their own.
    """
    names = [place[0] for place, found in errors.items() if len(place) == 1 and found[0]["type"] == "extra_forbidden"]
    candidates = {
        field: [str(name) for name in names if name in parts]
        for field, parts in _lists_of_parts(model).items()
        if isinstance(value, dict) and field not in value
    }
    field = max(candidates, key=lambda field: len(candidates[field]), default="")
    if len(theirs := candidates.get(field, [])) < 2:
        return {}
    first, *others = theirs
    for name in others:
        del errors[(name,)]
    return {
        (first,): f"{', '.join(theirs)} belong to one of {field}: begin the file with `{field}:` and write "
        f"`- {first}: …` below it, with the others under {first}"
    }


def _lists_of_parts(model: type[BaseModel]) -> dict[str, Collection[str]]:
    """Return the fields of a model that are lists of parts, with the names that a part may have."""
    schema = model.model_json_schema()
    found: dict[str, Collection[str]] = {}
    for name, field in schema.get("properties", {}).items():
        reference = field.get("items", {}).get("$ref", "")
        part = schema.get("$defs", {}).get(reference.rpartition("/")[2], {})
        if part.get("properties"):
            found[name] = part["properties"].keys()
    return found


def _mended(value: Any, invalid: ValidationError) -> Any:
    """Return a copy without the parts that do not belong there, and with texts where days should be texts."""
    found = copy.deepcopy(value)
    for error in invalid.errors(include_url=False):
        place = _place(tuple(error["loc"]), value, absent=False)
        parent, key = found, place[-1] if place else None
        for step in place[:-1]:
            parent = _child(parent, step)
        if key is None or _child(parent, key) is _MISSING:
            continue
        if error["type"] == "extra_forbidden":
            del parent[key]
        elif error["type"] == "string_type" and isinstance(parent[key], date | time):  # YAML reads 2026-12-01 as a date
            parent[key] = str(parent[key])
    return found


def _in_order(places: Iterable[Place], value: Any) -> list[Place]:
    """Sort places as they are in the file; a missing part comes after those that are there."""

    def position(place: Place) -> tuple[int, ...]:
        found, inside = [], value
        for key in place:
            keys = (
                list(inside)
                if isinstance(inside, dict)
                else list(range(len(inside)))
                if isinstance(inside, list)
                else []
            )
            found.append(keys.index(key) if key in keys else len(keys))
            inside = _child(inside, key)
        return tuple(found)

    return sorted(places, key=position)


def _message(error: Any, model: type[BaseModel], place: Place, value: Any) -> str:
    kind, message, context = error["type"], error["msg"], error.get("ctx", {})
    if kind in _YAML:
        return _YAML[kind]
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        here = [one for one in known_parts(model, place[:-1], value) if one != name]
        near = nearest_names(name, here or _names(model), 0.7)
        wrong = f"{name} does not belong here" if name in _names(model) else f"nothing is called {name} here"
        return f"{wrong}{f'; did you mean {near[0]}?' if near else ''}{known_names(name, here) if here else ''}"
    if kind == "step" and isinstance(error["input"], dict):
        return f"{message}{_meant_step(error['input'])}"
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        example = _PROPERTY if pattern.startswith("^(event|channel") else _EXAMPLES.get(pattern)
        return f"should be {example}" if example else f"should look like {pattern}"
    if kind == "too_short":
        return f"should have at least {context['min_length']}, and has {context['actual_length']}"
    if kind == "too_long":
        return f"should have at most {context['max_length']}"
    return broken_rule(kind, message)


def _meant_step(value: dict[str, Any]) -> str:
    """Return a question for the step that was probably meant; empty: nothing is like one."""
    for name, content in value.items():
        word = str(name).lower()
        example = _STEP_WORDS.get(word) or next((f"{near}: …" for near in nearest_names(word, _STEPS, 0.7)), "")
        if example:
            return f"; did you mean `{example.replace('…', str(content)) if isinstance(content, str) else example}`?"
    return ""


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
