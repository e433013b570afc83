"""Files of paths and of events: read as they come, or refused with line and column; reports need no database."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.importers.journeys import read_events, read_paths
from deploy.operations.importers.tables import TableError
from processors.attribution.rules import MODELS, Conversion, Touch, credits_of, journeys, null_journeys, totals
from tests.oracles.attribution_exact import Path as ExactPath
from tests.oracles.attribution_exact import markov_effects, pathwise, shapley
from tests.support.builders import DAY_ONE


def report(*arguments: str) -> dict[str, dict[str, tuple[float, float]]]:
    """The report's rows by model and key."""
    printed = CliRunner().invoke(app, ["attribution", "report", "--csv", "-", *arguments])
    assert 0 == printed.exit_code, printed.stderr
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for row in csv.DictReader(StringIO(printed.stdout)):
        found.setdefault(row["model"], {})[row["key"]] = float(row["conversions"]), float(row["revenue"])
    return found


class TestPaths:
    @pytest.mark.parametrize(
        ("cell", "channels"),
        [
            pytest.param("Email > Paid Search", ("Email", "Paid Search"), id="separator"),
            pytest.param("Email", ("Email",), id="one channel"),
            pytest.param("", (), id="no touch"),
            pytest.param("(null) > a>b", ("(null)", "a>b"), id="odd names"),
            pytest.param('"[""a > b"", ""(null)""]"', ("a > b", "(null)"), id="a JSON array"),
            pytest.param("[beta] > Email", ("[beta]", "Email"), id="a name in brackets"),
        ],
    )
    def test_a_path_is_text_or_an_array(self, cell: str, channels: tuple[str, ...]) -> None:
        (row,) = read_paths(["path,conversions,revenue,null\n", f"{cell},2,10.50,3\n"])

        assert (channels, Decimal(2), Decimal("10.50"), Decimal(3)) == row

    def test_columns_may_have_the_names_of_other_tools(self) -> None:
        lines = ["path,total_conversions,total_conversion_value,total_null\n", "A|B,1,2.5,4\n"]

        assert [(("A", "B"), Decimal(1), Decimal("2.5"), Decimal(4))] == read_paths(lines, separator="|")

    def test_json_lines(self) -> None:
        (row,) = read_paths(['{"path": ["A", "B"], "conversions": 1}\n'])

        assert (("A", "B"), Decimal(1), Decimal(0), Decimal(0)) == row

    @pytest.mark.parametrize(
        ("lines", "error"),
        [
            (["path,revenue\n"], "line 1, column conversions: missing"),
            (["path,conversions\n", "A,-1\n"], "line 2, column conversions: '-1': expected a number"),
            (["path,conversions\n", "A\n"], "line 2: expected 2 values"),
            (['{"path": 7, "conversions": 1}\n'], "line 1, column path: 7: expected channels"),
            (['{"path": []}\n', "no\n"], "line 2: 'no\\n': expected one JSON object"),
        ],
        ids=["column", "negative", "values", "path", "JSON"],
    )
    def test_what_is_wrong_is_said(self, lines: list[str], error: str) -> None:
        with pytest.raises(TableError) as raised:
            read_paths(lines)

        assert str(raised.value).startswith(error)


class TestEvents:
    def test_touches_and_conversions(self) -> None:
        touches, conversions = read_events(
            [
                "person,time,channel,conversion,revenue\n",
                "anna,2026-11-01T10:00:00+01:00,Email,,\n",
                "anna,2026-11-01T10:00:00,Paid Search,o1,99.90\n",
                "ben,1793527200,,true,5\n",
            ]
        )

        at = datetime(2026, 11, 1, 10, tzinfo=UTC)
        assert [("Email", at.replace(hour=9), ""), ("Paid Search", at, "o1")] == [
            (one.channel, one.touched_at, one.conversion_id) for one in touches
        ]
        assert [("o1", "anna", Decimal("99.90"), at), ("line 000000000004", "ben", Decimal(5), at)] == [
            (one.conversion_id, one.person, one.revenue, one.converted_at) for one in conversions
        ]

    def test_without_a_column_for_it_revenue_makes_a_conversion(self) -> None:
        touches, conversions = read_events(["person,time,channel,revenue\n", "a,0,X,\n", "a,1,,3\n"])

        assert (1, 1) == (len(touches), len(conversions))

    def test_a_time_that_is_none(self) -> None:
        with pytest.raises(TableError, match="line 2, column time: 'soon': expected a time"):
            read_events(["person,time\n", "anna,soon\n"])


