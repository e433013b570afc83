"""Where a deployment sells: its markets, and the time zone of people for whom nothing nearer is known."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from schemas.markets import ONE_MARKET, MarketDefinitions


@dataclass(frozen=True, slots=True)
class Territory:
    """What a person's local time and market follow from, where the person does not state them.

    Attributes:
        zone: Time zone in which dates begin, and of people whose own is not known, in markets without one.
        markets: The table of markets.
    """

    zone: ZoneInfo
    markets: MarketDefinitions

    @classmethod
    def of(cls, timezone: str, markets: MarketDefinitions = ONE_MARKET) -> Territory:
        """Find the time zone by its IANA name.

        Raises:
            ValueError: There is no such time zone.
        """
        try:
            return cls(ZoneInfo(timezone), markets)
        except (KeyError, ValueError, OSError):  # unknown, malformed, or a folder of the time zone database
            raise ValueError(f"{timezone!r} is not a time zone") from None

    @property
    def versioned(self) -> tuple[str, ...]:
        """What versions of definitions contain of it: without a table of markets only the zone."""
        return (self.zone.key, *filter(None, [self.markets.fingerprint]))


ONE_TERRITORY = Territory.of("UTC")
"""What holds where nothing is said: one market, with the days of UTC."""
