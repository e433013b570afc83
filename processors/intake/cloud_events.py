"""Reads CloudEvents 1.0 (https://github.com/cloudevents/spec): their `data` is a touchpoint, whose head they complete.

    id → event_id · source → source · type → event · time → occurred_at · subject → an identifier · channel → channel

What `data` says itself is never overridden: where the two contradict each other, the error names both. All attributes
are kept in `context.cloud_event`, but for those whose text is in the event as it is.

- `type`: the event whose name its last parts spell, whatever their case and separators, and without a version at the
  end: `com.example.order.completed.v1` is `Order Completed`. Any other text is the name of a custom event.
- `source`: the URI without scheme, slashes at both ends, and query: `https://shop.example/till/` is
  `shop.example/till`, `urn:till` is `till`.
- `subject`: an identifier if it is written as one of a known type, `user_id:42`; any other names no person.
- `time`: an event without it is dated by its arrival, and marked doubtful.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson
from pydantic_core import PydanticCustomError

from processors.intake.event_time import TIME_DOUBTFUL
from processors.intake.routing import IDENTIFIER_STRENGTH
from schemas.dead_letters import Reason
from schemas.events.touchpoint import EVENT_NAMES
from schemas.outcomes import Reject
from schemas.records import Headers
from schemas.time import parse_time

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
CONTEXT = "cloud_event"
"""The key of an event's `context` that keeps the attributes."""

