"""From a call of a Segment-compatible SDK to a touchpoint, and from a touchpoint's field back to the call's.

The six calls are those of Segment's specification (https://segment.com/docs/connections/spec); what RudderStack's SDKs
write differently is read as well. Little is judged here: a field that makes no sense is passed on as it is, so that
`processors.intake.decode` says what is wrong with it, and `spelling` says it in the call's own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from pydantic_core import PydanticCustomError

from processors.intake.event_time import NOTICEABLE_MS, ORIGINAL_TIMESTAMP
from processors.profiles.product_news import ABOUT_PRODUCTS
from schemas.dead_letters import Reason
from schemas.events.envelope import MAX_IDENTIFIERS
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from schemas.time import FIRST_YEAR, parse_time, text_of_time

VERBS = ("track", "identify", "page", "screen", "group", "alias")

_NAMES = {"identify": "Identify", "page": "Page Viewed", "screen": "Screen Viewed", "group": "Group Joined",
          "alias": "Alias Created"}  # fmt: skip
_UTM = {"utm_source": "source", "utm_medium": "medium", "utm_campaign": "name", "utm_term": "term",
        "utm_content": "content", "utm_id": "id"}  # fmt: skip
_MONEY = frozenset({"revenue", "total", "subtotal", "value", "price", "products", "discount", "shipping", "tax"})
_CONTEXT = {"userAgent": "user_agent", "sessionId": "session_id"}
_ELSEWHERE = frozenset({"campaign", "channel"})
_TYPE = re.compile(r"[a-z][a-z0-9_.]{0,49}", re.ASCII)
_LONGEST_QUERY = 8192
_LONGEST_NAME = 500  # of a campaign; what an address says is cut, not refused


class Arrival(NamedTuple):
    """What the collector knows of a call besides its content.

    Attributes:
        received: When it came in, UTC.
        sent_at: What the batch says of when it was sent; only its difference to the call's own time counts.
        event_id: The id of the event if the call has none; no other call has it.
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
        spelt: The call's names of the touchpoint's fields, where they differ.
    """

    event: dict[str, Any]
    spelt: dict[str, str]


def translate(call: dict[str, Any], verb: object, name: str, source: Source, arrival: Arrival) -> Translated | Reject:
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
        return Reject(
            Reason.MISSING_FIELD if verb is None else Reason.INVALID_FIELD,
            "type",
            f"type is {'missing' if verb is None else 'no call that is known'}: send one of {', '.join(VERBS)}.",
        )
    context = call.get("context")
    known = context if isinstance(context, dict) else {}
    spelt = {"event_id": "messageId", "channel": "context.channel", "consent": "context.consent",
             **{f"context.{ours}": f"context.{theirs}" for theirs, ours in _CONTEXT.items()}}  # fmt: skip
    event_name = call.get("event") if verb == "track" else _NAMES[str(verb)]
    channel = known.get("channel") or source.channel
    if source.kind == "browser" and (beyond := beyond_browser_rights(event_name, channel, source)):
        return beyond
    identifiers = _identifiers(call, known, verb, source, spelt)
    if not identifiers and event_name not in ABOUT_PRODUCTS:
        return Reject(
            Reason.MISSING_FIELD, "userId", "userId and anonymousId are missing: a call says who it is about; send one."
        )
    message_id = call.get("messageId")
    occurred_at, original = _occurred(call, arrival, spelt)
    event: dict[str, Any] = {
        "event_id": arrival.event_id if message_id is None or message_id == "" else message_id,
        "event": event_name,
        "channel": channel,
        "occurred_at": occurred_at,
        "source": name,
        "identifiers": identifiers,
        "campaign": _campaign(known, spelt),
        "context": _context(context, original, arrival),
        "properties": _properties(call, verb, source, spelt),
    }
    if verb == "identify":
        traits = call.get("traits")
        if traits is None:  # RudderStack
            traits, spelt["traits"] = known.get("traits"), "context.traits"
        event["traits"] = traits
    if (consent := _consent(known, source)) is not None:
        event["consent"] = consent
    return Translated({part: value for part, value in event.items() if value is not None}, spelt)


def spelling(field: str, spelt: dict[str, str]) -> str:
    """Give the call's name of a touchpoint's field, as `userId` for `identifiers.0.value`."""
    parts = field.split(".")
    for known in range(len(parts), 0, -1):
        theirs = spelt.get(".".join(parts[:known]))
        if theirs is not None:
            rest = parts[known:] if parts[0] != "identifiers" else []
            return ".".join((theirs, *rest))
    return field


def beyond_browser_rights(event_name: object, channel: object, source: Source) -> Reject | None:
    """Refuse another channel and events about products: anybody can read a browser's write key."""
    if channel != source.channel:
        return Reject(
            Reason.INVALID_FIELD,
            "context.channel",
            f"context.channel is not {source.channel}, for which this write key counts alone: use a server's key.",
        )
    if event_name in ABOUT_PRODUCTS:
        return Reject(
            Reason.INVALID_FIELD, "event", f"event is {event_name}, which a page cannot say: use a server's key."
        )
    return None


