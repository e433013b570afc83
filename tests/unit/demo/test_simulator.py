"""The simulated retailer: reproducible bytes, the promised faults in data, and a correct ground truth."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from deploy.demo.simulator import Options, Simulation
from deploy.demo.simulator.advertising import EFFECT, SPEND_COLUMNS
from deploy.demo.simulator.delivery import LEGACY
from deploy.demo.simulator.retailer import SITE
from deploy.demo.simulator.world import World
from deploy.operations.definition_files import touch_rules
from deploy.settings import Settings
from processors.enrichment.geography import geography
from processors.enrichment.user_agents import UserAgents
from processors.identity.claims import claims
from processors.intake.decode import decode
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.durations import DAY_MS
from schemas.enrichment.bots import BotDefinitions
from schemas.identity.policy import IdentityPolicy
from schemas.outcomes import Reject

ROOT = Path(__file__).parents[3]
DOCUMENTATION = [ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
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
        self.sales = {key: (Decimal(revenue), Decimal(refunded)) for key, revenue, refunded in simulation.sales()}
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
    orders = len({order_of(event) for event in run.good.values() if event["event"] == "Order Completed"})
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


def order_of(event: dict[str, Any]) -> tuple[str, str]:
    """The order of an event: the shop that numbers it by itself, or nothing, and its number."""
    return (event["context"]["store_id"] if event["source"] == "tills" else "", event["properties"]["order_id"])


def test_the_report_of_the_shop_system_has_the_true_amount(run: Run) -> None:
    """Of an order's reports the latest of the shop system counts, else the only one; the page tells another amount."""
    amounts: dict[str, Decimal] = {}
    others = 0
    for event in sorted(run.good.values(), key=lambda one: one["source"] == "shopify"):
        if event["event"] in ("Order Completed", "Order Updated"):
            order = decoded(orjson.dumps(event))["properties"]
            key = "::".join(filter(None, order_of(event)))
            if "tax" in order:
                worth = Decimal(order["total"]) - Decimal(order["tax"]) - Decimal(order["shipping"])
                goods = sum(Decimal(line["price"]) * line["quantity"] for line in order["products"])
                assert goods - Decimal(order["discount"]) == worth
                amounts[key] = worth
            else:
                others += Decimal(order["revenue"]) != run.sales[key][0]

    assert {key: revenue for key, (revenue, _) in run.sales.items()} == amounts
    assert others > 50


def test_orders_of_the_site_are_reported_more_than_once(run: Run) -> None:
    reports = Counter(
        order_of(event)
        for event in run.good.values()
        if event["event"] in ("Order Completed", "Order Updated") and event["channel"] == "web"
    )

    assert {1, 2, 3} <= set(reports.values())


def test_every_order_has_a_country(run: Run) -> None:
    countries = defaultdict(set)
    for event in run.good.values():
        if order := event.get("properties", {}).get("order_id"):
            countries[order].add(geography(event).country)

    assert {"FR", "DE", "AT"} == {country for found in countries.values() for country in found if country}
    assert [] == [order for order, found in countries.items() if found == {""}]


def test_two_shops_give_the_same_order_numbers_to_different_orders(run: Run) -> None:
    shops: dict[str, set[str]] = defaultdict(set)
    for event in run.good.values():
        if event["event"] == "Order Completed" and event["source"] == "tills":
            shops[event["context"]["store_id"]].add(event["properties"]["order_id"])

    assert {"berlin", "wien"} == set(shops)
    assert "1001" in shops["berlin"] & shops["wien"]


