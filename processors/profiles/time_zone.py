"""The time zone of a person: one answer for segments, journeys and decisions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from processors.profiles.market import market_of
from schemas.territory import Territory


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """Find a time zone by its IANA name; None when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, malformed, or a folder of the time zone database
        return None


def zone_of(document: dict[str, Any], territory: Territory) -> ZoneInfo:
    """Return the person's time zone: the stated one, else the last one of a device, else that of their market.

    Args:
        document: The profile.
        territory: The markets, and the time zone of a market that states none.
    """
    for section in ("traits", "known"):
        stated = document.get(section, {}).get("timezone")
        if stated and isinstance(stated[0], str) and (zone := zone_named(stated[0])):
            return zone
    zones = territory.markets.zones
    return zones.get(market_of(document, territory.markets), territory.zone) if zones else territory.zone
