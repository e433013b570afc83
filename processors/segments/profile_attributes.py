"""How each attribute of the profile is read: the past, what is known, messages, consent and what is open-ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processors.segments import reachability as reach
from processors.segments.evaluation import Moment
from processors.segments.reader import EVERYTHING, Read, Reader, counted, days_ago, item, section
from schemas.segments.attributes import MESSAGE_CHANNELS

KNOWN = frozenset({"context"})
MESSAGES = frozenset({"messages"})
CONSENT = frozenset({"consent"})
ADDRESSES = frozenset({"addresses"})
REACH = CONSENT | ADDRESSES
TOUCHES = frozenset({"campaign"})
STORES = frozenset({"store", "context"})
LOYALTY = frozenset({"loyalty"})


def with_days(name: str, read: Read, needs: frozenset[str]) -> dict[str, Reader]:
    """A time, and the whole days since then."""
    return {name: Reader(read, needs), f"{name}.days_ago": days_ago(read, needs)}


def listed() -> dict[str, Reader]:
    """The readers of attributes with one name."""
    first_seen, last_seen = section("first_seen"), section("last_seen")
    found = {
        **with_days("first_seen", first_seen, frozenset({"first"})),
        **with_days("last_seen", last_seen, EVERYTHING),
        "event_count": Reader(counted(section("event_count"))),
        "is_known": Reader(is_known, ADDRESSES),
        "channels.used": Reader(_names("channels")),
        "channels.count": Reader(lambda moment: len(moment.document.get("channels", ()))),
        "channels.most_used": Reader(_first("channels", lambda one: one[0])),
        "channels.latest": Reader(_first("channels", lambda one: one[2])),
        "events.names": Reader(_names("events")),
        "traits.names": Reader(_trait_names, frozenset({"traits"})),
        "language": Reader(_language, KNOWN),
        **{name: Reader(item(section("known", name), 0), KNOWN) for name in _KNOWN},
        **_stores(),
        **_loyalty(),
        **_messages(),
        **_consent(),
    }
    for which in ("first", "last"):
        touch = f"{which}_touch"
        found |= with_days(f"{touch}.at", section(touch, "at"), TOUCHES)
        found[f"{touch}.channel"] = Reader(section(touch, "channel"), TOUCHES)
        for name, key in _CAMPAIGN.items():
            found[f"{touch}.{name}"] = Reader(section(touch, "campaign", key), TOUCHES)
    return found


_KNOWN = ("timezone", "locale", "country", "city", "device", "os")
_CAMPAIGN = {"source": "source", "medium": "medium", "campaign": "name", "campaign_id": "id", "creative": "creative"}


def of_channel(rest: str, channel: str) -> Reader:
    """The reader of `channels.<channel>.<rest>`."""
    counter = section("channels", channel)
    needs = frozenset({f"channel:{channel}"})
    return _of_counter(rest, counter, needs) if rest != "last_event" else Reader(item(counter, 3), needs)


def of_event(rest: str, event: str) -> Reader:
    """The reader of `events.<event>.<rest>`."""
    return _of_counter(rest, section("events", event), frozenset({f"event:{event}"}))


def of_messages(rest: str, channel: str) -> Reader:
    """The reader of `messages.<channel>.<rest>`."""
    needs = frozenset({f"messages:{channel}"})
    if rest in ("last_sent", "last_sent.days_ago"):
        return with_days("last_sent", _last(("sent", "delivered"), (channel,)), needs)[rest]
    if rest in ("last_engaged", "last_engaged.days_ago"):
        return with_days("last_engaged", last_engaged(channel), needs)[rest]
    return Reader(counted(item(section("messages", channel, rest), 0)), needs)


def of_addresses(rest: str, kind: str) -> Reader:
    """The reader of `addresses.<kind>` and what follows it."""
    found = section("addresses", kind)
    needs = ADDRESSES
    if rest == "verified":
        return Reader(lambda moment: any(one[1] for one in (found(moment) or {}).values()), needs)
    if rest == "bounced":
        return Reader(lambda moment: all(one[3] for one in known.values()) if (known := found(moment)) else None, needs)
    return Reader(lambda moment: len(found(moment) or ()), needs)


def of_trait(name: str) -> Reader:
    """The reader of `traits.<name>`; a name that is no trait is a path into one."""
    head, _, tail = name.partition(".")
    parts = tail.split(".") if tail else []

    def read(moment: Moment) -> Any:
        traits = moment.document.get("traits")
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


def of_consent(part: str, name: str) -> Reader:
    """The reader of an answer about a purpose or a channel."""
    return Reader(item(section("consent", part, name), 0), CONSENT)


def of_reach(channel: str) -> Reader:
    """The reader of `reach.<channel>`."""
    return Reader(lambda moment: reach.can_reach(moment.document, channel), REACH)


def of_score(name: str) -> Reader:
    """The reader of a prediction that was written back to the person's state."""

    def read(moment: Moment) -> Any:
        found = moment.state.get("scores", {}).get(name)
        return None if found is None else found[0]

    return Reader(read, frozenset())  # no event: whoever writes it back has everything asked again


