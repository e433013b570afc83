"""Laws of the tree: who may import whom, how long a file may be, which names are no names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from tests.support.commands import names

ROOT = Path(__file__).parents[3]
LAYERS = ("schemas", "processors", "sinks", "deploy", "tests")
LONGEST_FILE_LINES = 500
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}

FILES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*")) if "__pycache__" not in path.parts]


def test_no_source_file_is_longer_than_five_hundred_lines() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in FILES
        if path.suffix in {".py", ".sql", ".lua"}
    }

    assert {} == {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE_LINES}


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    nameless = [path for path in FILES if NO_NAMES & set(path.stem.replace("-", "_").split("_"))]

    assert [] == [str(path.relative_to(ROOT)) for path in nameless]


def test_nothing_is_imported_against_the_layers() -> None:
    checked = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == checked.returncode, checked.stdout


@pytest.mark.parametrize("command", [(), *names()], ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"])

    assert (0, True) == (shown.exit_code, "Usage:" in shown.output)
