"""From a call of a Segment-compatible SDK to a touchpoint, and from a touchpoint's field back to the call's.

The six calls are those of Segment's specification (https://segment.com/docs/connections/spec); what RudderStack's SDKs
write differently is read as well. Nothing is judged here: a field that makes no sense is passed on as it is, so that
`processors.decode` says what is wrong with it, and `spelling` says it in the call's own words.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from pydantic_core import PydanticCustomError

from processors.decode import Rejected
from schemas.dead_letter import Reason
from schemas.envelope import to_text, to_time
from schemas.sources import Source

VERBS = ("track", "identify", "page", "screen", "group", "alias")

ABOUT_PRODUCTS = ("Price Changed", "Stock Changed")
"""Events that are about no person."""

_NAMES = {"identify": "Identify", "page": "Page Viewed", "screen": "Screen Viewed", "group": "Group Joined",
          "alias": "Alias Created"}  # fmt: skip
_UTM = {"utm_source": "source", "utm_medium": "medium", "utm_campaign": "name", "utm_term": "term",
        "utm_content": "content", "utm_id": "id"}  # fmt: skip
_MONEY = frozenset({"revenue", "total", "subtotal", "value", "price", "products", "discount", "shipping", "tax"})
_CONTEXT = {"userAgent": "user_agent", "sessionId": "session_id"}
_ELSEWHERE = frozenset({"campaign", "channel", "externalIds"})
_TYPE = re.compile(r"[a-z][a-z0-9_.]{0,49}", re.ASCII)
_NOTABLE = timedelta(seconds=1)
_LONGEST_QUERY = 8192


class Arrival(NamedTuple):
    """What the collector knows of a call besides its content.

    Attributes:
        received: When it came in, UTC.
        sent_at: What the batch says of when it was sent; only its difference to the call's own time counts.
        event_id: The id of the event if the call has none.
        address: The network address that it came from; empty: unknown, or not to be noted.
        user_agent: What the client calls itself; empty likewise.
    """

    received: datetime
    sent_at: object
    event_id: str
    address: str = ""
    user_agent: str = ""


class Translated(NamedTuple):
    """A touchpoint that nobody has judged yet.

    Attributes:
        event: As a producer would put it on a channel's topic.
        places: For each identifier, the field of the call that it came from.
    """

    event: dict[str, Any]
    places: list[str]


def translate(call: dict[str, Any], verb: object, name: str, source: Source, arrival: Arrival) -> Translated | Rejected:
    """Write a call as a touchpoint.

    Args:
        call: A JSON object, as an SDK sends it.
        verb: `track`, `identify`, `page`, `screen`, `group` or `alias`.
        name: The source's name.
        source: Whose write key it came with.
        arrival: What is known besides.

    Returns:
        The touchpoint; or why the call cannot be one, with the call's field.
    """
    if verb not in VERBS:
        return Rejected(
            Reason.MISSING_FIELD if verb is None else Reason.INVALID_FIELD,
            "type",
            f"type is {'missing' if verb is None else 'no call that is known'}: send one of {', '.join(VERBS)}.",
        )
    context = call.get("context")
    known = context if isinstance(context, dict) else {}
    identifiers, places = _identifiers(call, known, verb)
    event_name = call.get("event") if verb == "track" else _NAMES[str(verb)]
    if not identifiers and event_name not in ABOUT_PRODUCTS:
        return Rejected(
            Reason.MISSING_FIELD, "userId", "userId and anonymousId are missing: a call says who it is about; send one."
        )
    message_id = call.get("messageId")
    sent = _sent(call, arrival)
    event: dict[str, Any] = {
        "event_id": arrival.event_id if message_id is None or message_id == "" else message_id,
        "event": event_name,
        "channel": known.get("channel") or source.channel,
        "occurred_at": _occurred(call, sent, arrival.received),
        "source": name,
        "identifiers": identifiers,
        "campaign": _campaign(known),
        "context": _context(context, call, sent, arrival),
        "properties": _properties(call, verb, source),
    }
    if verb == "identify":
        traits = call.get("traits")
        event["traits"] = known.get("traits") if traits is None else traits
    if (consent := _consent(known, source)) is not None:
        event["consent"] = consent
    return Translated({part: value for part, value in event.items() if value is not None}, places)


def spelling(field: str, places: list[str]) -> str:
    """Give the call's name of a touchpoint's field, as `userId` for `identifiers.0.value`."""
    first, _, rest = field.partition(".")
    match first:
        case "identifiers":
            number = rest.split(".")[0]
            return places[int(number)] if number.isdigit() and int(number) < len(places) else "userId"
        case "event_id":
            return "messageId"
        case "occurred_at":
            return "timestamp"
        case "campaign" | "channel" | "consent":
            return f"context.{field}"
        case "context":
            part, _, more = rest.partition(".")
            part = next((theirs for theirs, ours in _CONTEXT.items() if ours == part), part)
            return ".".join(filter(None, (first, part, more)))
    return field


def _identifiers(call: dict[str, Any], context: dict[str, Any], verb: object) -> tuple[list[dict[str, Any]], list[str]]:
    """Find who the call is about, strongest first; the same value twice is one identifier."""
    device = context.get("device")
    device = device if isinstance(device, dict) else {}
    found: list[tuple[str, Any, str]] = [("user_id", call.get("userId"), "userId")]
    for place, traits in (("traits", call.get("traits")), ("context.traits", context.get("traits"))):
        if isinstance(traits, dict) and (verb != "group" or place != "traits"):  # a group's traits are not a person's
            found += [(kind, traits.get(kind), f"{place}.{kind}") for kind in ("email", "phone")]
    outside = context.get("externalIds")
    for number, one in enumerate(outside if isinstance(outside, list) else ()):
        kind = one.get("type") if isinstance(one, dict) else None
        if isinstance(kind, str) and _TYPE.fullmatch(kind):
            found.append((kind, one.get("id"), f"context.externalIds.{number}.id"))
    found += [
        ("push_token", device.get("token"), "context.device.token"),
        ("device_id", device.get("id"), "context.device.id"),
        ("anonymous_id", call.get("anonymousId"), "anonymousId"),
    ]
    if verb == "alias":  # the name until now; never a login, so two customers cannot be made one
        found.append(("anonymous_id", call.get("previousId"), "previousId"))
    identifiers: list[dict[str, Any]] = []
    places: list[str] = []
    for kind, value, place in found:
        one = {"type": kind, "value": value}
        if value is not None and value != "" and one not in identifiers:
            identifiers.append(one)
            places.append(place)
    return identifiers, places


def _occurred(call: dict[str, Any], sent: datetime | None, received: datetime) -> object:
    """Correct the client's time by how far its clock is off: received - (sent - said)."""
    said = _said(call)
    if said is None:
        return to_text(received)
    try:
        time = to_time(said)
    except PydanticCustomError:
        return said
    return to_text(time if sent is None else received - (sent - time))