def last_engaged(channel: str, *, opens: bool = False) -> Read:
    """When a person last engaged on a channel: of messages a click or an answer, elsewhere any event."""
    if channel in MESSAGE_CHANNELS:
        return _last(("clicked", "replied", "opened") if opens else ("clicked", "replied"), (channel,))
    return item(section("channels", channel), 2)


def last_of_channels(channels: tuple[str, ...], *, opens: bool = False) -> Read:
    """When a person last engaged on one of some channels, as `last_engaged`."""
    if len(channels) == 1:
        return last_engaged(channels[0], opens=opens)
    sent = tuple(name for name in channels if name in MESSAGE_CHANNELS)
    own = [name for name in channels if name not in MESSAGE_CHANNELS]
    answered = _last(("clicked", "replied", "opened") if opens else ("clicked", "replied"), sent)

    def read(moment: Moment) -> int | None:
        latest: int | None = answered(moment) if sent else None
        met = moment.document.get("channels", {})
        for name in own:
            if name in met and (latest is None or met[name][2] > latest):
                latest = met[name][2]
        return latest

    return read


def is_known(moment: Moment) -> bool:
    """There is an address to write to or call."""
    return any(moment.document.get("addresses", {}).values())


def _of_counter(rest: str, counter: Read, needs: frozenset[str]) -> Reader:
    if rest in ("count", "events"):
        return Reader(counted(item(counter, 0)), needs)
    name = rest.removesuffix(".days_ago")
    time = item(counter, 1 if name == "first" else 2)
    return with_days(name, time, needs)[rest]


def _names(part: str) -> Read:
    return lambda moment: sorted(found) if (found := moment.document.get(part)) else None


def _first(part: str, weight: Callable[[list[Any]], int]) -> Read:
    """The name with the greatest weight; of equals the first in the alphabet."""

    def read(moment: Moment) -> str | None:
        found = moment.document.get(part)
        return min(found, key=lambda name: (-weight(found[name]), name)) if found else None

    return read


def _trait_names(moment: Moment) -> list[str] | None:
    return sorted(name for name, one in moment.document.get("traits", {}).items() if one[0] is not None) or None


def _language(moment: Moment) -> str | None:
    known = moment.document.get("known", {}).get("locale")
    return known[0].replace("_", "-").split("-")[0].lower() if known else None


def _stores() -> dict[str, Reader]:
    stores = section("stores")
    last = "stores.last_visited"
    return {
        "stores.visited": Reader(_names("stores"), STORES),
        "stores.count": Reader(lambda moment: len(stores(moment) or ()), STORES),
        "stores.latest": Reader(
            lambda moment: min(found, key=lambda name: (-found[name], name)) if (found := stores(moment)) else None,
            STORES,
        ),
        **with_days(last, lambda moment: max(found.values()) if (found := stores(moment)) else None, STORES),
    }


def _loyalty() -> dict[str, Reader]:
    earned, redeemed = counted(section("loyalty", "earned")), counted(section("loyalty", "redeemed"))
    reported = item(section("loyalty", "reported"), 0)

    def balance(moment: Moment) -> int:
        said = reported(moment)
        return int(earned(moment) - redeemed(moment) if said is None else said)

    return {
        "loyalty.balance": Reader(balance, LOYALTY),
        "loyalty.earned": Reader(earned, LOYALTY),
        "loyalty.redeemed": Reader(redeemed, LOYALTY),
        "loyalty.is_member": Reader(lambda moment: "loyalty" in moment.document, LOYALTY),
    }


def _messages() -> dict[str, Reader]:
    steps = ("sent", "delivered", "opened", "clicked", "replied", "bounced", "unsubscribed", "complained")
    return {
        **{f"messages.{step}": Reader(_in_all(step), MESSAGES) for step in steps},
        **with_days("messages.last_sent", _last(("sent", "delivered"), None), MESSAGES),
        **with_days("messages.last_engaged", _last(("clicked", "replied"), None), MESSAGES),
    }


def _in_all(step: str) -> Read:
    return lambda moment: sum(tally[step][0] for tally in moment.document.get("messages", {}).values() if step in tally)


def _last(steps: tuple[str, ...], channels: tuple[str, ...] | None) -> Read:
    """The last time that a message reached one of some steps, on some channels or (None) on any."""

    def read(moment: Moment) -> int | None:
        latest: int | None = None
        for name, tally in moment.document.get("messages", {}).items():
            if channels is None or name in channels:
                for step in steps:
                    if step in tally and (latest is None or tally[step][1] > latest):
                        latest = tally[step][1]
        return latest

    return read


def _consent() -> dict[str, Reader]:
    def answered(moment: Moment, answer: bool) -> list[str] | None:
        channels = moment.document.get("consent", {}).get("channels", {})
        return sorted(name for name, one in channels.items() if one[0] is answer) or None

    return {
        "consent.marketing": of_consent("purposes", "marketing"),
        "consent.analytics": of_consent("purposes", "analytics"),
        "consent.granted_channels": Reader(lambda moment: answered(moment, True), CONSENT),
        "consent.refused_channels": Reader(lambda moment: answered(moment, False), CONSENT),
        "reach.channels": Reader(lambda moment: reach.reachable(moment.document) or None, REACH),
        "reach.count": Reader(lambda moment: len(reach.reachable(moment.document)), REACH),
    }
