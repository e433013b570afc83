"""The simulated retailer: reproducible bytes, the promised faults in data, and a correct ground truth."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.demo.simulator import Options, Simulation
from deploy.demo.simulator.advertising import EFFECT, SPEND_COLUMNS
from deploy.demo.simulator.delivery import LEGACY
from deploy.demo.simulator.world import World
from deploy.operations.definition_files import touch_rules
from deploy.settings import Settings
from processors.identity.claims import claims
from processors.intake.decode import decode
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.durations import DAY_MS
from schemas.identity.policy import IdentityPolicy
from schemas.outcomes import Reject

ROOT = Path(__file__).parents[3]
OPTIONS = Options(people=600, seed=7, days=40)


class Run:
    """One finished simulation."""

    def __init__(self, options: Options) -> None:
        simulation = Simulation(options)
        self.lines = list(simulation.lines())
        self.events: list[dict[str, Any]] = [orjson.loads(line) for line in self.lines]
        self.counts = simulation.counts()
        self.spend = list(simulation.spend())
        self.truth = list(simulation.truth())
        # Duplicates count once.
        self.good = {event["event_id"]: event for event in self.events if event["source"] != LEGACY}

    def pairs(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        return zip(self.events, self.lines, strict=True)


@pytest.fixture(scope="module")
def run() -> Run:
    return Run(OPTIONS)


def decoded(line: bytes) -> Any:
    return decode(line, channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)


def test_the_same_options_give_the_same_bytes(run: Run) -> None:
    assert run.lines == list(Simulation(OPTIONS).lines())


def test_the_bytes_do_not_depend_on_the_process() -> None:
    """Hash seeds differ between Python processes; the output must not."""
    command = [sys.executable, "-m", "deploy.cli.main", "simulate", "--people", "60", "--days", "20"]
    one, other = (
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    )
    assert one == other
    assert b"".join(line + b"\n" for line in Simulation(Options(people=60, days=20)).lines()) == one


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Options(people=600, seed=8, days=40), id="seed"),
        pytest.param(Options(people=601, seed=7, days=40), id="people"),
        pytest.param(Options(people=600, seed=7, days=41), id="days"),
        pytest.param(Options(people=600, seed=7, days=40, start=date(2026, 9, 2)), id="start"),
    ],
)
def test_other_options_never_repeat_an_event_id(run: Run, other: Options) -> None:
    ids = {orjson.loads(line).get("event_id") for line in Simulation(other).lines()} - {None, "x" * 120}
    assert set() == ids & run.good.keys()


def test_all_lines_but_the_junk_are_valid(run: Run) -> None:
    verdicts = [(event["source"] == LEGACY, isinstance(decoded(line), Reject)) for event, line in run.pairs()]
    assert [] == [pair for pair in verdicts if pair[0] != pair[1]]


def test_junk_can_be_routed_and_is_one_line_in_a_hundred(run: Run) -> None:
    junk = [event for event in run.events if event["source"] == LEGACY]
    assert set() == {event["channel"] for event in junk} - set(TOUCHPOINT_CHANNELS)
    assert pytest.approx(0.01, abs=0.004) == len(junk) / len(run.events)


def test_without_junk_every_line_is_valid() -> None:
    lines = Simulation(Options(people=50, seed=3, junk=0)).lines()
    assert [] == [outcome for outcome in map(decoded, lines) if isinstance(outcome, Reject)]


def test_duplicates_are_exact_copies_near_and_far(run: Run) -> None:
    copies = [line for line, times in Counter(run.lines).items() if times > 1]
    places: dict[bytes, list[int]] = {line: [] for line in copies}
    for place, line in enumerate(run.lines):
        if line in places:
            places[line].append(place)
    distances = [second - first for first, second in places.values()]
    assert run.counts["duplicates"] == len(copies)
    assert pytest.approx(0.015, abs=0.005) == len(copies) / len(run.good)
    assert min(distances) < 100
    assert max(distances) > len(run.lines) / 10
    assert len(run.good) == len({event["event_id"] for event in run.good.values()})


def test_the_counts_are_those_of_the_lines(run: Run) -> None:
    orders = sum(event["event"] == "Order Completed" for event in run.good.values())
    expected = {
        "lines": len(run.lines),
        "events": len(run.good),
        "duplicates": len(run.lines) - len(set(run.lines)),
        "junk": sum(event["source"] == LEGACY for event in run.events),
        "orders": orders,
    }
    assert expected == run.counts


def test_every_known_channel_but_two_carries_events(run: Run) -> None:
    # Radio and affiliates have no events of their own: they show in the campaign of a session.
    assert set(TOUCHPOINT_CHANNELS) - {"affiliate", "offline_media"} == {
        event["channel"] for event in run.good.values()
    }


@pytest.mark.parametrize("channel", ["web", "app", "store", "call_center"])
def test_each_sales_channel_has_orders(run: Run, channel: str) -> None:
    sold = [event for event in run.good.values() if event["event"] == "Order Completed" and event["channel"] == channel]
    assert sold != []


def test_revenue_is_the_products_less_the_discount_to_the_cent(run: Run) -> None:
    for event in run.good.values():
        if event["event"] == "Order Completed":
            order = event["properties"]
            goods = sum(Decimal(product["price"]) * product["quantity"] for product in order["products"])
            assert goods - Decimal(order["discount"]) == Decimal(order["revenue"])
            assert Decimal(order["revenue"]) + Decimal(order["shipping"]) == Decimal(order["total"])


def test_tills_upload_in_the_night_after(run: Run) -> None:
    """Events of a till arrive after all events of the site on that day."""
    arrived: dict[str, int] = {}
    last_of_day: dict[str, int] = {}
    for place, event in enumerate(run.events):
        first = event["source"] != LEGACY and arrived.setdefault(event["event_id"], place) == place
        if first and event["source"] == "shop-eu":
            last_of_day[event["occurred_at"][:10]] = place
    tills = [event for event in run.good.values() if event["channel"] == "store"]
    early = [event for event in tills if arrived[event["event_id"]] < last_of_day[event["occurred_at"][:10]]]
    assert [] == early


def test_some_events_are_out_of_order(run: Run) -> None:
    web = [event["occurred_at"] for event in run.events if event["channel"] == "web" and event["source"] == "shop-eu"]
    backwards = sum(later < earlier for earlier, later in pairwise(web))
    assert 0.005 < backwards / len(web) < 0.2


def test_the_ledger_has_a_row_for_each_day_campaign_and_creative(run: Run) -> None:
    rows = [dict(zip(SPEND_COLUMNS, row, strict=True)) for row in run.spend]
    keys = [(row["date"], row["channel"], row["source"], row["campaign"], row["creative"]) for row in rows]
    assert sorted(set(keys)) == keys
    assert set() == {row["channel"] for row in rows} - EFFECT.keys()
    assert {"EUR"} == {row["currency"] for row in rows}


def test_the_ledger_names_the_campaigns_and_creatives_of_the_touches(run: Run) -> None:
    touched = {
        (event["campaign"]["source"], event["campaign"]["name"], event["campaign"]["creative"])
        for event in run.good.values()
        if "campaign" in event
    }
    paid = {(source, campaign, creative) for _, _, source, campaign, creative, *_ in run.spend}
    assert set() == touched - paid


def test_the_ledger_spells_marketing_channels_as_the_touch_rules_do(run: Run) -> None:
    rules = touch_rules(Settings())
    paid = {(source, campaign): channel for _, channel, source, campaign, *_ in run.spend}
    touches = [(event, rules.classify(event).marketing_channel) for event in run.good.values()]
    of_campaigns = {
        (event["campaign"]["source"], event["campaign"]["name"]): channel
        for event, channel in touches
        if channel and "campaign" in event
    }
    assert of_campaigns == {campaign: paid[campaign] for campaign in of_campaigns}
    assert set(EFFECT) == {channel for _, channel in touches if channel}


def test_impressions_in_the_ledger_are_those_of_the_events(run: Run) -> None:
    seen = Counter(event["campaign"]["name"] for event in run.good.values() if event["event"] == "Ad Impression")
    booked: Counter[str] = Counter()
    for row in run.spend:
        if row[3] in seen:
            booked[row[3]] += int(row[7])
    assert seen == booked


def test_touches_cause_purchases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The effect that attribution should find: without it, the same simulation has far fewer orders."""
    options = Options(people=800, seed=11, junk=0)
    with_marketing = Run(options).counts["orders"]
    for channel in EFFECT:
        monkeypatch.setitem(EFFECT, channel, 0.0)
    assert with_marketing / Run(options).counts["orders"] > 1.5


