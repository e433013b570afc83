"""Labels of channels and messages in the reasons of decisions."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.channels import CHANNELS


def message_label(channel: str) -> str:
    """Return the label of one message on a channel; without a channel, `message`."""
    if channel in CHANNELS and (label := CHANNELS[channel].label):
        return label
    return f"{channel.replace('_', ' ')} message" if channel else "message"


def messages_label(channel: str) -> str:
    """Return the label of several messages on a channel."""
    return (CHANNELS[channel].plural if channel in CHANNELS else "") or f"{message_label(channel)}s"


def channel_label(channel: str) -> str:
    """Return the label of a channel."""
    return message_label(channel).removesuffix(" message")


def alternatives(names: Iterable[str]) -> str:
    """Join names: `a`, `a or b`, `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
