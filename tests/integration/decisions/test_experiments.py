"""Experiments by variant: who was drawn, what was sent, what came of it, and the commands that name a winner."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from processors.attribution.experiments import Group, lift, sample_ratio, wilson
from processors.recording.decision_rows import decision_rows, journey_event_rows
from tests.integration.decisions.test_decision_views import decision, happening
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, instant, merged, ordered, person, resolved

pytestmark = pytest.mark.integration

PLAIN, COUPON, ROWS = 60, 40, 1_000
"""People of both variants, and where the numbers of further rows begin."""


def store(tables: Warehouse, *values: dict[str, Any]) -> None:
    """Write decisions and journey events, all of them as one insert for each table."""
    rows = [row for one in values for row in (decision_rows if "decision_id" in one else journey_event_rows)(one)]
    for name in {table for table, _ in rows}:
        tables.insert(name, *(row for table, row in rows if table == name))


def drawn(number: int, who: int, arm: str, share: float = 0.5, day: float = 0, **declared: Any) -> dict[str, Any]:
    """A draw of the split `1` of the journey `welcome`, in the run of that person."""
    compared = {"share": share, "control": "plain", "metric": "ordered", "window_ms": 7 * 86_400_000, **declared}
    detail = {"arm": arm, "experiment": compared}
    return happening(number, who, "step", step="1", detail=detail, at=instant(DAY_ONE + timedelta(days=day)))


def bought(who: int, day: float, revenue: str = "10.00", order: str = "") -> dict[str, Any]:
    return ordered(order or f"o{who}", who, DAY_ONE + timedelta(days=day), revenue)


def mail(event: str, who: int, day: float) -> dict[str, Any]:
    """An event of the one message of this person's run."""
    properties = {"message_id": f"k{ROWS + who}"}
    at = DAY_ONE + timedelta(days=day)
    return resolved(f"{event} {who}", who, at, event=f"Email {event}", channel="email", properties=properties)


@pytest.fixture
def split(tables: Warehouse) -> Warehouse:
    """Sixty people drew `plain`, 40 `coupon`; the even ones were sent a message."""
    people = range(1, PLAIN + COUPON + 1)
    store(
        tables,
        *(drawn(who, who, "plain" if who <= PLAIN else "coupon") for who in people),
        *(decision(ROWS + who, who, run_id=f"r{who}", decided_at=instant(DAY_ONE + timedelta(hours=1)))
          for who in people if who % 2 == 0),
        happening(2_000, 2, "goal", at=instant(DAY_ONE + timedelta(days=3))),
        happening(2_001, 4, "goal", at=instant(DAY_ONE + timedelta(days=8))),
    )  # fmt: skip
    tables.store(
        *(bought(who, 2) for who in (1, 2, 3, 61, 62, 63, 64, 65, 66)),
        bought(1, 7, "5.00", "second"),  # the window's last moment
        bought(4, 7.001), bought(5, -0.001),  # after it, and before the draw
        mail("Delivered", 2, 0.1), mail("Link Clicked", 2, 0.2), mail("Link Clicked", 62, 1),
        mail("Link Clicked", 64, 7.1),  # too late
    )  # fmt: skip
    return tables


def variants(tables: Warehouse, *columns: str) -> dict[str, tuple[Any, ...]]:
    rows = tables.rows(f"SELECT variant, {', '.join(columns)} FROM v_experiment_variants ORDER BY variant")
    return {variant: tuple(rest) for variant, *rest in rows}


def test_variants_have_what_was_sent_and_what_came_of_it(split: Warehouse) -> None:
    found = variants(
        split, "is_control", "assigned", "measured", "crossed", "sent", "delivered", "clicked", "reached_goal",
        "ordered", "orders", "revenue",
    )  # fmt: skip

    assert {
        "coupon": (0, 40, 40, 0, 20, 2, 1, 0, 6, 6, 60.0),
        "plain": (1, 60, 60, 0, 30, 1, 1, 1, 3, 4, 35.0),
    } == found


