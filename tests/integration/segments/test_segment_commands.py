"""The segment commands over a real ClickHouse: preview of history, counts, lists for advertising networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.settings import Settings, settings
from tests.support.builders import DAY_ONE
from tests.support.pipeline import environment
from tests.support.warehouse import Warehouse, instant, ordered, person, resolved, warehouse

LONG_AGO = DAY_ONE.replace(year=2020)
"""The lists are about now, whenever now is."""

pytestmark = pytest.mark.integration

AUTUMN = """\
segments:
  - name: autumn_buyers
    description: Bought in the last 30 days.
    when: {performed: Order Completed, within: 30d}
  - name: autumn_store_customers
    description: Those who also bought in a store.
    when: {all: [{segment: autumn_buyers}, {segment: store_buyers}]}
"""


@pytest.fixture
def house(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    for name, value in environment(stack).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    with warehouse(stack) as found:
        yield found
    settings.cache_clear()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["segments", *arguments])


def changed(number: int, who: int, segment: str, day: int, entered: bool) -> bytes:
    return orjson.dumps(
        {
            "change_id": person(number),
            "segment": segment,
            "profile_id": person(who),
            "changed_at": instant(LONG_AGO + timedelta(days=day)),
            "entered": int(entered),
            "definition_version": "v",
            "event_id": "",
        }
    )


def profile(who: int, email: str, marketing: bool | None, asked: int = 0) -> bytes:
    at = round((LONG_AGO + timedelta(days=asked)).timestamp() * 1000)
    document: dict[str, Any] = {"profile_id": person(who), "addresses": {"email": {email: [at, True, 0, False]}}}
    if marketing is not None:
        document["consent"] = {"purposes": {"marketing": [marketing, at]}}
    return orjson.dumps({"profile_id": person(who), "version": 1, "document": orjson.dumps(document).decode(),
                         "is_deleted": 0})  # fmt: skip


def hashes(output: str) -> list[str]:
    return [line.split(",")[0] for line in output.splitlines()[1:]]


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def test_a_preview_says_who_would_be_in_it_and_when_they_came_and_went(house: Warehouse, tmp_path: Path) -> None:
    house.store(
        ordered("o1", 1, DAY_ONE, channel="store"),
        ordered("o2", 2, DAY_ONE + timedelta(days=10)),
        resolved("e3", 3, DAY_ONE),
    )
    file = tmp_path / "autumn.yaml"
    file.write_text(AUTUMN, "utf-8")
    told = run("preview", str(file), "--at", instant(DAY_ONE + timedelta(days=35)), "--json")
    shown = json.loads(told.stdout)

    assert {
        "people": 3,
        "segments": {
            "autumn_buyers": {
                "members": 1,
                "entered": {"2026-11-01": 1, "2026-11-11": 1},
                "left": {"2026-12-01": 1},
                "examples": [person(2)],
            },
            "autumn_store_customers": {
                "members": 0,
                "entered": {"2026-11-01": 1},
                "left": {"2026-12-01": 1},
                "examples": [],
            },
        },
    } == shown


def test_an_event_that_looks_misspelt_is_pointed_out(house: Warehouse, tmp_path: Path) -> None:
    file = tmp_path / "autumn.yaml"
    file.write_text(AUTUMN.replace("Order Completed", "Order Complted"), "utf-8")

    assert "autumn_buyers: 'Order Complted' is a custom event; did you mean Order Completed?" in run(
        "preview", str(file)
    ).stderr  # fmt: skip


def test_a_shipped_segment_can_be_previewed_by_its_name(house: Warehouse) -> None:
    house.store(ordered("o1", 1, DAY_ONE, channel="store"))
    told = run("preview", "store_buyers", "--at", "2026-11-02")

    assert "store_buyers: 1 of 1 people" == told.stdout.splitlines()[0]


def test_lists_count_and_export_only_those_who_agreed(house: Warehouse) -> None:
    house.insert(
        "segment_changes",
        *(changed(number, number, "vip", 0, True) for number in (1, 2, 3, 4)),
        changed(5, 4, "vip", 1, False),
    )
    house.insert(
        "profiles",
        profile(1, "yes@b.example", True),
        profile(2, "no@b.example", False),
        profile(3, "silent@b.example", None),
        profile(4, "gone@b.example", True),
    )
    counted = {row["name"]: row["members"] for row in json.loads(run("list", "--counts", "--json").stdout)}
    listed = run("export", "vip", "--for", "meta")
    left = run("export", "vip", "--for", "meta", "--change", "left", "--since", instant(LONG_AGO + timedelta(hours=1)))
    come = run(
        "export", "vip", "--for", "meta", "--change", "entered", "--since", instant(LONG_AGO - timedelta(days=1))
    )

    assert (3, 0) == (counted["vip"], counted["loyal"])
    assert [sha("yes@b.example")] == hashes(listed.stdout)
    assert [sha("gone@b.example")] == hashes(left.stdout)
    assert [sha("yes@b.example")] == hashes(come.stdout)


def test_who_withdrew_consent_is_taken_off_the_list(house: Warehouse) -> None:
    house.insert("segment_changes", changed(1, 1, "vip", 0, True), changed(2, 2, "vip", 0, True))
    house.insert("profiles", profile(1, "was@b.example", False, asked=2), profile(2, "never@b.example", False, asked=0))
    left = run("export", "vip", "--for", "google", "--change", "left", "--since", instant(LONG_AGO + timedelta(days=1)))

    assert [sha("was@b.example")] == hashes(left.stdout)
