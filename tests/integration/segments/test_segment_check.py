"""`segments check`: profiles, ClickHouse and history have the same members, or the differences are named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from redis import Redis
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.demo.simulator.run import Options, Simulation
from deploy.operations.definition_files import load_territory
from deploy.operations.engines import load_definitions, load_segments
from deploy.operations.segment_check import CheckResult, check_segments
from deploy.settings import Settings, settings
from processors.profiles.rebuild import replacement, restore
from processors.recording.decision_rows import journey_event_rows
from processors.segments.engine import SegmentEngine
from schemas.profiles.document import ProfileWrite
from schemas.time import ms_of_time
from schemas.topics import JOURNEY_EVENTS
from sinks.clickhouse.audiences import members_by_person
from sinks.clickhouse.history import read_events, read_people
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.segment_backfill import read_check
from tests.support.in_process_pipeline import Town, town
from tests.support.pipeline import environment

pytestmark = pytest.mark.integration


@pytest.fixture
def backwards() -> bool:
    """Whether profiles get the events of a batch in another order than that in which they were received."""
    return False


@pytest.fixture
async def city(stack: Settings, monkeypatch: pytest.MonkeyPatch, backwards: bool) -> AsyncIterator[Town]:
    """A simulated retailer whose events have come in, with all shipped segments and journeys in force."""
    for name, value in environment(stack).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    decider = load_definitions(settings()).decider()
    async with town(stack, decider=decider) as found:
        events = [orjson.loads(line) for line in Simulation(Options(people=50, days=10, junk=0)).lines()]
        lines = list({(one["source"], one["event_id"]): one for one in events}.values())
        for start in range(0, len(lines), 200):
            await found.live(*lines[start : start + 200], backwards=backwards)
        await relay_journey_events(found, stack)
        yield found
    settings.cache_clear()


async def relay_journey_events(city: Town, stack: Settings) -> None:
    outbox = RedisProfileOutbox(city.redis, stack.redis_namespace)
    records = [one.value for _, one in await outbox.pending(100_000) if one.topic.endswith(JOURNEY_EVENTS)]
    rows = [row for record in records for row in journey_event_rows(orjson.loads(record))]
    for name in ("segment_changes", "click_verdicts"):
        await city.insert(name, *[row for table, row in rows if table == name])


def last_moment(city: Town) -> datetime:
    """Return a moment after the last event, before further timers."""
    return max(datetime.fromisoformat(one["received_at"]) for one in city.published) + timedelta(milliseconds=1)


async def checked(city: Town, now: datetime | None = None) -> CheckResult:
    now, client = now or last_moment(city), city.tables.client
    engine = SegmentEngine(load_segments(settings()), territory=load_territory(settings()))
    tables = members_by_person(client, now)
    return await check_segments(city.profiles, engine, tables, read_people(client, now), ms_of_time(now))


async def rebuild_each_tenth_person(city: Town) -> None:
    decider, now_ms = load_definitions(settings()).decider(), ms_of_time(last_moment(city))
    people = sorted({one["profile_id"] for one in city.published if one["profile_id"]})
    for profile_id in people[::10]:
        stored = await city.profiles.get(profile_id)
        if stored is not None and stored.profile_id == profile_id:
            rebuilt = restore(stored, read_events(city.tables.client, profile_id), decider, now_ms)
            assert await city.profiles.replace(replacement(stored, rebuilt, decided=True, marked_since_ms=0))


async def forget_membership(city: Town, segment: str) -> str:
    """Remove a membership from one live profile; return whose."""
    people = sorted({one["profile_id"] for one in city.published if one["profile_id"]})
    reading = await city.profiles.people(people)
    for profile_id, stored in sorted(reading.profiles.items()):
        state: dict[str, Any] = orjson.loads(stored.state or b"{}")
        if stored.document and segment in state["segments"]["in"]:
            del state["segments"]["in"][segment]
            write = ProfileWrite(profile_id, stored.version, stored.document, (), (), orjson.dumps(state), None)
            assert [] == await city.profiles.write([write])
            return profile_id
    raise LookupError(segment)


@pytest.mark.parametrize("backwards", [False, True], ids=["as received", "in another order"])
async def test_a_simulated_population_is_in_the_same_segments_everywhere(city: Town) -> None:
    result = await checked(city)
    earlier = await checked(city, last_moment(city) - timedelta(seconds=100))
    await rebuild_each_tenth_person(city)
    again = await checked(city)

    assert [] == result.differences == again.differences == earlier.differences
    assert earlier.skipped > result.skipped
    assert result.people > 50
    assert result.skipped < result.people / 10


async def test_a_provoked_difference_is_named_with_its_person(city: Town) -> None:
    person = await forget_membership(city, "prospects")

    result = await checked(city)

    assert [("prospects", "history", 0, 1, [person]), ("prospects", "tables", 0, 1, [person])] == [
        (one.segment, one.place, one.only_in_profiles, one.only_there, one.examples) for one in result.differences
    ]


async def test_a_leave_that_the_tables_lost_is_a_difference_of_the_tables_alone(city: Town) -> None:
    await asyncio.to_thread(
        city.tables.client.command, "DELETE FROM segment_changes WHERE segment = 'visitors' AND NOT entered"
    )

    result = await checked(city)

    assert [("visitors", "tables", 0)] == [(one.segment, one.place, one.only_in_profiles) for one in result.differences]
    assert 1 <= len(result.differences[0].examples) <= 5 <= result.differences[0].only_there


async def test_the_command_ends_with_1_and_names_the_segment(city: Town) -> None:
    person = await forget_membership(city, "prospects")

    shown = await asyncio.to_thread(CliRunner().invoke, app, ["segments", "check", "--json"])

    assert 1 == shown.exit_code
    found = [one for one in json.loads(shown.stdout)["differences"] if one["segment"] == "prospects"]
    assert person in [example for one in found for example in one["examples"]]
    with Redis.from_url(settings().redis_url) as client:
        assert 1 <= (read_check(client, settings().redis_namespace) or {})["differences"]
