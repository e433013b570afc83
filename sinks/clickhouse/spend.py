"""Money that is imported: what marketing cost, exchange rates, margins; and the currency that reports are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sinks.clickhouse.client import stored_anew

COLUMNS = ["date", "channel", "source", "campaign", "creative", "spend", "currency", "impressions", "clicks"]
RATE_COLUMNS = ["date", "currency", "rate"]
MARGIN_COLUMNS = ["kind", "key", "margin"]


def insert_spend(client: Any, rows: Iterable[Mapping[str, Any]]) -> int:
    """Store spend; doing it again changes nothing.

    A row replaces an earlier one of the same date, channel, source, campaign and creative, so those five are given
    once in `rows`.

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
        rows: Each with `date`, `currency` and `rate`, a Decimal: the worth of one unit in the base currency.

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
    """Tell the views which currency reports are in; empty: the one that most conversions have.

    Returns:
        Whether that was news.
    """
    if client.query("SELECT argMax(currency, changed_at) FROM report_settings").first_row[0] == currency:
        return False
    client.insert("report_settings", [[currency]], column_names=["currency"], settings=stored_anew())
    return True


def missing_rates(client: Any) -> list[str]:
    """Say which amounts are in no sum of money since there is no rate for them, one sentence a day and currency."""
    rows = client.query("SELECT warning FROM v_missing_rates ORDER BY day, currency, what").result_rows
    return [warning for (warning,) in rows]


def _insert(client: Any, table: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    values = [[row[column] for column in columns] for row in rows]
    if values:
        client.insert(table, values, column_names=columns, settings=stored_anew())
    return len(values)
