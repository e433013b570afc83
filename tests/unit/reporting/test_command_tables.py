"""Tables of commands on a narrow terminal, and in a pipe: every column is there."""

from __future__ import annotations

from decimal import Decimal

import pytest

from deploy.cli.attribution_models import print_comparison
from deploy.cli.output import print_table
from deploy.reporting.terminal.attribution import show
from sinks.clickhouse.reports import AttributionReport, AttributionRow

BUDGET = ("channel", "a day now", "next unit brings", "95 % interval", "R²", "best a day", "")
ROWS = [
    ("Paid Search", "1,200.00", "0.85", "0.20 to 1.50", "0.71", "2,400.00", "few days, so the interval is wide"),
    ("Affiliates", "12.00", "0.85", "0.20 to 1.50", "0.71", "2,400.00", "more than twice the present budget"),
]


@pytest.mark.parametrize("width", ["20", "60", "80", "300"])
def test_no_column_is_left_out_however_narrow_it_is(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    print_table(BUDGET, ROWS, text_columns=1)
    lines = capsys.readouterr().out.splitlines()

    assert all(any(all(cell in line for cell in row) for line in lines) for row in ROWS)


def test_headings_that_fit_stay_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_table(("channel", "next unit brings"), [("Email", "1.00")], text_columns=1)

    assert ["channel", "next", "unit", "brings"] == capsys.readouterr().out.splitlines()[0].split()


def test_long_texts_are_wrapped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(("meaning", "n"), [("word " * 50, "1")], text_columns=1)

    assert 40 >= max(map(len, capsys.readouterr().out.splitlines()))


@pytest.mark.parametrize("name", ["spring [red] sale", "[/b]", "[ltv]", ":smile:"])
def test_a_name_is_shown_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = AttributionRow("linear", name, 1.0, 9.0, None, None, None, None, None, None)
    print_table(("campaign", "n"), [(name, "1")], text_columns=1)
    print_comparison("drift", ("campaign", "n"), [(name, "1")])
    show(AttributionReport([row], 1, Decimal(9), None, ("EUR",)), "campaign")

    assert 3 == capsys.readouterr().out.count(name)
