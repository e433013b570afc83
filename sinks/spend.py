"""Marketing spend: the other half of ROAS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sinks.clickhouse import stored_anew

COLUMNS = ["date", "channel", "source", "campaign", "creative", "spend", "currency", "impressions", "clicks"]


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
    values = [[row[column] for column in COLUMNS] for row in rows]
    if values:
        client.insert("spend", values, column_names=COLUMNS, settings=stored_anew())
    return len(values)
