"""Readers of the profile's attributes: events, context, touches, messages, consent, traits, scores.

`readers` has the attributes of a fixed name; a `…_reader` function makes the reader of a family's member.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processors.profiles.contact import has_bounced
from processors.profiles.market import market_of
from processors.segments import reachability
from processors.segments.evaluation import EvaluationContext
from processors.segments.reader import ANY_EVENT, Read, Reader, days_ago, element, or_zero, section
from schemas.channels import ADDRESSED_CHANNELS

CONTEXT = frozenset({"context"})
MESSAGES = frozenset({"messages"})
CONSENT = frozenset({"consent"})
ADDRESSES = frozenset({"addresses"})
REACH = CONSENT | ADDRESSES
TOUCHES = frozenset({"campaign"})
STORES = frozenset({"store", "context"})
LOYALTY = frozenset({"loyalty"})


def with_days(name: str, read: Read, triggers: frozenset[str]) -> dict[str, Reader]:
    """Return the readers of a time and of the whole days since."""
    return {name: Reader(read, triggers), f"{name}.days_ago": days_ago(read, triggers)}


def readers() -> dict[str, Reader]:
    """Return the readers of attributes with a fixed name."""
    first_seen, last_seen = section("first_seen"), section("last_seen")
    found = {
        **with_days("first_seen", first_seen, frozenset({"earliest_event"})),
        **with_days("last_seen", last_seen, ANY_EVENT),
        "event_count": Reader(or_zero(section("event_count"))),
        "is_known": Reader(is_known, ADDRESSES),
        "channels.used": Reader(_names("channels")),
        "channels.count": Reader(lambda context: len(context.document.get("channels", ()))),
        "channels.most_used": Reader(_first("channels", lambda one: one[0])),
        "channels.latest": Reader(_first("channels", lambda one: one[2])),
        "events.names": Reader(_names("events")),
        "traits.names": Reader(_trait_names, frozenset({"traits"})),
        "language": Reader(_language, CONTEXT),
        "market": Reader(lambda context: market_of(context.document, context.territory.markets), CONTEXT | {"traits"}),
        **{name: Reader(element(section("known", name), 0), CONTEXT) for name in _CONTEXT_FIELDS},
        **_stores(),
        **_loyalty(),
        **_messages(),
        **_consent(),
    }
    for which in ("first", "last"):
        touch = f"{which}_touch"
        found |= with_days(f"{touch}.at", section(touch, "at"), TOUCHES)
        found[f"{touch}.channel"] = Reader(section(touch, "channel"), TOUCHES)
        for name, key in _CAMPAIGN_FIELDS.items():
            found[f"{touch}.{name}"] = Reader(section(touch, "campaign", key), TOUCHES)
    return found


_CONTEXT_FIELDS = ("timezone", "locale", "country", "city", "device", "os")
_CAMPAIGN_FIELDS = {
    "source": "source",
    "medium": "medium",
    "campaign": "name",
    "campaign_id": "id",
    "creative": "creative",
}


def channel_reader(rest: str, channel: str) -> Reader:
    """Return the reader of `channels.<channel>.<rest>`."""
    counter = section("channels", channel)
    triggers = frozenset({f"channel:{channel}"})
    return _counter_reader(rest, counter, triggers) if rest != "last_event" else Reader(element(counter, 3), triggers)


def event_reader(rest: str, event: str) -> Reader:
    """Return the reader of `events.<event>.<rest>`."""
    return _counter_reader(rest, section("events", event), frozenset({f"event:{event}"}))


def message_reader(rest: str, channel: str) -> Reader:
    """Return the reader of `messages.<channel>.<rest>`."""
    triggers = frozenset({f"messages:{channel}"})
    if rest in ("last_sent", "last_sent.days_ago"):
        return with_days("last_sent", _last(("sent", "delivered"), (channel,)), triggers)[rest]
    if rest in ("last_engaged", "last_engaged.days_ago"):
        return with_days("last_engaged", last_engaged(channel), triggers)[rest]
    return Reader(or_zero(element(section("messages", channel, rest), 0)), triggers)


def address_reader(rest: str, kind: str) -> Reader:
    """Return the reader of `addresses.<kind>` (`rest` is the type), or of `addresses.<kind>.<rest>`."""
    found = section("addresses", kind)
    triggers = ADDRESSES
    if rest == "verified":
        return Reader(lambda context: any(one[1] for one in (found(context) or {}).values()), triggers)
    if rest == "bounced":
        return Reader(
            lambda context: (
                all(has_bounced(context.document, kind, value, one) for value, one in known.items())
                if (known := found(context))
                else None
            ),
            triggers,
        )
    return Reader(lambda context: len(found(context) or ()), triggers)


def trait_reader(name: str) -> Reader:
    """Return the reader of `traits.<name>`; a name that is no trait is a path into one."""
    head, _, tail = name.partition(".")
    parts = tail.split(".") if tail else []

    def read(context: EvaluationContext) -> Any:
        traits = context.document.get("traits")
        if traits is None:
            return None
        if (whole := traits.get(name)) is not None:
            return whole[0]
        if not parts or (outer := traits.get(head)) is None:
            return None
        value = outer[0]
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    return Reader(read, frozenset({"traits"}))


def consent_reader(part: str, name: str) -> Reader:
    """Return the reader of `consent.<part>.<name>`, the answer about a purpose or a channel."""
    return Reader(element(section("consent", part, name), 0), CONSENT)


def reach_reader(channel: str) -> Reader:
    """Return the reader of `reach.<channel>`."""
    return Reader(lambda context: reachability.can_reach(context.document, channel, context.address_types), REACH)


def score_reader(name: str) -> Reader:
    """Return the reader of `scores.<name>`, a prediction that was written back to the person's state."""

    def read(context: EvaluationContext) -> Any:
        found = context.state.get("scores", {}).get(name)
        return None if found is None else found[0]

    return Reader(read, frozenset())  # no trigger: `scores.set_scores` makes all segments due


