"""Attribution reports: credit next to spend, for analysts in SQL and for everybody on the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.reporting.attribution import report, select_models
from deploy.settings import Settings
from processors.attribution.rules import UNATTRIBUTED
from sinks.clickhouse.reports import AttributionOptions, attribution, publish_settings
from sinks.clickhouse.spend import insert_spend
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, ordered, resolved, warehouse

pytestmark = pytest.mark.integration

THAT_DAY = DAY_ONE.date()
JUST_AFTER = DAY_ONE + timedelta(milliseconds=1)
FIRST_ORDERS = {"Paid Search": (1.0, 100.0), "(unattributed)": (1.0, 10.0)}
ONE_CREDITED = {"Paid Search": (1.0, 100.0), "(unattributed)": (2.0, 60.0)}


@pytest.fixture
def tables(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    with warehouse(stack) as found:
        yield found


def spent(channel: str, amount: str, day: date = THAT_DAY, **fields: Any) -> dict[str, Any]:
    return {
        "date": day, "channel": channel, "source": "", "campaign": "", "creative": "", "spend": Decimal(amount),
        "currency": "EUR", "impressions": 0, "clicks": 0, **fields,
    }  # fmt: skip


@pytest.fixture
def story(tables: Warehouse) -> Warehouse:
    """Anna: e-mail, then search, then an order; a second order later. Ben: an order out of nowhere. TV: spend alone."""
    tables.store(
        resolved("mail", 1, DAY_ONE - timedelta(hours=3), "Email"),
        resolved("search", 1, DAY_ONE - timedelta(hours=2), "Paid Search"),
        ordered("o1", 1, DAY_ONE, "100.00"),
        ordered("o2", 1, DAY_ONE + timedelta(hours=1), "50.00"),
        ordered("o3", 2, DAY_ONE, "10.00"),
        resolved("registration", 1, DAY_ONE, event="Signed Up"),
    )
    insert_spend(tables.client, [spent("Paid Search", "25.00"), spent("TV", "40.00")])
    return tables


def by_key(warehouse: Warehouse, **options: Any) -> dict[str, tuple[Any, ...]]:
    report = attribution(warehouse.client, AttributionOptions(models=("last_touch",), **options))
    return {row.key: (row.conversions, row.revenue, row.spend) for row in report.rows}


def test_credit_and_spend_meet_and_neither_is_lost(story: Warehouse) -> None:
    nothing = Decimal(0)

    assert {
        "Email": (0.0, 0.0, nothing),
        "Paid Search": (2.0, 150.0, Decimal(25)),
        "(unattributed)": (1.0, 10.0, nothing),
        "TV": (0.0, 0.0, Decimal(40)),
    } == by_key(story)


def test_rates_are_those_of_the_definitions(story: Warehouse) -> None:
    publish_settings(story.client, goal="purchase", direct_channels=["Direct"], margin=0.5, timezone="UTC")

    rates = story.rows(
        "SELECT channel, roas, romi, cpa, cac FROM v_attribution_by_channel WHERE model = 'last_touch' ORDER BY channel"
    )
    found = attribution(story.client, AttributionOptions(models=("last_touch",)))

    # 150 x 0.5 = 75 of margin for 25 spent; two orders, one of them the first of a new customer
    expected = {
        "Email": (None, None, None, None),
        "(unattributed)": (None, None, 0.0, 0.0),
        "Paid Search": (6.0, 2.0, 12.5, 25.0),
        "TV": (0.0, -1.0, None, None),
    }
    assert expected == {channel: tuple(values) for channel, *values in rates}
    assert expected == {row.key: (row.roas, row.romi, row.cpa, row.cac) for row in found.rows}


def test_romi_of_a_learned_model_has_an_interval_and_spend_alone_keeps_a_row(story: Warehouse) -> None:
    found = report(story.client, AttributionOptions(), select_models("shapley"), replicates=200, seed=1)

    rows = {row.key: row for row in found.rows}
    # Both of Anna's orders had both touches: 75 each of 150, for 25 spent on search. As often as she is drawn, or not.
    assert (75.0, Decimal(25), 2.0) == (
        rows["Paid Search"].revenue,
        rows["Paid Search"].spend,
        rows["Paid Search"].romi,
    )
    low, high = rows["Paid Search"].romi_low, rows["Paid Search"].romi_high
    assert low is not None
    assert high is not None
    assert -1.0 <= low < 2.0 < high
    assert (0.0, Decimal(40), -1.0) == (rows["TV"].conversions, rows["TV"].spend, rows["TV"].romi)
    assert [] == found.discrepancies()


def test_spend_that_is_imported_twice_counts_once_and_a_later_import_replaces_it(story: Warehouse) -> None:
    insert_spend(story.client, [spent("Paid Search", "25.00")])
    twice = by_key(story)["Paid Search"]
    insert_spend(story.client, [spent("Paid Search", "30.00")])
    corrected = by_key(story)["Paid Search"]
    insert_spend(story.client, [spent("Paid Search", "25.00")])
    taken_back = by_key(story)["Paid Search"]

    assert [Decimal(25), Decimal(30), Decimal(25)] == [spend for _, _, spend in (twice, corrected, taken_back)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"goal": "signup"}, {"Paid Search": (1.0, 0.0)}, id="another goal"),
        pytest.param({"goal": "all"}, {"Paid Search": (3.0, 150.0), "(unattributed)": (1.0, 10.0)}, id="all goals"),
        pytest.param({"scope": "since_previous"}, ONE_CREDITED, id="scope"),
        pytest.param({"lookback_days": 2.5 / 24}, ONE_CREDITED, id="lookback"),
        pytest.param({"stop": JUST_AFTER}, FIRST_ORDERS, id="period"),
        pytest.param({"by": "campaign"}, {"Paid Search ad": (2.0, 150.0), UNATTRIBUTED: (1.0, 10.0)}, id="campaign"),
        pytest.param({"by": "product"}, {"": (2.0, 150.0), UNATTRIBUTED: (1.0, 10.0)}, id="product"),
    ],
)  # fmt: skip
def test_options_choose_what_is_counted(story: Warehouse, options: dict[str, Any], expected: dict[str, Any]) -> None:
    found = {key: (conversions, revenue) for key, (conversions, revenue, _) in by_key(story, **options).items()}

    assert expected == {key: values for key, values in found.items() if values != (0.0, 0.0)}


def test_a_first_order_stays_the_first_when_the_period_begins_after_it(story: Warehouse) -> None:
    later = AttributionOptions(models=("last_touch",), start=DAY_ONE + timedelta(minutes=1))

    report = attribution(story.client, later)

    assert [("Paid Search", 1.0, 0.0)] == [
        (row.key, row.conversions, row.new_customers) for row in report.rows if row.conversions
    ]


def test_days_are_those_of_the_time_zone(tables: Warehouse) -> None:
    late = DAY_ONE.replace(hour=23, minute=30)  # half past midnight, the day after, in Berlin
    tables.store(ordered("o1", 1, late))
    publish_settings(tables.client, goal="purchase", direct_channels=["Direct"], margin=1.0, timezone="Europe/Berlin")

    days = tables.rows("SELECT day FROM v_attribution_by_channel WHERE model = 'linear'")

    assert [(DAY_ONE.date() + timedelta(days=1),)] == days


def test_spend_of_the_days_of_the_period_counts_in_its_time_zone(tables: Warehouse, stack: Settings) -> None:
    first, second, third = (date(2026, 9, day) for day in (1, 2, 3))
    insert_spend(
        tables.client, [spent("TV", "1.00", first), spent("TV", "20.00", second), spent("TV", "300.00", third)]
    )
    runner = CliRunner()
    day = ["attribution", "report", "--model", "linear", "--json", "--from", "2026-09-02", "--to", "2026-09-02"]

    for zone in ("Pacific/Auckland", "UTC", "America/Los_Angeles"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("deploy.settings.settings", lambda zone=zone: stack.model_copy(update={"timezone": zone}))
            rows = json.loads(runner.invoke(app, day).stdout)

        assert [("TV", "20.0000")] == [(row["key"], row["spend"]) for row in rows], zone


def test_settings_are_published_when_they_are_news(tables: Warehouse) -> None:
    wanted: dict[str, Any] = {"goal": "purchase", "direct_channels": ["Direct"], "margin": 1.0, "timezone": "UTC"}

    published = [
        publish_settings(tables.client, **wanted),
        publish_settings(tables.client, **{**wanted, "margin": 0.4}),
    ]

    assert [False, True] == published
    assert [("purchase", ["Direct"], 0.4, "UTC", "signup")] == tables.rows("SELECT * FROM v_attribution_settings")


def test_the_names_of_direct_are_a_setting(tables: Warehouse) -> None:
    publish_settings(tables.client, goal="purchase", direct_channels=["Direct", "Typed"], margin=1.0, timezone="UTC")
    tables.store(
        resolved("mail", 1, DAY_ONE - timedelta(hours=3), "Email"),
        resolved("typed", 1, DAY_ONE - timedelta(hours=2), "Typed"),
        ordered("o1", 1, DAY_ONE),
    )

    credit = tables.rows("SELECT channel FROM v_attribution_default WHERE model = 'last_non_direct' AND credit = 1")

    assert [("Email",)] == credit


class TestCommandLine:
    def report(self, *arguments: str) -> Any:
        return CliRunner().invoke(app, ["attribution", "report", *arguments])

    def test_csv_has_four_columns_at_full_precision(self, story: Warehouse) -> None:
        story.store(resolved("third", 1, DAY_ONE - timedelta(hours=1), "Display"))

        printed = self.report("--model", "linear,first_touch", "--csv", "-")

        rows = list(csv.DictReader(StringIO(printed.stdout)))
        assert ["model", "key", "conversions", "revenue"] == list(rows[0])
        found = {(row["model"], row["key"]): (float(row["conversions"]), float(row["revenue"])) for row in rows}
        assert (2.0, 150.0) == found["first_touch", "Email"]
        assert (2 / 3, 50.0) == pytest.approx(found["linear", "Email"], abs=1e-12)

    def test_csv_goes_to_a_file(self, story: Warehouse, tmp_path: Path) -> None:
        file = tmp_path / "report.csv"

        printed = self.report("--csv", str(file))

        assert (0, "") == (printed.exit_code, printed.stdout)
        assert ["model,key,conversions,revenue", "first_touch,Email,2.0,150.0"] == file.read_text("utf-8").splitlines()[
            :2
        ]

    def test_json_is_a_list_of_rows(self, story: Warehouse) -> None:
        rows = json.loads(self.report("--model", "last_touch", "--json").stdout)

        assert {
            "model": "last_touch",
            "key": "Paid Search",
            "conversions": 2.0,
            "spend": "25.0000",
            "roas": 6.0,
        }.items() <= rows[0].items()

    def test_the_table_says_that_everything_adds_up(self, story: Warehouse) -> None:
        printed = self.report("--model", "linear")

        assert 0 == printed.exit_code
        assert "3 conversions, 160.00 revenue, 65.00 spent (EUR)" in printed.stdout
        assert "Every additive model adds up" in printed.stdout

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            pytest.param(["--model", "markov"], "markov: expected all or some of first_touch", id="unknown model"),
            pytest.param(["--from", "yesterday"], "expected 2026-11-22", id="no date"),
            pytest.param(["--to", "2026-11-22T10:00:00"], "expected 2026-11-22", id="a time without an offset"),
            pytest.param(["--by", "colour"], "colour", id="unknown key"),
        ],
    )
    def test_a_wrong_option_is_a_usage_error(self, story: Warehouse, arguments: list[str], said: str) -> None:
        printed = self.report(*arguments)

        assert 2 == printed.exit_code
        assert said in " ".join(printed.stderr.replace("│", " ").split())

    def test_without_tables_it_says_what_to_do(self, stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("deploy.settings.settings", lambda: stack)

        printed = self.report()

        assert (1, True) == (printed.exit_code, "throughline migrate" in printed.stderr)
