"""Where an event belongs: its country, its store and its language, as `touchpoints` has them in SQL.

The order of precedence is that of `schemas/markets.py`. The store's country is looked up when it is read, so that a
change of the table of markets restates history; the rest is here, and in the columns `order_country`, `country`,
`store_id` and `language` of `touchpoints`. `tests/integration/reporting/test_markets.py` compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from processors.identity.countries import region_of
from schemas.markets import MarketDefinitions

_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_]|$)")
_ADDRESSES = ("shipping_address", "billing_address")
_COUNTRY_NAMES = ("country_code", "countryCode", "country")
_NOTHING: Mapping[str, Any] = {}


class Geography(NamedTuple):
    """Where an event belongs; each is empty if it is not known.

    Attributes:
        country: ISO 3166; a name that cannot be read is as it came.
        store_id: The store that it names.
        language: Language of its locale, ISO 639 in small letters.
    """

    country: str = ""
    store_id: str = ""
    language: str = ""


def geography(event: Mapping[str, Any], markets: MarketDefinitions | None = None) -> Geography:
    """Return where a resolved event belongs.

    Args:
        event: In its canonical form.
        markets: The table whose stores name a country; None: the country is the event's own.
    """
    properties, context = event.get("properties") or _NOTHING, event.get("context") or _NOTHING
    store_id = _word(properties.get("store_id")) or _word(context.get("store_id"))
    country = markets.store_countries.get(store_id, "") if markets else ""
    if not country and (found := _order_country(properties) or _stated_country(event, context)):
        country = region_of(found) or found
    return Geography(country, store_id, _language(context))


def _order_country(properties: Mapping[str, Any]) -> str:
    for address in _ADDRESSES:
        place = properties.get(address)
        if isinstance(place, dict):
            for name in _COUNTRY_NAMES:
                country = place.get(name)
                if isinstance(country, str) and country:
                    return country
    return ""


def _stated_country(event: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """Return the country that enrichment has read or found, else the producer's word for it."""
    if found := (event.get("enriched") or _NOTHING).get("country"):
        return str(found)
    geo = context.get("geo")
    country = geo.get("country") if isinstance(geo, dict) else None
    return country if isinstance(country, str) else ""


def _language(context: Mapping[str, Any]) -> str:
    locale = context.get("locale")
    found = _LANGUAGE.match(locale) if isinstance(locale, str) else None
    return found[1].lower() if found else ""


def _word(value: object) -> str:
    """Return a text, or a whole number as one: custom events may have any value there."""
    return value if isinstance(value, str) else str(value) if type(value) is int else ""