@pytest.mark.parametrize(
    ("channel", "days", "expected"),
    [
        pytest.param("Paid Search", 0, 0.80, id="at once"),
        pytest.param("Paid Search", 7, 0.40, id="after a half-life"),
        pytest.param("Paid Search", 21, 0.10, id="after three"),
        pytest.param("Direct", 0, 0.0, id="direct has no effect"),
    ],
)
def test_the_effect_of_a_touch_fades(channel: str, days: int, expected: float) -> None:
    world = World(1, 1, 60, date(2026, 9, 1), 0.0, "run")
    (person,) = world.people
    world.apply_touch(person, 0, channel)
    assert expected == pytest.approx(world.desire(person, days * DAY_MS))


def components(lines: Iterable[bytes]) -> dict[tuple[str, bytes], Any]:
    """Group identifiers by what events link, as the pipeline normalises them: identifier → its group's first one."""
    policy = IdentityPolicy()
    parent: dict[Any, Any] = {}

    def root(node: Any) -> Any:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for line in lines:
        event = decoded(line)
        if not isinstance(event, Reject):
            identifier_hashes = [(claim.type, claim.identifier_hash) for claim in claims(event, policy, b"secret")[0]]
            for identifier_hash in identifier_hashes:
                parent[root(identifier_hash)] = root(identifier_hashes[0])
    return {identifier_hash: root(identifier_hash) for identifier_hash in parent}


