"""Writes parsed bodies as JSON, also with values that JSON cannot hold, and describes such values.

A body may hold such values (NaN, half a surrogate pair) because the collector's lenient parser accepts them, so that
one event with such a value is refused alone.
"""

from __future__ import annotations

import json
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


def not_json(error: orjson.JSONEncodeError) -> Reject:
    """Reject an event that cannot be written as JSON; the message names the kind of value and what to send instead."""
    cause = str(error).lower()
    if "recursion" in cause:
        return Reject(
            Reason.TOO_DEEP, "", f"The event is nested deeper than {limits.MAX_DEPTH} levels, the most: flatten it."
        )
    if "surrogate" in cause:
        value, hint = limits.HALF_PAIR, "send both halves, or the character itself in UTF-8"
    elif "integer" in cause:
        value, hint = "an integer that does not fit into 64 bits", "send it as a text"
    else:
        value, hint = "NaN, Infinity or a number beyond all bounds", "leave the field out"
    return Reject(Reason.NOT_JSON, "", f"The event holds {value}: {hint}.")