def _identifiers(
    call: dict[str, Any], context: dict[str, Any], verb: object, source: Source, spelt: dict[str, str]
) -> list[dict[str, Any]]:
    """Find who the call is about, strongest first; the same value twice is one identifier."""
    identifiers: list[dict[str, Any]] = []
    for kind, value, place in _named(call, context, verb):
        one: dict[str, Any] = {"type": kind, "value": value}
        if kind in source.verified:
            one["verified"] = True
        if value is None or value == "" or not source.joins_by(kind) or one in identifiers:
            continue
        spelt[f"identifiers.{len(identifiers)}"] = place
        identifiers.append(one)
        if len(identifiers) > MAX_IDENTIFIERS:  # it is refused for that; counting on would take long
            spelt["identifiers"] = "context.externalIds"
            break
    return identifiers


def _named(call: dict[str, Any], context: dict[str, Any], verb: object) -> Iterator[tuple[str, Any, str]]:
    """List every place of a call that may name its person: identifier type, value, field."""
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
    if verb == "alias":  # the name until now; never a login, so two customers cannot be made one
        yield "anonymous_id", call.get("previousId"), "previousId"
    outside = context.get("externalIds")
    for number, one in enumerate(outside if isinstance(outside, list) else ()):
        theirs = one.get("type") if isinstance(one, dict) else None
        if isinstance(theirs, str) and _TYPE.fullmatch(theirs):
            yield theirs, one.get("id"), f"context.externalIds.{number}.id"


def _occurred(call: dict[str, Any], arrival: Arrival, spelt: dict[str, str]) -> tuple[object, object]:
    """Correct the client's time by how far its clock is off: received - (sent - said); never after it came in.

    Returns:
        The time, and what the client said if that is another.
    """
    field = "timestamp" if call.get("timestamp") is not None else "originalTimestamp"
    said: Any = call.get(field)
    spelt["occurred_at"] = field
    if said is None:
        return text_of_time(arrival.received), None
    try:
        time = parse_time(said)
    except PydanticCustomError:
        return said, None
    sent_at = call.get("sentAt")
    try:
        off = arrival.received - parse_time(arrival.sent_at if sent_at is None else sent_at)
    except PydanticCustomError:
        off = timedelta()
    corrected = time + off
    if corrected.year < FIRST_YEAR:  # no clock is off by so much: the one of the two that can be
        corrected = time
    corrected = min(corrected, arrival.received)
    return text_of_time(corrected), said if abs(corrected - time) >= timedelta(milliseconds=NOTICEABLE_MS) else None


def _campaign(context: dict[str, Any], spelt: dict[str, str]) -> object:
    """The call's campaign; else what the page's address says of one."""
    campaign, spelt["campaign"] = context.get("campaign"), "context.campaign"
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
    return {ours: query[theirs][0][:_LONGEST_NAME] for theirs, ours in _UTM.items() if theirs in query} or None


def _context(context: object, original: object, arrival: Arrival) -> object:
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
    if original is not None:
        found[ORIGINAL_TIMESTAMP] = original
    return found


def _properties(call: dict[str, Any], verb: object, source: Source, spelt: dict[str, str]) -> object:
    properties = call.get("properties")
    if verb in ("page", "screen") and (properties is None or isinstance(properties, dict)):
        own = properties or {}
        named = [part for part in ("name", "category") if call.get(part) is not None and own.get(part) is None]
        spelt |= {f"properties.{part}": part for part in named}
        properties = {**own, **{part: call[part] for part in named}} or None
    elif verb == "group":
        spelt |= {"properties.group_id": "groupId", "properties.traits": "traits"}
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
