"""The tracking plan in SQL: what was seen, what was planned, how full properties are; and a check before it counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.plans import load_plan, plan_rows
from sinks.clickhouse.catalogue import publish_plan
from tests.support.builders import DAY_ONE, touchpoint
from tests.support.warehouse import Warehouse, resolved

pytestmark = pytest.mark.integration

PLAN = """
events:
  Card Shown:
    owner: stores
    meaning: A card was shown.
    mode: refuse
    properties:
      tier: {values: [silver, gold], required: true}
      number: {meaning: Of the card.}
    sources:
      app: {mode: observe, properties: {version: {type: integer}}}
  Gift Wrapped: {owner: stores, meaning: At the till.}
"""
NOTE = {"against_plan": [{"field": "properties.tier", "rule": "values"}]}


@pytest.fixture
def plan(tables: Warehouse, tmp_path: Path) -> Path:
    """A plan that is published, and events of two sources."""
    file = tmp_path / "cards.yaml"
    file.write_text(PLAN)
    publish_plan(tables.client, plan_rows(load_plan([file])), ["Page Viewed"])
    tables.store(
        resolved("a", 1, DAY_ONE, event="Card Shown", source="till", properties={"tier": "gold"}),
        resolved("b", 1, DAY_ONE, event="Card Shown", source="till", properties={"tier": 2, "x": [1]}, context=NOTE),
        resolved("c", 2, DAY_ONE, event="Card Shown", source="app", properties={"version": 7}),
        resolved("d", 2, DAY_ONE),
        resolved("e", 2, DAY_ONE, event="Crad Shown"),
    )
    return file


def command(*words: object) -> Any:
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_catalogue_says_what_was_seen_and_what_was_planned(tables: Warehouse, plan: Path) -> None:
    tables.store(resolved("a", 1, DAY_ONE, event="Card Shown", source="till", properties={"tier": "gold"}))
    rows = json.loads(command("plan", "catalogue", "--json").stdout)

    assert [
        ("Card Shown", "app", "planned", 1, 0, "observe"),
        ("Card Shown", "till", "planned", 2, 1, "refuse"),
        ("Gift Wrapped", "", "planned", 0, 0, "observe"),
        ("Crad Shown", "shop", "never planned", 1, 0, ""),
        ("Page Viewed", "shop", "known", 1, 0, ""),
    ] == [(r["event"], r["source"], r["status"], r["events"], r["against_plan"], r["mode"]) for r in rows]
    assert None is next(row["first_seen"] for row in rows if row["event"] == "Gift Wrapped")
    assert [(DAY_ONE.date(), "Card Shown", "till", "properties.tier", "values", 1, "b")] == tables.rows(
        "SELECT * FROM v_plan_violations"
    )


def test_fill_rates_are_of_the_events_of_a_source_and_show_what_never_came(tables: Warehouse, plan: Path) -> None:
    rows = json.loads(command("plan", "catalogue", "--event", "Card Shown", "--json").stdout)

    assert [
        ("app", "version", "optional", "integer", ["number"], 1.0),
        ("app", "number", "optional", "text", [], 0.0),
        ("app", "tier", "required", "text", [], 0.0),
        ("till", "tier", "required", "text", ["number", "text"], 1.0),
        ("till", "x", "never planned", "", ["list"], 0.5),
        ("till", "number", "optional", "text", [], 0.0),
    ] == [(r["source"], r["property"], r["status"], r["planned_type"], r["types"], r["fill_rate"]) for r in rows]


def test_publishing_the_same_plan_again_changes_nothing_and_a_new_one_replaces_it(
    tables: Warehouse, plan: Path
) -> None:
    again = publish_plan(tables.client, plan_rows(load_plan([plan])), ["Page Viewed"])
    emptied = publish_plan(tables.client, [], ["Page Viewed"])

    assert (False, True) == (again, emptied)
    assert [] == tables.rows("SELECT * FROM v_tracking_plan")
    assert [(2,)] == tables.rows("SELECT count() FROM v_event_catalogue WHERE event = 'Card Shown'")


def test_history_is_checked_against_a_plan_before_it_is_put_in_force(tables: Warehouse, plan: Path) -> None:
    outcome = command("plan", "check", "--history", "--plan", plan, "--json")
    found = json.loads(outcome.stdout)

    assert (1, 5, 1) == (outcome.exit_code, found["events"], found["would_refuse"])
    assert {
        ("app", "properties.tier", "required", 1, "c"), ("till", "properties.tier", "type", 1, "b"),
    } == {(r["source"], r["field"], r["rule"], r["events"], r["examples"][0]) for r in found["broken"]}  # fmt: skip


def test_a_file_is_checked_without_any_server(plan: Path, tmp_path: Path) -> None:
    events = [touchpoint("Card Shown", source="till", properties={"tier": tier}) for tier in ("gold", "lead")]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([*map(json.dumps, events), "{not json", ""]))
    outcome = command("plan", "check", file, "--plan", plan)

    assert 1 == outcome.exit_code
    assert "3 events, 1 of them no valid events; the plan would refuse 1" in outcome.stdout
    file.write_text(json.dumps(events[0]))
    assert 0 == command("plan", "check", file, "--plan", plan).exit_code


def test_lint_names_file_line_and_what_is_probably_meant(tables: Warehouse, tmp_path: Path) -> None:
    wrong, odd = tmp_path / "wrong.yaml", tmp_path / "odd.yaml"
    wrong.write_text("events:\n  A B:\n    owner: o\n    meaning: m\n    properties:\n      n: {type: textt}\n")
    odd.write_text("events:\n  Order Complete: {owner: o, meaning: m}\nunplanned: {servre: warn}\n")

    outcome = command("plan", "lint", wrong)
    assert (1, True) == (outcome.exit_code, f"{wrong}:6:11: events.A B.properties.n.type: " in outcome.output)
    hinted = command("plan", "lint", odd)
    assert 0 == hinted.exit_code
    assert f"{odd}:2:3: events.Order Complete: the known event is Order Completed" in hinted.output
    assert "did you mean server?" in hinted.output
    twice = command("plan", "lint", odd, odd)
    assert (1, True) == (twice.exit_code, "has it already" in twice.output)
