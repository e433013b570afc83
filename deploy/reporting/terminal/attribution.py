"""Attribution tables for terminals of any width: names are shortened in the middle, numbers are not."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from deploy.reporting.terminal.text import plain_console
from sinks.clickhouse.reports import AttributionReport, AttributionRow

_HEADINGS = ("conversions", "revenue", "spend", "ROAS", "ROMI", "CPA", "CAC")
_NARROW = 100
"""On terminals with fewer columns, table columns without any value are left out."""


def show(report: AttributionReport, by: str) -> None:
    """Print one table for each model, then the totals."""
    console = plain_console()
    for model in dict.fromkeys(row.model for row in report.rows):
        _show_model(console, by, model, [row for row in report.rows if row.model == model])
    spend = "" if report.spend is None else f", {amount(report.spend)} spent"
    currencies = ", ".join(report.currencies) or "no currency"
    print(f"{_count(report.conversions)} conversions, {amount(report.revenue)} revenue{spend} ({currencies})")
    if report.spend_of_no_market:
        print(f"{amount(report.spend_of_no_market)} more was spent that is of no market.")
    if not report.discrepancies():
        print("Every additive model adds up to these conversions and, to the cent, to this revenue.")


def _show_model(console: Console, by: str, model: str, rows: Sequence[AttributionRow]) -> None:
    lines = [_cells(row) for row in rows]
    sold = sum(row.conversions for row in rows if row.key != "(unattributed)")
    headings = list(_HEADINGS)
    if any(row.share_low is not None for row in rows):
        headings += ["95 % of share", "95 % of ROMI"]
        for row, line in zip(rows, lines, strict=True):
            interval = row.share_low is not None and row.share_high is not None and sold > 0
            line.append(f"{row.share_low:.1%} – {row.share_high:.1%}" if interval else "–")
            known = row.romi_low is not None and row.romi_high is not None
            line.append(f"{row.romi_low:,.2f} – {row.romi_high:,.2f}" if known else "–")
    kept = [
        place
        for place, _ in enumerate(headings)
        if place < 2 or console.width >= _NARROW or any(line[place] != "–" for line in lines)
    ]
    table = Table(title=model, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    numbers = sum(max(len(headings[place]), *(len(line[place]) for line in lines)) + 1 for place in kept)
    width = max(8, console.width - numbers - 1)
    table.add_column(by, no_wrap=True)
    for place in kept:
        table.add_column(headings[place], justify="right", no_wrap=True)
    for row, line in zip(rows, lines, strict=True):
        table.add_row(_shortened(row.key or "(none)", width), *(line[place] for place in kept))
    console.print(table)
    print()


def _cells(row: AttributionRow) -> list[str]:
    rates = (row.roas, row.romi) if row.spend else (None, None)
    costs = (row.cpa, row.cac) if row.spend else (None, None)
    return [f"{row.conversions:,.2f}", *map(amount, (row.revenue, row.spend or None, *rates, *costs))]


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _shortened(name: str, width: int) -> str:
    if len(name) <= width:
        return name
    kept = width - 1
    return f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"


def amount(value: float | Decimal | None) -> str:
    """Return money or a rate with two decimal places; a dash for None."""
    return "–" if value is None else f"{value:,.2f}"
