"""Translates a call of a Segment-compatible SDK into a touchpoint, and a touchpoint's field back into the call's.

The six calls are those of Segment's specification (https://segment.com/docs/connections/spec); fields that the SDKs of
RudderStack name differently are read as well. Only the rights of the source are checked here. A field with a wrong
value is passed on as it is: `decode.py` validates the touchpoint, and `field_of_call` names the field as the call does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from processors.intake.call_campaign import campaign_of_call
from processors.intake.call_commerce import with_current_names
from processors.intake.event_time import TIME_DOUBTFUL, CallTime, time_of_call
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import Reason
from schemas.events.envelope import MAX_IDENTIFIERS, ORIGINAL_TIMESTAMP
from schemas.events.touchpoint import as_known_event
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from schemas.products import ABOUT_PRODUCTS

VERBS = ("track", "identify", "page", "screen", "group", "alias")

GROUP_UPDATED = "Group Updated"
"""What is known of a group has changed: an event about no person."""

_WITHOUT_PERSON = (*ABOUT_PRODUCTS, GROUP_UPDATED)
_EVENT_NAMES = {"identify": "Identify", "page": "Page Viewed", "screen": "Screen Viewed", "group": "Group Joined",
                "alias": "Alias Created"}  # fmt: skip
_MONEY = frozenset(
    {"revenue", "total", "subtotal", "value", "price", "products", "discount", "shipping", "tax", "refunded_total"}
)
_CONTEXT = {"userAgent": "user_agent", "sessionId": "session_id"}
_TYPE = re.compile(r"[a-z][a-z0-9_.]{0,49}", re.ASCII)


CallAndVerb = tuple[Any, object]
"""A call, any JSON value, and its verb."""


class Arrival(NamedTuple):
    """The circumstances of a call that are not part of its content.

    Attributes:
        received: Time of its arrival, UTC.
        sent_at: When its batch was sent, by the client's clock; shows by how much that clock is off.
        event_id: The id that the event gets if the call has none; unique.
        address: The network address that it came from; empty if it is unknown or not to be stored.
        user_agent: The client's User-Agent header; empty likewise.
    """

    received: datetime
    sent_at: object
    event_id: str
    address: str = ""
    user_agent: str = ""


class Translated(NamedTuple):
    """A touchpoint that is not validated yet.

    Attributes:
        event: The event as a producer would write it to a channel's topic; any JSON value if it was no call.
        field_names: The call's field for each field of the touchpoint that is named differently.
    """

    event: Any
    field_names: dict[str, str]


def translate(
    call: dict[str, Any], verb: object, name: str, source: Source, arrival: Arrival,
    channels: Collection[str] = TOUCHPOINT_CHANNELS,
) -> Translated | Reject:  # fmt: skip
    """Translate a call into a touchpoint.

    Args:
        call: A JSON object, as an SDK sends it.
        verb: `track`, `identify`, `page`, `screen`, `group` or `alias`, in whichever case.
        name: The source's name.
        source: The source whose write key it came with.
        arrival: What is known of it besides its content.
        channels: The channels of the deployment. A `context.channel` that is none of them stays in the context, since
            Segment's specification has other words there: `server`, `browser` and `mobile`.

    Returns:
        The touchpoint, not validated; or why the call cannot be one, with the call's field.
    """
    if isinstance(verb, str):
        verb = verb.strip().lower()
    if verb not in VERBS:
        return Reject(
            Reason.MISSING_FIELD if verb is None else Reason.INVALID_FIELD,
            "type",
            f"type is {'missing' if verb is None else 'no call that is known'}: send one of {', '.join(VERBS)}.",
        )
    context = call.get("context")
    context = None if context == [] else context  # PHP writes an empty map so
    known = context if isinstance(context, dict) else {}
    field_names = {"event_id": "messageId", "channel": "context.channel", "consent": "context.consent",
             "campaign": "context.campaign",
             **{f"context.{name}": f"context.{call_name}" for call_name, name in _CONTEXT.items()}}  # fmt: skip
    event_name = call.get("event") if verb == "track" else _EVENT_NAMES[str(verb)]
    stated = known.get("channel")
    channel = stated if isinstance(stated, str) and stated in channels else source.channel
    if source.kind == "browser" and (beyond := beyond_browser_rights(event_name, channel, source)):
        return beyond
    if missing := _missing_id(call, verb):
        return missing
    identifiers = _identifiers(call, known, verb, source, field_names)
    if not identifiers and event_name not in _WITHOUT_PERSON:
        return Reject(
            Reason.MISSING_FIELD, "userId", "userId and anonymousId are missing: a call says who it is about; send one."
        )
    if len(identifiers) > MAX_IDENTIFIERS:
        return Reject(
            Reason.INVALID_FIELD,
            "context.externalIds",
            f"context.externalIds are too many: a call has at most {MAX_IDENTIFIERS} identifiers in all; send fewer.",
        )
    time = _time(call, arrival, source, field_names)
    event: dict[str, Any] = {
        "event_id": _event_id(call.get("messageId"), arrival),
        "event": event_name,
        "channel": channel,
        "occurred_at": time.occurred_at,
        "source": name,
        "identifiers": identifiers,
        "campaign": campaign_of_call(known.get("campaign"), known.get("page"), call.get("properties")),
        "context": _context(context, channel, time, arrival),
        "properties": _properties(call, verb, source, field_names),
    }
    if verb == "identify":
        traits = call.get("traits")
        if traits is None:  # RudderStack
            traits, field_names["traits"] = known.get("traits"), "context.traits"
        event["traits"] = traits
    if (consent := _consent(known, source)) is not None:
        event["consent"] = consent
    return Translated({part: value for part, value in event.items() if value is not None}, field_names)


def field_of_call(field: str, field_names: dict[str, str]) -> str:
    """Return the call's field for a touchpoint's field: `userId` for `identifiers.0.value`."""
    parts = field.split(".")
    for known in range(len(parts), 0, -1):
        call_field = field_names.get(".".join(parts[:known]))
        if call_field is not None:
            rest = parts[known:] if parts[0] != "identifiers" else []
            return ".".join((call_field, *rest))
    return field


def in_fields_of_call(rejected: Reject, field_names: dict[str, str]) -> Reject:
    """Name the field as the call does, in the message too."""
    field, message = rejected.field, rejected.message
    call_field = field_of_call(field, field_names)
    if field and message.startswith(field):
        message = call_field + message.removeprefix(field)
    return Reject(rejected.reason, call_field, message)


def beyond_browser_rights(event_name: object, channel: object, source: Source) -> Reject | None:
    """Refuse another channel and events about products: anybody can read a browser's write key."""
    if channel != source.channel:
        return Reject(
            Reason.INVALID_FIELD,
            "context.channel",
            f"context.channel is not {source.channel}, for which this write key counts alone: use a server's key.",
        )
    if as_known_event(event_name) in ABOUT_PRODUCTS:
        return Reject(
            Reason.INVALID_FIELD, "event", f"event is {event_name}, which a page cannot say: use a server's key."
        )
    return None


