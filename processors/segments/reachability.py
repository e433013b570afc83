"""Reachability: whether there is consent and a working address on a channel. Without an answer there is no consent.

The identifier types of each channel are those of `schemas/channels.py`, and of the message policy for further channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from processors.profiles.contact import has_bounced
from schemas.channels import ADDRESS_TYPES_OF

AddressTypes = Mapping[str, tuple[str, ...]]
"""The identifier types that messages of each channel are sent to, the preferred one first."""


def consents(document: dict[str, Any], channel: str) -> bool:
    """Return whether the person has consented to marketing on a channel.

    That needs a yes to marketing and a yes to the channel. No answer is a no. (A message policy may treat a missing
    answer differently by country; segments do not.)
    """
    consent = document.get("consent")
    if consent is None:
        return False
    answer = consent.get("channels", {}).get(channel)
    if answer is None or not answer[0]:
        return False
    marketing = consent.get("purposes", {}).get("marketing")
    return marketing is not None and bool(marketing[0])


def addresses(document: dict[str, Any], channel: str, types: AddressTypes = ADDRESS_TYPES_OF) -> list[str]:
    """Return the addresses of a channel that do not bounce: verified ones first, then those seen last.

    Addresses of the channel's further types come after those of its own.
    """
    return [
        value
        for kind in types.get(channel, ())
        for value, _ in sorted(_working(document, kind), key=lambda one: (not one[1][1], -one[1][0], one[0]))
    ]


def can_reach(document: dict[str, Any], channel: str, types: AddressTypes = ADDRESS_TYPES_OF) -> bool:
    """Return whether there is consent and an address that does not bounce."""
    return consents(document, channel) and any(_working(document, kind) for kind in types.get(channel, ()))


def _working(document: dict[str, Any], kind: str) -> list[tuple[str, list[Any]]]:
    found = document.get("addresses", {}).get(kind, {})
    return [(value, address) for value, address in found.items() if not has_bounced(document, kind, value, address)]


def reachable(document: dict[str, Any], types: AddressTypes = ADDRESS_TYPES_OF) -> list[str]:
    """Return all channels on which the person can be reached."""
    return [channel for channel in types if can_reach(document, channel, types)]


def is_known(document: dict[str, Any], types: AddressTypes = ADDRESS_TYPES_OF) -> bool:
    """Return whether there is an address to write to or call."""
    found = document.get("addresses", {})
    return any(found.get(kind) for kinds in types.values() for kind in kinds)
