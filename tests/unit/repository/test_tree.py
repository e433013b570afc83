"""Rules of the source tree: imports between layers and rooms, the length of a file, forbidden names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as property_settings
from typer.testing import CliRunner

from deploy.cli.main import app
from tests.support.commands import names

ROOT = Path(__file__).parents[3]
LAYERS = ("schemas", "processors", "sinks", "deploy", "tests")
MAX_FILE_LINES = 500
COPIED_AS_ONE_FILE = {"deploy/clients/till.py"}
"""Clients that run where nothing of ours is installed: one file is their purpose."""
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}

FILES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*")) if "__pycache__" not in path.parts]


def test_no_source_file_is_longer_than_five_hundred_lines() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in FILES
        if path.suffix in {".py", ".sql", ".lua"}
    }

    assert {} == {
        name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES and name not in COPIED_AS_ONE_FILE
    }


def test_no_file_or_folder_has_a_name_without_meaning() -> None:
    forbidden = [path for path in FILES if FORBIDDEN_NAMES & set(path.stem.replace("-", "_").split("_"))]

    assert [] == [str(path.relative_to(ROOT)) for path in forbidden]


def test_every_import_contract_is_kept() -> None:
    checked = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == checked.returncode, checked.stdout


def test_no_property_fails_because_the_machine_is_slow() -> None:
    assert None is property_settings().deadline
    assert HealthCheck.too_slow in property_settings().suppress_health_check


@pytest.mark.parametrize("command", [(), *names()], ids=" ".join)
def test_every_command_has_a_help_text(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"})

    assert (0, True) == (shown.exit_code, "Usage:" in shown.output)
    assert [] == [line for line in shown.output.splitlines() if len(line) > 80]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        pytest.param(("ltv", "fit"), "pip install 'throughline[ltv]'", id="a bracket is no markup"),
        pytest.param(("collector",), "THROUGHLINE_SOURCES_FILE, their keys in THROUGHLINE_WRITE_KEYS.", id="lines"),
        pytest.param(("journeys", "publish"), "throughline journeys publish [OPTIONS] [NAME]...", id="brackets once"),
    ],
)
def test_a_help_text_is_shown_whole_and_fills_its_lines(command: tuple[str, ...], text: str) -> None:
    assert text in CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"}).output
