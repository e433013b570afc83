"""The time zone of a person: one answer for segments, journeys and decisions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from processors.profiles.market import market_of
from schemas.markets import ONE_MARKET, MarketDefinitions


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """Find a time zone by its IANA name; None when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, malformed, or a folder of the time zone database
        return None


def zone_of(document: dict[str, Any], fallback: ZoneInfo, markets: MarketDefinitions = ONE_MARKET) -> ZoneInfo:
    """Return the person's time zone: the stated one, else the last one of a device, else that of their market.

    Args:
        document: The profile.
        fallback: Of a market that states none.
        markets: The table of markets.
    """
    for section in ("traits", "known"):
        stated = document.get(section, {}).get("timezone")
        if stated and isinstance(stated[0], str) and (zone := zone_named(stated[0])):
            return zone
    return markets.zones.get(market_of(document, markets), fallback) if markets.zones else fallback
