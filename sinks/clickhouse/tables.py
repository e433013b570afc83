"""Writes the reference for analysts, `sinks/TABLES.md`, from the comments in the database."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any, NamedTuple

_INTRODUCTION = """\
# Tables and views

Written by `throughline schema tables` from the comments in `sinks/migrations`: change those, not this file.

Read the views whose names begin with `v_`: they know every person as known now, so a merge, a split or a late event
restates them, and their days are those of `THROUGHLINE_TIMEZONE`. Amounts are in `THROUGHLINE_CURRENCY` at the rate of
their day where the column says so; what has no rate is in no sum and has a row in `v_missing_rates`. A view with
parameters is called like a function; its columns are those of the view that its comment names. The rest is what these
views are made of: it may hold a row twice, or people as they were known once.

After `sum(revenue) AS revenue`, a second `sum(revenue)` is a sum of that sum (`ILLEGAL_AGGREGATION`): name the view, as
in `FROM v_sales AS s`, and write `sum(s.revenue)` in both. `SELECT * FROM v_funnel LIMIT 5` says "Empty list of columns
in projection", since `v_funnel` has parameters: preview `v_funnel_default`.

The user `analyst` reads all of it but the columns of tables with addresses and traits, within limits, and changes
nothing: see `deploy/clickhouse/analyst.xml`. No view shows a whole e-mail address, phone number or network address.
Days are not to be added up where a column says so, and rates never.
"""


class Column(NamedTuple):
    """A column: name, type and meaning."""

    name: str
    type: str
    comment: str


class Table(NamedTuple):
    """A table or view: name, comment and columns."""

    name: str
    comment: str
    columns: tuple[Column, ...]


class Question(NamedTuple):
    """An analyst's question and the SQL that answers it."""

    name: str
    question: str
    sql: str


def describe(client: Any) -> list[Table]:
    """Read the tables and views of the client's database, by name, without materialized views, which only move rows.

    Args:
        client: A clickhouse-connect client, connected to a migrated database.
    """
    columns: dict[str, list[Column]] = {}
    for table, *column in client.query(
        "SELECT table, name, type, comment FROM system.columns WHERE database = currentDatabase()"
        " ORDER BY table, position"
    ).result_rows:
        columns.setdefault(table, []).append(Column(*column))
    rows = client.query(
        "SELECT name, comment FROM system.tables WHERE database = currentDatabase() AND engine != 'MaterializedView'"
        " ORDER BY name"
    ).result_rows
    return [Table(name, comment, tuple(columns.get(name, ()))) for name, comment in rows]


def questions() -> list[Question]:
    """Read `sinks/clickhouse/queries`: the first line of each file is the question, as a comment."""
    found = []
    for file in sorted((files("sinks.clickhouse") / "queries").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            first, _, sql = file.read_text("utf-8").partition("\n")
            found.append(Question(file.name, first.removeprefix("-- "), sql.strip()))
    return found


def markdown(tables: Iterable[Table], example_questions: Iterable[Question]) -> str:
    """Write the reference: questions first, then views, then tables."""
    views: list[str] = []
    parts: list[str] = []
    for table in tables:
        (views if table.name.startswith("v_") else parts).append(_section(table))
    examples = [f"### {one.question}\n\n```sql\n{one.sql}\n```\n" for one in example_questions]
    return "\n".join(
        [
            _INTRODUCTION,
            "## Questions of analysts\n\nThe files are in `sinks/clickhouse/queries`; tests know the answers.\n",
            *examples,
            "## Views\n",
            *views,
            "## What they are made of\n",
            *parts,
        ]
    )


def _section(table: Table) -> str:
    lines = [f"### {table.name}", "", _escaped(table.comment), ""]
    if table.columns:
        lines += ["| column | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {_short(kind)} | {_escaped(comment)} |" for name, kind, comment in table.columns]
        lines.append("")
    return "\n".join(lines)


def _short(kind: str) -> str:
    """Shorten a type to what an analyst needs: LowCardinality(String) is String."""
    for wrapper in ("LowCardinality", "SimpleAggregateFunction(min, ", "SimpleAggregateFunction(max, "):
        opened = wrapper if wrapper.endswith(", ") else f"{wrapper}("
        while (start := kind.find(opened)) >= 0:
            depth, end = 1, start + len(opened)
            while depth:
                depth += {"(": 1, ")": -1}.get(kind[end], 0)
                end += 1
            kind = kind[:start] + kind[start + len(opened) : end - 1] + kind[end:]
    return _escaped(kind)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
