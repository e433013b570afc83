"""Renders the HTML report: a chart, a table of the same numbers and the SQL for each result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from deploy.reporting.html import charts, sankey
from deploy.reporting.html.charts import NARROW, WIDE, Row, Spec, svg
from deploy.reporting.html.queries import MODELS, QueryResult, ReportData

CellFormat = Callable[[Any], str]

_MAX_OPEN_ROWS = 20
"""Tables with more rows are collapsed on a screen."""


class Column(NamedTuple):
    """A column of a table: its heading, the field of the row and the format of a value."""

    heading: str
    field: str
    format: CellFormat


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --muted: #59636e; --grid: #d0d7de; --paper: #fff;
  --box: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --muted: #9aa4af; --grid: #3d444d; --paper: #12161c; --box: #1b2129; }
}
@media print {
  :root { --ink: #000; --muted: #444; --grid: #bbb; --paper: #fff; --box: #fff; }
  section { break-inside: avoid; } summary, details.sql { display: none; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
* { box-sizing: border-box; } figure { margin: 0; }
body { margin: 0 auto; padding: 1.25rem 1rem 3rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0 .75rem; color: var(--muted); max-width: 46rem; }
.totals { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .6rem; margin: 1rem 0;
  padding: 0; }
.totals div { background: var(--box); border: 1px solid var(--grid); border-radius: .5rem; padding: .5rem .75rem; }
.totals dt { color: var(--muted); font-size: .8rem; } .totals dd { margin: 0; font-size: 1.1rem; font-weight: 600;
  font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; } .wide { display: none; max-width: 46rem; }
.narrow { max-width: 26rem; }
@media (min-width: 44rem) { .wide { display: block; } .narrow { display: none; } }
@media print { .wide { display: block; } .narrow { display: none; } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } th { color: var(--muted); font-weight: 500; }
details { margin: .4rem 0; } summary { cursor: pointer; color: var(--muted); font-size: .85rem; }
pre { background: var(--box); padding: .75rem; overflow-x: auto; font-size: .75rem; border-radius: .5rem; }
.warning { border-left: 4px solid #ee6677; padding: .25rem .75rem; background: var(--box); color: var(--ink); }
"""


def render(data: ReportData) -> str:
    """Render the page.

    Args:
        data: The result of `queries.query_report`.

    Returns:
        HTML that needs no other file, no script and no network.
    """
    totals = data.totals.rows[0]
    currency = str(totals["currency"])
    sections = [
        _attribution(data, currency),
        _returns(data, currency),
        _paths(data),
        _funnel(data),
        _cohorts(data),
        _frequency(data, currency),
        _reachability(data),
    ]
    warnings = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in data.warnings)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Marketing report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>Marketing report</h1><p>{escape(_span(data))} · amounts in {escape(currency)}</p></header>\n"
        f"{warnings}{_totals(totals, currency)}{''.join(sections)}</body>\n</html>\n"
    )


def _span(data: ReportData) -> str:
    totals = data.totals.rows[0]
    if not totals["orders"]:
        said = "No orders" if data.period or data.markets else "No orders yet"
    else:
        said = f"Orders of {totals['first_day']:%B %Y} to {totals['last_day']:%B %Y}"
    if data.period:
        said += f" · {data.period}"
    if data.markets:
        said += f" · {', '.join(data.markets)}"
        if totals["spend_of_no_market"]:
            said += f", without {_money(totals['spend_of_no_market'])} of spend that is of no market"
    return said


def _totals(totals: Row, currency: str) -> str:
    shown = [
        ("Orders", _count(totals["orders"])),
        (f"Revenue, {currency}", _money(totals["revenue"])),
        ("Refunded", _money(totals["refunded"])),
        ("Average order", _money(totals["average_order"]) if totals["orders"] else "–"),
        ("New customers", _count(totals["new_customers"])),
        ("Spent on marketing", _money(totals["spend"])),
    ]
    return '<dl class="totals">' + "".join(f"<div><dt>{escape(a)}</dt><dd>{b}</dd></div>" for a, b in shown) + "</dl>\n"


def _attribution(data: ReportData, currency: str) -> str:
    rows = data.attribution.rows
    models = list(dict.fromkeys([*MODELS, *(row["model"] for row in rows)]))
    revenue = {(row["key"], row["model"]): row["revenue"] for row in rows}
    table = [
        {"key": key, **{model: revenue.get((key, model)) for model in models}}
        for key in dict.fromkeys(row["key"] for row in rows)
    ]
    columns = [Column("channel", "key", _text), *(Column(_label(model), model, _money) for model in models)]
    named = [{**row, "model": _label(row["model"])} for row in rows]
    labels = [_label(model) for model in models]
    drawn = any(row["low"] is not None for row in rows)
    return _section(
        "What each model credits",
        f"Revenue by marketing channel, {currency}. The models divide the same orders; where they differ most, only a"
        " holdout decides. (unattributed): nothing had touched the buyer within 30 days."
        + (" Lines are intervals of 95 %." if drawn else ""),
        lambda width: charts.attribution(named, labels, width),
        columns,
        table,
        data.attribution,
    )


def _returns(data: ReportData, currency: str) -> str:
    columns = [
        Column("channel", "channel", _text), Column("ROMI", "romi", _percent), Column("ROAS", "roas", _ratio),
        Column("revenue", "revenue", _money), Column("margin", "margin", _money), Column("spend", "spend", _money),
        Column("CPA", "cpa", _money), Column("CAC", "cac", _money),
    ]  # fmt: skip
    rows = data.returns.rows
    no_costs = bool(rows) and all(row["margin"] == row["revenue"] for row in rows)
    return _section(
        "What came back of what was spent",
        f"ROMI = (margin − spend) / spend, by channel, model {_label(data.model)}, {currency}. Channels that cost"
        " nothing are left out." + (" No margin is set: all revenue is taken for margin." if no_costs else ""),
        lambda width: charts.returns(data.returns.rows),
        columns,
        data.returns.rows,
        data.returns,
    )


