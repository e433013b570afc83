"""Writes what people do with our messages as touchpoints: opened, clicked, unsubscribed, preferences stated.

An event's id is made of the message, the act, its second and the program that did it: of a click that a browser sends
twice at once one counts, while a mail filter's click in the same second is another event and does not take its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from processors.delivery.actions import derived_event_id
from schemas.channels import event_prefix
from schemas.delivery.links import MessageLink
from schemas.identity.resolution import HASHED_IDENTIFIER, OWN_SOURCE, hashed_identifier
from schemas.records import Outgoing
from schemas.time import text_of_ms
from schemas.topics import touchpoint_topic

OPENS_MS = 60_000
"""Programs load the image of a message again and again; within a minute it is one opening."""


class Visitor(NamedTuple):
    """Who has asked for an address, as far as the request shows it.

    Attributes:
        method: Of HTTP; a person's browser sends no HEAD.
        user_agent: Of the program; empty: it has none.
        address: Its network address; empty: not known.
        is_program: The request itself says that no person has made it.
    """

    method: str = "GET"
    user_agent: str = ""
    address: str = ""
    is_program: bool = False


def opened(link: MessageLink, visitor: Visitor, now_ms: int) -> Outgoing:
    """Return the event of a message that was opened."""
    minute = str(now_ms // OPENS_MS)
    event_id = derived_event_id("open", link.message_id, minute, *visitor[:3])
    return _record(link, "Opened", event_id, now_ms, {}, visitor)


def clicked(link: MessageLink, visitor: Visitor, now_ms: int) -> Outgoing:
    """Return the event of a link that was followed: a touch of the message's campaign, if a person has done it."""
    event_id = derived_event_id("click", link.message_id, link.target, str(now_ms // 1000), *visitor[:3])
    campaign = {"id": link.campaign_id, "name": link.campaign_name or link.journey}
    return _record(link, "Link Clicked", event_id, now_ms, {"link_url": link.target}, visitor, campaign)


def unsubscribed(link: MessageLink, now_ms: int) -> Outgoing:
    """Return the event of a person who wants nothing more on the message's channel.

    It is a POST, of a button that a person has pressed, here or in their mail program; that the mail provider's server
    sends it for them makes it no program's.
    """
    event_id = derived_event_id("unsubscribe", link.message_id, str(now_ms // 1000))
    return _record(link, "Unsubscribed", event_id, now_ms, {"method": "POST"})


def preferences(link: MessageLink, channels: Mapping[str, bool], topics: Mapping[str, bool], now_ms: int) -> Outgoing:
    """Return the event of a person's answers about channels and topics.

    Args:
        link: The address that they came by.
        channels: The answer for each channel that was asked about.
        topics: The answer for each topic that was asked about.
        now_ms: The time.
    """
    consent: dict[str, Any] = {"channels": dict(channels), "topics": dict(topics)}
    if any(channels.values()):
        consent["marketing"] = True  # a channel that somebody asks for is for marketing
    answers = orjson.dumps(consent, option=orjson.OPT_SORT_KEYS).decode()
    event_id = derived_event_id("preferences", link.message_id, answers, str(now_ms // 1000))
    event = _event(link, "Consent Updated", event_id, now_ms, {"message_id": link.message_id})
    event["consent"] = {name: answer for name, answer in consent.items() if answer != {}}
    return Outgoing(touchpoint_topic(link.channel), link.identifier_hash, orjson.dumps(event))


def _record(
    link: MessageLink, step: str, event_id: str, now_ms: int, properties: dict[str, Any],
    visitor: Visitor | None = None, campaign: Mapping[str, str] | None = None,
) -> Outgoing:  # fmt: skip
    about = {
        "message_id": link.message_id,
        "journey_id": link.journey,
        "template_id": link.template,
        "variant_id": link.variant,
        "campaign_id": link.campaign_id,
        "campaign_name": link.campaign_name,
        **properties,
    }
    event = _event(link, f"{event_prefix(link.channel)} {step}", event_id, now_ms, about)
    if visitor is not None:
        event["properties"] |= {"method": visitor.method, **({"machine": True} if visitor.is_program else {})}
        context = {"ip": visitor.address, "user_agent": visitor.user_agent}
        event["context"] = {name: value for name, value in context.items() if value}
    if campaign and (known := {name: value for name, value in campaign.items() if value}):
        event["campaign"] = known
    return Outgoing(touchpoint_topic(link.channel), link.identifier_hash, orjson.dumps(event))


def _event(link: MessageLink, name: str, event_id: str, now_ms: int, properties: Mapping[str, Any]) -> dict[str, Any]:
    identifier = hashed_identifier(link.identifier_type, link.identifier_hash, link.sent_s)
    return {
        "event_id": event_id,
        "event": name,
        "channel": link.channel,
        "source": OWN_SOURCE,
        "occurred_at": text_of_ms(now_ms),
        "identifiers": [{"type": HASHED_IDENTIFIER, "value": identifier}],
        "properties": {key: value for key, value in properties.items() if value},
    }
