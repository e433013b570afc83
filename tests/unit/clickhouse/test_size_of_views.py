"""How much ClickHouse has to analyse for a view: it expands every view in it, however few rows there are."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import pytest

from sinks.clickhouse.migrate import migrations, split

_CREATED = re.compile(r"^CREATE (?:OR REPLACE )?VIEW (?:IF NOT EXISTS )?\{\{database\}\}\.(\w+)", re.MULTILINE)
_DROPPED = re.compile(r"^DROP (?:VIEW|TABLE) (?:IF EXISTS )?\{\{database\}\}\.(\w+)", re.MULTILINE)
_READ = re.compile(r"\{\{database\}\}\.(\w+)")
_READ_BY_QUESTION = re.compile(r"\b(?:FROM|JOIN)\s+(v_\w+)")


@cache
def views() -> dict[str, str]:
    """Name of each view → what follows its name in the last migration that creates it."""
    found: dict[str, str] = {}
    for migration in migrations():
        for statement in split(migration.sql):
            if created := _CREATED.search(statement):
                found[created[1]] = statement[created.end() :]
            elif dropped := _DROPPED.search(statement):
                found.pop(dropped[1], None)
    return found


@cache
def expanded(name: str) -> int:
    """How many views and tables a view is expanded to, with itself; a table is one."""
    return 1 + sum(expanded(read) for read in _READ.findall(views().get(name, "")))


def questions() -> dict[str, int]:
    """Each question of analysts with the views and tables that it is expanded to."""
    folder = files("sinks") / "clickhouse" / "queries"
    return {
        file.name: sum(expanded(view) for view in _READ_BY_QUESTION.findall(file.read_text("utf-8")))
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("v_market_lookup", 3),
        ("v_person_markets", 5),
        ("v_rates", 10),
        ("v_spend", 20),
        ("v_conversions", 30),
        ("v_conversion_values", 55),
        ("v_ltv", 75),
    ],
)
def test_a_view_of_sales_and_markets_stays_small(name: str, most: int) -> None:
    assert name in views()
    assert expanded(name) <= most


def test_no_view_is_expanded_to_more_than_300_views_and_tables() -> None:
    large = {name: expanded(name) for name in views() if expanded(name) > 300}

    assert {} == large


def test_no_question_is_expanded_to_more_than_300_views_and_tables() -> None:
    large = {name: size for name, size in questions().items() if size > 300}

    assert len(questions()) == 25
    assert {} == large
