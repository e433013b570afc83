"""`attribution restate`: rows of an older release, or of older rules, are classified by today's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.definition_files import touch_rules
from processors.recording.rows import touchpoint_rows
from schemas.identity.erasure import Trace
from sinks.redis.erasures import RedisErasures
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, person, resolved

pytestmark = pytest.mark.integration

MAIL = {"source": "crm", "medium": "email", "name": "sale"}


def visit(number: int, days: int = 0, **fields: Any) -> dict[str, Any]:
    identifiers = [{"type": "anonymous_id", "value": "a-1"}]
    at = DAY_ONE + timedelta(days=days, minutes=number)
    return resolved(f"e{number} {days}", None, at, identifiers=identifiers, **fields)


def store_as_before(tables: Warehouse, *events: dict[str, Any]) -> None:
    """Store rows as the release before visits of devices did: each campaign a touch, no session id no touch."""
    rows = []
    for event in events:
        row = orjson.loads(touchpoint_rows(event, touch_rules(tables.settings))[0][1])
        row |= {"touch": "rule"} if event.get("campaign") else {"touch": "", "marketing_channel": ""}
        rows.append(
            orjson.dumps({name: value for name, value in row.items() if name not in ("click_id", "click_id_name")})
        )
    tables.insert("touchpoints", *rows)


def restate(*options: str) -> dict[str, Any]:
    printed = CliRunner().invoke(app, ["attribution", "restate", "--json", *options], catch_exceptions=False)
    found: dict[str, Any] = json.loads(printed.stdout)
    return found


def roles(tables: Warehouse) -> list[tuple[Any, ...]]:
    return tables.rows("SELECT event_id, touch, marketing_channel, click_id FROM v_touchpoints ORDER BY occurred_at")


def test_rows_of_an_older_release_are_restated_once(tables: Warehouse) -> None:
    page = {"page": {"url": "https://shop.example/?gclid=X"}}
    events = [visit(0, campaign=MAIL), visit(1, campaign=MAIL), visit(0, 1, context=page), visit(0, 2)]
    store_as_before(tables, *events)
    before = roles(tables)

    would = restate("--dry-run")
    unchanged = roles(tables)
    first, second = restate(), restate()

    assert (4, 4, before) == (would["events"], would["restated"], unchanged)
    assert (4, 4, 0) == (first["restated"], second["events"], second["restated"])
    assert [
        ("e0 0", "campaign", "Email", ""), ("e1 0", "campaign", "Email", ""),
        ("e0 1", "campaign", "Paid Search", "X"), ("e0 2", "session", "Direct", ""),
    ] == roles(tables)  # fmt: skip
    assert {"touch": "rule", "channel": "Email", "new_touch": "campaign", "new_channel": "Email", "events": 2} in first[
        "changes"
    ]


def test_a_period_is_restated_alone(tables: Warehouse) -> None:
    store_as_before(tables, visit(0), visit(0, 1), visit(0, 2))
    day = (DAY_ONE + timedelta(days=1)).date().isoformat()

    assert 1 == restate("--from", day, "--to", day)["restated"]
    assert ["", "session", ""] == [touch for _, touch, _, _ in roles(tables)]


def test_the_first_delivery_stays_the_one_that_counts(tables: Warehouse) -> None:
    event = visit(0, campaign=MAIL)
    store_as_before(tables, event)
    store_as_before(tables, {**event, "received_at": "2027-06-01T00:00:00.000Z", "campaign": {"name": "later"}})

    restate()

    assert [("e0 0", "campaign", "Email", "")] == roles(tables)
    assert 1 == tables.rows("SELECT count() FROM touchpoints FINAL")[0][0]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_an_erased_person_does_not_come_back(tables: Warehouse, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    store_as_before(tables, resolved("erased", 1, DAY_ONE), resolved("kept", 2, DAY_ONE))
    asked: list[int] = []

    async def are_erased(_: RedisErasures, traces: Sequence[Trace]) -> list[bool]:
        asked.append(len(traces))
        begun = when == "before" or len(asked) > 1
        return [begun and trace.anchor == person(1) for trace in traces]

    monkeypatch.setattr(RedisErasures, "are_erased", are_erased)

    restate()

    left = tables.rows("SELECT event_id, touch FROM touchpoints FINAL ORDER BY event_id")

    assert ("kept", "session") in left
    assert ("erased", "session") not in left, "the row that was about to be deleted is written anew"
    assert ("erased", "") in left or when == "meanwhile"
