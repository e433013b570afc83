"""Learned models, stored credits, restatement and reconciliation: what is kept is true, or it is found out."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from processors.attribution.rules import journeys, null_journeys
from sinks.clickhouse.attribution import changes, check, path_counts, refresh, versions
from sinks.clickhouse.reports import FIRST, LAST, AttributionOptions
from tests.integration.attribution.test_attribution_sql import random_world
from tests.oracles.attribution_exact import Path, markov_effects, shapley
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, instant, merged, ordered, person, resolved

pytestmark = pytest.mark.integration

LINEAR = "SELECT key, conversions, revenue, net_revenue FROM v_attribution_stored_by_day WHERE dimension = 'channel'"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["attribution", *arguments])


def linear(tables: Warehouse) -> dict[str, tuple[float, ...]]:
    rows = tables.rows(f"{LINEAR} AND model = 'linear' ORDER BY key")
    return {key: tuple(values) for key, *values in rows}


def email_then_order(tables: Warehouse) -> None:
    tables.store(resolved("mail", 1, DAY_ONE - timedelta(hours=1), "Email"), ordered("o1", 2, DAY_ONE, "100.00"))


class TestLearnedModels:
    def test_the_database_and_the_definitions_agree(self, tables: Warehouse) -> None:
        world = random_world(6)
        tables.store(*world.deliveries)
        tables.change(*world.changes)
        bought = [one for one in world.conversions if one.conversion_type == "purchase"]
        worth = {one.conversion_id: Fraction(one.revenue) for one in bought}
        paths = [
            Path(tuple(one.channel for one in path), Fraction(1), worth[conversion_id])
            for (_, conversion_id), path in journeys(world.touches, bought).items()
        ]
        for path in null_journeys(world.touches, {one.person or "" for one in bought}).values():
            paths.append(Path(tuple(one.channel for one in path), Fraction(0), nulls=Fraction(1)))
        touched = sum((one.conversions for one in paths if one.channels), Fraction(0))

        rows = json.loads(run("report", "--model", "markov_1,markov_2,shapley", "--json").stdout)

        found = {(row["model"], row["key"]): (row["conversions"], row["revenue"]) for row in rows}
        for order in (1, 2):
            effects = markov_effects(paths, order)
            for key, effect in effects.items():
                expected = float(effect / sum(effects.values()) * touched)
                assert expected == pytest.approx(found[f"markov_{order}", key][0], abs=1e-9)
        for key, (conversions, revenue) in shapley(paths).items():
            assert (float(conversions), float(revenue)) == pytest.approx(found["shapley", key], abs=1e-9)

    @pytest.mark.parametrize("by", ["channel", "campaign", "creative", "product"])
    def test_paths_are_of_the_keys_that_are_asked_for(self, tables: Warehouse, by: Any) -> None:
        about: dict[str, Any] = {"campaign": {"channel": "Email", "name": "spring", "creative": "red"}}
        tables.store(
            resolved("mail", 1, DAY_ONE - timedelta(hours=1), properties={"product_id": "shoe"}, **about),
            ordered("o1", 1, DAY_ONE, "100.00"),
            resolved("mail to ben", 2, DAY_ONE, properties={"product_id": "shoe"}, **about),
        )

        found = path_counts(tables.client, AttributionOptions(by=by))

        key = {"channel": "Email", "campaign": "spring", "creative": "red", "product": "shoe"}[by]
        assert [([key], 1, Decimal(100), 10_000.0, 1)] == found

    def test_a_fit_is_stored_with_its_interval_and_kept(self, tables: Warehouse) -> None:
        rare = resolved("rare", 50, DAY_ONE, "Rare"), ordered("rare order", 50, DAY_ONE)
        tables.store(*random_world(7).deliveries, *rare)

        first, second = run("fit", "--bootstrap", "20", "--json"), run("fit", "--model", "shapley", "--bootstrap", "0")

        assert (0, 0) == (first.exit_code, second.exit_code)
        assert "fewer than 30 converting journeys, so not reliable: Rare" in first.stderr
        assert [("markov_1", 1), ("markov_1_pathwise", 1), ("markov_2", 2), ("markov_3", 3)] == tables.rows(
            "SELECT DISTINCT model, order FROM v_attribution_markov WHERE goal = 'purchase' ORDER BY model"
        )
        assert [(1,)] == tables.rows(
            "SELECT min(share_low <= share AND share <= share_high) FROM v_attribution_markov"
            " WHERE key = 'Email' AND model = 'markov_1_pathwise'"
        )
        assert [(0, 1), (1, 1)] == tables.rows(
            "SELECT is_latest, uniqExact(run) FROM v_attribution_shapley GROUP BY is_latest ORDER BY is_latest"
        )
        assert "the latest run is younger" in run("fit", "--if-older-h", "1").stderr
        assert 2 == run("fit", "--model", "linear").exit_code


class TestStoredCredits:
    def test_they_are_the_live_ones(self, tables: Warehouse) -> None:
        world = random_world(8)
        tables.store(*world.deliveries)
        tables.change(*world.changes)

        changed = refresh(tables.client, 1, FIRST, LAST)

        columns = "conversion_type, conversion_id, touch_event_id, model, credit, revenue_credit"
        live, stored = (
            tables.rows(f"SELECT {columns} FROM {view} ORDER BY ALL")
            for view in ("v_attribution_default", "v_attribution_stored")
        )
        assert len(world.conversions) == changed
        assert live == stored
        by_day = "sum(conversions), sum(revenue) FROM {} WHERE model = 'linear'"
        (daily,) = tables.rows("SELECT " + by_day.format("v_attribution_stored_by_day") + " AND dimension = 'creative'")
        assert (len(world.conversions), float(sum(one.revenue for one in world.conversions))) == pytest.approx(daily)
        assert 0 == check(tables.client).outdated

    def test_a_second_refresh_changes_nothing(self, tables: Warehouse) -> None:
        email_then_order(tables)

        assert [1, 0] == [refresh(tables.client, version, FIRST, LAST) for version in (1, 2)]
        assert [(1, 1)] == versions(tables.client)

    @pytest.mark.parametrize(
        ("happens", "expected"),
        [
            pytest.param("merge", {"Email": (1.0, 100.0, 100.0)}, id="a merge"),
            pytest.param("late", {"SMS": (1.0, 100.0, 100.0)}, id="a late touch"),
            pytest.param("refund", {"(unattributed)": (1.0, 100.0, 70.0)}, id="a refund"),
            pytest.param("cancel", {"(unattributed)": (1.0, 100.0, 0.0)}, id="a cancellation"),
            pytest.param("split", {"Push": (1.0, 100.0, 100.0)}, id="a split"),
            pytest.param("consent", {"(unattributed)": (1.0, 100.0, 100.0)}, id="withdrawn consent"),
        ],
    )
    def test_what_happens_afterwards_restates_them(
        self, tables: Warehouse, happens: str, expected: dict[str, tuple[float, ...]]
    ) -> None:
        email_then_order(tables)
        if happens == "split":  # the order's and the push's anchors were taken for one person, and so was the mail's
            tables.store(resolved("push", 3, DAY_ONE - timedelta(minutes=1), "Push"))
            tables.change(merged(5, 2, [1, 3]))
        elif happens == "consent":
            tables.change(merged(5, 2, [1]))
        refresh(tables.client, 1, FIRST, LAST)
        before = linear(tables)
        later = DAY_ONE + timedelta(days=3)
        refund = resolved("refund", 2, later, event="Order Refunded", properties={"order_id": "o1", "revenue": "30.00"})
        if happens == "merge":
            tables.change(merged(7, 2, [1]))
        elif happens == "late":
            tables.store(resolved("late", 2, DAY_ONE - timedelta(days=2), "SMS"))
        elif happens == "refund":
            tables.store(refund, refund)  # delivered twice
        elif happens == "split":
            tables.change(merged(7, 1, [1], kind="split"))
        elif happens == "consent":
            tables.store(resolved("no", 1, later, event="Consent Updated", consent={"analytics": False}))
        else:
            tables.store(resolved("end", 2, later, event="Order Cancelled", properties={"order_id": "o1"}))

        outdated = run("check")
        refresh(tables.client, 2, FIRST, LAST)

        assert (1, True) == (outdated.exit_code, "1 stored otherwise" in outdated.stdout)
        assert before != expected == linear(tables)
        assert 0 == run("check").exit_code

    @pytest.mark.parametrize(
        ("tampering", "said"),
        [
            pytest.param(
                "ALTER TABLE attribution_stored UPDATE credits = arrayMap(given -> arrayMap(one -> one / 2, given),"
                " credits) WHERE conversion_id = 'o1'",
                "1 conversions, 1 stored otherwise",
                id="credits",
            ),
            pytest.param(
                "ALTER TABLE attribution_days UPDATE credits = arrayMap(one ->"
                " (one.1, one.2, one.3 * 2, one.4, one.5, one.6), credits) WHERE dimension = 'creative'",
                "1 days added up wrongly",
                id="a day's sums",
            ),
        ],
    )
    def test_what_was_tampered_with_is_found_and_put_right(self, tables: Warehouse, tampering: str, said: str) -> None:
        email_then_order(tables)
        refresh(tables.client, 1, FIRST, LAST)
        before = run("check")
        tables.client.command(tampering, settings={"mutations_sync": 1})

        found = run("check")
        run("refresh", "--anew")

        assert (0, 1, 0) == (before.exit_code, found.exit_code, run("check").exit_code)
        assert said in found.stdout

    def test_versions_can_be_compared(self, tables: Warehouse) -> None:
        email_then_order(tables)
        refresh(tables.client, 1, FIRST, LAST)
        tables.change(merged(7, 2, [1]))
        refresh(tables.client, 2, FIRST, LAST)

        found = {
            row.key: (row.conversions_before, row.conversions_after)
            for row in changes(tables.client, 1, 2)
            if row.model == "linear"
        }
        printed = json.loads(run("changes", "--json").stdout)

        assert {"(unattributed)": (1.0, 0.0), "Email": (0.0, 1.0)} == found
        assert (1, 2, 2) == (printed["from"], printed["to"], len(printed["changes"]))

    def test_a_conversion_that_is_no_more_goes(self, tables: Warehouse) -> None:
        email_then_order(tables)
        refresh(tables.client, 1, FIRST, LAST)
        tables.client.command("DELETE FROM order_events WHERE conversion_id = 'o1'")

        refresh(tables.client, 2, FIRST, LAST)

        assert {} == linear(tables)
        assert [] == tables.rows("SELECT * FROM v_attribution_stored")


class TestWithdrawnConsent:
    def touches(self, tables: Warehouse) -> list[Any]:
        return [key for (key,) in tables.rows("SELECT channel FROM v_attribution_default WHERE model = 'linear'")]

    def test_touches_of_people_who_withdrew_earn_nothing_and_the_order_stays(self, tables: Warehouse) -> None:
        tables.store(
            resolved("mail", 1, DAY_ONE - timedelta(hours=1), "Email", consent={"analytics": True}),
            ordered("o1", 1, DAY_ONE),
        )
        before = self.touches(tables)
        tables.store(
            resolved("no", 1, DAY_ONE + timedelta(days=1), event="Consent Updated", consent={"analytics": False})
        )
        after = self.touches(tables)
        tables.store(
            resolved("yes", 1, DAY_ONE + timedelta(days=2), event="Consent Updated", consent={"analytics": True})
        )

        assert (["Email"], ["(unattributed)"], ["Email"]) == (before, after, self.touches(tables))

    def test_it_follows_the_person_through_a_merge(self, tables: Warehouse) -> None:
        tables.store(
            resolved("mail", 1, DAY_ONE - timedelta(hours=1), "Email"),
            ordered("o1", 1, DAY_ONE),
            resolved("no", 2, DAY_ONE, event="Consent Updated", consent={"analytics": False}),
        )
        tables.change(merged(7, 1, [2]))

        assert ["(unattributed)"] == self.touches(tables)
        assert [(person(1),)] == tables.rows("SELECT toString(profile_id) FROM v_analytics_withdrawn")


class TestReconciliation:
    def test_orders_conversions_and_credits_agree(self, tables: Warehouse) -> None:
        world = random_world(9)
        tables.store(*world.deliveries)
        tables.change(*world.changes)

        found = check(tables.client)

        assert [] == found.alerts
        assert found.days > 100

    @pytest.mark.parametrize(
        ("loss", "counted"),
        [
            pytest.param("DELETE FROM order_events WHERE conversion_id = 'o1'", ("", 1, 0), id="a lost conversion"),
            pytest.param("DELETE FROM touchpoints WHERE conversion_id = 'o1'", ("purchase", 0, 1), id="a lost event"),
        ],
    )
    def test_what_is_lost_is_an_alert(self, tables: Warehouse, loss: str, counted: tuple[str, int, int]) -> None:
        email_then_order(tables)

        tables.client.command(loss)

        printed = run("check")
        row = check(tables.client).alerts[0]
        assert (1, True) == (printed.exit_code, "do not add up" in printed.stdout)
        assert counted == (row.conversion_type, row.orders, row.conversions)


class TestComparisons:
    def test_models_disagree_most_where_the_model_decides(self, tables: Warehouse) -> None:
        tables.store(
            resolved("1", 1, DAY_ONE - timedelta(hours=3), "Email"),
            resolved("2", 1, DAY_ONE - timedelta(hours=2), "Display"),
            resolved("3", 1, DAY_ONE - timedelta(hours=1), "SMS"),
            ordered("o1", 1, DAY_ONE),
        )

        found = json.loads(run("disagreement", "--json").stdout)

        spread = {row["key"]: round(row["spread"], 6) for row in found["keys"]}
        assert (1.0, 1.0, True) == (spread["Email"], spread["SMS"], spread["Display"] < 0.5)
        assert 0 == run("disagreement").exit_code

    def test_shares_drift_from_one_period_to_the_next(self, tables: Warehouse) -> None:
        for week, channel in ((0, "Email"), (1, "SMS")):
            when = DAY_ONE + timedelta(days=7 * week)
            who = 1 + week
            tables.store(resolved(channel, who, when - timedelta(hours=1), channel), ordered(f"o{week}", who, when))
        until = (DAY_ONE + timedelta(days=9)).date().isoformat()  # the whole day, so ten days on

        rows = json.loads(run("drift", "--days", "7", "--until", until, "--model", "linear", "--json").stdout)

        assert {"Email": (1.0, 0.0), "SMS": (0.0, 1.0)} == {row["key"]: (row["before"], row["after"]) for row in rows}

    def test_credits_settle_as_late_as_events_arrive(self, tables: Warehouse) -> None:
        slow = {"received_at": (DAY_ONE + timedelta(hours=5)).isoformat().replace("+00:00", ".000Z")}
        tables.store(*(resolved(f"e{number}", 1, DAY_ONE, "Email", **slow) for number in range(5)))

        ((until, settled),) = tables.rows(
            "SELECT toString(data_until), toString(settled_until) FROM v_attribution_settled"
        )

        assert ("2026-11-01 17:00:00.000", "2026-11-01 12:00:00.000") == (until, settled)

    def test_an_import_of_old_orders_is_not_late(self, tables: Warehouse) -> None:
        received = instant(DAY_ONE + timedelta(hours=5))
        old, live = DAY_ONE - timedelta(days=1000), DAY_ONE + timedelta(hours=4)
        told_later: dict[str, Any] = {"received_at": received, "context": {"historical": True, "locale": "de"}}
        tables.store(*(ordered(f"old-{number}", number, old, **told_later) for number in range(20)))
        alone = tables.rows("SELECT lateness_p999_s, toString(settled_until) FROM v_attribution_settled")
        not_so: dict[str, Any] = {
            "received_at": received,
            "context": {"historical": False, "page": {"title": '"historical":true'}},
        }
        tables.store(*(resolved(f"live-{number}", 1, live, "Email", **not_so) for number in range(5)))

        assert [(0.0, "2026-11-01 17:00:00.000")] == alone
        assert [(3600.0, "2026-11-01 16:00:00.000")] == tables.rows(
            "SELECT lateness_p999_s, toString(settled_until) FROM v_attribution_settled"
        )
