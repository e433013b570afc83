"""The database and the definitions agree: on random histories, credit by credit, and at every edge of the rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from processors.attribution.rules import MODELS, Conversion, Touch, credits_of, journeys, null_journeys, with_milestones
from schemas.orders import conversion_id_of_event
from schemas.time import ms_of_time
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, ordered, person, resolved

pytestmark = pytest.mark.integration

LOOKBACK = timedelta(days=30)
CHANNELS = ["Direct", "Email", "Paid Search", "a > b", "(null)"]

CREDITS = """
    SELECT conversion_type, conversion_id, touch_event_id, model, credit, revenue_credit
    FROM attribution_credits(
        start_ms = {start:Int64}, stop_ms = {stop:Int64}, lookback_ms = 2592000000, half_life_ms = 604800000, goal = '',
        scope = {scope:String}, repeats = {repeats:String}, milestone = '', contacts = {contacts:String},
        only = {only:Array(String)}, without = {without:Array(String)})
"""

EVER = {"start": 0, "stop": 4133980800000}
PLAIN: dict[str, Any] = {**EVER, "scope": "all", "repeats": "keep", "contacts": "all", "only": [], "without": []}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"repeats": "collapse"},
    {"scope": "since_previous"},
    {"scope": "since_previous", "repeats": "collapse", "contacts": "clicks"},
    {"contacts": "views", "without": ["Direct", "a > b"]},
    {"only": ["(null)", "Email"]},
]


@dataclass
class World:
    """A history as the pipeline delivers it, and the same history as the definitions see it."""

    deliveries: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    conversions: list[Conversion] = field(default_factory=list)


def random_world(seed: int) -> World:
    random = Random(seed)
    world = World()
    # A hundred identifiers, each first a person of its own; a third of them turned out to be somebody else.
    owner = {anchor: anchor for anchor in range(100)}
    for version, anchor in enumerate(random.sample(range(100), 33), start=1):
        owner[anchor] = random.randrange(20)
        world.changes.append(merged(version, owner[anchor], [anchor], kind=random.choice(["merge", "split"])))
    for number in range(600):
        anchor = random.choice([*range(100), *range(20), *range(20)])
        # Few instants, so that touches tie with each other, with conversions and with the ends of their windows.
        time = (
            DAY_ONE
            + random.randrange(0, 60) * timedelta(days=1)
            + random.choice([-1, 0, 0, 0, 1]) * timedelta(milliseconds=1)
        )
        if random.random() < 0.2:
            conversion_id = f"order {number}"
            worth = random.choice(["0.00", "19.99", "100.00", "33.3333"])
            channel = random.choice(["", *CHANNELS])
            who = None if random.random() < 0.05 else anchor
            event = ordered(conversion_id, who, time, worth)
            if channel:
                event["campaign"] = {"channel": channel}
                if who is not None:
                    world.touches.append(Touch(event["event_id"], person(owner[who]), time, channel, conversion_id))
            world.conversions.append(
                Conversion(conversion_id, "purchase", None if who is None else person(owner[who]), time, Decimal(worth))
            )
        elif random.random() < 0.1:
            event = resolved(f"event {number}", anchor, time, event="Signed Up")
            key = conversion_id_of_event(event["source"], event["event_id"])
            world.conversions.append(Conversion(key, "signup", person(owner[anchor]), time, Decimal(0)))
        else:
            channel = random.choice(CHANNELS)
            view = random.random() < 0.3
            name = random.choice(["Ad Impression", "Email Opened"]) if view else "Page Viewed"
            event = resolved(f"event {number}", anchor, time, channel, event=name)
            world.touches.append(Touch(event["event_id"], person(owner[anchor]), time, channel, view=view))
        world.deliveries.append(event)
        if random.random() < 0.2:
            world.deliveries.append(event)
        if (
            "campaign" in event and random.random() < 0.2
        ):  # sent again later, by a producer that now says something else
            again = {**event, "campaign": {"channel": "sent twice"}, "received_at": "2027-06-01T00:00:00.000Z"}
            world.deliveries.append(again)
    random.shuffle(world.deliveries)
    return world


@pytest.mark.parametrize("merged_parts", [False, True], ids=["as inserted", "after merges"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sql_credits_what_the_definitions_credit(tables: Warehouse, seed: int, merged_parts: bool) -> None:
    world = random_world(seed)
    half = len(world.deliveries) // 2
    tables.store(*world.deliveries[:half])
    tables.change(*world.changes)
    tables.store(*world.deliveries[half:])
    if merged_parts:
        for table in ("touchpoints", "conversions", "identity_overrides"):
            tables.client.command(f"OPTIMIZE TABLE {table} FINAL")

    conversions = with_milestones(world.conversions, "signup")
    by_key = {(one.conversion_type, one.conversion_id): one for one in conversions}
    for options in OPTIONS:
        expected = {}
        for key, journey in journeys(world.touches, conversions, **options).items():
            for credit in credits_of(by_key[key], journey):
                touch = credit.touch.event_id if credit.touch else ""
                expected[*key, touch, credit.model] = float(credit.weight)
        found = {
            (goal, conversion, touch, model): credit
            for goal, conversion, touch, model, credit, _ in tables.rows(CREDITS, **{**PLAIN, **options})
        }

        assert expected.keys() == found.keys()
        assert expected == pytest.approx(found, abs=1e-9)


def test_short_periods_credit_what_the_whole_history_does(tables: Warehouse) -> None:
    world = random_world(6)
    half = len(world.deliveries) // 2
    tables.store(*world.deliveries[:half])
    tables.change(*world.changes)
    tables.store(*world.deliveries[half:])
    # Under the same ids, later: events of people who bought something. The first delivery counts.
    tables.store(
        *(
            {**event, "profile_id": person(n % 20), "anchor": person(n % 20), "received_at": "2027-07-01T00:00:00.000Z"}
            for n, event in enumerate(world.deliveries)
            if event["event"] == "Page Viewed"
        )
    )

    found = []
    for days in range(-5, 65, 14):
        start, stop = (ms_of_time(DAY_ONE + timedelta(days=day)) for day in (days, days + 14))
        found += tables.rows(CREDITS, **{**PLAIN, "start": start, "stop": stop, "scope": "since_previous"})

    assert sorted(tables.rows(CREDITS, **{**PLAIN, "scope": "since_previous"})) == sorted(found)


def test_the_events_of_one_person_are_those_that_the_view_of_all_has(tables: Warehouse) -> None:
    world = random_world(5)
    half = len(world.deliveries) // 2
    tables.store(*world.deliveries[:half])
    tables.change(*world.changes)
    tables.store(*world.deliveries[half:])

    everybody = tables.rows("SELECT toString(profile_id), event_id FROM v_touchpoints ORDER BY ALL")

    for who in range(100):
        expected = [row for row in everybody if row[0] == person(who)]
        assert expected == tables.rows(
            "SELECT toString(profile_id), event_id FROM v_touchpoints_of(person = {who:UUID}) ORDER BY ALL",
            who=person(who),
        )


def test_no_revenue_is_lost_or_invented(tables: Warehouse) -> None:
    world = random_world(4)
    tables.store(*world.deliveries)
    tables.change(*world.changes)
    conversions = len(world.conversions)
    revenue = sum((one.revenue for one in world.conversions), Decimal(0))

    totals = tables.rows(
        "SELECT model, round(sum(credit), 6), round(sum(revenue_credit), 2) FROM v_attribution_default"
        " WHERE model != 'participation' GROUP BY model ORDER BY model"
    )

    additive = sorted(set(MODELS) - {"participation"})
    assert [(model, conversions, round(float(revenue), 2)) for model in additive] == totals


def test_the_models_are_listed_once(tables: Warehouse) -> None:
    tables.store(ordered("o1", 1, DAY_ONE))

    listed = [model for (model,) in tables.rows("SELECT model FROM v_attribution_models")]

    assert list(MODELS) == listed
    assert sorted(MODELS) == [
        model for (model,) in tables.rows("SELECT model FROM v_attribution_default ORDER BY model")
    ]


@pytest.mark.parametrize(
    ("before", "counts"),
    [
        pytest.param(LOOKBACK, True, id="exactly thirty days before"),
        pytest.param(LOOKBACK + timedelta(milliseconds=1), False, id="a millisecond earlier"),
        pytest.param(timedelta(0), True, id="at the same instant"),
        pytest.param(-timedelta(milliseconds=1), False, id="a millisecond after it"),
    ],
)
def test_the_window_is_closed_at_both_ends(tables: Warehouse, before: timedelta, counts: bool) -> None:
    tables.store(resolved("touch", 1, DAY_ONE - before, "Email"), ordered("o1", 1, DAY_ONE))

    channels = tables.rows("SELECT channel FROM v_attribution_default WHERE model = 'linear'")

    assert [("Email" if counts else "(unattributed)",)] == channels


def test_a_parameter_sets_the_window_and_the_half_life(tables: Warehouse) -> None:
    tables.store(
        resolved("too old", 1, DAY_ONE - timedelta(days=3), "Email"),
        resolved("old", 1, DAY_ONE - timedelta(days=1), "Display"),
        resolved("new", 1, DAY_ONE, "SMS"),
        ordered("o1", 1, DAY_ONE),
    )

    credit = tables.rows(
        "SELECT touch_event_id, round(credit, 6) FROM v_attribution(lookback_days = 2, half_life_days = 0.5)"
        " WHERE model = 'time_decay' ORDER BY position"
    )

    assert [("old", 0.2), ("new", 0.8)] == credit


def test_a_very_short_half_life_gives_all_to_the_last_touch(tables: Warehouse) -> None:
    tables.store(
        resolved("old", 1, DAY_ONE - timedelta(days=20), "Email"),
        resolved("new", 1, DAY_ONE - timedelta(days=10), "SMS"),
        ordered("o1", 1, DAY_ONE),
    )

    credit = tables.rows(
        "SELECT touch_event_id, credit FROM v_attribution(lookback_days = 30, half_life_days = 0.001)"
        " WHERE model = 'time_decay' ORDER BY position"
    )

    assert [("old", 0.0), ("new", 1.0)] == credit


def test_an_order_reported_twice_is_not_its_own_touch(tables: Warehouse) -> None:
    till = ordered("o1", 1, DAY_ONE, campaign={"channel": "In-Store"})
    site = {**till, "event_id": "the same order, by the site", "campaign": {"channel": "Direct"}}
    tables.store(till, {**site, "received_at": "2027-01-01T00:00:00.000Z"})

    rows = tables.rows("SELECT conversion_id, channel FROM v_attribution_default WHERE model = 'linear'")

    assert [("o1", "(unattributed)")] == rows


class TestWhoItIsNow:
    def test_a_merge_restates_what_was_reported(self, tables: Warehouse) -> None:
        tables.store(resolved("touch", 1, DAY_ONE, "Email"), ordered("o1", 2, DAY_ONE))
        query = "SELECT channel FROM v_attribution_default WHERE model = 'linear'"
        before = tables.rows(query)

        tables.change(merged(7, 2, [1]))

        assert [("(unattributed)",)] == before
        assert [("Email",)] == tables.rows(query)

    def test_a_later_split_takes_it_back(self, tables: Warehouse) -> None:
        tables.store(resolved("touch", 1, DAY_ONE, "Email"), ordered("o1", 2, DAY_ONE))

        tables.change(merged(8, 3, [1], kind="split"))
        tables.change(merged(7, 2, [1]))  # arrives late

        assert [("(unattributed)",)] == tables.rows("SELECT channel FROM v_attribution_default WHERE model = 'linear'")

    def test_a_transfer_leaves_history_where_it_is(self, tables: Warehouse) -> None:
        tables.store(resolved("touch", 1, DAY_ONE, "Email"))

        tables.change(merged(7, 2, [1], kind="transfer"))

        assert [(person(1),)] == tables.rows("SELECT toString(profile_id) FROM v_touchpoints")

    def test_an_event_that_was_resolved_after_a_change_is_not_moved_by_it(self, tables: Warehouse) -> None:
        old, new = resolved("old", 1, DAY_ONE), resolved("new", 1, DAY_ONE, identity_version=9)
        tables.store(old, new)

        tables.change(merged(7, 2, [1]))

        assert [("new", person(1)), ("old", person(2))] == tables.rows(
            "SELECT event_id, toString(profile_id) FROM v_touchpoints ORDER BY event_id"
        )


class TestSessions:
    def visit(self, event_id: str, time: datetime, session_id: str = "s1", **fields: Any) -> dict[str, Any]:
        return resolved(event_id, 1, time, context={"session_id": session_id}, **fields)

    def started_by(self, tables: Warehouse) -> list[str]:
        tables.store(ordered("o1", 1, DAY_ONE + timedelta(days=20)))
        rows = tables.rows("SELECT touch_event_id FROM v_attribution_default WHERE model = 'linear' ORDER BY position")
        return [event_id for (event_id,) in rows]

    def test_a_visit_is_one_touch_by_its_first_event(self, tables: Warehouse) -> None:
        tables.store(*(self.visit(f"view {n}", DAY_ONE + timedelta(minutes=n)) for n in range(5)))

        assert ["view 0"] == self.started_by(tables)

    def test_a_late_event_takes_the_place_of_the_first(self, tables: Warehouse) -> None:
        tables.store(self.visit("second", DAY_ONE), self.visit("third", DAY_ONE + timedelta(minutes=1)))
        tables.store(self.visit("first, late", DAY_ONE - timedelta(minutes=1)))

        assert ["first, late"] == self.started_by(tables)

    def test_midnight_does_not_start_a_visit(self, tables: Warehouse) -> None:
        midnight = DAY_ONE.replace(hour=0)
        tables.store(*(self.visit(f"view {n}", midnight + timedelta(minutes=n)) for n in (-5, -1, 0, 5)))

        assert ["view -5"] == self.started_by(tables)

    def test_a_session_id_that_comes_back_after_a_silent_day_starts_anew(self, tables: Warehouse) -> None:
        tables.store(*(self.visit(f"day {n}", DAY_ONE + timedelta(days=n)) for n in (0, 1, 3, 4)))

        assert ["day 0", "day 3"] == self.started_by(tables)

    def test_two_sources_may_use_the_same_session_id(self, tables: Warehouse) -> None:
        tables.store(self.visit("site", DAY_ONE), self.visit("shop", DAY_ONE + timedelta(minutes=1), source="other"))

        assert ["site", "shop"] == self.started_by(tables)

    def test_a_campaign_within_a_visit_is_a_touch_of_its_own(self, tables: Warehouse) -> None:
        campaign = {"source": "google", "medium": "cpc"}
        tables.store(self.visit("start", DAY_ONE), self.visit("ad", DAY_ONE + timedelta(minutes=1), campaign=campaign))

        assert ["start", "ad"] == self.started_by(tables)


def test_paths_and_null_journeys_are_those_of_the_definitions(tables: Warehouse) -> None:
    world = random_world(5)
    tables.store(*world.deliveries)
    tables.change(*world.changes)
    bought = [one for one in world.conversions if one.conversion_type == "purchase"]
    expected: dict[tuple[str, ...], list[float]] = {}
    for (_, conversion_id), journey in journeys(world.touches, bought).items():
        path = expected.setdefault(tuple(touch.channel for touch in journey), [0, 0, 0])
        path[0] += 1
        path[1] += float(next(one.revenue for one in bought if one.conversion_id == conversion_id))
    converted = {one.person for one in bought if one.person}
    for journey in null_journeys(world.touches, converted).values():
        expected.setdefault(tuple(touch.channel for touch in journey), [0, 0, 0])[2] += 1

    found = tables.rows("SELECT path, conversions, toFloat64(revenue), null_journeys FROM v_paths")

    assert {path: pytest.approx(values) for path, values in expected.items()} == {
        tuple(path): list(values) for path, *values in found
    }