def _said(call: dict[str, Any]) -> object:
    said = call.get("timestamp")
    return call.get("originalTimestamp") if said is None else said


def _sent(call: dict[str, Any], arrival: Arrival) -> datetime | None:
    sent_at = call.get("sentAt")
    try:
        return to_time(arrival.sent_at if sent_at is None else sent_at)
    except PydanticCustomError:
        return None


def _campaign(context: dict[str, Any]) -> object:
    """The call's campaign; else what the page's address says of one."""
    campaign = context.get("campaign")
    if campaign:
        return campaign
    page = context.get("page")
    if not isinstance(page, dict):
        return None
    said = page.get("search")
    if not isinstance(said, str) or not said:
        url = page.get("url")
        said = url.partition("#")[0].partition("?")[2] if isinstance(url, str) else ""
    if "utm_" not in said:
        return None
    query = parse_qs(said.removeprefix("?")[:_LONGEST_QUERY], errors="replace")
    return {ours: query[theirs][0] for theirs, ours in _UTM.items() if theirs in query} or None


def _context(context: object, call: dict[str, Any], sent: datetime | None, arrival: Arrival) -> object:
    if context is not None and not isinstance(context, dict):
        return context
    found = {
        _CONTEXT.get(name, name): value for name, value in (context or {}).items() if name not in _ELSEWHERE
    }  # what further names mean is kept for whoever knows
    if isinstance(found.get("session_id"), float):
        del found["session_id"]
    for name, value in (("ip", arrival.address), ("user_agent", arrival.user_agent)):
        if value and not found.get(name):
            found[name] = value
    said = _said(call)
    if sent is not None and isinstance(said, str) and abs(arrival.received - sent) >= _NOTABLE:
        found["original_timestamp"] = said
    return found


def _properties(call: dict[str, Any], verb: object, source: Source) -> object:
    properties = call.get("properties")
    if verb in ("page", "screen"):
        named = {part: call.get(part) for part in ("name", "category") if call.get(part) is not None}
        if named and (properties is None or isinstance(properties, dict)):
            properties = {**named, **(properties or {})}
    elif verb == "group":
        properties = {"group_id": call.get("groupId"), "traits": call.get("traits")}
    elif verb == "alias":
        properties = None
    if isinstance(properties, dict) and source.currency and not properties.get("currency") and _has_money(properties):
        return {**properties, "currency": source.currency}
    return properties


def _has_money(properties: dict[str, Any]) -> bool:
    return not _MONEY.isdisjoint(name.removesuffix("_minor") for name in properties)


def _consent(context: dict[str, Any], source: Source) -> dict[str, bool] | None:
    """What the banner's answers mean here; of several categories for one answer, each has to agree."""
    consent = context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if not isinstance(preferences, dict) or not source.consent:
        return None
    return {
        answer: all(preferences.get(category) is True for category, means in source.consent.items() if means == answer)
        for answer in dict.fromkeys(source.consent.values())
    }
