"""Decodes and validates the bytes of a record: a valid event in its canonical form, or why there is none.

`decode` never raises, whatever the bytes. The message of a rejection names the field, the value, the rule and what to
do. It goes to logs and tables, so of a value that may identify a person it names only the kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

import orjson
from pydantic import ValidationError

from processors.intake.call_campaign import with_campaign_of_page
from processors.intake.cut_lines import MAX_READ_BYTES, cut_to_size
from processors.intake.other_formats import other_format
from schemas.currencies import sharing
from schemas.dead_letters import Reason
from schemas.events import limits as bounds
from schemas.events.limits import HALF_PAIR
from schemas.events.touchpoint import Event, read
from schemas.outcomes import Reject
from schemas.spelling import nearest_names
from schemas.validation_messages import broken_rule

MAX_VALUE_CHARS = 60
MAX_FIELD_CHARS = 200
_MAX_SHARING = 5

_PRIVATE_ROOTS = frozenset({"identifiers", "traits", "received_at"})
_FORMS = ("dict[", "list[", "tuple[")
"""Parts of pydantic's paths that name one form of several that a field may have."""
_PRIVATE_NAMES = frozenset({"ip", "recipient", "username", "agent_name", "user_agent"})
_HINTS = (
    ("byte order mark", "remove the byte order mark at the start: send plain UTF-8"),
    ("UTF-8", "send UTF-8"),
    ("surrogate", "a \\u escape is half a surrogate pair: send both halves, or the character itself in UTF-8"),
    ("infinity", "send a number of a usual size"),
    ("control character", "escape control characters in strings, a line break as \\n"),
    ("zero-length", "send one JSON object a record"),
    ("end of data", "the text stops in the middle: was it cut off?"),
    ("unexpected content after", "send one JSON object a record"),
)
_REASONS = {
    "missing": Reason.MISSING_FIELD,
    "missing_currency": Reason.MISSING_FIELD,
    "too_deep": Reason.TOO_DEEP,
    "too_many_keys": Reason.TOO_MANY_KEYS,
}


def decode(
    value: bytes | None,
    *,
    channels: frozenset[str],
    max_bytes: int,
    transform: Callable[[Any], Any] | None = None,
) -> Event | Reject:
    """Read one record of a topic `touchpoints.<channel>`.

    Args:
        value: The record's value; None for a tombstone.
        channels: The channels that this deployment knows.
        max_bytes: The largest event, in bytes; of one that is larger texts and the last products are cut.
        transform: Corrects the parsed event before it is validated; None: nothing does.

    Returns:
        The event in its canonical form, or why there is none. Of keys given twice in an object, the last counts.
    """
    if value is None:
        return Reject(Reason.NOT_AN_OBJECT, "", "The record has no value (a tombstone): send one JSON object a record.")
    is_too_large = len(value) > max_bytes
    if len(value) > max(max_bytes, MAX_READ_BYTES):
        return too_large(value, max_bytes)
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if is_too_large:
            return too_large(value, max_bytes)
        if "surrogate" in error.msg:
            return _with_half_pairs(value, error, channels)
        if "depth limit" in error.msg:
            return Reject(
                Reason.TOO_DEEP, "", f"The event is nested deeper than {bounds.MAX_DEPTH} levels, the most: flatten it."
            )
        return Reject(Reason.NOT_JSON, "", _not_json(error, value))
    if is_too_large:
        cut = cut_to_size(event if transform is None else transform(event), max_bytes)
        return too_large(value, max_bytes) if cut is None else validate(cut, None, channels=channels)
    if transform is not None and (changed := transform(event)) is not event:
        return validate(changed, None, channels=channels)  # its bytes are those of the event before
    return validate(event, value, channels=channels)


