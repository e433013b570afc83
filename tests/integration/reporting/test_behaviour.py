"""What people do: funnels, paths, visits, cohorts; as known now, whatever profile they were when they did it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from sinks.clickhouse.behaviour import funnel
from sinks.clickhouse.predictions import store_ltv
from sinks.clickhouse.reports import publish_settings
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, ordered, person, resolved

pytestmark = pytest.mark.integration

STEPS = ["Product Viewed", "Product Added", "Checkout Started", "Order Completed"]
DAY_MS = 86_400_000


def did(event: str, who: int, after: timedelta, **fields: Any) -> dict[str, Any]:
    at = DAY_ONE + after
    return resolved(f"{event} {who} {after}", who, at, event=event, **fields)


def in_segment(who: int, segment: str, at: datetime, entered: int = 1) -> bytes:
    number = abs(hash((who, segment, at, entered))) % 10**12
    row = {
        "change_id": f"00000000-0000-4000-9000-{number:012d}", "profile_id": person(who), "segment": segment,
        "changed_at": at.isoformat(), "entered": entered, "definition_version": "v1", "event_id": "",
    }  # fmt: skip
    return json.dumps(row).encode()


class TestFunnel:
    def test_people_are_counted_as_window_funnel_counts_them(self, tables: Warehouse) -> None:
        rng = Random(11)
        tables.store(
            *(
                did(rng.choice(STEPS), rng.randrange(60), timedelta(minutes=rng.randrange(20_000)), channel="web")
                | {"event_id": f"e{number}"}
                for number in range(600)
            )
        )
        tables.change(merged(1, 1, [2, 3, 4]))

        for days in (0.1, 1.0, 7.0):
            conditions = ", ".join(f"event = '{step}'" for step in STEPS)
            levels = tables.rows(
                f"SELECT windowFunnel({round(days * DAY_MS)})"
                f"(toUInt64(toUnixTimestamp64Milli(occurred_at)), {conditions}) FROM v_touchpoints GROUP BY profile_id"
            )
            expected = [sum(level >= step for (level,) in levels) for step in range(1, 5)]

            assert expected == [row.people for row in funnel(tables.client, STEPS, window_days=days)]
            assert expected[0] > expected[-1] or days < 1

    def test_each_step_says_who_drops_off_and_how_long_it_takes(self, tables: Warehouse) -> None:
        hour = timedelta(hours=1)
        tables.store(
            did("Product Viewed", 1, 0 * hour), did("Product Added", 1, 2 * hour), ordered("o1", 1, DAY_ONE + 5 * hour),
            did("Product Viewed", 2, 0 * hour), did("Product Added", 2, 4 * hour),
            did("Product Added", 3, 0 * hour), did("Product Viewed", 3, 1 * hour),
        )  # fmt: skip

        rows = funnel(tables.client, ["Product Viewed", "Product Added", "Order Completed"])

        assert [
            ("(all)", 1, "Product Viewed", 3, 1, 1.0, 1.0, None),
            ("(all)", 2, "Product Added", 2, 1, pytest.approx(2 / 3), pytest.approx(2 / 3), 4.0),
            ("(all)", 3, "Order Completed", 1, 0, 0.5, pytest.approx(1 / 3), 3.0),
        ] == [row[:8] for row in rows]

    def test_people_are_told_apart_by_segment_channel_and_what_brought_them(self, tables: Warehouse) -> None:
        hour = timedelta(hours=1)
        tables.store(
            resolved("ad", 1, DAY_ONE - hour, "Display"),
            did("Product Viewed", 1, 0 * hour),
            did("Order Completed", 1, hour, channel="store", properties={"order_id": "o1"}),
            did("Product Viewed", 2, 0 * hour, channel="app"),
        )
        tables.insert(
            "segment_changes",
            in_segment(1, "vip", DAY_ONE - hour),
            in_segment(2, "vip", DAY_ONE - 2 * hour),
            in_segment(2, "vip", DAY_ONE - hour, entered=0),
        )
        steps = ["Product Viewed", "Order Completed@store"]

        def by(key: Any) -> dict[tuple[str, int], int]:
            return {
                (row.key, row.step): row.people for row in funnel(tables.client, steps, by=key) if row.key != "(all)"
            }

        assert {("vip", 1): 1, ("vip", 2): 1} == by("segment")
        assert {("web", 1): 1, ("web", 2): 1, ("app", 1): 1, ("app", 2): 0} == by("channel")
        assert {("Display", 1): 1, ("Display", 2): 1, ("(unattributed)", 1): 1, ("(unattributed)", 2): 0} == by(
            "marketing_channel"
        )

    def test_the_command_prints_rows(self, tables: Warehouse) -> None:
        tables.store(did("Product Viewed", 1, timedelta()))

        printed = CliRunner().invoke(app, ["funnel", "Product Viewed", "Order Completed", "--json"])

        assert [("Product Viewed", 1), ("Order Completed", 0)] == [
            (row["name"], row["people"]) for row in json.loads(printed.stdout)
        ]


def test_links_and_transitions_follow_a_path(tables: Warehouse) -> None:
    hour = timedelta(hours=1)
    tables.store(
        resolved("a", 1, DAY_ONE - 3 * hour, "Email"), resolved("b", 1, DAY_ONE - hour, "Display"),
        ordered("o1", 1, DAY_ONE, "80.00"), resolved("c", 2, DAY_ONE, "Email"),
    )  # fmt: skip

    links = tables.rows("SELECT step, source, target, conversions, null_journeys FROM v_path_links ORDER BY ALL")

    assert [
        (0, "(start)", "Email", 1, 1), (1, "Email", "(no conversion)", 0, 1), (1, "Email", "Display", 1, 0),
        (2, "Display", "(conversion)", 1, 0),
    ] == links  # fmt: skip
    assert [("Email", "Display", 1, 1, 1.0, 2.0)] == tables.rows("SELECT * FROM v_channel_transitions")


def test_a_visit_that_is_short_and_has_one_page_has_bounced(tables: Warehouse) -> None:
    def page(who: int, session: str, seconds: int, channel: str = "") -> dict[str, Any]:
        fields = {"context": {"session_id": session}}
        at = DAY_ONE + timedelta(seconds=seconds)
        return resolved(f"{session} {seconds}", who, at, channel, event="Page Viewed", **fields)

    tables.store(
        page(1, "bounced", 0, "Email"),
        page(1, "two pages", 100, "Email"), page(1, "two pages", 105),
        page(2, "long", 0), did("Product Viewed", 2, timedelta(seconds=20), context={"session_id": "long"}),
    )  # fmt: skip

    visits = tables.rows("SELECT session_id, marketing_channel, pages, seconds, engaged FROM v_sessions ORDER BY 1")
    traffic = tables.rows("SELECT channel, sessions, people, new_people, bounce_rate FROM v_traffic ORDER BY channel")

    assert [
        ("bounced", "Email", 1, 0.0, 0),
        ("long", "Direct", 1, 20.0, 1),
        ("two pages", "Email", 2, 5.0, 1),
    ] == visits
    assert [("Direct", 1, 1, 1, 0.0), ("Email", 2, 1, 1, 0.5)] == traffic
    assert [("web", 5, 2)] == tables.rows("SELECT channel, events, people FROM v_engagement")


def test_cohorts_show_every_month_and_merge_with_people(tables: Warehouse) -> None:
    tables.store(
        ordered("o1", 1, DAY_ONE, "10.00"), ordered("o2", 2, DAY_ONE + timedelta(days=61), "30.00"),
        ordered("o3", 3, DAY_ONE, "20.00"), ordered("o4", None, DAY_ONE, "99.00"),
    )  # fmt: skip
    months = "SELECT cohort, number, people, active, revenue_per_person FROM v_cohorts ORDER BY cohort, number"
    november, january = date(2026, 11, 1), date(2027, 1, 1)

    apart = tables.rows(months)
    tables.change(merged(1, 1, [2]))

    assert [
        (november, 0, 2, 2, 15.0), (november, 1, 2, 0, 15.0), (november, 2, 2, 0, 15.0), (january, 0, 1, 1, 30.0),
    ] == apart  # fmt: skip
    assert [(november, 0, 2, 2, 15.0), (november, 1, 2, 0, 15.0), (november, 2, 2, 1, 30.0)] == tables.rows(months)
    assert [(date(2026, 10, 26), 9, 1)] == tables.rows(
        "SELECT cohort, number, active FROM v_cohorts_weekly WHERE number > 0 AND active > 0"
    )


def test_hours_are_those_of_the_time_zone(tables: Warehouse) -> None:
    publish_settings(tables.client, goal="purchase", direct_channels=["Direct"], margin=1.0, timezone="Europe/Berlin")
    tables.store(ordered("o1", 1, DAY_ONE.replace(hour=23, minute=30)))

    assert [(1, 0, 1, 1.0)] == tables.rows("SELECT weekday, hour, orders, share FROM v_purchase_times")


def test_a_prediction_follows_its_person_and_the_newest_run_counts(tables: Warehouse) -> None:
    tables.store(ordered("o1", 1, DAY_ONE, "10.00"), ordered("o2", 2, DAY_ONE, "20.00"))
    judged: dict[str, Any] = dict.fromkeys(("holdout_days", "customers"), 2) | dict.fromkeys(
        ("holdout_orders", "predicted_orders", "mean_absolute_error", "naive_absolute_error"), 1.0
    )

    def run(day: int, revenue: float) -> None:
        fitted = {
            "fitted_at": datetime(2026, 11, day, tzinfo=UTC), "model": "test", "observed_until": date(2026, 11, day),
            "horizon_days": 90, "parameters": {"r": 1.0}, **judged,
        }  # fmt: skip
        store_ltv(tables.client, fitted, [(person(who), 0.5, 2.0, revenue / 2, revenue) for who in (1, 2)])

    run(1, 99.0)
    run(2, 5.0)
    tables.change(merged(1, 1, [2], kind="merge") | {"from_profile_id": person(2)})

    assert [(2, 30.0, 0.5, 4.0, 10.0, 40.0)] == tables.rows(
        "SELECT orders, revenue, probability_alive, predicted_orders, predicted_revenue, lifetime_value FROM v_ltv"
    )
    assert [(2, 0.0)] == tables.rows("SELECT count(), max(error) FROM v_ltv_runs")
