"""Parses records of `actions`: the messages to deliver."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson

from schemas.time import ms_of_time, parse_time

Action = dict[str, Any]


def parse_action(value: bytes) -> Action:
    """Parse an action and check the shapes on which its delivery and its receipt depend.

    Raises:
        ValueError, TypeError, KeyError: It is no action.
    """
    action: Action = orjson.loads(value)
    for name in ("idempotency_key", "channel", "profile_id"):
        if not isinstance(action[name], str):
            raise TypeError(f"not an action: {name} is no text")
    for name in ("campaign", "context", "coupon"):
        if not isinstance(action.get(name) or {}, dict):
            raise TypeError(f"not an action: {name} is no object")
    for one in (*(action.get("identifiers") or ()), action.get("address")):
        if one and not (isinstance(one, dict) and isinstance(one["type"], str) and isinstance(one["value"], str)):
            raise TypeError("not an action: an identifier has no type and value")
    expiry_ms(action)
    return action


def expiry_ms(action: Action) -> int | None:
    """Return when a message expires, milliseconds since 1970; None: never."""
    stated = action.get("expires_at")
    return ms_of_time(parse_time(stated)) if stated else None


def is_expired(action: Action, now_ms: int) -> bool:
    """Return whether a message has expired."""
    expires_ms = expiry_ms(action)
    return expires_ms is not None and now_ms >= expires_ms


def journey_of(action: Action) -> str:
    """Return the journey that sends a message; empty: none."""
    found = action.get("journey")
    return found if isinstance(found, str) else ""


def identifiers_of(action: Action) -> list[dict[str, str]]:
    """Return the identifiers by which events about a message are the person's: those named, else its address."""
    found = action.get("identifiers") or [action.get("address")]
    return [{"type": one["type"], "value": one["value"]} for one in found if one]


def derived_event_id(*parts: str) -> str:
    """Return the id of an event about a message, made from parts, so that a repeat is a duplicate."""
    return blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()