def _missing_id(call: dict[str, Any], verb: object) -> Reject | None:
    """Refuse a group without a group, and an alias that links nothing: neither says anything."""
    if verb == "group" and _is_blank(call.get("groupId")):
        return Reject(
            Reason.MISSING_FIELD, "groupId", "groupId is missing: a group call names the group that the person joins."
        )
    if verb == "alias" and _is_blank(call.get("userId")):
        return Reject(
            Reason.MISSING_FIELD, "userId", "userId is missing: an alias call says who a former id is from now on."
        )
    if verb == "alias" and _is_blank(call.get("previousId")) and _is_blank(call.get("anonymousId")):
        return Reject(
            Reason.MISSING_FIELD,
            "previousId",
            "previousId is missing: an alias call names the id that is replaced.",
        )
    return None


def _is_blank(value: object) -> bool:
    return value is None or value is False or (isinstance(value, str) and not value.strip())


def _identifiers(
    call: dict[str, Any], context: dict[str, Any], verb: object, source: Source, field_names: dict[str, str]
) -> list[dict[str, Any]]:
    """Find the identifiers of the call's person, strongest first; the same value twice is one identifier."""
    identifiers: list[dict[str, Any]] = []
    for kind, value, place in _identifier_fields(call, context, verb):
        one: dict[str, Any] = {"type": kind, "value": value}
        if kind in source.verified:
            one["verified"] = True
        if _is_blank(value):
            continue
        if not source.joins_by(kind):
            continue
        if one in identifiers:
            continue
        field_names[f"identifiers.{len(identifiers)}"] = place
        identifiers.append(one)
        if len(identifiers) > MAX_IDENTIFIERS:  # the event is refused
            break
    return identifiers


