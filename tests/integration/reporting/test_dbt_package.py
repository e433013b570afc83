"""The dbt package has what the views have, and dbt builds it on a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from sinks.clickhouse.dbt_package import GRAINS, exposures, sources
from sinks.clickhouse.tables import describe, questions
from tests.support.builders import DAY_ONE
from tests.support.stack import unavailable
from tests.support.warehouse import Warehouse, ordered, resolved

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "deploy/dbt"
OWN_ENVIRONMENT = ROOT / ".dbt"
"""dbt needs other versions of packages than we do, and a hundred megabytes; made once."""


def installed_dbt() -> Path:
    """Return the program, installed as the package's page says; skip without a package index, but not in CI."""
    wanted = (PACKAGE / "requirements.txt").read_text("utf-8")
    stamp = OWN_ENVIRONMENT / "installed"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(OWN_ENVIRONMENT)], capture_output=True, check=False
        )
        install = [str(OWN_ENVIRONMENT / "bin/pip"), "install", "--quiet", "-r", str(PACKAGE / "requirements.txt")]
        got = subprocess.run(install, capture_output=True, text=True, check=False, timeout=240)
        if made.returncode or got.returncode:
            unavailable(f"dbt cannot be installed: {got.stderr[-500:]}")
        stamp.write_text(wanted, "utf-8")
    return OWN_ENVIRONMENT / "bin/dbt"


def test_sources_and_exposures_are_those_of_the_views(tables: Warehouse) -> None:
    described = describe(tables.client)
    written = {"sources.yml": sources(described), "exposures.yml": exposures(described, questions())}

    assert written == {name: (PACKAGE / "models" / name).read_text("utf-8") for name in written}, (
        "run: throughline schema dbt --out deploy/dbt/models"
    )


def test_a_grain_names_columns_that_there_are() -> None:
    found = yaml.safe_load((PACKAGE / "models/sources.yml").read_text("utf-8"))["sources"][0]["tables"]
    columns = {view["name"]: {column["name"] for column in view["columns"]} for view in found}

    assert {} == {name: missing for name, grain in GRAINS.items() if (missing := set(grain) - columns[name])}


@pytest.mark.timeout(900)  # a first run installs dbt
def test_dbt_builds_the_models_and_all_tests_pass(tables: Warehouse, tmp_path: Path) -> None:
    dbt = installed_dbt()
    tables.store(
        resolved("a1", 1, DAY_ONE, "Email"),
        ordered("o1", 1, DAY_ONE + timedelta(hours=1), "40.00"),
        ordered("o2", 2, DAY_ONE + timedelta(days=1), "60.00"),
    )
    project = shutil.copytree(PACKAGE, tmp_path / "project")
    address, made = urlsplit(tables.settings.clickhouse_url), f"{tables.settings.clickhouse_database}_dbt"
    try:
        ran = subprocess.run(
            [str(dbt), "build", "--profiles-dir", ".", "--no-use-colors",
             "--vars", json.dumps({"throughline_database": tables.settings.clickhouse_database})],
            cwd=project, capture_output=True, text=True, check=False, timeout=500,
            env={**os.environ, "DBT_CLICKHOUSE_HOST": str(address.hostname), "DBT_CLICKHOUSE_SCHEMA": made,
                 "DBT_CLICKHOUSE_PORT": str(address.port)},
        )  # fmt: skip
        results = json.loads((project / "target/run_results.json").read_text("utf-8"))["results"]
        sales = tables.rows(f"SELECT toString(day), orders, revenue FROM {made}.daily_sales ORDER BY day")
    finally:
        tables.client.command(f"DROP DATABASE IF EXISTS {made} SYNC")

    failed = [one["unique_id"] for one in results if one["status"] not in ("success", "pass", "no-op")]
    assert (0, []) == (ran.returncode, failed), ran.stdout[-3000:]
    assert len(GRAINS) + 6 <= sum(one["status"] == "pass" for one in results)
    assert [("2026-11-01", 1, 40), ("2026-11-02", 1, 60)] == sales
