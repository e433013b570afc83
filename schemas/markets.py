"""The shape of `deploy/definitions/markets.yaml`: the markets that a retailer sells in.

One rule says in which market something happened, here and in SQL (`sinks/migrations`, `v_market_lookup`); a test
compares the two:

1. the country of an event: of its store, where the table names the store; else of its shipping, then its billing
   address; else of `context.geo`; else of the network address (`processors/enrichment/geography.py`);
2. of a conversion without one: the country that the person declared (`traits.address.country`, `traits.country`);
3. of a person: the declared country, else the one last seen (`processors/profiles/market.py`, `v_person_markets`);
4. the market that has that country, else the default market.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated
from zoneinfo import ZoneInfo

from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from schemas.time import known_zone


def _known_country(country: str) -> str:
    if country not in SUPPORTED_REGIONS:
        raise ValueError(f"{country!r} is no country of ISO 3166 with two capital letters, such as FR or GB")
    return country


MarketName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Country = Annotated[str, AfterValidator(_known_country)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{3}$", to_upper=True)]
TimeZone = Annotated[str, AfterValidator(known_zone)]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][A-Za-z]{1,3})?$")]
StoreId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]


class Market(BaseModel):
    """A market.

    Attributes:
        countries: ISO 3166, two letters. Only the default market may have none.
        currency: What its prices are in, ISO 4217; None: not stated.
        time_zone: Of its people whose own is not known, for quiet hours, send times and local days; IANA name. None:
            that of the deployment (`THROUGHLINE_TIMEZONE`), whose days reports have in every market.
        languages: Its languages, the first one first.
        default_region: Region of its telephone numbers without a country code, where an event names one of its
            countries or stores, its source has no region, and the number is not valid in the country itself.
        stores: Store id → its country, which is one of `countries`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    countries: Annotated[tuple[Country, ...], Field(max_length=300)] = ()
    currency: Currency | None = None
    time_zone: TimeZone | None = None
    languages: Annotated[tuple[Language, ...], Field(max_length=50)] = ()
    default_region: Country | None = None
    stores: Annotated[dict[StoreId, Country], Field(max_length=20_000)] = {}


class MarketDefinitions(BaseModel):
    """The table of markets.

    Attributes:
        default: The market of whatever has no country, or one that is in no market.
        markets: Name → market.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: MarketName
    markets: Annotated[dict[MarketName, Market], Field(min_length=1, max_length=300)]

    def conflicts(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield what contradicts in the table: the place in the file, and the rule with an example."""
        if self.default not in self.markets:
            yield ("default",), f"{self.default!r} is none of markets: {', '.join(self.markets)}"
        owners: dict[str, str] = {}
        stores: dict[str, str] = {}
        for name, market in self.markets.items():
            at = ("markets", name)
            if not market.countries and name != self.default:
                yield at, "has no countries, and is not the default market: countries: [FR, MC]"
            for place, country in enumerate(market.countries):
                if (owner := owners.setdefault(country, name)) != name or country in market.countries[:place]:
                    yield (*at, "countries", place), f"{country} is in {owner} already: a country is in one market"
            for store, country in market.stores.items():
                if country not in market.countries:
                    known = ", ".join(market.countries) or "none"
                    yield (*at, "stores", store), f"{country} is no country of {name}, which has {known}"
                if (owner := stores.setdefault(store, name)) != name:
                    yield (*at, "stores", store), f"{store} is in {owner} already: a store is in one market"

    @cached_property
    def by_country(self) -> dict[str, str]:
        """Country → name of its market."""
        return {country: name for name, market in self.markets.items() for country in market.countries}

    @cached_property
    def zones(self) -> dict[str, ZoneInfo]:
        """Market → its time zone, of the markets that have one of their own."""
        return {name: ZoneInfo(market.time_zone) for name, market in self.markets.items() if market.time_zone}

    @cached_property
    def fingerprint(self) -> str:
        """All of the table that decides about people: countries and time zones; empty: it tells nobody from others."""
        if len(self.markets) == 1 and not self.zones:
            return ""
        parts = [f"{name} {','.join(sorted(one.countries))} {one.time_zone}" for name, one in self.markets.items()]
        return "; ".join([self.default, *sorted(parts)])

    @cached_property
    def phone_regions(self) -> dict[str, str]:
        """Country → region of telephone numbers without a country code there, where its market states one."""
        return {
            country: market.default_region
            for market in self.markets.values()
            if market.default_region
            for country in market.countries
        }

    @cached_property
    def store_countries(self) -> dict[str, str]:
        """Store id → its country."""
        return {store: country for market in self.markets.values() for store, country in market.stores.items()}

    def market_of(self, country: str) -> str:
        """Return the name of a country's market; of an unknown or empty one the default."""
        return self.by_country.get(country, self.default)


ONE_MARKET = MarketDefinitions(default="all", markets={"all": Market()})
"""What holds where there is no table: one market, of everything."""
