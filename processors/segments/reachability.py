"""Reachability: whether there is consent and a working address on a channel. Without an answer there is no consent."""

from __future__ import annotations

from typing import Any

from processors.profiles.contact import has_bounced
from schemas.channels import ADDRESS_TYPE_OF, ADDRESSED_CHANNELS


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


def addresses(document: dict[str, Any], channel: str) -> list[str]:
    """Return the addresses of a channel that do not bounce: verified ones first, then those seen last."""
    kind = ADDRESS_TYPE_OF.get(channel, "")
    found = document.get("addresses", {}).get(kind, {})
    working = [value for value, address in found.items() if not has_bounced(document, kind, value, address)]
    return sorted(working, key=lambda value: (not found[value][1], -found[value][0], value))


def can_reach(document: dict[str, Any], channel: str) -> bool:
    """Return whether there is consent and an address that does not bounce."""
    kind = ADDRESS_TYPE_OF.get(channel, "")
    return consents(document, channel) and any(
        not has_bounced(document, kind, value, address)
        for value, address in document.get("addresses", {}).get(kind, {}).items()
    )


def reachable(document: dict[str, Any]) -> list[str]:
    """Return all channels on which the person can be reached."""
    return [channel for channel in ADDRESSED_CHANNELS if can_reach(document, channel)]