def identifier_hash(kind: str, value: str) -> tuple[str, bytes]:
    event = orjson.dumps(
        {
            "event_id": "e",
            "event": "Identify",
            "channel": "web",
            "occurred_at": "2026-09-01T00:00:00Z",
            "identifiers": [{"type": kind, "value": value}],
        }
    )
    (claim,) = claims(decoded(event), IdentityPolicy(), b"secret")[0]
    return claim.type, claim.identifier_hash


def test_the_ground_truth_equals_the_links_of_the_events(run: Run) -> None:
    """The components of normalised identifiers equal the ground truth, in any spelling."""
    found = components(run.lines)
    owners: dict[Any, set[tuple[int, int]]] = defaultdict(set)
    for person in run.truth:
        if person["shared"]:
            continue
        for number, group in enumerate(person["profiles"]):
            parts = {found[identifier_hash(kind, value)] for kind, value in group}
            assert len(parts) == 1, (person["person"], group)
            owners[parts.pop()].add((person["person"], number))
    assert [] == [several for several in owners.values() if len(several) > 1]


def test_people_have_several_devices_and_a_few_share_one(run: Run) -> None:
    sizes = Counter(len(group) for person in run.truth for group in person["profiles"])
    assert max(sizes) >= 6
    assert any(person["shared"] for person in run.truth)
    assert any(len(person["profiles"]) > 1 for person in run.truth)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"people": 0}, id="no people"),
        pytest.param({"days": 0}, id="no day"),
        pytest.param({"junk": 0.9}, id="mostly junk"),
    ],
)
def test_impossible_options_are_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="people and days must be at least 1"):
        Options(**options)