def _with_half_pairs(value: bytes, error: orjson.JSONDecodeError, channels: frozenset[str]) -> Event | Reject:
    """Read JSON with an escape that is half a surrogate pair, such as that of a name cut within an emoji."""
    refused = Reject(Reason.NOT_JSON, "", _not_json(error, value))
    try:
        event = json.loads(value.decode(), parse_constant=_no_constant)
    except (RecursionError, ValueError):
        return refused
    outcome = validate(event, None, channels=channels)
    return refused if isinstance(outcome, Reject) and HALF_PAIR in outcome.message else outcome


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def validate(event: object, value: bytes | None, *, channels: frozenset[str]) -> Event | Reject:
    """Validate a parsed event.

    Args:
        event: Parsed JSON.
        value: Its JSON; no longer than the deployment's limit. None if no JSON holds it, as a text with half a
            surrogate pair.
        channels: The channels that this deployment knows.

    Returns:
        The event in its canonical form, or why there is none.
    """
    if type(event) is not dict:
        return Reject(
            Reason.NOT_AN_OBJECT,
            "",
            f"The record is {_kind(event)}: send one JSON object a record, not a list or a text.",
        )
    completed = with_campaign_of_page(event)
    try:
        touchpoint = read(completed, value if completed is event else None)
    except ValidationError as error:
        return explain(error)
    if touchpoint["channel"] not in channels:
        return Reject(Reason.UNKNOWN_CHANNEL, "channel", _unknown_channel(touchpoint["channel"], channels))
    return touchpoint


def too_large(value: bytes, max_bytes: int) -> Reject:
    """Return the rejection of a value that is longer than the deployment's limit."""
    return Reject(
        Reason.TOO_LARGE,
        "",
        f"The event has {len(value)} bytes: at most {max_bytes} are accepted; shorten its texts.",
    )


def _not_json(error: orjson.JSONDecodeError, value: bytes) -> str:
    if named := other_format(value):
        return f"The record is {named}."
    hint = next((hint for cause, hint in _HINTS if cause in error.msg), "")
    if not hint:
        near = value[error.pos : error.pos + 9]
        hint = (
            "JSON knows no NaN or Infinity: leave the field out"
            if near.startswith((b"NaN", b"Infinity", b"-Infinity"))
            else "send one JSON object a record"
        )
    return f"The record is not JSON: {error.msg} (line {error.lineno}, column {error.colno}): {hint}."


def _unknown_channel(channel: str, channels: frozenset[str]) -> str:
    near = nearest_names(channel[:100], sorted(channels))
    meant = f" Did you mean {near[0]}?" if near else ""
    return (
        f"channel is {shown(channel, ('channel',))}, which this deployment does not know.{meant} "
        f"Send one of: {', '.join(sorted(channels))}; or add it to THROUGHLINE_CHANNELS."
    )


def explain(error: ValidationError) -> Reject:
    """Return the rejection for an error of `schemas.events.touchpoint.read`: the first broken rule."""
    first = error.errors(include_url=False)[0]
    at = (first.get("ctx") or {}).get("at")
    path = (*first["loc"], *str(at).split(".")) if at else first["loc"]
    field = _field(path)
    kind = first["type"]
    reason = _REASONS.get(kind, Reason.INVALID_FIELD)
    return Reject(reason, field, _sentence(kind, field, path, first))


