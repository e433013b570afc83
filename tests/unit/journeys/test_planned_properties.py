"""Properties in segments and journeys that the tracking plan does not have, where they are, and what was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.settings import Settings
from processors.journeys.planned_properties import unplanned_of_journeys, unplanned_of_segments
from schemas.intake.plan import PlanDefinitions
from schemas.segments.definitions import SegmentDefinitions
from tests.support.stories import journey

PLAN = PlanDefinitions.model_validate(
    {
        "events": {
            "Card Scanned": {
                "owner": "stores",
                "meaning": "A card at a till.",
                "properties": {
                    "tier": {},
                    "free": {"type": "object"},
                    "seen": {
                        "type": "list",
                        "of": {"type": "object", "properties": {"product_id": {}, "shelf": {"type": "integer"}}},
                    },
                },
                "sources": {"app": {"properties": {"screen": {}}}},
            },
            "Card Shown": {"owner": "stores", "meaning": "A card in the app."},
            "Order Completed": {"owner": "shop", "meaning": "An order.", "properties": {"gift_wrap": {}}},
        }
    }
)
WHERE = {"properties.teir": "gold"}


def of_segment(when: dict[str, Any]) -> list[tuple[str, str]]:
    segments = SegmentDefinitions.model_validate({"segments": [{"name": "a", "description": "A.", "when": when}]})
    return [(".".join(map(str, at)), message) for _, at, message in unplanned_of_segments(segments, PLAN)]


@pytest.mark.parametrize(
    ("when", "place"),
    [
        ({"performed": "Card Scanned", "where": WHERE}, "when.where.properties.teir"),
        ({"not_performed": "Card Scanned", "where": WHERE}, "when.where.properties.teir"),
        (
            {"all": [{"stage": "new"}, {"not": {"performed": "Card Scanned", "where": WHERE}}]},
            "when.all.1.not.where.properties.teir",
        ),
        ({"aggregate": "unique_count", "event": "Card Scanned", "of": "properties.teir", "gte": 2}, "when.of"),
        (
            {"sequence": [{"event": "Order Completed"}, {"event": "Card Scanned", "where": WHERE}], "within": "7d"},
            "when.sequence.1.where.properties.teir",
        ),
    ],
)
def test_a_misspelt_property_of_a_segment_is_named_with_its_place(when: dict[str, Any], place: str) -> None:
    message = (
        "the tracking plan has no property 'teir' for 'Card Scanned'; did you mean tier? "
        "(known: currency, free, revenue, screen, seen, tier)"
    )

    assert [(place, message)] == of_segment(when)


@pytest.mark.parametrize(
    "where",
    [
        pytest.param({"properties.tier": "gold"}, id="planned"),
        pytest.param({"properties.screen": "home"}, id="planned for one source"),
        pytest.param({"properties.seen.product_id": "p-1"}, id="planned of the elements of a list"),
        pytest.param({"properties.free.anything.at.all": 1}, id="inside an object of which nothing is said"),
        pytest.param({"properties.revenue": {"gt": 5}}, id="money of every event"),
        pytest.param({"context.teir": "gold"}, id="no property"),
    ],
)
def test_a_property_that_the_plan_has_or_leaves_open_is_no_finding(where: dict[str, Any]) -> None:
    assert [] == of_segment({"performed": "Card Scanned", "where": where})


def test_a_part_of_an_element_is_checked_too() -> None:
    ((_, message),) = of_segment({"performed": "Card Scanned", "where": {"properties.seen.shelv": 3}})

    assert message.startswith(
        "the tracking plan has no property 'shelv' for seen of 'Card Scanned'; did you mean shelf?"
    )


def test_an_event_that_is_not_planned_is_not_checked() -> None:
    assert [] == of_segment({"performed": "Coffee Drunk", "where": {"properties.sugr": True}})


def test_the_shape_of_a_known_event_counts_beside_what_is_planned() -> None:
    for name in ("order_id", "gift_wrap", "products.product_id"):
        assert [] == of_segment({"performed": "Order Completed", "where": {f"properties.{name}": "1"}})
    ((_, message),) = of_segment({"performed": "Order Completed", "where": {"properties.giftwrap": True}})
    assert "did you mean gift_wrap?" in message


def test_each_of_several_events_is_checked() -> None:
    found = of_segment({"performed": ["Card Scanned", "Card Shown"], "where": {"properties.tier": "gold"}})

    assert ["the tracking plan has no property 'tier' for 'Card Shown' (known: currency, revenue)"] == [
        message for _, message in found
    ]


def test_a_computed_trait_is_checked() -> None:
    trait = {"name": "t", "description": "T.", "function": "last", "event": "Card Scanned", "of": "properties.tire"}
    segments = SegmentDefinitions.model_validate({"traits": [{**trait, "where": {"properties.screeen": "home"}}]})

    assert [("t", ("of",)), ("t", ("where", "properties.screeen"))] == [
        found[:2] for found in unplanned_of_segments(segments, PLAN)
    ]


def test_a_journey_is_checked_where_it_listens_splits_and_waits() -> None:
    text = """
own_events: [Card Scanned, Card Shown]
entry:
  event: Card Scanned
  key: teir
  where: {properties.teir: gold}
  if: {performed: Card Shown, where: {properties.x: 1}}
exit_when: [{event: [Card Scanned, Card Shown], key: tier}]
goals: [{event: Card Scanned, where: {properties.teir: gold}}]
steps:
  - {until: {date: event.valid_until}}
  - {wait_for: {event: Card Shown, where: {properties.y: 1}}, timeout: 1d}
  - {if: {performed: Card Scanned, where: {properties.teir: gold}}, then: [{exit: done}]}
"""
    found = [".".join(map(str, at)) for _, at, _ in unplanned_of_journeys([journey(text)], PLAN)]

    assert [
        "entry.where.properties.teir",
        "entry.key",
        "goals.0.where.properties.teir",
        "steps.1.wait_for.where.properties.y",
        "entry.if.where.properties.x",
        "steps.2.if.where.properties.teir",
        "steps.0.until.date",
    ] == found


SEGMENT = """segments:
  - name: gold
    description: Gold.
    when:
      performed: Card Scanned
      where: {properties.teir: gold}
"""
EVENT = "events: {Card Scanned: {owner: stores, meaning: A card., properties: {tier: {}}}}\n"


def test_lint_names_file_line_and_column_and_does_not_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, text in (("segments", SEGMENT), ("plan", EVENT)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.yaml").write_text(text, "utf-8")
    settings = Settings(definitions_dir=tmp_path)
    monkeypatch.setattr("deploy.settings.settings", lambda: settings)

    outcome = CliRunner().invoke(app, ["journeys", "lint"])
    (tmp_path / "plan" / "own.yaml").unlink()
    silent = CliRunner().invoke(app, ["journeys", "lint"])

    assert (0, 0) == (outcome.exit_code, silent.exit_code)
    assert (
        f"{tmp_path}/segments/own.yaml:6:15: gold.when.where.properties.teir: the tracking plan has no"
        in outcome.stdout
    )
    assert "did you mean tier?" in outcome.stdout
    assert "" == silent.stdout
