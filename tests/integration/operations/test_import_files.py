"""Imports of files on real servers: what is shown before, what arrives, that twice is once and a kill costs nothing."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from deploy.cli.main import app
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from sinks.clickhouse.history import stored_event_ids
from tests.support.builders import DAY_ONE
from tests.support.in_process_pipeline import town
from tests.support.topic_reader import everything
from tests.support.warehouse import Warehouse, resolved

pytestmark = pytest.mark.integration

PEOPLE = (
    "Customer ID,First Name,Email,Phone,Accepts Email Marketing\n"
    "7,Ada,ada@shop.example,+491701234567,yes\n"
    "8,Bob,bob@shop.example,,no\n"
    ",Nobody,,,yes\n"
)
SMALL_STEPS = (
    "import deploy.operations.importers.import_rows as rows; rows.ROWS_PER_STEP = 250; "
    "from deploy.cli.main import app; app()"
)


@pytest.fixture
def shop(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment with topics and tables, which commands find."""
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    apply_topics(stack)
    happened(stack, [])
    return stack


def happened(settings: Settings, events: Sequence[dict[str, Any]]) -> None:
    """Let events go through identity, profiles and ClickHouse."""

    async def live() -> None:
        async with town(settings) as found:
            await found.live(*events)

    asyncio.run(live())


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, words)])


def published(settings: Settings) -> list[dict[str, Any]]:
    return [orjson.loads(value) for *_, value in everything(settings)]


def person(number: int, **identifiers: str) -> dict[str, Any]:
    return {
        "event_id": f"known-{number}", "event": "Identify", "channel": "web", "source": "web",
        "occurred_at": "2026-11-01T10:00:00Z", "identifiers": identifiers,
    }  # fmt: skip


def test_nothing_is_published_before_the_guess_was_shown(shop: Settings, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(PEOPLE)
    shown = run("people", file)

    assert (0, []) == (shown.exit_code, published(shop))
    assert ["line 2: ", "line 3: ", "line 4: "] == [line[:8] for line in shown.stdout.splitlines()]
    assert "kind: people" in (tmp_path / "people.map.yaml").read_text()
    (tmp_path / "people.map.yaml").write_text("kind: orders\nsource: x\nevents: [{event: A, event_id: id}]\n")
    assert "it is the mapping of orders" in run("people", file).output


def test_a_dry_run_says_who_is_new_changed_or_joined_and_which_rows_are_refused(shop: Settings, tmp_path: Path) -> None:
    happened(shop, [person(1, email="ada@shop.example"), person(2, phone="+491701234567"), person(3, user_id="8")])
    file = tmp_path / "people.csv"
    file.write_text(PEOPLE + "9,Cy,cy@shop.example,,\n10,Cy,cy@shop.example,,\n")
    found = json.loads(run("people", file, "--dry-run", "--json").stdout)

    assert {"merged": 1, "changed": 2, "new": 1, "unchanged": 0} == found["events"]
    assert (5, 1, 4) == (found["rows"], found["refused"], found["reasons"][0][0])
    assert [] == published(shop)


def test_a_second_import_changes_nothing_and_a_changed_row_is_published(shop: Settings, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(PEOPLE)
    first = run("people", file, "--yes", "--source", "crm")
    events = published(shop)
    happened(shop, events)
    file.write_text(PEOPLE.replace("Bob,", "Robert,"))
    second = json.loads(run("people", file, "--yes", "--source", "crm", "--json").stdout)

    assert (0, 2) == (first.exit_code, len(events))
    assert {("crm", True)} == {(one["source"], one["context"]["historical"]) for one in events}
    assert (1, 1) == (second["published"], second["unchanged"])
    assert "Robert" == published(shop)[-1]["traits"]["first_name"]


def test_refused_rows_are_written_with_line_and_reason_and_can_be_imported_when_corrected(
    shop: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv"
    file.write_text(PEOPLE)
    run("people", file, "--yes")
    [row] = csv.DictReader((tmp_path / "people.refused.csv").read_text().splitlines())

    assert ("4", "Nobody") == (row["_line"], row["First Name"])
    assert "event_id cannot be made" in row["_reason"]
    corrected = tmp_path / "corrected.csv"
    corrected.write_text((tmp_path / "people.refused.csv").read_text().replace(",Nobody,,", ",Nobody,n@shop.example,"))
    again = run("people", corrected, "--map", tmp_path / "people.map.yaml", "--yes", "--json")
    assert 1 == json.loads(again.stdout)["published"], again.output


def test_a_killed_import_goes_on_and_every_row_arrives_once_by_its_id(shop: Settings, tmp_path: Path) -> None:
    file, rows = tmp_path / "many.csv", 3_000
    lines = (f"{number},P,p{number}@shop.example,,\n" for number in range(rows))
    file.write_text(PEOPLE.partition("\n")[0] + "\n" + ",Nobody,,,\n" + "".join(lines))
    assert 0 == run("people", file).exit_code
    environment = {
        **os.environ,
        **{
            f"THROUGHLINE_{name.upper()}": str(getattr(shop, name))
            for name in ("kafka_bootstrap", "redis_url", "clickhouse_url", "topic_prefix", "redis_namespace")
        },
        "THROUGHLINE_CLICKHOUSE_DATABASE": shop.clickhouse_database,
    }
    command = [sys.executable, "-c", SMALL_STEPS, "import", "people", str(file), "--yes"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    state = tmp_path / "many.import.json"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = json.loads(state.read_text())
    resumed = json.loads(run("people", file, "--resume", "--json").stdout)

    assert (True, False) == (0 < before["rows"] < rows, before["done"])
    assert (rows + 1, 1, True) == (resumed["rows"], resumed["refused"], resumed["done"])
    ids = [event["event_id"] for event in published(shop)]
    assert rows == len(set(ids))
    assert 1 == len([*csv.DictReader((tmp_path / "many.refused.csv").read_text().splitlines())])
    assert "nothing is left to be done" in run("people", file, "--resume").output
    file.write_text(file.read_text() + "x,P,x@shop.example,,\n")
    assert "the file has changed since the import began" in run("people", file, "--resume").output


def test_an_encoding_that_is_wrong_is_said_before_anything_is_read(shop: Settings, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(PEOPLE.replace("Ada", "Änne").encode("cp1252"))

    assert "line 2: the byte 0xC4 is not utf-8" in run("people", file).output
    assert "Änne" in run("people", file, "--encoding", "cp1252").stdout


def test_parquet_rows_are_imported_too(shop: Settings, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "events.parquet"
    rows = {"event": ["Card Shown"] * 3, "email": [f"p{n}@b.example" for n in range(3)], "points": [1, 2, None]}
    stays = arrow.array([timedelta(seconds=90)] * 3, arrow.duration("s"))
    table = arrow.table({**rows, "stay": stays, "timestamp": ["2026-10-01T10:00:00Z"] * 3})
    parquet.write_table(table, file)

    assert 3 == json.loads(run("events", file, "--yes", "--json").stdout)["published"]
    properties = [event["properties"] for event in published(shop)]
    assert {1, 2, None} == {one.get("points") for one in properties}
    assert {90} == {one["stay"] for one in properties}


def test_any_number_of_ids_is_asked_for_at_once_whatever_is_in_them(tables: Warehouse) -> None:
    odd = 'it\'s a "tab"\t and a \\'
    tables.store(resolved(odd, 1, DAY_ONE), resolved("other", 1, DAY_ONE, source="elsewhere"))
    asked = [odd, "other", *(f"{'x' * 90}{number}" for number in range(20_000))]

    assert {odd} == stored_event_ids(tables.client, "shop", asked)
