"""Reads CSV tables of marketing spend: the cost of each creative on each day.

Columns: `date,channel,source,campaign,creative,spend,currency,impressions,clicks,country,market`; all but date,
channel, spend and currency may be left out. `channel` is the marketing channel as attribution names it (Paid Search,
Email, …), `campaign` and `creative` as the events name them. `country` or `market` says where it was spent; a row
without either is of no market. Date, channel, source, campaign, creative, country and market are a row's key: a file
has a key once, and importing it again replaces what was imported before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from deploy.operations.importers.tables import TableError, rows, value
from processors.identity.countries import region_of
from schemas.currencies import read_code
from schemas.markets import ONE_MARKET, MarketDefinitions

REQUIRED = ("date", "channel", "spend", "currency")
OPTIONAL = ("source", "campaign", "creative", "impressions", "clicks", "country", "market")
KEY = ("date", "channel", "source", "campaign", "creative", "country", "market")

_PLACES = 4
_DATE = "expected a date such as 2026-09-01"
_MONEY = "expected an amount in major units such as 12.50, not negative, below 10^12, with at most 4 decimal places"
_COUNT = "expected a whole number, not negative"


def read_spend(lines: Iterable[str], markets: MarketDefinitions = ONE_MARKET) -> list[dict[str, Any]]:
    """Read and validate a whole table before anything of it is stored.

    Args:
        lines: The CSV file, line by line.
        markets: The table of markets.

    Returns:
        Rows with `date` as a date, `spend` as a Decimal, counts as integers; the rest as text. Of `country` and
        `market` at most one is there.

    Raises:
        TableError: The first thing that is wrong: line, column and rule.
    """
    found = []
    first_seen: dict[tuple[Any, ...], int] = {}
    for line, row in rows(lines, REQUIRED, OPTIONAL):
        if not row["channel"]:
            raise TableError(line, "channel", "empty; expected a marketing channel such as Paid Search")
        spent: dict[str, Any] = {
            **row,
            "date": value(line, "date", row["date"], date.fromisoformat, _DATE),
            "spend": value(line, "spend", row["spend"], _money, _MONEY),
            "currency": value(line, "currency", row["currency"], read_code, "expected an ISO 4217 code such as EUR"),
            "impressions": value(line, "impressions", row["impressions"] or "0", _count, _COUNT),
            "clicks": value(line, "clicks", row["clicks"] or "0", _count, _COUNT),
            **_place(line, row, markets),
        }
        key = tuple(spent[name] for name in KEY)
        if (earlier := first_seen.setdefault(key, line)) != line:
            raise TableError(line, "", f"the same {', '.join(KEY)} as line {earlier}: add the two up")
        found.append(spent)
    return found


def _place(line: int, row: Mapping[str, str], markets: MarketDefinitions) -> dict[str, str]:
    country, market = region_of(row["country"]), row["market"].lower()
    if row["country"] and not country:
        raise TableError(line, "country", "expected a country of ISO 3166 such as FR")
    if market and market not in markets.markets:
        raise TableError(line, "market", f"expected a market of the table: {', '.join(markets.markets)}")
    if country and market and markets.market_of(country) != market:
        raise TableError(line, "market", f"{country} is in {markets.market_of(country)}")
    return {"country": country, "market": "" if country else market}


def _money(text: str) -> Decimal:
    amount = Decimal(text)
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_PLACES or not 0 <= amount < 10**12:
        raise ValueError
    return amount


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError
    return int(text)
