"""The time zone of a person: one answer for segments, journeys and decisions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo | None:
    """Find a time zone by its IANA name; None when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, malformed, or a folder of the time zone database
        return None


def zone_of(document: dict[str, Any], fallback: ZoneInfo) -> ZoneInfo:
    """Return the person's time zone: the stated one, else the last one of a device, else `fallback`."""
    for section in ("traits", "known"):
        stated = document.get(section, {}).get("timezone")
        if stated and isinstance(stated[0], str) and (zone := zone_named(stated[0])):
            return zone
    return fallback
