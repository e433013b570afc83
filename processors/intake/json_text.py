"""Writes parsed bodies as JSON, also with values that JSON cannot hold, and describes such values.

A body may hold such values (NaN, half a surrogate pair) because the collector's lenient parser accepts them, so that
one event with such a value is refused alone.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

import orjson

from schemas.dead_letters import Reason
from schemas.events import limits
from schemas.outcomes import Reject


def json_of(event: object) -> bytes | None:
    """Return any value as JSON, where a value that JSON cannot hold becomes a text; None: it is nested too deep."""
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(event, default=str).encode()
    except (RecursionError, ValueError):
        return None


def parsed(text: bytes) -> Any:
    """Parse what `json_of` has written, also half a surrogate pair, which is an escape there; None: it is no JSON."""
    for parser in (orjson.loads, json.loads):
        try:
            return parser(text)
        except (RecursionError, ValueError):
            continue
    return None


def is_of_json(value: object) -> bool:
    """Return whether a value that is no object and no list is one of JSON, and of 64 bits if it is an integer."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return isfinite(value) if isinstance(value, float) else value is None or isinstance(value, str)


def not_json(error: orjson.JSONEncodeError, event: object) -> Reject:
    """Reject an event that cannot be written as JSON; names the kind of value, its field, and what to send instead."""
    cause = str(error).lower()
    if "recursion" in cause:
        return Reject(
            Reason.TOO_DEEP, "", f"The event is nested deeper than {limits.MAX_DEPTH} levels, the most: flatten it."
        )
    if "surrogate" in cause:
        text = f"The event holds {limits.HALF_PAIR}: send both halves, or the character itself in UTF-8."
        return Reject(Reason.NOT_JSON, "", text)
    if "integer" in cause:
        value, hint = "an integer that does not fit into 64 bits", "send it as a text"
    else:
        value, hint = "NaN, Infinity or a number beyond all bounds", "leave the field out"
    field = _foreign_field(event, ())
    return Reject(Reason.NOT_JSON, field, f"The event holds {value}{field and f' in {field}'}: {hint}.")


def _foreign_field(value: object, path: tuple[str, ...]) -> str:
    """Return the first field whose value is none of JSON; empty: there is none, or it is too deep."""
    if isinstance(value, dict | list) and len(path) <= limits.MAX_DEPTH:
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return next(filter(None, (_foreign_field(one, (*path, str(key))) for key, one in inner)), "")
    return "" if isinstance(value, dict | list) or is_of_json(value) else ".".join(path)