def last_engaged(channel: str, *, opens: bool = False) -> Read:
    """Read when a person last engaged on a channel: clicked or answered a message, on other channels any event."""
    if channel in ADDRESSED_CHANNELS:
        return _last(("clicked", "replied", "opened") if opens else ("clicked", "replied"), (channel,))
    return element(section("channels", channel), 2)


def last_engaged_on(channels: tuple[str, ...], *, opens: bool = False) -> Read:
    """Read when a person last engaged on any of some channels, as `last_engaged`."""
    if len(channels) == 1:
        return last_engaged(channels[0], opens=opens)
    sent = tuple(name for name in channels if name in ADDRESSED_CHANNELS)
    own = [name for name in channels if name not in ADDRESSED_CHANNELS]
    answered = _last(("clicked", "replied", "opened") if opens else ("clicked", "replied"), sent)

    def read(context: EvaluationContext) -> int | None:
        latest: int | None = answered(context) if sent else None
        met = context.document.get("channels", {})
        for name in own:
            if name in met and (latest is None or met[name][2] > latest):
                latest = met[name][2]
        return latest

    return read


def is_known(context: EvaluationContext) -> bool:
    """Return whether there is an address to write to or call."""
    return reachability.is_known(context.document, context.address_types)


def _counter_reader(rest: str, counter: Read, triggers: frozenset[str]) -> Reader:
    if rest in ("count", "events"):
        return Reader(or_zero(element(counter, 0)), triggers)
    name = rest.removesuffix(".days_ago")
    time = element(counter, 1 if name == "first" else 2)
    return with_days(name, time, triggers)[rest]


def _names(part: str) -> Read:
    return lambda context: sorted(found) if (found := context.document.get(part)) else None


