"""What a profile has counted is compared with what is stored of the person: a lost or doubled event shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations import doctor
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from processors.recording.rows import profile_row, touchpoint_rows
from schemas.time import clock_ms, text_of_ms
from sinks.redis.keys import person_prefix
from sinks.redis.packing import unpack
from tests.support.builders import DAY_ONE, touchpoint
from tests.support.in_process_pipeline import Town, town
from tests.support.warehouse import Warehouse, merged, person, resolved, warehouse

pytestmark = pytest.mark.integration

MINUTE_MS = 60_000
ROWS = "SELECT toString(profile_id), stored, counted, difference FROM v_profile_accounting ORDER BY profile_id"


@pytest.fixture
def tables(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    with warehouse(stack) as found:
        yield found


def store(tables: Warehouse, *events: dict[str, Any], ago: int = 20) -> None:
    """Store events as if it had been so many minutes ago."""
    stored_at = text_of_ms(clock_ms() - ago * MINUTE_MS)
    rules = tables._rules
    for table, row in (row for event in events for row in touchpoint_rows(event, rules)):
        tables.insert(table, orjson.dumps({**orjson.loads(row), "stored_at": stored_at}))


def snapshot(tables: Warehouse, who: int, counted: int, version: int = 1, *, ago: int = 20, **more: Any) -> None:
    """Store a snapshot of a profile as if it had been so many minutes ago."""
    document = orjson.dumps({"profile_id": person(who), "event_count": counted, **more})
    row = orjson.loads(profile_row(person(who), version, document))
    tables.insert("profiles", orjson.dumps({**row, "stored_at": text_of_ms(clock_ms() - ago * MINUTE_MS)}))


def erased(who: int) -> dict[str, Any]:
    return {**merged(9, who, [], kind="erase"), "rule": "erasure", "event_id": ""}


def account() -> dict[str, Any]:
    result = CliRunner().invoke(app, ["accounting", "--json"])
    assert 0 == result.exit_code, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)["profiles"]
    return found


def test_a_lost_and_a_doubled_event_show_and_a_right_profile_does_not(tables: Warehouse) -> None:
    for who in (1, 2, 3):
        store(tables, *(resolved(f"e{who}-{number}", who, DAY_ONE) for number in range(3)))
    store(tables, resolved("e4", 4, DAY_ONE))
    for who, counted in ((1, 3), (2, 2), (3, 6)):  # nothing was ever stored of the fourth profile
        snapshot(tables, who, counted)

    assert [(person(1), 3, 3, 0), (person(2), 3, 2, -1), (person(3), 3, 6, 3), (person(4), 1, 0, -1)] == tables.rows(
        ROWS
    )
    assert {
        "people": 4, "stored": 10, "counted": 11, "moving": 0, "differing": 3, "missing": 2, "excess": 3,
    } == account()  # fmt: skip
    text = CliRunner().invoke(app, ["accounting"]).stdout
    assert "3 profiles differ" in text
    assert "lack 2 events and have counted 3 too often" in text.replace("\n", " ")


def test_a_snapshot_that_is_still_to_come_is_no_difference(tables: Warehouse) -> None:
    store(tables, resolved("e1", 1, DAY_ONE))
    snapshot(tables, 1, 1)
    store(tables, resolved("e2", 1, DAY_ONE), ago=1)

    assert [(person(1), 2, 1, 0)] == tables.rows(ROWS)
    assert (1, 0) == (account()["moving"], account()["differing"])


def test_an_event_that_was_stored_twice_counts_once(tables: Warehouse) -> None:
    event = resolved("e1", 1, DAY_ONE)
    store(tables, event)
    store(tables, event)
    snapshot(tables, 1, 1)

    assert [(person(1), 1, 1, 0)] == tables.rows(ROWS)


def test_people_who_were_merged_are_one(tables: Warehouse) -> None:
    store(tables, resolved("e1", 1, DAY_ONE), resolved("e2", 2, DAY_ONE))
    snapshot(tables, 1, 2, 2)
    snapshot(tables, 2, 1)
    tables.change({**merged(1, 1, [2]), "from_profile_id": person(2)})

    assert [(person(1), 2, 2, 0)] == tables.rows(ROWS)


def test_a_merge_whose_effect_was_lost_shows(tables: Warehouse) -> None:
    store(tables, resolved("e1", 1, DAY_ONE), resolved("e2", 2, DAY_ONE))
    snapshot(tables, 1, 1)
    snapshot(tables, 2, 1)
    tables.change({**merged(1, 1, [2]), "from_profile_id": person(2)})

    assert [(person(1), 2, 1, -1)] == tables.rows(ROWS)


def test_who_was_erased_is_no_difference_at_any_step(tables: Warehouse) -> None:
    store(tables, resolved("e1", 1, DAY_ONE), resolved("e2", 2, DAY_ONE), resolved("e3", None, DAY_ONE))
    snapshot(tables, 1, 1)
    snapshot(tables, 2, 1)
    tables.change(erased(1))
    first = tables.rows(ROWS)
    snapshot(tables, 1, 0, 2, gone=True)

    assert [(person(2), 1, 1, 0)] == first == tables.rows(ROWS)


async def test_a_profile_that_was_changed_behind_the_systems_back_shows(stack: Settings) -> None:
    async with town(stack) as here:
        await here.live(*(touchpoint(identifiers={"email": "ann@shop.example"}, event_id=f"e{n}") for n in range(3)))
        right = await snapshots(here)
        ann = await here.owner("email", "ann@shop.example")
        key = f"{person_prefix(stack.redis_namespace, ann)}profile:{ann}"
        stored: Any = await here.redis.hget(key, "document")
        document = orjson.loads(unpack(stored))
        await here.redis.hset(key, mapping={"version": "2", "document": orjson.dumps({**document, "event_count": 2})})
        wrong = await snapshots(here)

    assert ([(3, 3)], [(3, 2)]) == (right, wrong)


async def snapshots(here: Town) -> list[tuple[Any, ...]]:
    """Copy the profiles to ClickHouse, and return what is stored and what is counted."""
    await here.insert("profiles", *(profile_row(*one) for one in await here.profiles.changed(10)))
    return await asyncio.to_thread(here.tables.rows, "SELECT stored, counted FROM v_profile_accounting")


def test_doctor_says_which_profiles_differ(tables: Warehouse, stack: Settings) -> None:
    apply_topics(stack)
    store(tables, resolved("e1", 1, DAY_ONE), resolved("e2", 1, DAY_ONE))
    snapshot(tables, 1, 2)
    (right,) = (check for check in doctor.examine(stack) if check.name == "profiles")
    snapshot(tables, 1, 1, 2)
    (wrong,) = (check for check in doctor.examine(stack) if check.name == "profiles")

    assert (True, "1 have counted the events that are stored") == (right.ok, right.found)
    assert (False, "1 lack 1 stored events and have counted 0 too often") == (wrong.ok, wrong.found)
