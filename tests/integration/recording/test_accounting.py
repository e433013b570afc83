"""Every record is accounted for: stored, duplicate, suppressed, dead-lettered, or named as missing."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.settings import Settings
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, instant, resolved, warehouse

pytestmark = pytest.mark.integration


@pytest.fixture
def tables(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    with warehouse(stack) as found:
        yield found


def at_offset(offset: int, event_id: str, topic: str = "touchpoints.web") -> dict[str, Any]:
    return resolved(event_id, 1, DAY_ONE, origin={"topic": topic, "partition": 0, "offset": offset})


def dropped(offset: int, reason: str, received_at: str = "") -> bytes:
    return orjson.dumps(
        {
            "event_id": "e1",
            "reason": reason,
            "source": "shop",
            "channel": "web",
            "topic": "touchpoints.web",
            "partition": 0,
            "offset": offset,
            "received_at": received_at or instant(DAY_ONE),
        }
    )


def dead_letter(offset: int, value: bytes, topic: str = "touchpoints.web", partition: int = 0) -> bytes:
    return orjson.dumps(
        {
            "reason": "invalid_field",
            "message": "x",
            "stage": "identify",
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "received_at": instant(DAY_ONE),
            "value_base64": b64encode(value).decode(),
        }
    )


COUNTS = """
    SELECT sum(received), sum(stored), sum(duplicate), sum(suppressed), sum(dead_lettered), sum(difference)
    FROM v_accounting
"""


def test_each_record_counts_once_by_its_outcome(tables: Warehouse) -> None:
    tables.store(at_offset(0, "e1"), at_offset(1, "e2"))
    tables.insert("dropped_touchpoints", dropped(2, "duplicate"), dropped(3, "consent"))
    tables.insert("dead_letters", dead_letter(4, b'{"source": "shop"}'), dead_letter(5, b"\xff not JSON"))

    assert [(6, 2, 1, 1, 2, 0)] == tables.rows(COUNTS)
    assert [("", 1), ("shop", 5)] == tables.rows("SELECT source, received FROM v_accounting ORDER BY source")


def test_a_repeated_insert_changes_nothing(tables: Warehouse) -> None:
    for _ in range(2):
        tables.store(at_offset(0, "e1"))
        tables.insert("dropped_touchpoints", dropped(1, "duplicate"))
        tables.insert("dead_letters", dead_letter(2, b"{}"))

    assert [(3, 1, 1, 0, 1, 0)] == tables.rows(COUNTS)


def test_a_duplicate_that_was_only_recognised_at_storing_is_one(tables: Warehouse) -> None:
    tables.store(at_offset(0, "e1"))
    tables.store(at_offset(1, "e1"))
    tables.client.command("OPTIMIZE TABLE touchpoints FINAL")

    assert [(2, 1, 1, 0, 0, 0)] == tables.rows(COUNTS)


def test_a_record_with_two_outcomes_is_a_difference(tables: Warehouse) -> None:
    tables.store(at_offset(0, "e1"))
    tables.insert("dropped_touchpoints", dropped(0, "duplicate", at_offset(0, "e1")["received_at"]))

    assert [(1, 1, 1, 0, 0, -1)] == tables.rows(COUNTS)


def test_what_a_later_stage_refused_is_not_another_record(tables: Warehouse) -> None:
    tables.store(at_offset(0, "e1", topic="prefix-touchpoints.web"))
    tables.insert("dead_letters", dead_letter(7, b"{}", topic="prefix-resolved-touchpoints"))

    assert [(1, 1, 0, 0, 0, 0)] == tables.rows(COUNTS)


def test_a_touchpoint_that_could_not_be_stored_is_its_producers_dead_letter(tables: Warehouse) -> None:
    event = at_offset(3, "e1", topic="prefix-touchpoints.web")
    letter = orjson.loads(dead_letter(7, orjson.dumps(event), topic="prefix-resolved-touchpoints"))
    letter |= {"stage": "record", "reason": "refused_by_store", "message": "touchpoints: a value does not fit"}
    tables.insert("dead_letters", orjson.dumps(letter))

    assert [(1, 0, 0, 0, 1, 0)] == tables.rows(COUNTS)
    assert [("prefix-touchpoints.web", 3)] == tables.rows("SELECT topic, offset FROM arrivals")


def test_a_broker_that_starts_again_at_offset_0_hides_nothing(tables: Warehouse) -> None:
    tables.store(at_offset(0, "e1"))
    tables.store(at_offset(0, "e2") | {"received_at": instant(DAY_ONE + timedelta(days=1))})
    tables.client.command("OPTIMIZE TABLE arrivals FINAL")

    assert [(2, 2, 0, 0, 0, 0)] == tables.rows(COUNTS)


def test_offsets_without_an_outcome_are_named(tables: Warehouse) -> None:
    tables.store(at_offset(0, "e1"), at_offset(1, "e2"), at_offset(5, "e3"), at_offset(7, "e4"))
    tables.store(at_offset(100, "e5", topic="touchpoints.app"))

    gaps = tables.rows("SELECT topic, first_offset, last_offset, missing FROM v_missing_offsets ORDER BY first_offset")

    assert [("touchpoints.web", 2, 4, 3), ("touchpoints.web", 6, 6, 1)] == gaps


def test_what_the_collector_refused_counts_and_leaves_no_gap(tables: Warehouse) -> None:
    tables.store(at_offset(0, "e1"), at_offset(1, "e2"))
    tables.insert("dead_letters", *(dead_letter(offset, b"{}", partition=-1) for offset in (5, 2**63 - 1)))

    assert [(4, 2, 0, 0, 2, 0)] == tables.rows(COUNTS)
    assert [] == tables.rows("SELECT * FROM v_missing_offsets")


def test_the_command_prints_the_totals(tables: Warehouse) -> None:
    tables.store(at_offset(0, "e1"), at_offset(2, "e2"))

    printed = CliRunner().invoke(app, ["accounting", "--json"])

    assert 0 == printed.exit_code, printed.output
    assert {
        "received": 2, "stored": 2, "duplicate": 0, "suppressed": 0, "dead_lettered": 0, "difference": 0, "missing": 1
    }.items() <= json.loads(printed.stdout).items()  # fmt: skip


def test_the_command_says_what_is_missing_in_words(tables: Warehouse) -> None:
    tables.store(at_offset(0, "e1"), at_offset(2, "e2"))

    printed = CliRunner().invoke(app, ["accounting"])

    assert "1 records have no outcome (yet)" in printed.stdout


def test_an_empty_database_adds_up_to_nothing(tables: Warehouse) -> None:
    printed = CliRunner().invoke(app, ["accounting", "--json"])

    assert (0, 0) == (json.loads(printed.stdout)["received"], json.loads(printed.stdout)["missing"])
