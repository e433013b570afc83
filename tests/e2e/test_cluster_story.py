"""The local stack with a cluster: events of people who turn out to be one, a stop, a start, and nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.redis import redis_client
from deploy.local.control import down, up
from deploy.local.state import LocalHome
from deploy.settings import Settings
from sinks.clickhouse.reports import accounting, accounting_of_profiles
from sinks.redis.keys import patterns
from sinks.redis.packing import unpack
from tests.support.builders import touchpoint
from tests.support.pipeline import Pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

PEOPLE, TURNS = 400, 7


@pytest.fixture
def home(tmp_path: Path) -> Iterator[LocalHome]:
    found = LocalHome(tmp_path / "home")
    yield found
    if found.running():
        down(found)


def started(home: LocalHome, *, redis_cluster: bool = False, servers_only: bool = False) -> Settings:
    state, _ = up(home, broker="tansu", redis_cluster=redis_cluster, servers_only=servers_only)
    found: dict[str, Any] = state["settings"]
    return Settings.model_validate(found)


def visits(person: int, turn: int) -> list[bytes]:
    """A visit by each of two browsers, which are of one person once both have signed in."""
    events = []
    for browser in ("phone", "laptop"):
        names = {"anonymous_id": f"{browser} of {person}"}
        if turn == TURNS // 2:
            names["email"] = f"person-{person}@shop.example"
        events.append(touchpoint(identifiers=names, event_id=f"{browser}-{person}-{turn}"))
    return [orjson.dumps(one) for one in events]


def counted(settings: Settings) -> list[int]:
    """How many events each live profile holds."""
    with redis_client(settings, timeout_s=30) as client:
        keys: Any = client.scan_iter(match=patterns(settings.redis_namespace, "profile:*")[1], count=1000)
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.hget(key, "document")
        return [orjson.loads(unpack(document))["event_count"] for document in pipeline.execute()]


def test_a_stack_with_a_cluster_has_each_event_once_and_each_person_once(home: LocalHome, tmp_path: Path) -> None:
    settings = started(home, redis_cluster=True)
    pipeline = Pipeline(settings, tmp_path)
    lines = [line for turn in range(TURNS) for person in range(PEOPLE) for line in visits(person, turn)]
    pipeline.publish_lines(lines)
    pipeline.drain(timeout_s=200)
    first = counted(settings)
    tables = clickhouse_client(settings, timeout_s=30)
    account, of_profiles = accounting(tables), accounting_of_profiles(tables)
    tables.close()
    with redis_client(settings, timeout_s=10) as client:
        nodes: Any = client
        keys_of_masters = nodes.dbsize(target_nodes="primaries")
    down(home)
    again = started(home, servers_only=True)  # the home keeps its cluster

    assert [2 * TURNS] * PEOPLE == first
    assert [(len(lines), 0)] == [(one.stored, one.difference) for one in account.sources]
    assert 0 == account.missing
    assert (PEOPLE, 0) == (of_profiles.people, of_profiles.differing)
    assert keys_of_masters > PEOPLE
    assert (settings.redis_url, first) == (again.redis_url, counted(again))
