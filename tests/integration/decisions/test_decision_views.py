"""The ledger in ClickHouse: why each message was sent or not, for the person as known now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

import orjson
import pytest

from processors.attribution.experiments import Group, lift
from processors.recording.decision_rows import decision_rows, journey_event_rows
from tests.support.builders import DAY_ONE
from tests.support.stack import Addresses, corner
from tests.support.warehouse import Warehouse, instant, merged, person, warehouse

pytestmark = pytest.mark.integration


TABLES = (
    "decisions",
    "journey_events",
    "segment_changes",
    "identity_log",
    "identity_overrides",
    "attribution_settings",
)


@pytest.fixture(scope="module")
def database(servers: Addresses) -> Iterator[Warehouse]:
    with corner(servers) as settings, warehouse(settings) as found:
        yield found


@pytest.fixture
def tables(database: Warehouse) -> Warehouse:
    """Empty tables; to create them anew for each test would take longer than the tests."""
    for table in TABLES:
        database.client.command(f"TRUNCATE TABLE {table}")
    return database


def decision(number: int, who: int, outcome: str = "sent", **fields: Any) -> dict[str, Any]:
    """A value of the topic `decisions`; its number stands for the decision and its run."""
    return {
        "decision_id": person(number), "decided_at": instant(DAY_ONE), "profile_id": person(who), "journey": "welcome",
        "journey_version": "v1", "run_id": f"r{number}", "step": "1", "message": "hello", "channel": "email",
        "purpose": "marketing", "tags": ["a"], "campaign": "autumn", "outcome": outcome, "gate": "", "reason": "Why.",
        "until": None, "idempotency_key": f"k{number}", "variant": "", "holdout": "", "propensity": None,
        "gates": [{"gate": "consent", "passed": True, "input": {}}], "event_id": "e1", **fields,
    }  # fmt: skip


def happening(number: int, who: int, kind: str, **fields: Any) -> dict[str, Any]:
    """A value of the topic `journey-events`."""
    return {
        "id": person(number), "kind": kind, "at": instant(DAY_ONE), "profile_id": person(who), "journey": "welcome",
        "version": "v1", "run_id": f"r{who}", "key": "", "step": "", "detail": {"more": 1}, "event_id": "e1", **fields,
    }  # fmt: skip


def store(tables: Warehouse, *values: dict[str, Any]) -> None:
    for value in values:
        for table, row in decision_rows(value) if "decision_id" in value else journey_event_rows(value):
            tables.insert(table, row)


def test_a_decision_is_read_as_it_was_made(tables: Warehouse) -> None:
    until = instant(DAY_ONE + timedelta(hours=1))
    store(tables, decision(1, 1, "postponed", gate="quiet_hours", until=until, propensity=0.25))

    ((row, gates),) = tables.rows(
        """
        SELECT (toString(decision_id), toString(profile_id), outcome, gate, reason, toString(until), propensity, tags),
            gates FROM v_decisions
        """
    )

    expected = (person(1), person(1), "postponed", "quiet_hours", "Why.", "2026-11-01 13:00:00.000", 0.25, ["a"])
    assert expected == tuple(row)
    assert [{"gate": "consent", "passed": True, "input": {}}] == orjson.loads(gates)


def test_a_replay_writes_the_same_row_again(tables: Warehouse) -> None:
    for _ in range(2):
        store(
            tables, decision(1, 1), happening(2, 1, "journey_entered"), happening(3, 1, "segment_left", segment="vip")
        )

    views = ("v_decisions", "v_journey_events", "v_segment_changes")
    assert [1, 1, 1] == [tables.rows(f"SELECT count() FROM {view}")[0][0] for view in views]


def test_a_segment_change_is_no_journey_event(tables: Warehouse) -> None:
    store(tables, happening(1, 7, "segment_entered", segment="vip", journey="", version="s1"))

    rows = tables.rows("SELECT segment, entered, toString(profile_id), definition_version FROM v_segment_changes")
    assert [("vip", 1, person(7), "s1")] == rows
    assert [(0,)] == tables.rows("SELECT count() FROM v_journey_events")


class TestChangesOfOneMillisecond:
    """Members at the end, from changes (kind, day, sequence) of person 1."""

    CASES: ClassVar[dict[str, tuple[list[tuple[str, int, int]], bool]]] = {
        "entered, then left": ([("segment_entered", 0, 1), ("segment_left", 0, 2)], False),
        "left, then entered": ([("segment_entered", 0, 1), ("segment_left", 1, 2), ("segment_entered", 1, 3)], True),
        "ten changes": ([(("segment_left", "segment_entered")[n % 2], 0, n) for n in range(1, 11)], False),
        "nine changes": ([(("segment_left", "segment_entered")[n % 2], 0, n) for n in range(1, 10)], True),
        "a tie of before there were numbers": ([("segment_entered", 0, 0), ("segment_left", 0, 0)], False),
        "such a tie of a member": (
            [("segment_entered", 0, 0), ("segment_left", 1, 0), ("segment_entered", 1, 0)],
            True,
        ),
        "an entry of before and a leave with a number": ([("segment_entered", 0, 0), ("segment_left", 0, 1)], False),
        "one entry": ([("segment_entered", 0, 0)], True),
    }

    @pytest.mark.parametrize(("changes", "member"), CASES.values(), ids=CASES)
    def test_the_last_one_counts(self, tables: Warehouse, changes: list[tuple[str, int, int]], member: bool) -> None:
        for number, (kind, day, sequence) in enumerate(changes):
            at = instant(DAY_ONE + timedelta(days=day))
            store(tables, happening(number, 1, kind, segment="vip", at=at, sequence=sequence))

        members = tables.rows("SELECT count() FROM v_segment_memberships WHERE until > '2099-01-01'")
        assert [(int(member),)] == members

    def test_two_people_are_not_mixed_up(self, tables: Warehouse) -> None:
        store(
            tables,
            happening(1, 1, "segment_entered", segment="vip", sequence=1),
            happening(2, 2, "segment_left", segment="vip", sequence=2),
            happening(3, 1, "segment_left", segment="loyal", sequence=3),
        )

        rows = tables.rows("SELECT toString(profile_id), segment FROM v_segment_memberships")
        assert [(person(1), "vip")] == rows

    def test_what_a_backfill_has_replaced_leaves_no_stay(self, tables: Warehouse) -> None:
        store(
            tables,
            happening(1, 1, "segment_entered", segment="vip", sequence=1),
            happening(2, 2, "segment_entered", segment="vip", sequence=1),
            happening(3, 2, "segment_left", segment="vip", sequence=5, replaces_before=5),
            happening(4, 3, "segment_entered", segment="vip", sequence=1),
            happening(5, 3, "segment_entered", segment="loyal", sequence=2, replaces_before=9),
        )

        rows = tables.rows("SELECT toString(profile_id), segment FROM v_segment_memberships ORDER BY ALL")
        assert [(person(1), "vip"), (person(3), "vip")] == rows
        assert [("vip", 2, 0, 2)] == tables.rows("SELECT segment, entered, left, members FROM v_segment_sizes")

    def test_a_member_stated_again_after_a_merge_is_one(self, tables: Warehouse) -> None:
        tables.change({**merged(10, 1, [102]), "from_profile_id": person(2)})
        later, latest = instant(DAY_ONE + timedelta(days=1)), instant(DAY_ONE + timedelta(days=2))
        store(
            tables,
            happening(1, 1, "segment_entered", segment="vip", sequence=1),
            happening(2, 2, "segment_entered", segment="vip", at=later, sequence=1),
            happening(3, 2, "segment_left", segment="vip", at=later, sequence=2),
            happening(4, 1, "segment_entered", segment="vip", at=latest, sequence=3),
        )

        rows = tables.rows("SELECT toString(profile_id) FROM v_segment_memberships WHERE until > '2099-01-01'")
        assert [(person(1),)] == rows


class TestWhoThePersonIsNow:
    """Profiles 1, 2, 3 with the identifiers 101, 102, 103; merges say who stays, from whom, and what moved."""

    @staticmethod
    def merge(version: int, winner: int, loser: int, *anchors: int) -> dict[str, Any]:
        return {**merged(version, winner, anchors), "from_profile_id": person(loser)}

    @staticmethod
    def now(tables: Warehouse) -> dict[str, str]:
        return dict(tables.rows("SELECT toString(profile_id_then), toString(profile_id) FROM v_decisions"))

    @pytest.fixture
    def decided(self, tables: Warehouse) -> Warehouse:
        store(tables, *(decision(number, number) for number in (1, 2, 3)))
        return tables

    def test_a_merge_moves_what_was_decided_about_the_ended_profile(self, decided: Warehouse) -> None:
        decided.change(self.merge(10, 1, 2, 102))

        assert {person(1): person(1), person(2): person(1), person(3): person(3)} == self.now(decided)

    def test_merges_follow_each_other(self, decided: Warehouse) -> None:
        decided.change(self.merge(10, 2, 3, 103), self.merge(11, 1, 2, 102, 103))

        assert {person(number): person(1) for number in (1, 2, 3)} == self.now(decided)

    def test_a_split_gives_the_ended_profile_to_who_has_its_identifiers(self, decided: Warehouse) -> None:
        decided.change(self.merge(10, 1, 2, 102), {**merged(11, 4, [102], "split"), "from_profile_id": person(1)})

        assert {person(1): person(1), person(2): person(4), person(3): person(3)} == self.now(decided)

    def test_if_its_identifiers_are_parted_most_of_them_decide(self, decided: Warehouse) -> None:
        decided.change(
            self.merge(10, 1, 2, 102, 202, 302), {**merged(11, 4, [202], "split"), "from_profile_id": person(1)}
        )

        assert person(1) == self.now(decided)[person(2)]

    def test_a_profile_that_came_back_and_ended_again_goes_by_its_last_end(self, decided: Warehouse) -> None:
        decided.change(
            self.merge(10, 1, 2, 102, 202),
            {**merged(11, 2, [102], "split"), "from_profile_id": person(1)},
            self.merge(12, 3, 2, 102),
        )

        assert person(3) == self.now(decided)[person(2)]


def test_the_funnel_of_a_journey(tables: Warehouse) -> None:
    store(
        tables,
        happening(1, 1, "journey_entered"), happening(2, 2, "journey_entered"),
        happening(3, 1, "waiting", step="1"), happening(4, 1, "goal"), happening(5, 2, "exited"),
        decision(11, 1, "postponed", run_id="r1", gate="quiet_hours"),
        decision(12, 1, "postponed", run_id="r1", gate="caps"),
        decision(13, 1, "sent", run_id="r1"),
        decision(14, 2, "suppressed", gate="consent"), decision(15, 3, "suppressed", gate="consent"),
        decision(16, 4, "suppressed", gate="caps"), decision(17, 5, "ghost", gate="holdout", holdout="journey"),
        decision(18, 1, "failed", gate="delivery"), decision(19, 1, "regretted", gate="late_event"),
    )  # fmt: skip

    columns = (
        "step, entered, waiting, sent, postponed, ghost, suppressed, suppressed_by, failed, regretted, goal, exited"
    )
    rows = tables.rows(f"SELECT {columns} FROM v_journeys WHERE day = '2026-11-01' ORDER BY step")

    assert [
        ("", 2, 0, 0, 0, 0, 0, {}, 0, 0, 1, 1),
        ("1", 0, 1, 1, 1, 1, 3, {"consent": 2, "caps": 1}, 1, 1, 0, 0),
    ] == rows


def test_days_are_those_of_the_settings(tables: Warehouse) -> None:
    tables.client.insert(
        "attribution_settings",
        [["purchase", ["Direct"], 1.0, "Pacific/Auckland"]],
        column_names=["goal", "direct_channels", "margin", "timezone"],
    )
    store(tables, decision(1, 1))

    assert [("2026-11-02",)] == tables.rows("SELECT toString(day) FROM v_journeys")


def test_an_experiment_compares_the_sent_with_the_held_out(tables: Warehouse) -> None:
    later, before = instant(DAY_ONE + timedelta(days=1)), instant(DAY_ONE - timedelta(days=1))
    ghost = {"gate": "holdout", "holdout": "journey"}
    store(
        tables,
        *(decision(number, number) for number in range(1, 41)),
        *(decision(number, number, "ghost", **ghost) for number in range(41, 61)),
        decision(100, 1, run_id="again"),  # a second message to the same person
        decision(101, 70), decision(102, 70, "ghost", **ghost),  # in both groups, so in neither
        decision(103, 71, "suppressed", gate="consent"),  # in none
        *(happening(200 + number, number, "goal", at=later) for number in (1, 2, 3, 4, 5, 6, 7, 8, 41, 42, 70, 71)),
        happening(299, 9, "goal", at=before),  # before the message
    )  # fmt: skip

    ((treated, control, mixed, won, won_anyway, *found),) = tables.rows(
        """
        SELECT treated, control, mixed, treated_conversions, control_conversions, treated_rate, control_rate,
            difference, difference_low, difference_high FROM v_experiments
        """
    )

    expected = lift(Group(40, 8), Group(20, 2))
    assert expected is not None
    assert (40, 20, 1, 8, 2) == (treated, control, mixed, won, won_anyway)
    assert pytest.approx(expected[:5], abs=1e-12) == found


def test_without_a_control_group_there_is_no_difference(tables: Warehouse) -> None:
    store(tables, decision(1, 1))

    rows = tables.rows(
        "SELECT treated, control, treated_rate, control_rate, difference, difference_low FROM v_experiments"
    )
    assert [(1, 0, 0.0, None, None, None)] == rows


def test_two_people_who_turn_out_to_be_one_count_once(tables: Warehouse) -> None:
    store(tables, decision(1, 1), decision(2, 2))
    tables.change({**merged(10, 1, [102]), "from_profile_id": person(2)})

    assert [(1,)] == tables.rows("SELECT treated FROM v_experiments")


def test_every_column_says_what_it_is(tables: Warehouse) -> None:
    without = tables.rows(
        """
        SELECT table, name FROM system.columns WHERE database = {database:String} AND comment = ''
            AND table IN ('decisions', 'journey_events', 'segment_changes', 'profile_aliases', 'v_decisions',
                'v_journey_events', 'v_segment_changes', 'v_journeys', 'v_experiments')
        """,
        database=tables.settings.clickhouse_database,
    )

    assert [] == without
