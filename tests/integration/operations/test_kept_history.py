"""What is older than the settings say is removed, and nothing that is counted, owed or forbidden goes with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.kept_history import set_harmless_retention
from deploy.settings import Settings
from processors.recording.rows import profile_row
from schemas.time import ms_of_time
from sinks.clickhouse.erasure import delete_rows, person_rows
from sinks.clickhouse.retention import _ROWS, KEPT_FOR_EVER, is_set, whole_since
from tests.support.warehouse import Warehouse, ordered, person, resolved, warehouse

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
LONG_AGO, LAST_YEAR, LATELY = (NOW - timedelta(days=days) for days in (800, 300, 3))
READ = (
    "v_touchpoints", "v_conversions", "v_order_items", "v_reconciliation", "v_sessions", "v_touches", "v_messages",
    "v_event_properties", "v_event_catalogue", "v_attribution_default", "v_points", "v_coupons", "v_accounting",
)  # fmt: skip


@pytest.fixture
def tables(stack: Settings) -> Iterator[Warehouse]:
    with warehouse(stack) as found:
        yield found


def keep(monkeypatch: pytest.MonkeyPatch, stack: Settings, payloads: int, events: int, reports: int = 0) -> Settings:
    days = {"keep_payloads_days": payloads, "keep_events_days": events, "keep_reports_days": reports}
    found = stack.model_copy(update=days)
    monkeypatch.setattr("deploy.settings.settings", lambda: found)
    return found


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["retention", *arguments, "--json"])
    assert 0 == result.exit_code, result.stderr
    return json.loads(result.stdout)


def facts(tables: Warehouse) -> dict[str, Any]:
    """Read what no retention of events may change."""
    return {
        "money": tables.rows("SELECT sum(revenue), sum(net_revenue), count() FROM v_conversions"),
        "lines": tables.rows("SELECT order_id, product_id, revenue FROM v_order_items ORDER BY ALL"),
        "withdrawn": tables.rows("SELECT toString(profile_id) FROM v_analytics_withdrawn"),
        "missing": tables.rows("SELECT sum(missing) FROM v_missing_offsets"),
        "difference": tables.rows("SELECT sum(abs(difference)) FROM v_accounting"),
        "profiles": tables.rows("SELECT sum(abs(difference)) FROM v_profile_accounting"),
    }


def fill(tables: Warehouse) -> None:
    written: dict[str, Any] = {
        "identifiers": [{"type": "email", "value": "ann@shop.example"}],
        "context": {"locale": "de-DE"},
    }
    tables.store(
        resolved("no", 2, LONG_AGO, event="Consent Updated", consent={"analytics": False}, **written),
        resolved("a", 1, LONG_AGO, properties={"color": "red"}, **written),
        resolved("b", 1, LAST_YEAR, "Paid Search", properties={"color": "red"}, **written),
        ordered("o1", 1, LAST_YEAR, "40.00", **written),
        resolved("c", 1, LATELY, properties={"color": "red"}, **written),
        ordered("o2", 1, LATELY, "60.00"),
        resolved("new", 3, LATELY, properties={"color": "blue"}),
    )
    for who, counted, first in ((1, 5, LONG_AGO), (2, 1, LONG_AGO), (3, 1, LATELY)):
        document = {"profile_id": person(who), "event_count": counted, "first_seen": ms_of_time(first)}
        row = orjson.loads(profile_row(person(who), 1, orjson.dumps(document)))
        tables.insert("profiles", orjson.dumps({**row, "stored_at": "2020-01-01T00:00:00Z"}))


def test_what_is_older_goes_and_money_refusals_and_accounts_stay(
    tables: Warehouse, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tables)
    before = facts(tables)
    settings = keep(monkeypatch, stack, payloads=100, events=400)

    # A restart with such settings removes nothing, nor does the command without --yes.
    advice = set_harmless_retention(settings, tables.client)
    preview = run("apply")
    assert "would remove 10 rows or payloads now" in advice
    assert {"touchpoints": 2, "payloads of touchpoints": 4} == {
        name: preview["expiring"][name] for name in ("touchpoints", "payloads of touchpoints")
    }
    assert (False, 7) == (preview["done"], tables.rows("SELECT count() FROM touchpoints FINAL")[0][0])

    assert run("apply", "--yes", "--wait")["done"]
    columns = "event_id, identifiers != '', context != '', properties != '', language"
    assert [
        ("b", False, False, False, "de"),  # what was read of the payload stays
        ("c", True, True, True, "de"),
        ("event of o1", False, False, True, "de"),  # an order has its lines
        ("event of o2", False, False, True, ""),
        ("new", False, False, True, ""),
    ] == tables.rows(f"SELECT {columns} FROM touchpoints FINAL ORDER BY event_id")
    assert before == facts(tables)
    assert [(True,)] == tables.rows(f"SELECT expired FROM v_profile_accounting WHERE profile_id = '{person(1)}'")
    for view in READ:
        tables.rows(f"SELECT * FROM {view} LIMIT 3")

    # Longer is harmless, and does not claim to have brought anything back.
    settings = keep(monkeypatch, stack, payloads=0, events=0)
    since = whole_since(tables.client)
    assert ("", True) == (set_harmless_retention(settings, tables.client), is_set(tables.client, dict.fromkeys(
        ("payloads", "events", "reports"), 0)))  # fmt: skip
    assert since is not None
    assert timedelta(days=1) > abs(whole_since(tables.client) - since)  # type: ignore[operator]
    tables.store(resolved("old", 3, LONG_AGO, properties={"color": "red"}))
    tables.client.command("OPTIMIZE TABLE touchpoints FINAL")
    assert [("old", True)] == tables.rows("SELECT event_id, properties != '' FROM touchpoints WHERE event_id = 'old'")

    # Who is erased takes along what they have said of analytics.
    deleted = delete_rows(tables.client, person_rows(tables.client, [person(2)]))
    assert (1, []) == (deleted["analytics_consents"], tables.rows("SELECT * FROM v_analytics_withdrawn"))


def test_a_change_that_broke_off_is_made_whole_by_the_next_one(
    tables: Warehouse, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = keep(monkeypatch, stack, payloads=100, events=400, reports=500)
    with monkeypatch.context() as broken:
        broken.setattr("sinks.clickhouse.retention._PAYLOADS", ("identifiers", "no_such_column"))
        first = CliRunner().invoke(app, ["retention", "apply"])
    half = [settings.keep_events_days, run("show")["is_set"]]
    second = run("apply")

    assert (1, [400, False], True, True) == (first.exit_code, half, second["done"], run("show")["is_set"])
    assert run("apply")["was_set"]
    shown = {one["class"]: one["days"] for one in run("show")["classes"]}
    assert {"payloads": 100, "events": 400, "reports": 500} == shown


def test_settings_that_cannot_be_are_refused_and_change_nothing(
    tables: Warehouse, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = keep(monkeypatch, stack, payloads=0, events=400)
    refused = CliRunner().invoke(app, ["retention", "apply", "--yes"])

    assert (1, True) == (refused.exit_code, "a payload is part of its event" in refused.stderr.replace("\n", " "))
    assert "as before: THROUGHLINE_KEEP_PAYLOADS_DAYS" in set_harmless_retention(settings, tables.client)
    assert [0, 0, 0] == [one["days"] for one in run("show")["classes"]]


def test_every_table_has_a_class_or_stays(tables: Warehouse) -> None:
    found = tables.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    )

    assert {name for (name,) in found} == _ROWS.keys() | KEPT_FOR_EVER
