"""Stores imported spend, exchange rates and margins, and the currency of reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from sinks.clickhouse.client import without_deduplication
from sinks.clickhouse.reports import AttributionOptions

COLUMNS = [
    "date", "channel", "source", "campaign", "creative", "spend", "currency", "impressions", "clicks", "country",
    "market",
]  # fmt: skip
RATE_COLUMNS = ["date", "currency", "rate"]
MARGIN_COLUMNS = ["kind", "key", "margin"]


def insert_spend(client: Any, rows: Iterable[Mapping[str, Any]]) -> int:
    """Store spend; storing the same again changes nothing.

    A row replaces an earlier one of the same date, channel, source, campaign, creative, country and market, so `rows`
    has each combination once. Spend that was of no market and now comes by market is not counted twice: a row with a
    country or market replaces the earlier one without, unless `rows` has that one too.

    Args:
        client: A clickhouse-connect client, connected to the product's database.
        rows: Each with all of `COLUMNS`: `date` a date, `spend` a Decimal in units of `currency`, `impressions` and
            `clicks` integers, the rest text; `channel`, `campaign` and `creative` as attribution names them. `country`
            and `market` may be left out.

    Returns:
        How many rows were stored.
    """
    stated = [{"country": "", "market": "", **row} for row in rows]
    divided = {_undivided_key(row) for row in stated if row["country"] or row["market"]}
    divided -= {_undivided_key(row) for row in stated if not (row["country"] or row["market"])}
    if divided:
        found = client.query(
            "SELECT date, channel, source, campaign, creative, currency FROM spend FINAL"
            " WHERE country = '' AND market = '' AND spend != 0 AND date BETWEEN {first:Date} AND {last:Date}",
            parameters={"first": min(key[0] for key in divided), "last": max(key[0] for key in divided)},
        ).result_rows
        nothing = {"spend": Decimal(0), "impressions": 0, "clicks": 0, "country": "", "market": ""}
        of_no_market = [dict(zip((*_UNDIVIDED, "currency"), row, strict=True)) for row in found]
        replaced = [{**row, **nothing} for row in of_no_market if _undivided_key(row) in divided]
        _insert(client, "spend", COLUMNS, replaced)
    return _insert(client, "spend", COLUMNS, stated)


_UNDIVIDED = ("date", "channel", "source", "campaign", "creative")


def _undivided_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _UNDIVIDED)


def spend_of_markets(client: Any, options: AttributionOptions) -> tuple[dict[str, Decimal], Decimal]:
    """Return the spend of the markets and days of a report by its key, and what of these days is of no market.

    Args:
        client: A clickhouse-connect client, connected to the product's database.
        options: Of the report; it is not by product.
    """
    rows = client.query(
        """
        WITH if({timezone:String} = '', (SELECT timezone FROM v_attribution_settings), {timezone:String}) AS zone
        SELECT
            multiIf({by:String} = 'channel', channel, {by:String} = 'campaign', campaign, creative) AS key,
            sumIf(ifNull(spend, 0), has({markets:Array(String)}, toString(market))),
            sumIf(ifNull(spend, 0), market = '')
        FROM v_spend
        WHERE date >= toDate(toTimeZone(fromUnixTimestamp64Milli({start:Int64}, 'UTC'), zone))
            AND date <= toDate(toTimeZone(fromUnixTimestamp64Milli({stop:Int64} - 1, 'UTC'), zone))
        GROUP BY key
        """,
        parameters=options.parameters(),
    ).result_rows
    return {key: spent for key, spent, _ in rows if spent}, sum((none for _, _, none in rows), Decimal(0))


def insert_rates(client: Any, rows: Iterable[Mapping[str, Any]]) -> int:
    """Store exchange rates; a row replaces an earlier one of the same date and currency.

    Args:
        client: A clickhouse-connect client, connected to the product's database.
        rows: Each with `date`, `currency` and `rate`, a Decimal: the price of one unit in the base currency.

    Returns:
        How many rows were stored.
    """
    return _insert(client, "rates", RATE_COLUMNS, rows)


def insert_margins(client: Any, rows: Iterable[Mapping[str, Any]]) -> int:
    """Store margins; a row replaces an earlier one of the same kind and key.

    Args:
        client: A clickhouse-connect client, connected to the product's database.
        rows: Each with `kind` (`product`, `category` or `campaign`), `key` and `margin`, a share of revenue.

    Returns:
        How many rows were stored.
    """
    return _insert(client, "margins", MARGIN_COLUMNS, rows)


def publish_currency(client: Any, currency: str) -> bool:
    """Write the currency of reports, which the views read; empty: the one that most conversions have.

    Returns:
        Whether it was different before.
    """
    if client.query("SELECT argMax(currency, changed_at) FROM report_settings").first_row[0] == currency:
        return False
    client.insert("report_settings", [[currency]], column_names=["currency"], settings=without_deduplication())
    return True


def missing_rates(client: Any, first: date | None = None, days: int = 0, markets: Sequence[str] = ()) -> list[str]:
    """List the amounts that no sum contains because they have no exchange rate: one sentence a day and currency.

    Args:
        client: A clickhouse-connect client, connected to the product's database.
        first: The first day; None: all days.
        days: How many days from then on.
        markets: Only of these markets; empty: of all, and of none.
    """
    rows = client.query(
        "SELECT warning FROM v_missing_rates"
        " WHERE ({days:Int64} = 0 OR (day >= {first:Date} AND day < {first:Date} + {days:Int64}))"
        " AND (empty({markets:Array(String)}) OR has({markets:Array(String)}, market))"
        " ORDER BY day, currency, what, market",
        parameters={"first": first or date(1970, 1, 1), "days": days if first else 0, "markets": list(markets)},
    ).result_rows
    return [warning for (warning,) in rows]


def _insert(client: Any, table: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    values = [[row[column] for column in columns] for row in rows]
    if values:
        client.insert(table, values, column_names=columns, settings=without_deduplication())
    return len(values)
