"""`throughline health` as container health checks start it: its answer, and that it stays cheap."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.home import Home
from deploy.operations.health import HEALTHY_S
from schemas.time import clock_ms

HEAVY = ("aiohttp", "confluent_kafka", "deploy.cli.main", "deploy.settings", "pydantic", "redis", "rich", "typer")
ROOT = Path(__file__).parents[3]
MODULE, _, FUNCTION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"][
    "throughline"
].partition(":")
RUN = f"from {MODULE} import {FUNCTION}; {FUNCTION}()"
"""What the program `throughline` does, once it is installed."""


def heartbeat(home: Path, age_s: float) -> None:
    file = Home(home).heartbeat("identify")
    file.parent.mkdir()
    file.touch()
    touched_s = clock_ms() / 1000 - age_s
    os.utime(file, (touched_s, touched_s))


def program(home: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, "health", "identify"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "THROUGHLINE_HOME": str(home)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        pytest.param(1, (0, "identify: ok\n", ""), id="young"),
        pytest.param(HEALTHY_S + 30, (1, "", "identify: last heartbeat … s ago\n"), id="old"),
        pytest.param(None, (1, "", "identify: no heartbeat\n"), id="none"),
    ],
)
def test_a_process_is_healthy_while_its_heartbeat_is_young(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: float | None, expected: tuple[int, str, str]
) -> None:
    if age_s is not None:
        heartbeat(tmp_path, age_s)
    asked = program(tmp_path, RUN)
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path))
    typed = CliRunner().invoke(app, ["health", "identify"])

    assert expected == (asked.returncode, asked.stdout, re.sub(r"\d+", "…", asked.stderr))
    assert expected == (typed.exit_code, typed.stdout, re.sub(r"\d+", "…", typed.stderr))


def test_the_question_imports_neither_the_other_commands_nor_their_libraries(tmp_path: Path) -> None:
    heartbeat(tmp_path, 0)
    asked = program(
        tmp_path,
        f"import atexit, sys; atexit.register(lambda: print(sorted({set(HEAVY)!r} & set(sys.modules)))); {RUN}",
    )

    assert "identify: ok\n[]\n" == asked.stdout


def test_every_other_command_line_is_run_as_before(tmp_path: Path) -> None:
    asked = program(tmp_path, f"import sys; sys.argv[1:] = ['health']; {RUN}")

    assert (2, True) == (asked.returncode, "Missing argument" in asked.stderr)