def _first(part: str, weight: Callable[[list[Any]], int]) -> Read:
    """Read the name with the greatest weight; of equal ones the first in the alphabet."""

    def read(context: EvaluationContext) -> str | None:
        found = context.document.get(part)
        return min(found, key=lambda name: (-weight(found[name]), name)) if found else None

    return read


def _trait_names(context: EvaluationContext) -> list[str] | None:
    return sorted(name for name, one in context.document.get("traits", {}).items() if one[0] is not None) or None


def _language(context: EvaluationContext) -> str | None:
    known = context.document.get("known", {}).get("locale")
    return known[0].replace("_", "-").split("-")[0].lower() if known else None


def _stores() -> dict[str, Reader]:
    stores = section("stores")
    last = "stores.last_visited"
    return {
        "stores.visited": Reader(_names("stores"), STORES),
        "stores.count": Reader(lambda context: len(stores(context) or ()), STORES),
        "stores.latest": Reader(
            lambda context: min(found, key=lambda name: (-found[name], name)) if (found := stores(context)) else None,
            STORES,
        ),
        **with_days(last, lambda context: max(found.values()) if (found := stores(context)) else None, STORES),
    }


def _loyalty() -> dict[str, Reader]:
    earned, redeemed = or_zero(section("loyalty", "earned")), or_zero(section("loyalty", "redeemed"))
    reported = element(section("loyalty", "reported"), 0)

    def difference(context: EvaluationContext) -> int:
        stated = reported(context)
        return int(earned(context) - redeemed(context) if stated is None else stated)

    return {
        "loyalty.balance": Reader(lambda context: max(0, difference(context)), LOYALTY),
        "loyalty.overdrawn": Reader(lambda context: max(0, -difference(context)), LOYALTY),
        "loyalty.earned": Reader(earned, LOYALTY),
        "loyalty.redeemed": Reader(redeemed, LOYALTY),
        "loyalty.is_member": Reader(lambda context: "loyalty" in context.document, LOYALTY),
    }


def _messages() -> dict[str, Reader]:
    steps = ("sent", "delivered", "opened", "clicked", "replied", "bounced", "unsubscribed", "complained")
    return {
        **{f"messages.{step}": Reader(_on_all_channels(step), MESSAGES) for step in steps},
        **with_days("messages.last_sent", _last(("sent", "delivered"), None), MESSAGES),
        **with_days("messages.last_engaged", _last(("clicked", "replied"), None), MESSAGES),
    }


def _on_all_channels(step: str) -> Read:
    return lambda context: sum(
        tally[step][0] for tally in context.document.get("messages", {}).values() if step in tally
    )


def _last(steps: tuple[str, ...], channels: tuple[str, ...] | None) -> Read:
    """Read the last time that a message reached any of some steps, on some channels or (None) on any."""

    def read(context: EvaluationContext) -> int | None:
        latest: int | None = None
        for name, tally in context.document.get("messages", {}).items():
            if channels is None or name in channels:
                for step in steps:
                    if step in tally and (latest is None or tally[step][1] > latest):
                        latest = tally[step][1]
        return latest

    return read


def _reachable(context: EvaluationContext) -> list[str]:
    return reachability.reachable(context.document, context.address_types)


def _consent() -> dict[str, Reader]:
    def answered(context: EvaluationContext, answer: bool) -> list[str] | None:
        channels = context.document.get("consent", {}).get("channels", {})
        return sorted(name for name, one in channels.items() if one[0] is answer) or None

    return {
        "consent.marketing": consent_reader("purposes", "marketing"),
        "consent.analytics": consent_reader("purposes", "analytics"),
        "consent.granted_channels": Reader(lambda context: answered(context, True), CONSENT),
        "consent.refused_channels": Reader(lambda context: answered(context, False), CONSENT),
        "reach.channels": Reader(lambda context: _reachable(context) or None, REACH),
        "reach.count": Reader(lambda context: len(_reachable(context)), REACH),
    }