def test_intervals_and_the_test_of_the_split_are_those_of_python(split: Warehouse) -> None:
    found = variants(
        split, "order_rate_low", "order_rate_high", "difference", "difference_low", "difference_high", "sample_ratio_p"
    )
    expected, ratio = (
        lift(Group(40, 6), Group(60, 3)),
        sample_ratio({"plain": 60, "coupon": 40}, {"plain": 0.5, "coupon": 0.5}),
    )

    assert expected is not None
    assert ratio is not None
    assert (*wilson(Group(40, 6)), expected.difference, expected.low, expected.high, ratio.p_value) == pytest.approx(
        found["coupon"]
    )
    assert (None, None, None) == found["plain"][2:5]


@pytest.mark.parametrize("arms", [2, 3, 4, 5])
def test_the_test_of_a_split_of_several_arms_is_that_of_python(tables: Warehouse, arms: int) -> None:
    counts = {"plain": 7, "b": 12, "c": 3, "d": 9, "absent": 0}
    names = list(counts)[5 - arms :] if arms < 5 else list(counts)
    who = iter(range(1, 100))
    store(tables, *(drawn(n := next(who), n, name, 1 / arms) for name in names for _ in range(counts[name])))
    expected = sample_ratio({name: counts[name] for name in names}, dict.fromkeys(names, 1.0))

    assert expected is not None
    found = [p_value for (p_value,) in variants(tables, "sample_ratio_p").values()]
    assert found == pytest.approx([expected.p_value] * len(found))


def test_a_person_in_two_variants_counts_in_none(split: Warehouse) -> None:
    split.change({**merged(10, 1, [102]), "from_profile_id": person(2)})  # both drew plain
    split.change({**merged(11, 3, [161]), "from_profile_id": person(61)})

    found = variants(split, "assigned", "crossed", "ordered")
    assert {"coupon": (39, 0, 5), "plain": (58, 1, 1)} == found


def test_people_whose_window_is_open_are_not_measured(tables: Warehouse) -> None:
    store(tables, drawn(1, 1, "plain"), drawn(2, 2, "plain", day=40_000, window_ms=1))

    assert {"plain": (2, 1)} == variants(tables, "assigned", "measured")


def test_messages_are_compared_with_the_holdout_and_the_held_out_stay_in_their_variant(tables: Warehouse) -> None:
    store(
        tables, drawn(1, 1, "plain"), drawn(2, 2, "coupon"), decision(3, 1, run_id="r1"),
        decision(4, 2, "ghost", run_id="r2", holdout="journey"),
    )  # fmt: skip
    tables.store(bought(1, 1))

    rows = tables.rows("SELECT step, variant, assigned, held_out, ordered, is_control FROM v_experiment_variants")
    assert {
        ("1", "plain", 1, 0, 1, 1),
        ("1", "coupon", 1, 1, 0, 0),
        ("holdout", "treated", 1, 0, 1, 0),
        ("holdout", "holdout", 1, 1, 0, 1),
    } == set(rows)


def test_a_message_has_the_journey_that_sent_it(split: Warehouse) -> None:
    columns = "message_id, journey, journey_version, step, template, campaign, variant"

    rows = split.rows(f"SELECT {columns} FROM v_messages WHERE profile_id = {{who:UUID}}", who=person(2))
    assert [(f"k{ROWS + 2}", "welcome", "v1", "1", "hello", "autumn", "")] == rows


