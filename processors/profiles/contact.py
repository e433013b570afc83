"""The profile sections `addresses`, `consent` and `messages`.

Consent fails closed. A purpose has the last answer by time of the event; no wins over yes at the same time. A channel
has the last answer too, but a yes that merely rides along on some other event (an app that has not heard of the
unsubscription) never overturns a no: that takes an event which states consent (`STATEMENTS`). Unsubscribing, and
marking a message as spam, is a no to the channel.
"""

from __future__ import annotations

from typing import Any

from processors.profiles.joins import Section, bounded_text, first_by_name, most_recent
from schemas.channels import ADDRESS_TYPE_OF, ADDRESS_TYPES, message_channel
from schemas.events.messages import STEPS
from schemas.profiles.document import ADDRESSES_KEPT, PURPOSES_KEPT

STATEMENTS = frozenset({"Consent Updated", "Identify", "Signed Up", "Account Created"})
"""Events that state consent explicitly."""

_ADDRESS_TYPES = frozenset(ADDRESS_TYPES)
_ARRIVED = frozenset({"delivered", "opened", "clicked", "replied"})
_SOFT = frozenset({"soft", "transient", "temporary", "blocked", "undetermined"})


def addresses(addition: dict[str, Any], identifiers: list[dict[str, Any]], at: int) -> None:
    """Add the addresses in an event's identifiers."""
    for identifier in identifiers:
        kind = identifier["type"]
        if kind in _ADDRESS_TYPES:
            found = addition.setdefault("addresses", {}).setdefault(kind, {})
            found[identifier["value"]] = [at, bool(identifier.get("verified")), 0, False]
            most_recent(found, ADDRESSES_KEPT, _seen)


def join_addresses(mine: Section, other: Section) -> Section:
    """Join addresses of one type: verified if either is; the later delivery decides whether an address bounces."""
    for value, theirs in other.items():
        known = mine.get(value)
        mine[value] = (
            theirs if known is None else [max(known[0], theirs[0]), known[1] or theirs[1], *max(known[2:], theirs[2:])]
        )
    return most_recent(mine, ADDRESSES_KEPT, _seen)


def message(addition: dict[str, Any], event: dict[str, Any], properties: dict[str, Any], at: int) -> None:
    """Add the step of a message event, and its effect on the address (bounced) and on consent (unsubscribed)."""
    kind, step = STEPS[event["event"]]
    channel = message_channel(kind, event["channel"])
    addition["messages"] = {channel: {step: [1, at]}}
    if step in ("unsubscribed", "complained"):
        consents = addition.setdefault("consent", {}).setdefault("channels", {})
        join_channel_consent(consents, {channel: [False, at, True]})
    bounced = step == "bounced" and bounded_text(properties.get("bounce_type")).lower() not in _SOFT
    if bounced or step in _ARRIVED:
        for address in addition.get("addresses", {}).get(ADDRESS_TYPE_OF[channel], {}).values():
            address[2:] = [at, bounced]


def consent(addition: dict[str, Any], event: dict[str, Any], at: int) -> None:
    """Add the consent answers of an event."""
    answers = event["consent"]
    section: dict[str, Any] = {}
    purposes = {name: [answer, at] for name, answer in answers.items() if isinstance(answer, bool)}
    if purposes:
        section["purposes"] = first_by_name(purposes, PURPOSES_KEPT)
    if channels := answers.get("channels"):
        stated = event["event"] in STATEMENTS
        section["channels"] = first_by_name(
            {bounded_text(name): [answer, at, stated or not answer] for name, answer in channels.items()}, PURPOSES_KEPT
        )
    if section:
        addition["consent"] = section


def join_consent(mine: Section, other: Section) -> Section:
    """Join answers by purpose and by channel."""
    for part, join in (("purposes", _join_purposes), ("channels", join_channel_consent)):
        if part in other:
            mine[part] = first_by_name(join(mine.get(part, {}), other[part]), PURPOSES_KEPT)
    return mine


def join_channel_consent(mine: Section, other: Section) -> Section:
    """Join answers by channel: an explicit one, then the last one, then the stricter one."""
    for name, theirs in other.items():
        known = mine.get(name)
        if known is None or (theirs[2], theirs[1], not theirs[0]) > (known[2], known[1], not known[0]):
            mine[name] = theirs
    return mine


def _join_purposes(mine: Section, other: Section) -> Section:
    for name, theirs in other.items():
        known = mine.get(name)
        if known is None or (theirs[1], not theirs[0]) > (known[1], not known[0]):
            mine[name] = theirs
    return mine


def _seen(address: list[Any]) -> Any:
    return address[0]
