"""Parses records of `resolved-touchpoints`; in a rolling deploy another version of `identify` may have written them."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.dead_letters import Reason
from schemas.outcomes import Ok, Outcome, Reject
from schemas.records import Record

ResolvedEvent = dict[str, Any]
"""A parsed value of `resolved-touchpoints`; it may have fields that this version does not know."""

_TEXTS = ("event_id", "event", "occurred_at", "received_at")


def parse_resolved(record: Record) -> Outcome[ResolvedEvent]:
    """Parse a resolved touchpoint and check the fields on which every stage relies.

    Returns:
        The event: `event_id`, `event`, `occurred_at` and `received_at` are texts, `profile_id` is one or None.
    """
    try:
        event = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError as error:
        return Reject(Reason.NOT_JSON, "", str(error))
    if type(event) is not dict:
        return Reject(Reason.NOT_AN_OBJECT, "", "not a resolved touchpoint: it is no JSON object")
    for name in _TEXTS:
        if type(event.get(name)) is not str:
            return _without(event, name)
    profile_id = event.get("profile_id", "")
    if profile_id is None or (type(profile_id) is str and profile_id):
        return Ok(event)
    return _without(event, "profile_id")


def _without(event: ResolvedEvent, name: str) -> Reject:
    if name in event:
        return Reject(Reason.INVALID_FIELD, name, f"not a resolved touchpoint: {name} is no text")
    return Reject(Reason.MISSING_FIELD, name, f"not a resolved touchpoint: it has no {name}")