def _identifier_fields(call: dict[str, Any], context: dict[str, Any], verb: object) -> Iterator[tuple[str, Any, str]]:
    """List every field of a call that may identify its person: identifier type, value, field."""
    yield "user_id", call.get("userId"), "userId"
    for place, traits in (("traits", call.get("traits")), ("context.traits", context.get("traits"))):
        if isinstance(traits, dict) and (verb != "group" or place != "traits"):  # a group's traits are not a person's
            for kind in ("email", "phone"):
                yield kind, traits.get(kind), f"{place}.{kind}"
    device = context.get("device")
    if isinstance(device, dict):
        yield "push_token", device.get("token"), "context.device.token"
        yield "device_id", device.get("id"), "context.device.id"
    yield "anonymous_id", call.get("anonymousId"), "anonymousId"
    # Never read as a user_id, so that an alias cannot merge two customers; an alias to oneself says nothing new.
    if verb == "alias" and call.get("previousId") != call.get("userId"):
        yield "anonymous_id", call.get("previousId"), "previousId"
    external = context.get("externalIds")
    for number, one in enumerate(external if isinstance(external, list) else ()):
        external_type = one.get("type") if isinstance(one, dict) else None
        if isinstance(external_type, str) and _TYPE.fullmatch(external_type):
            yield external_type, one.get("id"), f"context.externalIds.{number}.id"


def _event_id(message_id: object, arrival: Arrival) -> object:
    if message_id is None or (isinstance(message_id, str) and not message_id.strip()):
        return arrival.event_id
    whole = type(message_id) is int or (type(message_id) is float and message_id.is_integer())
    return str(int(message_id)) if whole else message_id  # type: ignore[call-overload]


def _time(call: dict[str, Any], arrival: Arrival, source: Source, field_names: dict[str, str]) -> CallTime:
    field = "timestamp" if call.get("timestamp") is not None else "originalTimestamp"
    field_names["occurred_at"] = field
    sent_at = call.get("sentAt")
    return time_of_call(call.get(field), arrival.sent_at if sent_at is None else sent_at, arrival.received, source)


def _context(context: object, channel: str, time: CallTime, arrival: Arrival) -> object:
    """Translate the context's names, and add what the connection and the client's clock show."""
    if context is not None and not isinstance(context, dict):
        return context
    translated = {
        _CONTEXT.get(name, name): value for name, value in (context or {}).items() if name != "campaign"
    }  # fields that are not known are kept
    if translated.get("channel") == channel:
        del translated["channel"]
    if isinstance(translated.get("session_id"), float):
        del translated["session_id"]
    for name, value in (("ip", arrival.address), ("user_agent", arrival.user_agent)):
        if value and not translated.get(name):
            translated[name] = value
    if time.original is not None:
        translated[ORIGINAL_TIMESTAMP] = time.original
    if time.doubtful:
        translated[TIME_DOUBTFUL] = True
    return translated


def _properties(call: dict[str, Any], verb: object, source: Source, field_names: dict[str, str]) -> object:
    properties = call.get("properties")
    if verb == "track" and type(properties) is dict:
        properties = with_current_names(properties, call.get("event"), field_names)
    elif verb in ("page", "screen") and (properties is None or isinstance(properties, dict)):
        own = properties or {}
        named = [part for part in ("name", "category") if call.get(part) is not None and own.get(part) is None]
        field_names |= {f"properties.{part}": part for part in named}
        properties = {**own, **{part: call[part] for part in named}} or None
    elif verb == "group":
        field_names |= {"properties.group_id": "groupId", "properties.traits": "traits"}
        properties = {"group_id": call.get("groupId"), "traits": call.get("traits")}
    elif verb == "alias":
        properties = None
    return with_currency(properties, source) if isinstance(properties, dict) else properties


def with_currency(properties: dict[str, Any], source: Source) -> dict[str, Any]:
    """Add the currency of the source to amounts that come without one."""
    stated = properties.get("currency")
    is_stated = bool(stated.strip() if isinstance(stated, str) else stated)
    if source.currency and not is_stated and _has_money(properties):
        return {**properties, "currency": source.currency}
    return properties


def _has_money(properties: dict[str, Any]) -> bool:
    return not _MONEY.isdisjoint(name.removesuffix("_minor") for name in properties)


def _consent(context: dict[str, Any], source: Source) -> dict[str, bool] | None:
    """Read the consent of a banner's categories; a consent that several categories give needs all of them."""
    consent = context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if not isinstance(preferences, dict) or not source.consent:
        return None
    return {
        answer: all(preferences.get(category) is True for category, means in source.consent.items() if means == answer)
        for answer in dict.fromkeys(source.consent.values())
    }