def test_tills_declare_the_numbers_and_the_sum_of_each_of_their_days(run: Run) -> None:
    days: dict[tuple[str, str], list[tuple[int, Decimal]]] = defaultdict(list)
    declared = {}
    for event in run.good.values():
        properties = event.get("properties", {})
        if event["event"] == "Till Closed":
            (amount,) = properties["amounts"]
            day = properties["till_id"], properties["business_day"]
            declared[day] = (properties["events"], Decimal(amount["amount"]))
        elif till := properties.get("till"):
            days[till["id"], till["day"]].append((till["number"], Decimal(till["amount"])))

    assert {day: (len(counted), sum(amount for _, amount in counted)) for day, counted in days.items()} == declared
    assert all(sorted(number for number, _ in counted) == [*range(1, len(counted) + 1)] for counted in days.values())


def events_of(run: Run, source: str) -> list[dict[str, Any]]:
    return [event for event in run.good.values() if event["source"] == source]


def test_no_event_has_a_session_id(run: Run) -> None:
    assert [] == [event for event in run.good.values() if "session_id" in event.get("context", {})]


def test_pages_say_what_analytics_js_says_with_every_event(run: Run) -> None:
    for event in events_of(run, "shop-eu"):
        context = event["context"]
        page = context["page"]
        assert f"{SITE}{page['path']}{page['search']}" == page["url"]
        assert {"path", "referrer", "search", "title", "url"} == page.keys()
        assert context["user_agent"]
        assert context["locale"]
        assert any(ip_address(context["ip"]) in network for network in DOCUMENTATION)


def test_a_campaign_is_in_all_events_of_the_addresses_that_have_it(run: Run) -> None:
    """The page carries it along, and so does a step that loads no page; the next page does not."""
    pages: dict[bool, set[str]] = defaultdict(set)
    for event in events_of(run, "shop-eu"):
        has_it = "utm_source" in event["context"]["page"]["search"]
        assert has_it == ("campaign" in event)
        pages[has_it].add(event["event"])

    assert {"Page Viewed", "Product Viewed", "Product Added"} <= pages[True] & pages[False]


def test_visitors_come_from_search_sites_partners_mail_payment_and_pages_of_the_shop(run: Run) -> None:
    hosts = {urlsplit(event["context"]["page"]["referrer"]).hostname for event in events_of(run, "shop-eu")}
    expected = {
        None, "www.google.com", "l.facebook.com", "homeblog.example", "mail.google.com", "www.paypal.com",
        "acs.creditbank.example", "secure.stadtbank.example", "accounts.google.com", "shop.example",
    }  # fmt: skip

    assert set() == expected - hosts


def test_phones_say_what_mobile_sdks_say(run: Run) -> None:
    events = events_of(run, "shop-app")

    assert [] == [event for event in events if "page" in event["context"]]
    assert all(event["context"]["device"]["model"] and event["context"]["os"]["version"] for event in events)
    assert {"Application Installed", "Application Opened", "Application Backgrounded"} <= {
        event["event"] for event in events
    }


@pytest.mark.parametrize("rule", ["float_sum", "nul", "digits"])
def test_some_values_have_one_meaning_though_they_break_a_rule(rule: str) -> None:
    lines = Simulation(Options(people=600, seed=7, days=60, junk=0)).lines()
    rules = Counter(note["rule"] for line in lines for note in decoded(line).get("context", {}).get("mended", ()))

    assert rules[rule] > 0


def test_some_telephone_numbers_are_national_ones(run: Run) -> None:
    numbers = {
        one["value"] for event in run.good.values() for one in event["identifiers"] if one["type"] == "phone"
    } - {"0000000000"}

    assert any(number.startswith("0") for number in numbers)
    assert any(number.startswith("+33") for number in numbers)


def test_a_few_events_are_of_bots(run: Run) -> None:
    read = UserAgents(BotDefinitions()).read
    crawled = sum(bool(read(event["context"].get("user_agent", "")).bot) for event in events_of(run, "shop-eu"))
    scanned = Counter(
        (event["properties"]["message_id"], event["occurred_at"][:16])
        for event in run.good.values()
        if event["event"] == "Email Link Clicked"
    )

    assert 0.002 < crawled / len(run.good) < 0.03
    assert 3 in scanned.values()


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
