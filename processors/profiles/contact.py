"""The profile sections `addresses`, `consent` and `messages`.

Consent fails closed. A purpose and a topic have the last answer by time of the event; no wins over yes at the same
time. A channel has the last answer too, but a yes that merely rides along on some other event (an app that has not
heard of the unsubscription) never overturns a no: that takes an event which states consent (`STATEMENTS`).
Unsubscribing, and marking a message as spam, is a no to the channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from processors.profiles.joins import Section, bounded_text, first_by_name, most_recent, nested_join
from schemas.channels import ADDRESS_TYPES, ADDRESS_TYPES_OF, CHANNELS, NO_ADDRESS_TYPES, message_channel
from schemas.events.bounces import TRANSIENT_BOUNCES_IN_A_ROW, BounceClass, bounce_class
from schemas.events.messages import Step, message_step, named_step, reached_step
from schemas.profiles.document import ADDRESS_TYPES_KEPT, ADDRESSES_KEPT, PURPOSES_KEPT

STATEMENTS = frozenset({"Consent Updated", "Identify", "Signed Up", "Account Created"})
"""Events that state consent explicitly."""

_KNOWN_TYPES = frozenset(ADDRESS_TYPES)
_OF_MESSAGES_ALONE = frozenset({"bounced", "unsubscribed", "complained"})
_OF_MESSAGES = frozenset({"message_id", "campaign_id", "journey_id", "variant_id", "template_id"})
_ARRIVED = frozenset({"delivered", "opened", "clicked", "replied"})


def addresses(addition: dict[str, Any], identifiers: list[dict[str, Any]], at: int) -> None:
    """Add the addresses in an event's identifiers.

    A type that the product does not know is kept as well: it is an address if the message policy names it, now or
    later.
    """
    for identifier in identifiers:
        kind = identifier["type"]
        if kind not in NO_ADDRESS_TYPES:
            found = addition.setdefault("addresses", {}).setdefault(kind, {})
            found[identifier["value"]] = [at, bool(identifier.get("verified")), 0, False]
            most_recent(found, ADDRESSES_KEPT, _seen)
    if "addresses" in addition:
        first_by_name(addition["addresses"], ADDRESS_TYPES_KEPT, _KNOWN_TYPES)


def join_addresses(mine: Section, other: Section) -> Section:
    """Join addresses by type."""
    return first_by_name(_JOIN_TYPES(mine, other), ADDRESS_TYPES_KEPT, _KNOWN_TYPES)


def _join_values(mine: Section, other: Section) -> Section:
    """Join addresses of one type: verified if either is; the later delivery decides whether an address bounces."""
    for value, theirs in other.items():
        known = mine.get(value)
        mine[value] = (
            theirs if known is None else [max(known[0], theirs[0]), known[1] or theirs[1], *max(known[2:], theirs[2:])]
        )
    return most_recent(mine, ADDRESSES_KEPT, _seen)


_JOIN_TYPES = nested_join(_join_values)


def join_soft_bounces(mine: Section, other: Section) -> Section:
    """Join times of transient bounces of one type of address: as many as make an address one that is given up."""
    for value, theirs in other.items():
        mine[value] = sorted({*mine.get(value, ()), *theirs})[-TRANSIENT_BOUNCES_IN_A_ROW:]
    return most_recent(mine, ADDRESSES_KEPT, _last_time)


def has_bounced(document: dict[str, Any], address_type: str, value: str, address: list[Any]) -> bool:
    """Return whether nothing more should be sent to an address.

    Args:
        document: The profile.
        address_type: Type of the identifier.
        value: The address.
        address: What the section `addresses` has of it.

    Returns:
        The last delivery bounced for good, or too many in a row have bounced since the last one that arrived.
    """
    if address[3]:
        return True
    soft_bounces = document.get("soft_bounces")
    if soft_bounces is None:
        return False
    times = soft_bounces.get(address_type, {}).get(value, ())
    return len(times) >= TRANSIENT_BOUNCES_IN_A_ROW and times[0] > address[2]


def message(addition: dict[str, Any], event: dict[str, Any], properties: dict[str, Any], at: int) -> None:
    """Add the step of a message event, and its effect on the address (bounced) and on consent (unsubscribed)."""
    kind, step = message_step(event["event"], properties)
    if step is None:
        return
    channel = message_channel(kind, event["channel"])
    _add_step(addition, channel, step, ADDRESS_TYPES_OF[channel], properties, at)


def own_message(addition: dict[str, Any], event: dict[str, Any], properties: dict[str, Any], at: int) -> None:
    """Add the step of an event that a channel names by itself, as in `Viber Bounced`; any other event adds nothing.

    It is one if it happened on that channel, or if it names an address of it: `viber_id`. Of a channel of the
    deployment's own those are the types that begin with its name, else all that no known channel has. There it needs
    both, or a property of messages such as `message_id`, unless the step is of messages alone: a payment fails and a
    kiosk is opened, too.
    """
    found = named_step(event["event"])
    if found is None:
        return
    channel, step = found
    known = addition.get("addresses", {})
    if channel in CHANNELS:
        types = [kind for kind in ADDRESS_TYPES_OF.get(channel, ()) if kind in known]
        if CHANNELS[channel].kind is None or not (types or event["channel"] == channel):
            return
    else:
        types = [kind for kind in known if kind == channel or kind.startswith(f"{channel}_")]
        is_there = event["channel"] == channel
        if not types and not is_there:
            return
        reached = reached_step(step, properties) if is_there else step
        if not (types and is_there) and reached not in _OF_MESSAGES_ALONE and _OF_MESSAGES.isdisjoint(properties):
            return
        types = types or [kind for kind in known if kind not in _KNOWN_TYPES]
    reached = reached_step(step, properties)
    if reached is not None:
        _add_step(addition, bounded_text(channel), reached, types, properties, at)


def _add_step(
    addition: dict[str, Any], channel: str, step: Step, types: Iterable[str], properties: dict[str, Any], at: int
) -> None:
    addition["messages"] = {channel: {step: [1, at]}}
    if step in ("unsubscribed", "complained"):
        consents = addition.setdefault("consent", {}).setdefault("channels", {})
        join_channel_consent(consents, {channel: [False, at, True]})
    bounce = bounce_class(properties) if step == "bounced" else None
    for address_type in types:
        named = addition.get("addresses", {}).get(address_type, {})
        if bounce is BounceClass.PERMANENT or step in _ARRIVED:
            for address in named.values():
                address[2:] = [at, bounce is not None]
        elif bounce is BounceClass.TRANSIENT and named:
            addition.setdefault("soft_bounces", {})[address_type] = {value: [at] for value in named}


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
    if topics := answers.get("topics"):
        section["topics"] = first_by_name(
            {bounded_text(name): [answer, at] for name, answer in topics.items()}, PURPOSES_KEPT
        )
    if section:
        addition["consent"] = section


def join_consent(mine: Section, other: Section) -> Section:
    """Join answers by purpose, by channel and by topic."""
    for part, join in (
        ("purposes", _join_purposes), ("channels", join_channel_consent), ("topics", _join_purposes),
    ):  # fmt: skip
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


def _last_time(times: list[int]) -> int:
    return times[-1]


def _seen(address: list[Any]) -> Any:
    return address[0]
