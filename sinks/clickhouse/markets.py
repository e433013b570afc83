"""The table of markets in ClickHouse: what the views look up countries and stores in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sinks.clickhouse.client import without_deduplication

COLUMNS = ("market", "is_default", "countries", "currency", "timezone", "languages", "default_region", "stores")


def publish_markets(client: Any, markets: Sequence[Mapping[str, Any]], country_names: Mapping[str, str]) -> bool:
    """Write the table of markets that the views read.

    Args:
        client: Of the deployment's database.
        markets: One for each market, with all of `COLUMNS`.
        country_names: Codes and names of countries in small letters, with their ISO 3166 codes.

    Returns:
        Whether the table of markets was different before.
    """
    names = client.query("SELECT name, toString(country) FROM country_names FINAL").result_rows
    if missing := sorted(set(country_names.items()) - {tuple(row) for row in names}):
        client.insert("country_names", missing, column_names=["name", "country"], settings=without_deduplication())
    wanted = sorted(tuple(row[column] for column in COLUMNS) for row in markets)
    found = client.query(f"SELECT {', '.join(COLUMNS)} FROM v_markets").result_rows  # noqa: S608
    if sorted(map(tuple, found)) == wanted:
        return False
    client.insert("markets", wanted, column_names=list(COLUMNS), settings=without_deduplication())
    return True


class UnknownMarketError(ValueError):
    """The views know no market of that name; the message lists those that they know."""


def known_markets(client: Any, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of markets that a report is asked for.

    Raises:
        UnknownMarketError: One of them is no market.
    """
    if not names:
        return ()
    known = [name for (name,) in client.query("SELECT toString(market) FROM v_markets ORDER BY market").result_rows]
    if unknown := [name for name in names if name not in known]:
        there = (
            f"the markets are {', '.join(known)}" if known else "`throughline migrate` publishes the table of markets"
        )
        raise UnknownMarketError(f"{', '.join(unknown)}: no such market; {there}")
    return tuple(dict.fromkeys(names))