def _paths(data: ReportData) -> str:
    links = data.links.rows
    columns = [
        Column("from", "source", _text), Column("touch", "step", _count), Column("to", "target", _text),
        Column("conversions", "conversions", _count),
    ]  # fmt: skip
    return _section(
        "How buyers came",
        "The first four touches of paths that ended in an order. A ribbon has the colour of the channel it comes from.",
        lambda width: sankey.chart([row for row in links if row["step"] < (4 if width >= WIDE else 3)], 420),
        columns,
        sorted(links, key=lambda row: -row["conversions"])[:20],
        data.links,
        note="The 20 links that most took.",
    )


def _funnel(data: ReportData) -> str:
    columns = [
        Column("step", "name", _text),
        Column("people", "people", _count), Column("of previous", "from_previous", _percent),
        Column("of first", "from_first", _percent), Column("dropped", "dropped", _count),
        Column("median hours", "median_hours", _ratio), Column("90 % hours", "p90_hours", _ratio),
    ]  # fmt: skip
    return _section(
        "From a product's page to an order",
        "People who got so far within 7 days of the first step, and their share of it.",
        lambda width: charts.funnel(data.funnel.rows),
        columns,
        data.funnel.rows,
        data.funnel,
    )


def _cohorts(data: ReportData) -> str:
    columns = [
        Column("week of first order", "cohort", _text), Column("weeks since", "number", _count),
        Column("people", "people", _count),
        Column("came back", "active", _count), Column("share", "retention", _percent),
    ]  # fmt: skip
    return _section(
        "Who buys again",
        "Customers by the week of their first order, and the share of them who order in a later week. The newest weeks"
        " are not over.",
        lambda width: charts.cohorts(data.cohorts.rows, width),
        columns,
        data.cohorts.rows,
        data.cohorts,
    )


def _frequency(data: ReportData, currency: str) -> str:
    points = [
        {"channel": channel, **rate._asdict()}
        for channel, found in data.best_frequency.items()
        for rate in found.curve
        if rate.counts
    ]
    channels = list(dict.fromkeys(point["channel"] for point in points))
    columns = [
        Column("channel", "channel", _text),
        Column("messages a week", "messages", _count), Column("people", "people", _count),
        Column("person-weeks", "person_weeks", _count), Column("revenue", "revenue_per_person_week", _money),
        Column("unsubscribes", "unsubscribe_rate", _percent),
    ]  # fmt: skip
    best_numbers = [
        f"{channel}: {found.messages} ({found.low} to {found.high})"
        for channel, found in data.best_frequency.items()
        if found.messages is not None
    ]
    best = f" Best so far, with its interval of 95 %: {'; '.join(best_numbers)}." if best_numbers else ""
    return _section(
        "How many messages a week",
        f"Revenue of a person and week, {currency}, by messages received; lines are intervals of 95 %.{best} Who gets"
        " many messages is not who gets few: test a change with a holdout.",
        lambda width: charts.frequency(points, channels, width),
        columns,
        data.frequency.rows,
        data.frequency,
    )


def _reachability(data: ReportData) -> str:
    rows = data.reachability.rows
    columns = [
        Column("channel", "channel", _text), Column("people", "people", _count),
        *(Column(_label(state), state, _count) for state in charts.STATES),
    ]  # fmt: skip
    day = f" at the end of {rows[0]['day']:%-d %B %Y}" if rows else ""
    return _section(
        "Whom messages can reach",
        f"People by channel{day}, and why the others cannot or may not be written to.",
        lambda width: charts.reachability(rows, width),
        columns,
        rows,
        data.reachability,
    )


def _section(
    title: str,
    lead: str,
    draw: Callable[[int], Spec],
    columns: Sequence[Column],
    rows: Sequence[Row],
    result: QueryResult,
    note: str = "The numbers.",
) -> str:
    if not rows:
        return f"<section><h2>{escape(title)}</h2><p>Nothing to show yet.</p></section>\n"
    pictures = "".join(
        f'<figure class="{name}" role="img" aria-label="{escape(title)}">{svg(draw(width), width)}</figure>'
        for name, width in (("narrow", NARROW), ("wide", WIDE))
    )
    return (
        f"<section><h2>{escape(title)}</h2><p>{escape(lead)}</p>{pictures}"
        f"<details{' open' if len(rows) <= _MAX_OPEN_ROWS else ''}><summary>{escape(note)}</summary>"
        f"{_table(columns, rows)}</details>"
        f'<details class="sql"><summary>The question in SQL</summary><pre>{escape(result.sql)}</pre></details>'
        "</section>\n"
    )


def _table(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    head = "".join(f'<th scope="col">{escape(column.heading)}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{column.format(row[column.field])}</td>" for column in columns) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(value: Any) -> str:
    return escape(str(value)) or "(none)"


def _count(value: Any) -> str:
    return "–" if value is None else f"{int(value):,}"


def _money(value: Any) -> str:
    return "–" if value is None else f"{float(value):,.2f}"


def _ratio(value: Any) -> str:
    return "–" if value is None else f"{float(value):,.2f}"


def _percent(value: Any) -> str:
    return "–" if value is None else f"{float(value):,.1%}"


def _label(name: str) -> str:
    return name.replace("_", " ")
