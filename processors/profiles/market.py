"""The country and the market of a person: one rule for segments, prices, quiet hours, and the view `v_person_markets`.

The country is the one that the person declared (`traits.address`, `traits.country`), else the one last seen; the market
is that of the country, else the default market (`schemas/markets.py`). A test compares it with the view.

A producer names a market in its own words: the name of a market of the table in any letter case, or a country. A
country is narrower than its market: a price of Austria is none of a German, though both are in one market.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from processors.identity.countries import region_of
from schemas.markets import MarketDefinitions

_COUNTRY_NAMES = ("country_code", "countryCode", "country")


class Place(NamedTuple):
    """What the name of a market means.

    Attributes:
        country: ISO 3166; empty: it is no country, or that of a person who has none.
        market: The market of the table; empty: the name is neither a market nor a country.
    """

    country: str = ""
    market: str = ""


def country_of(document: Mapping[str, Any]) -> str:
    """Return the country of a person, ISO 3166; a name that cannot be read is as it came; empty: none is known.

    Args:
        document: The profile.
    """
    return _read(_declared(document.get("traits") or {})) or _read(_value(document.get("known") or {}, "country"))


def market_of(document: Mapping[str, Any], markets: MarketDefinitions) -> str:
    """Return the market of a person; of one without a country, or with one in no market, the default market."""
    return markets.market_of(country_of(document))


def place_named(name: str, markets: MarketDefinitions) -> Place:
    """Return what a producer means by the name of a market."""
    market = name.strip().lower()
    if market in markets.markets:
        return Place("", market)
    country = region_of(name)
    return Place(country, markets.market_of(country)) if country else Place()


def is_market_of(name: str, document: Mapping[str, Any], markets: MarketDefinitions, said: str = "") -> bool | None:
    """Return whether a market is that of a person; None: it cannot be known.

    Args:
        name: The market, as a producer names it.
        document: The person's profile.
        markets: The table of markets.
        said: The market that an event of the person names, which counts before their country; empty: none.
    """
    named = place_named(name, markets)
    if said:
        theirs = place_named(said, markets)
        if not named.market or not theirs.market:
            return name.strip().casefold() == said.strip().casefold()
    elif not named.market or not (country := country_of(document)):
        return None
    else:
        theirs = Place(country, markets.market_of(country))
    if named.country and theirs.country:
        return named.country == theirs.country
    return named.market == theirs.market


def nearness(name: str, document: Mapping[str, Any], markets: MarketDefinitions, said: str = "") -> int:
    """Return how near a market is to a person: 3 their country, 2 their market, 1 no market, which is all; else 0.

    The arguments are those of `is_market_of`; an empty `name` is no market.
    """
    if not name:
        return 1
    if not is_market_of(name, document, markets, said):
        return 0
    return 3 if place_named(name, markets).country else 2


def _declared(traits: Mapping[str, Any]) -> str:
    address = (traits.get("address") or ("",))[0]
    if isinstance(address, dict):
        for name in _COUNTRY_NAMES:
            country = address.get(name)
            if isinstance(country, str) and country:
                return country
    return _value(traits, "country")


def _value(section: Mapping[str, Any], name: str) -> str:
    value = (section.get(name) or ("",))[0]
    return value if isinstance(value, str) else ""


def _read(country: str) -> str:
    return region_of(country) or country if country.strip() else ""