_ANY_FORM = "application/cloudevents"
_HEADER = "ce_"
_NAME = re.compile(r"[a-z0-9]+", re.ASCII)
_VERSION = re.compile(r"v?\d+(?:\.\d+)*", re.ASCII)
_BEFORE_NAME = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?/*", re.IGNORECASE | re.ASCII)
_JSON_TYPE = re.compile(r"(?:application|text)/(?:[a-z0-9.+-]+\+)?json", re.IGNORECASE | re.ASCII)
_SUBJECT = re.compile(r"([a-z_]+):(\S.*)", re.DOTALL)
_NAMES_OF_EVENTS = {re.sub(r"[^a-z]", "", name.lower()): name for name in EVENT_NAMES}
_HEAD = {"event_id": "id", "event": "type", "source": "source", "occurred_at": "time"}
_READ = frozenset({"specversion", "id", "time", "data", "data_base64", "datacontenttype", "channel"})


class Circumstances(NamedTuple):
    """What is known of a CloudEvent besides its content.

    Attributes:
        received: When it came in, RFC 3339.
        channel: Its channel if it names none; None: it has to name one.
        source: The source whose write key it came with; None: its own.
    """

    received: str
    channel: str | None = None
    source: str | None = None


class Completed(NamedTuple):
    """A touchpoint that is not validated yet.

    Attributes:
        event: The touchpoint.
        field_names: The CloudEvent's field for each field of the touchpoint that is named differently.
    """

    event: dict[str, Any]
    field_names: dict[str, str]


def is_structured(content_type: str) -> bool:
    """Return whether a body of a Content-Type is CloudEvents in any format, one or a batch."""
    return content_type[:23].lower() == _ANY_FORM


def unknown_format(content_type: str) -> Reject | None:
    """Refuse a format of CloudEvents other than JSON."""
    name = content_type.partition(";")[0].strip().lower()
    if name in (STRUCTURED, BATCH):
        return None
    return Reject(
        Reason.INVALID_FIELD, "content-type", f"content-type is {name[:60]}: send {STRUCTURED}, or {BATCH} over HTTP."
    )


def of_record(
    value: bytes | None, headers: Headers, data: dict[str, Any] | None = None
) -> dict[str, Any] | Reject | None:
    """Read a record of Kafka as a CloudEvent, in the structured mode or the binary one.

    Args:
        value: The record's value.
        headers: Its headers: `ce_id` and its like, or a `content-type` of CloudEvents.
        data: What the value is, if it was decoded already, as from Avro.

    Returns:
        The event in JSON's form, not validated; why it cannot be read; None if the record is no CloudEvent.
    """
    attributes: dict[str, Any] = {}
    content_type = ""
    for name, text in headers:
        lower = name.lower()
        if lower.startswith(_HEADER):
            attributes[lower[3:]] = (text or b"").decode("utf-8", "replace")
        elif lower == "content-type":
            content_type = (text or b"").decode("utf-8", "replace")
    if is_structured(content_type):
        return data or unknown_format(content_type) or _json(value, "")
    if "specversion" not in attributes:
        return None
    if data is not None:
        return {**attributes, "data": data}
    return of_parts(attributes, content_type, value)


def of_parts(attributes: Mapping[str, Any], content_type: str, data: bytes | None) -> dict[str, Any] | Reject:
    """Read a CloudEvent in the binary mode.

    Args:
        attributes: The attributes, without their prefix.
        content_type: The type of the data.
        data: The data.
    """
    if refused := not_json(content_type):
        return refused
    if not data:
        return {**attributes}
    parsed = _json(data, "data")
    return parsed if isinstance(parsed, Reject) else {**attributes, "data": parsed}


def attributes_of_http(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes among the headers of a request; their values are percent-encoded."""
    return {name[3:].lower(): unquote(text) for name, text in headers.items() if name[:3].lower() == "ce-"}


def not_json(content_type: object) -> Reject | None:
    """Refuse data of another type than JSON."""
    if content_type in (None, ""):
        return None
    name = content_type.partition(";")[0].strip() if isinstance(content_type, str) else None
    if name is not None and _JSON_TYPE.fullmatch(name):
        return None
    stated = repr(name[:60]) if name is not None else "no text"
    return Reject(Reason.INVALID_FIELD, "datacontenttype", f"datacontenttype is {stated}: send data as JSON.")


def touchpoint_of(cloud_event: object, around: Circumstances) -> Completed | Reject:
    """Complete the touchpoint that a CloudEvent holds.

    Args:
        cloud_event: The event in JSON's form, parsed.
        around: What is known of it besides its content.

    Returns:
        The touchpoint, not validated; or why there is none, with the attribute.
    """
    if not isinstance(cloud_event, dict):
        return Reject(Reason.NOT_AN_OBJECT, "", "A CloudEvent is a JSON object: send one, or a list as a batch.")
    attributes = {name: value for name, value in cloud_event.items() if value is not None}
    if refused := _broken_rule(attributes) or not_json(attributes.get("datacontenttype")):
        return refused
    data = _data(attributes)
    if isinstance(data, Reject):
        return data
    field_names = {**{name: f"data.{name}" for name in data}, "identifiers": "data.identifiers", **_HEAD}
    event = dict(data)
    uri = attributes["source"]
    event_name, source = event_of_type(attributes["type"]), source_of_uri(uri)
    found = (
        _complete(event, "event_id", attributes["id"], (attributes["id"],), "id")
        or _complete(event, "event", event_name, (event_name, attributes["type"]), "type")
        or _complete(event, "source", source, (source, uri), "source")
        or _complete_channel(event, attributes, around)
        or _complete_time(event, attributes, around)
        or _complete_person(event, attributes)
    )
    if found:
        return found
    if around.source is not None:
        event["source"] = around.source
    context = event.get("context")
    if context is None or isinstance(context, dict):
        kept = {name: value for name, value in attributes.items() if name not in _READ}
        doubtful = {} if "time" in attributes or data.get("occurred_at") is not None else {TIME_DOUBTFUL: True}
        event["context"] = {CONTEXT: kept, **doubtful, **(context or {})}
    return Completed(event, field_names)


@lru_cache(maxsize=512)
def event_of_type(name: str) -> str:
    """Return the name of the event of a type: a known event's if the type ends with it, else the type."""
    parts = re.split(r"[./:]", name)
    while len(parts) > 1 and _VERSION.fullmatch(parts[-1].lower()):
        parts.pop()
    for start in range(len(parts)):
        spelled = re.sub(r"[^a-z]", "", "".join(parts[start:]).lower())
        if known := _NAMES_OF_EVENTS.get(spelled):
            return known
    return name


@lru_cache(maxsize=512)
def source_of_uri(uri: str) -> str:
    """Return the name of the source of a URI: without scheme, query, and slashes at both ends."""
    named = uri.partition("#")[0].partition("?")[0]
    short = _BEFORE_NAME.sub("", named, count=1).rstrip("/")
    return short or uri


def _broken_rule(attributes: Mapping[str, Any]) -> Reject | None:
    """Return the first rule of the specification that the attributes break."""
    version = attributes.get("specversion")
    if version != "1.0":
        stated = "missing" if version is None else f"{str(version)[:20]!r}"
        reason = Reason.MISSING_FIELD if version is None else Reason.INVALID_FIELD
        return Reject(reason, "specversion", f"specversion is {stated}: send CloudEvents 1.0.")
    for name in ("id", "source", "type"):
        value = attributes.get(name)
        if value is None:
            return Reject(Reason.MISSING_FIELD, name, f"{name} is missing: every CloudEvent needs it; send it.")
        if not isinstance(value, str) or not value.strip():
            return Reject(Reason.INVALID_FIELD, name, f"{name} should be a text that is not empty.")
    for name in attributes:
        if not _NAME.fullmatch(name) and name != "data_base64":
            shown = name[:60] if name.isprintable() else "?"
            rule = "an attribute's name is of lower-case letters and digits; fields of the event belong under data."
            return Reject(Reason.INVALID_FIELD, shown, f"{shown} is no attribute of a CloudEvent: {rule}")
    return None


def _data(attributes: Mapping[str, Any]) -> dict[str, Any] | Reject:
    data = attributes.get("data")
    if (encoded := attributes.get("data_base64")) is not None:
        if data is not None:
            return Reject(Reason.INVALID_FIELD, "data_base64", "data_base64 and data are both given: send one of them.")
        try:
            raw = b64decode(encoded, validate=True) if isinstance(encoded, str) else None
        except (NotBase64, ValueError):
            raw = None
        if raw is None:
            return Reject(Reason.INVALID_FIELD, "data_base64", "data_base64 is not Base64.")
        data = _json(raw, "data_base64")
    if data is None:
        return {}
    if isinstance(data, dict | Reject):
        return data
    kind = "a list" if isinstance(data, list) else "no JSON object"
    return Reject(Reason.NOT_AN_OBJECT, "data", f"data is {kind}: send an object with the fields of a touchpoint.")


def _json(raw: bytes | None, field: str) -> Any:
    """Parse JSON; `field` is the part that it is."""
    try:
        return orjson.loads(raw or b"")
    except orjson.JSONDecodeError as error:
        name = field or "The CloudEvent"
        return Reject(
            Reason.NOT_JSON, field, f"{name} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        )


def _complete(event: dict[str, Any], field: str, value: str, same: tuple[str, ...], attribute: str) -> Reject | None:
    """Set a field of the head that the data does not have; one that it has must say the same."""
    stated = event.get(field)
    if stated is None or stated in same:
        event[field] = value
    else:
        return _contradiction(attribute, same[-1], field, stated)
    return None


def _complete_channel(event: dict[str, Any], attributes: Mapping[str, Any], around: Circumstances) -> Reject | None:
    channel = attributes.get("channel")
    if channel is not None:
        stated = event.setdefault("channel", channel)
        return None if stated == channel else _contradiction("channel", channel, "channel", stated)
    if event.get("channel") is None and around.channel is not None:
        event["channel"] = around.channel
    return None


def _complete_time(event: dict[str, Any], attributes: Mapping[str, Any], around: Circumstances) -> Reject | None:
    time, stated = attributes.get("time"), event.get("occurred_at")
    if time is None:
        if stated is None:
            event["occurred_at"] = around.received
    elif stated is None:
        event["occurred_at"] = time
    else:
        try:
            same = parse_time(time) == parse_time(stated)
        except PydanticCustomError:
            same = time == stated  # what cannot be read is judged as the touchpoint is
        return None if same else _contradiction("time", time, "occurred_at", stated)
    return None


def _complete_person(event: dict[str, Any], attributes: Mapping[str, Any]) -> Reject | None:
    """Add the identifier that `subject` is; one of its type with another value contradicts it."""
    subject = attributes.get("subject")
    found = _SUBJECT.fullmatch(subject) if isinstance(subject, str) else None
    if found is None or found[1] not in IDENTIFIER_STRENGTH:
        return None
    kind, value = found.groups()
    identifiers = event.get("identifiers")
    if identifiers is None:
        event["identifiers"] = {kind: value}
    elif isinstance(identifiers, dict):
        if event["identifiers"].get(kind) is None:
            event["identifiers"] = {**identifiers, kind: value}
        elif value not in _texts(identifiers[kind]):
            return _contradiction("subject", kind, f"identifiers.{kind}", kind, private=True)
    elif isinstance(identifiers, list):
        known = [one.get("value") for one in identifiers if isinstance(one, dict) and one.get("type") == kind]
        if not known:
            event["identifiers"] = [{"type": kind, "value": value}, *identifiers]
        elif value not in _texts(known):
            return _contradiction("subject", kind, "identifiers", kind, private=True)
    return None


def _texts(values: object) -> list[str]:
    return [str(one) for one in (values if isinstance(values, list) else [values])]


def _contradiction(attribute: str, value: object, field: str, stated: object, *, private: bool = False) -> Reject:
    """Refuse an event whose attribute and data say different things; a value that may name a person is not shown."""
    if private:
        what = f"{attribute} and data.{field} are two different values of {value}"
    else:
        what = f"{attribute} is {str(value)[:60]!r} and data.{field} is {str(stated)[:60]!r}"
    return Reject(
        Reason.INVALID_FIELD, attribute, f"{what}: they contradict each other; send one, or the same in both."
    )
