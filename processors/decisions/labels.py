"""The words of a reason: what a marketer calls a channel, and how a list reads."""

from __future__ import annotations

from collections.abc import Iterable

_ONE = {
    "email": "e-mail",
    "sms": "SMS",
    "web_push": "web push message",
    "app_push": "app push message",
    "whatsapp": "WhatsApp message",
    "messenger": "Messenger message",
    "telegram": "Telegram message",
}


def one(channel: str) -> str:
    """Call one message on a channel by its name; without a channel, a message."""
    return _ONE.get(channel) or (f"{channel.replace('_', ' ')} message" if channel else "message")


def many(channel: str) -> str:
    """Call several messages on a channel by their name."""
    return "SMS" if channel == "sms" else one(channel) + "s"


def medium(channel: str) -> str:
    """Call a channel by its name."""
    return one(channel).removesuffix(" message")


def either(names: Iterable[str]) -> str:
    """Join names: `a`, `a or b`, `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
