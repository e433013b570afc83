"""Reads CSV tables of exchange rates and margins.

Rates have the columns `date,currency,rate`: the price of one unit of the currency in a base currency, one base for
the whole file. Central banks publish the inverse, units for one euro: `--inverse` reads those. If reports are not in
the base currency, the base needs its own rows with rate 1. A rate holds for seven days unless the next comes earlier.

Margins have the columns `kind,key,margin`: kind is product, category or campaign, key its name in events, margin
is a share of revenue between -1 and 1. What is not listed has the margin of the touches file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from deploy.operations.importers.tables import TableError, rows, value
from schemas.currencies import read_code

RATES = ("date", "currency", "rate")
MARGINS = ("kind", "key", "margin")
MARGIN_KINDS = ("product", "category", "campaign")

_PLACES = Decimal("0.00000001")
_LIMIT = Decimal(10) ** 9


def read_rates(lines: Iterable[str], *, inverse: bool = False) -> list[dict[str, Any]]:
    """Read and validate a table of rates before anything of it is stored.

    Args:
        lines: The CSV file, line by line.
        inverse: The rates are units of the currency for one unit of the base.

    Returns:
        Rows with `date` as a date, `currency` in capitals, `rate` as a Decimal with 8 places.

    Raises:
        TableError: The first thing that is wrong: line, column and rule.
    """

    def rate(text: str) -> Decimal:
        stated = Decimal(text)
        if not stated.is_finite() or not 0 < stated < _LIMIT:
            raise ValueError
        price = (1 / stated if inverse else stated).quantize(_PLACES)
        if not 0 < price < _LIMIT:
            raise ValueError
        return price

    def row(line: int, found: dict[str, str]) -> dict[str, Any]:
        return {
            "date": value(line, "date", found["date"], date.fromisoformat, "expected a date such as 2026-09-01"),
            "currency": value(line, "currency", found["currency"], read_code, "expected an ISO 4217 code such as EUR"),
            "rate": value(line, "rate", found["rate"], rate, "expected a rate such as 0.8571, above 0, below 10^9"),
        }

    return _table(lines, RATES, ("date", "currency"), row)


def read_margins(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Read and validate a table of margins before anything of it is stored.

    Raises:
        TableError: The first thing that is wrong: line, column and rule.
    """

    def kind(text: str) -> str:
        if text not in MARGIN_KINDS:
            raise ValueError
        return text

    def margin(text: str) -> float:
        share = float(text)
        if not -1 <= share <= 1:
            raise ValueError
        return share

    def row(line: int, found: dict[str, str]) -> dict[str, Any]:
        if not found["key"]:
            raise TableError(line, "key", "empty; expected a product id, a category or a campaign's name")
        return {
            "kind": value(line, "kind", found["kind"], kind, f"expected {', '.join(MARGIN_KINDS)}"),
            "key": found["key"],
            "margin": value(line, "margin", found["margin"], margin, "expected a share such as 0.35, from -1 to 1"),
        }

    return _table(lines, MARGINS, ("kind", "key"), row)


def _table(
    lines: Iterable[str],
    columns: tuple[str, ...],
    key: tuple[str, ...],
    read: Callable[[int, dict[str, str]], dict[str, Any]],
) -> list[dict[str, Any]]:
    found = []
    first_seen: dict[tuple[Any, ...], int] = {}
    for line, texts in rows(lines, columns):
        row = read(line, texts)
        if (earlier := first_seen.setdefault(tuple(row[name] for name in key), line)) != line:
            raise TableError(line, "", f"the same {' and '.join(key)} as line {earlier}")
        found.append(row)
    return found