class TestCommands:
    @staticmethod
    def run(*arguments: str) -> Any:
        printed = CliRunner().invoke(app, ["experiments", *arguments])
        assert 0 == printed.exit_code, printed.output
        return json.loads(printed.stdout) if "--json" in arguments else printed.stdout

    @staticmethod
    def experiment(tables: Warehouse, plain: int, coupon: int, buyers: dict[str, int], **declared: Any) -> None:
        """Store so many people of both variants, of whom the first of each have ordered."""
        people = [("plain", number) for number in range(1, plain + 1)]
        people += [("coupon", 5_000 + number) for number in range(1, coupon + 1)]
        store(tables, *(drawn(who, who, arm, **declared) for arm, who in people))
        tables.store(*(bought(who, 1) for arm, who in people if who % 5_000 <= buyers[arm]))

    def test_a_true_effect_is_a_winner(self, tables: Warehouse) -> None:
        self.experiment(tables, 600, 610, {"plain": 30, "coupon": 110})

        (found,) = self.run("show", "welcome", "--json")
        text = self.run("show", "welcome")

        assert ("coupon", "sequential") == (found["winner"], found["method"])
        assert 0 < found["comparisons"][0]["low"] < 110 / 610 - 30 / 600 < found["comparisons"][0]["high"]
        assert "winner (sequential): coupon" in text
        assert "plain (control)" in text

    def test_a_split_that_is_not_as_declared_has_no_winner(self, tables: Warehouse) -> None:
        self.experiment(tables, 700, 500, {"plain": 30, "coupon": 110})

        (found,) = self.run("list", "--json")

        assert (True, None) == (found["sample_ratio_mismatch"], found["winner"])
        assert found["sample_ratio_p"] < 0.001

    def test_before_its_horizon_an_experiment_has_no_winner_and_after_it_one(self, tables: Warehouse) -> None:
        day_ms = 86_400_000
        self.experiment(tables, 300, 310, {"plain": 15, "coupon": 55}, horizon_ms=40_000 * day_ms)
        (before,) = self.run("show", "welcome", "--json")
        tables.client.command("TRUNCATE TABLE journey_events SYNC")
        self.experiment(tables, 300, 310, {"plain": 15, "coupon": 55}, horizon_ms=8 * day_ms)
        # Their window ends after the horizon.
        store(tables, *(drawn(9_000 + who, 9_000 + who, "coupon", day=2, horizon_ms=8 * day_ms) for who in range(300)))
        (after,) = self.run("show", "welcome", "--json")

        assert (None, [], True) == (before["winner"], before["comparisons"], "is decided on" in before["reason"])
        assert ("fixed horizon", 55 / 310) == (after["method"], after["comparisons"][0]["mean"])

    def test_the_winner_of_a_shipped_journey_is_rolled_out(self, tables: Warehouse, tmp_path: Any) -> None:
        shipped = {"journey": "cross_sell", "step": "3"}
        people = [("together", n) for n in range(1, 501)] + [("category", 5_000 + n) for n in range(1, 501)]
        store(tables, *(drawn(who, who, arm, control="together") | shipped for arm, who in people))
        tables.store(*(bought(who, 1) for arm, who in people if who % 5_000 <= (20 if arm == "together" else 100)))

        change = self.run("roll-out", "cross_sell")
        self.run("roll-out", "cross_sell", "--out", str(tmp_path / "new.yaml"))

        added = [line.strip("+ ") for line in change.splitlines() if line.startswith("+ ")]
        assert ["weight: 0", "weight: 100"] == added
        assert "weight: 100" in (tmp_path / "new.yaml").read_text("utf-8")

    def test_without_a_winner_nothing_is_rolled_out(self, tables: Warehouse) -> None:
        self.experiment(tables, 20, 20, {"plain": 1, "coupon": 9})

        refused = CliRunner().invoke(app, ["experiments", "roll-out", "welcome"])
        store(tables, drawn(7_000, 7_000, "coupon", share=1.0, day=9) | {"version": "v2"})
        unknown = CliRunner().invoke(app, ["experiments", "show", "wellcome"])

        (rolled_out,) = self.run("show", "welcome", "--json")

        assert (1, 1) == (refused.exit_code, unknown.exit_code)
        assert ("v2", None, True) == (
            rolled_out["version"], rolled_out["winner"], "nothing to compare" in rolled_out["reason"]
        )  # fmt: skip
        assert "there are too few people or outcomes yet" in refused.output
        assert "nobody was drawn into a variant of 'wellcome' yet" in unknown.output