def random_events(seed: int) -> tuple[list[Touch], list[Conversion], list[dict[str, Any]]]:
    random = Random(seed)
    touches, conversions, lines = [], [], []
    for number in range(400):
        who = f"person {random.randrange(60)}"
        at = datetime.fromtimestamp(DAY_ONE.timestamp() + random.randrange(0, 60 * 86_400), UTC)
        event_id = f"{number:04d}"
        line: dict[str, Any] = {"event_id": event_id, "person": who, "time": at.isoformat()}
        if random.random() < 0.2:
            revenue = f"{random.randrange(1, 9999) / 100:.2f}"
            conversions.append(Conversion(f"o{number}", "purchase", who, at, Decimal(revenue)))
            lines.append({**line, "conversion": f"o{number}", "revenue": revenue})
        else:
            channel = random.choice(["Direct", "Email", "a > b", "(null)", "Paid Search"])
            touches.append(Touch(event_id, who, at, channel))
            lines.append({**line, "channel": channel})
    return touches, conversions, lines


@pytest.mark.parametrize("seed", [1, 2])
def test_a_file_of_events_gets_the_credits_of_the_definitions(seed: int, tmp_path: Path) -> None:
    touches, conversions, lines = random_events(seed)
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")

    found = report("--events", str(file))

    by_key = {(one.conversion_type, one.conversion_id): one for one in conversions}
    paths = journeys(touches, conversions)
    expected_totals = totals(credit for key, path in paths.items() for credit in credits_of(by_key[key], path))
    for (model, channel), (count, revenue) in expected_totals.items():
        assert (float(count), float(revenue)) == pytest.approx(found[model][channel], abs=1e-9)
    journeys_of_all = [
        ExactPath(tuple(one.channel for one in path), Fraction(1), Fraction(by_key[key].revenue))
        for key, path in paths.items()
    ] + [
        ExactPath(tuple(one.channel for one in path), Fraction(0), nulls=Fraction(1))
        for path in null_journeys(touches, {one.person or "" for one in conversions}).values()
    ]
    touched = sum(path.conversions for path in journeys_of_all if path.channels)
    for order in (1, 2):
        effects = markov_effects(journeys_of_all, order)
        whole = sum(effects.values())
        expected = {key: float(effect / whole * touched) for key, effect in effects.items()}
        assert expected == pytest.approx({key: found[f"markov_{order}"][key][0] for key in expected}, abs=1e-9)
    for model, exact in (("shapley", shapley(journeys_of_all)), ("markov_1_pathwise", pathwise(journeys_of_all))):
        for key, (count, revenue) in exact.items():
            assert (float(count), float(revenue)) == pytest.approx(found[model][key], abs=1e-9)


def test_every_model_of_a_file_adds_up(tmp_path: Path) -> None:
    file = tmp_path / "paths.csv"
    file.write_text("path,conversions,revenue,null\nA > B,3,30.30,2\nB,1,5,9\n,2,4,0\n", "utf-8")

    found = report("--paths", str(file))

    assert {*MODELS, "markov_1", "markov_2", "markov_3", "markov_1_pathwise", "shapley"} - {"time_decay"} == set(found)
    for model in set(found) - {"participation"}:
        assert (6.0, 39.3) == pytest.approx(tuple(map(sum, zip(*found[model].values(), strict=True))), abs=1e-9), model


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [("path\nA\n", 1, "column conversions: missing"), ("path,conversions\nA,x\n", 1, "expected a number")],
    ids=["column", "value"],
)
def test_a_file_that_cannot_be_read_fails(text: str, code: int, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "paths.csv"
    file.write_text(text, "utf-8")

    printed = CliRunner().invoke(app, ["attribution", "report", "--paths", str(file)])

    assert (code, True) == (printed.exit_code, expected in printed.stderr)


def test_of_events_without_a_column_for_it_those_with_revenue_are_conversions(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text("person,time,channel,revenue\na,2026-11-01,Email,0.0\na,2026-11-02,,10.0\n", "utf-8")

    assert {"Email": (1.0, 10.0)} == report("--events", str(file))["linear"]


@pytest.mark.parametrize(
    ("event", "code", "expected"),
    [
        pytest.param({"conversion": True, "revenue": float("nan")}, 1, "'nan': expected a number", id="no number"),
        pytest.param({"conversion": True, "goal": "lead"}, 0, "the file has lead, see --goal", id="another goal"),
    ],
)
def test_what_is_strange_about_a_conversion_is_said(
    event: dict[str, Any], code: int, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps({"person": "a", "time": "2026-11-01", **event}), "utf-8")

    printed = CliRunner().invoke(app, ["attribution", "report", "--events", str(file)])

    assert (code, True) == (printed.exit_code, expected in printed.stderr)


@pytest.mark.parametrize("width", ["80", "120"])
def test_a_narrow_terminal_shortens_names_but_no_number(
    width: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    file = tmp_path / "paths.csv"
    name = "a campaign whose name " * 6 + "ends here"
    file.write_text(f"path,conversions,revenue\n{name},1234567,123456789.12\n", "utf-8")

    printed = CliRunner().invoke(app, ["attribution", "report", "--paths", str(file), "--model", "linear"])

    assert "1,234,567.00" in printed.stdout
    assert "123,456,789.12" in printed.stdout
    assert "ends here" in printed.stdout
    assert max(map(len, printed.stdout.splitlines()[:4])) <= int(width)
