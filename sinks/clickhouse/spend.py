"""Stores imported spend, exchange rates and margins, and the currency of reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sinks.clickhouse.client import without_deduplication

COLUMNS = ["date", "channel", "source", "campaign", "creative", "spend", "currency", "impressions", "clicks"]
RATE_COLUMNS = ["date", "currency", "rate"]
MARGIN_COLUMNS = ["kind", "key", "margin"]


def insert_spend(client: Any, rows: Iterable[Mapping[str, Any]]) -> int:
    """Store spend; storing the same again changes nothing.

    A row replaces an earlier one of the same date, channel, source, campaign and creative, so `rows` has each
    combination once.

    Args:
        client: A clickhouse-connect client, connected to the product's database.
        rows: Each with all of `COLUMNS`: `date` a date, `spend` a Decimal in units of `currency`, `impressions` and
            `clicks` integers, the rest text; `channel`, `campaign` and `creative` as attribution names them.

    Returns:
        How many rows were stored.
    """
    return _insert(client, "spend", COLUMNS, rows)


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


def missing_rates(client: Any) -> list[str]:
    """List the amounts that no sum contains because they have no exchange rate: one sentence a day and currency."""
    rows = client.query("SELECT warning FROM v_missing_rates ORDER BY day, currency, what").result_rows
    return [warning for (warning,) in rows]


def _insert(client: Any, table: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    values = [[row[column] for column in columns] for row in rows]
    if values:
        client.insert(table, values, column_names=columns, settings=without_deduplication())
    return len(values)