def _sentence(kind: str, field: str, path: tuple[int | str, ...], error: Any) -> str:
    name = field or "The event"
    if kind == "missing":
        return f"{name} is missing: {_advice_on_missing(path, error['input'])}."
    if kind == "missing_currency":
        return f"{name} is missing: {error['msg']}; send the three letters of ISO 4217, such as EUR."
    if kind == "extra_forbidden":
        if path[0] in ("identifiers", "consent"):
            what = "remove it"
        elif len(path) == 1 and str(path[0]) in _IDENTIFIERS:
            what = "put it under identifiers"
        else:
            what = "put it under properties or context, or remove it"
        return f"{name} is not a field of the contract: check its spelling, {what}."
    context = error.get("ctx") or {}
    # A rule over several fields names the one at fault in its context.
    value = context.get("value") if "at" in context else error["input"]
    # Bounds hold everywhere, also for fields that we do not know and that may hold anything.
    written = _kind(value) if kind == "bounds" else shown(value, path)
    rule = _PATTERNS.get(str(path[-1])) if kind == "string_pattern_mismatch" else None
    if path[-1:] == ("currency",) and (shared := sharing(value)):
        named = ", ".join(shared[:_MAX_SHARING]) + (", …" if len(shared) > _MAX_SHARING else "")
        rule = (
            f"it may be {named}: send the three letters of ISO 4217, or name the currency of the source in sources.yaml"
        )
    if kind == "bounds" and path == ("event",):  # the bound of all texts is larger than that of names
        rule = "it should have at most 100 characters"
    rule = rule or broken_rule(kind, error["msg"])
    return f"{name} is {written}: {f'it {rule}' if rule.startswith('should') else rule}."


_PATTERNS = {
    "currency": "it should be the three letters of ISO 4217, such as EUR",
    "event_id": "it should not be blank: send an id that is unique to the event, such as a UUID",
    "event": "it should not be blank: send an event's name, such as Product Viewed",
    "type": "it should be the name of an identifier type in lower case, such as user_id or email",
}


_IDENTIFIERS = frozenset(
    {"user_id", "crm_id", "loyalty_id", "email", "phone", "device_id", "anonymous_id", "push_token"}
)
_OTHER_NAMES = {
    "event_id": ("eventId", "messageId", "message_id", "id"),
    "event": ("event_name", "eventName", "name", "type"),
    "occurred_at": ("timestamp", "occurredAt", "time", "originalTimestamp", "created_at", "sentAt"),
}
"""What other products call the fields of an event."""
_BATCHES = ("events", "batch", "records")


def _advice_on_missing(path: tuple[int | str, ...], event: object) -> str:
    """Return what to do about a field that an event lacks, though it may have it by another name."""
    if len(path) == 1 and isinstance(event, dict):
        batch = next((name for name in _BATCHES if isinstance(event.get(name), list)), None)
        if batch is not None:
            return f"send each of the list {batch} as a record of its own"
        other = next((name for name in _OTHER_NAMES.get(str(path[0]), ()) if name in event), None)
        if other is not None:
            return f"rename {other} to {path[0]}"
    return "every event of this kind needs it; send it"


def _field(path: tuple[int | str, ...]) -> str:
    """Join a path by dots; a part that may hold an address or does not print is masked."""
    parts = [str(part) for part in path if not str(part).startswith(_FORMS)]
    return ".".join("?" if "@" in part or not part.isprintable() else part for part in parts)[:MAX_FIELD_CHARS]


def shown(value: object, path: tuple[int | str, ...]) -> str:
    """Write a value for a message: shortened, and only its kind if it may identify a person.

    Args:
        value: The value.
        path: Its place in the event.
    """
    if isinstance(value, str) and value == "":
        return "empty"
    private = bool(path) and (path[0] in _PRIVATE_ROOTS or path[-1] in _PRIVATE_NAMES)
    if private and path[0] == "identifiers" and path[-1] == "type":  # a name, unless key and value were swapped
        private = not isinstance(value, str) or len(value) > 32 or sum(map(str.isdigit, value)) > 3
    if isinstance(value, str | int | float) and not isinstance(value, bool) and private:
        return f"{_kind(value)} (not shown)"
    if isinstance(value, str):  # an e-mail address, or a telephone number
        hidden = "@" in value or (value.startswith("+") and sum(map(str.isdigit, value)) > 6)
        return f"{_kind(value)} (not shown)" if hidden else repr(_shortened(value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return _shortened(repr(value))
    return _kind(value)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


def _kind(value: object) -> str:
    """Return a value's JSON type with its article."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), "no JSON value")
