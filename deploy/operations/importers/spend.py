"""Reads CSV tables of marketing spend: the cost of each creative on each day.

Columns: `date,channel,source,campaign,creative,spend,currency,impressions,clicks`; all but date, channel, spend and
currency may be left out. `channel` is the marketing channel as attribution names it (Paid Search, Email, …), `campaign`
and `creative` as the events name them. Date, channel, source, campaign and creative are a row's key: a file has a key
once, and importing it again replaces what was imported before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from deploy.operations.importers.money import currency
from deploy.operations.importers.tables import TableError, rows, value

REQUIRED = ("date", "channel", "spend", "currency")
OPTIONAL = ("source", "campaign", "creative", "impressions", "clicks")
KEY = ("date", "channel", "source", "campaign", "creative")

_PLACES = 4
_DATE = "expected a date such as 2026-09-01"
_MONEY = "expected an amount in major units such as 12.50, not negative, below 10^12, with at most 4 decimal places"
_COUNT = "expected a whole number, not negative"


def read_spend(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Read and validate a whole table before anything of it is stored.

    Args:
        lines: The CSV file, line by line.

    Returns:
        Rows with `date` as a date, `spend` as a Decimal, counts as integers; the rest as text.

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
            "currency": value(line, "currency", row["currency"], currency, "expected an ISO 4217 code such as EUR"),
            "impressions": value(line, "impressions", row["impressions"] or "0", _count, _COUNT),
            "clicks": value(line, "clicks", row["clicks"] or "0", _count, _COUNT),
        }
        key = tuple(spent[name] for name in KEY)
        if (earlier := first_seen.setdefault(key, line)) != line:
            raise TableError(line, "", f"the same {', '.join(KEY)} as line {earlier}: add the two up")
        found.append(spent)
    return found


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
