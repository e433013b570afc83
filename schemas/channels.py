"""The table of the channels that the product knows; every other module reads channels from it.

A deployment may add channels by a setting (`THROUGHLINE_CHANNELS`), without code: their events are touchpoints like all
others, and the message policy may send on them through an adapter of `delivery.yaml`.

Terms: a *touchpoint channel* has a topic `touchpoints.<channel>` for events. A *deliverable channel* has a topic
`deliver.<channel>` for messages that a worker of the operator's own sends. An *addressed channel* is one on which a
message goes to an identifier of the person.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

WEBHOOK_CHANNEL = "webhook"
"""Messages to another system instead of a person: no consent, no address of a person, no receipts."""


MessageKind = Literal["email", "sms", "push", "whatsapp", "messenger", "telegram"]
"""The kinds of messages that message events distinguish; web push and app push are one kind."""


class Channel(NamedTuple):
    """One channel.

    Attributes:
        name: The name in events and settings.
        address_type: The identifier type that its messages are sent to; empty: messages need no address, or there are
            none.
        kind: The message kind; None: there are no known events about its messages.
        event_prefixes: How the names of the events about its messages begin, as in `Email Sent`; receipts have the
            first.
        label: The name of one message in texts for people; empty: the channel's name and "message".
        plural: The name of several messages; empty: the label with an s.
        touchpoints: It is a touchpoint channel.
        deliverable: It is a deliverable channel.
        further_address_types: The identifier types that its messages can be sent to instead, where the person has none
            of `address_type`.
    """

    name: str
    address_type: str = ""
    kind: MessageKind | None = None
    event_prefixes: tuple[str, ...] = ()
    label: str = ""
    plural: str = ""
    touchpoints: bool = True
    deliverable: bool = False
    further_address_types: tuple[str, ...] = ()


def _message(
    name: str, kind: MessageKind, address_type: str, event_prefixes: tuple[str, ...], label: str, plural: str = ""
) -> Channel:
    return Channel(name, address_type, kind, event_prefixes, label, plural, deliverable=True)


_TABLE: tuple[Channel, ...] = (
    Channel("web"),
    Channel("app"),
    _message("email", "email", "email", ("Email",), "e-mail"),
    _message("sms", "sms", "phone", ("SMS",), "SMS", "SMS"),
    _message("web_push", "push", "push_token", ("Push",), "web push message"),
    _message("app_push", "push", "push_token", ("Push",), "app push message"),
    _message("whatsapp", "whatsapp", "whatsapp_id", ("WhatsApp", "WhatsApp Message"), "WhatsApp message")._replace(
        further_address_types=("whatsapp_user_id",)
    ),
    _message("messenger", "messenger", "messenger_id", ("Messenger Message",), "Messenger message"),
    _message("telegram", "telegram", "telegram_id", ("Telegram Message",), "Telegram message"),
    Channel("chat"),
    Channel("call_center"),
    Channel("store"),
    Channel("ads"),
    Channel("social"),
    Channel("affiliate"),
    Channel("direct_mail", deliverable=True),
    Channel("offline_media"),
    Channel("survey"),
    Channel("loyalty"),
    Channel("api"),
    Channel(WEBHOOK_CHANNEL, touchpoints=False, deliverable=True),
)

CHANNELS: dict[str, Channel] = {channel.name: channel for channel in _TABLE}
"""The table, by name."""

TOUCHPOINT_CHANNELS: tuple[str, ...] = tuple(channel.name for channel in _TABLE if channel.touchpoints)
"""Channels that events may name; `THROUGHLINE_CHANNELS` replaces the list."""

DELIVERABLE_CHANNELS: tuple[str, ...] = tuple(channel.name for channel in _TABLE if channel.deliverable)
"""Channels that have a topic `deliver.<channel>`."""

ADDRESS_TYPE_OF: dict[str, str] = {channel.name: channel.address_type for channel in _TABLE if channel.address_type}
"""The identifier type that messages of an addressed channel are sent to."""

ADDRESS_TYPES_OF: dict[str, tuple[str, ...]] = {
    name: (address_type, *CHANNELS[name].further_address_types) for name, address_type in ADDRESS_TYPE_OF.items()
}
"""All identifier types that messages of an addressed channel can be sent to, the preferred one first."""

ADDRESSED_CHANNELS: tuple[str, ...] = tuple(ADDRESS_TYPE_OF)
"""Channels on which a message goes to an identifier of the person."""

ADDRESS_TYPES: tuple[str, ...] = tuple(dict.fromkeys(one for types in ADDRESS_TYPES_OF.values() for one in types))
"""Identifier types that a message can be sent to."""

NO_ADDRESS_TYPES: frozenset[str] = frozenset({"user_id", "crm_id", "loyalty_id", "device_id", "anonymous_id"})
"""Identifier types that say who somebody is, and that no message can be sent to. Any other type beyond the table, such
as `viber_id`, may be the address of a channel of the deployment: the message policy says so."""

CHANNELS_OF_KIND: dict[str, tuple[str, ...]] = {
    kind: tuple(channel.name for channel in _TABLE if channel.kind == kind)
    for kind in dict.fromkeys(channel.kind for channel in _TABLE if channel.kind)
}
"""The channels of each message kind; of several, the last is that of an event that names none of them."""

KIND_OF_PREFIX: dict[str, MessageKind] = {
    prefix: channel.kind for channel in _TABLE if channel.kind for prefix in channel.event_prefixes
}
"""The message kind of each event prefix."""


def message_channel(kind: str, channel: str) -> str:
    """Return the channel of the message that an event is about.

    Args:
        kind: Its message kind, or the name of a channel that has no kind.
        channel: The event's own channel, which may differ: a provider's report may arrive on another channel.
    """
    channels = CHANNELS_OF_KIND.get(kind, (kind,))
    return channel if channel in channels else channels[-1]


def event_prefix(channel: str) -> str:
    """Return the event prefix of a channel's receipts: its first one, else its name, as in `Direct Mail Failed`."""
    known = CHANNELS.get(channel)
    return known.event_prefixes[0] if known and known.event_prefixes else channel.replace("_", " ").title()
