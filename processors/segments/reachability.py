"""Whether a person can be reached on a channel: with consent, at an address that works. It fails closed."""

from __future__ import annotations

from typing import Any

from schemas.segments.attributes import ADDRESS_OF, MESSAGE_CHANNELS


def consents(document: dict[str, Any], channel: str) -> bool:
    """Tell whether marketing may go to the person on a channel.

    It needs a yes to marketing and a yes to the channel; no answer is a no. (A message policy may read the silence of
    some countries otherwise; a segment does not.)
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
    """The addresses of a channel to which the last delivery did not fail: verified first, then the last seen."""
    kind = ADDRESS_OF.get(channel, "")
    found = document.get("addresses", {}).get(kind, {})
    working = [value for value, address in found.items() if not address[3]]
    return sorted(working, key=lambda value: (not found[value][1], -found[value][0], value))


def can_reach(document: dict[str, Any], channel: str) -> bool:
    """Tell whether there is consent and an address that works."""
    return consents(document, channel) and any(
        not address[3] for address in document.get("addresses", {}).get(ADDRESS_OF.get(channel, ""), {}).values()
    )


def reachable(document: dict[str, Any]) -> list[str]:
    """All channels on which the person can be reached."""
    return [channel for channel in MESSAGE_CHANNELS if can_reach(document, channel)]
