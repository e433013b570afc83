"""A backfill: who fits a new segment already is a member, dated by history, and every place agrees."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from redis import Redis

from deploy.local.process import ChildProcess
from deploy.operations import segment_backfill
from deploy.operations.deployment import Deployment
from deploy.operations.engines import load_definitions
from deploy.operations.lag import LagReader
from deploy.operations.segment_backfill import (
    BackfillRefusedError,
    BackfillResult,
    backfill,
    fingerprints,
    late_events_wait,
    not_filled,
    waiting_segments,
)
from deploy.operations.segment_check import Difference, check_segments
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.profiles.stage import ProfileUpdate
from processors.recording.decision_rows import journey_event_rows
from processors.recording.rows import profile_row
from schemas.decisions.policy import MessagePolicy
from schemas.journeys.control import DefinitionsState
from schemas.journeys.definitions import Journey
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import text_of_ms, time_of_ms
from schemas.topics import JOURNEY_EVENTS
from sinks.clickhouse.audiences import members_by_person
from sinks.clickhouse.history import read_people
from sinks.redis.broadcasts import RedisBroadcasts
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.erasures import RedisErasures
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.segment_backfill import RedisSegmentBackfill, note_definitions, read_definitions
from tests.support.builders import at, order, touchpoint
from tests.support.in_process_pipeline import RECEIVED_MS, Town, town
from tests.support.pipeline import environment

pytestmark = pytest.mark.integration

NOW_MS = RECEIVED_MS + 3_600_000
ANN, BEN, CAT = ({"email": f"{name}@shop.example"} for name in ("ann", "ben", "cat"))
SEEN = {"name": "seen", "description": "Any view.", "when": {"performed": "Product Viewed"}}
TWICE = {"name": "twice", "description": "Two views.", "when": {"performed": "Product Viewed", "at_least": 2}}
BUYERS = {"name": "buyers", "description": "Any order.", "when": {"attribute": "orders.count", "gte": 1}}
OLD = SegmentDefinitions.model_validate({"segments": [SEEN]})
NEW = SegmentDefinitions.model_validate({"segments": [SEEN, TWICE, BUYERS]})


def journey(name: str, **entry: Any) -> Journey:
    entered = {"segment": "twice", **entry}
    return Journey.model_validate({"name": name, "description": "Hi.", "entry": entered, "steps": [{"exit": "done"}]})


JOURNEYS = [journey("greeting"), journey("welcome", existing=True)]
DECIDER = DecisionEngine(NEW, JOURNEYS, MessagePolicy())
KNOWN = fingerprints(NEW, JOURNEYS)


class _NoLag:
    def lags(self) -> list[Any]:
        return []


@dataclass
class Shop:
    """People who came before the segments `twice` and `buyers` were defined."""

    town: Town
    deployment: Deployment
    redis: Redis

    async def views(self, who: dict[str, str], *days: int) -> None:
        product = {"product_id": "p1"}
        await self.town.live(
            *[
                touchpoint("Product Viewed", identifiers=who, occurred_at=at(days=day), properties=product)
                for day in days
            ]
        )

    async def fill(self, **options: Any) -> BackfillResult:
        await self.export()
        return await backfill(self.deployment, KNOWN, DECIDER, clock=lambda: NOW_MS, **options)

    async def export(self) -> None:
        rows = [profile_row(*one) for one in await self.town.profiles.changed(1000)]
        await self.town.insert("profiles", *rows)

    async def published(self) -> list[dict[str, Any]]:
        """Bring changes of segments to ClickHouse; return all that profiles wanted to publish."""
        outbox = RedisProfileOutbox(self.town.redis, self.town.namespace)
        records = [record for _, record in await outbox.pending(100_000)]
        assert {JOURNEY_EVENTS} == {record.topic for record in records}
        values = [orjson.loads(record.value) for record in records]
        rows = [row for value in values for row in journey_event_rows(value)]
        await self.town.insert("segment_changes", *[row for table, row in rows if table == "segment_changes"])
        return values

    async def differences(self) -> list[Difference]:
        client, moment = self.town.tables.client, time_of_ms(NOW_MS + 1)
        tables = members_by_person(client, moment)
        people = read_people(client, moment)
        return (await check_segments(self.town.profiles, DECIDER.segments, tables, people, NOW_MS + 1)).differences

    async def members(self, segment: str, day: str) -> set[str]:
        found = members_by_person(self.town.tables.client, datetime.fromisoformat(day))
        return {person for person, names in found.items() if segment in names}


@pytest.fixture
async def shop(stack: Settings) -> AsyncIterator[Shop]:
    async with town(stack, decider=DecisionEngine(OLD, [], MessagePolicy())) as found:
        with Redis.from_url(stack.redis_url) as redis:
            note_definitions(redis, stack.redis_namespace, fingerprints(OLD, []))
            deployment = Deployment(
                settings=stack,
                policy=found.policy,
                identities=found.identities,
                profiles=found.profiles,
                erasures=RedisErasures(found.redis, stack.redis_namespace),
                broadcasts=RedisBroadcasts(found.redis, stack.redis_namespace),
                backfills=RedisSegmentBackfill(found.redis, stack.redis_namespace),
                definitions=RedisDefinitions(found.redis, stack.redis_namespace),
                outbox=RedisProfileOutbox(found.redis, stack.redis_namespace),
                tables=found.tables.client,
                lags=cast("LagReader", _NoLag()),
            )
            here = Shop(found, deployment, redis)
            await here.views(ANN, 1, 3)
            await here.views(BEN, 2)
            await here.views(CAT, 4)
            await here.views({"anonymous_id": "cats"}, 5)
            await found.live(touchpoint(identifiers=CAT | {"anonymous_id": "cats"}, occurred_at=at(days=6)))
            await found.live(order("o1", identifiers=BEN, occurred_at=at(days=7)))
            note_definitions(redis, stack.redis_namespace, KNOWN)
            found._update = ProfileUpdate(found.profiles, DECIDER)  # the workers have restarted
            yield here


async def test_a_backfill_waits_for_workers_that_have_not_taken_up_the_definitions_in_force(shop: Shop) -> None:
    store = shop.deployment.definitions
    behind = {"role": "profile", "at": NOW_MS, "number": 0, "version": "", "refused": ""}
    await store.change(0, DefinitionsState(1))
    await store.report("one", behind | {"number": 1})
    await store.report("two", behind)

    with pytest.raises(BackfillRefusedError, match="1 workers have not taken up the definitions in force"):
        await shop.fill(timeout_s=0.1)
    filling = asyncio.create_task(shop.fill(timeout_s=20))
    await asyncio.sleep(0.5)
    waited = not filling.done()
    await store.report("two", behind | {"number": 1})
    result = await filling

    assert waited
    assert {"twice": 2, "buyers": 1} == result.members


async def test_people_of_before_are_members_of_new_segments_everywhere(shop: Shop) -> None:
    ann, ben, cat = [await shop.town.owner("email", who["email"]) for who in (ANN, BEN, CAT)]
    dry = await shop.fill(dry_run=True)
    waiting = not_filled(*read_definitions(shop.redis, shop.town.namespace))
    result = await shop.fill()
    values = await shop.published()
    entries = [value for value in values if value["kind"] == "journey_entered"]

    assert {"twice": 2, "buyers": 1} == dry.members == result.members == result.entered
    assert ["twice", "buyers", "journey:welcome"] == waiting
    assert [] == not_filled(*read_definitions(shop.redis, shop.town.namespace))
    assert {("welcome", ann), ("welcome", cat)} == {(value["journey"], value["profile_id"]) for value in entries}
    assert [{ann}, {ann, cat}, set()] == [await shop.members("twice", at(days=day)) for day in (4, 6, 2)]
    assert {ben} == await shop.members("buyers", at(days=7, hours=1))
    assert [] == await shop.differences()


def test_whoever_watches_workers_is_not_held_up_by_a_store_that_does_not_answer(stack: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        address = f"http://127.0.0.1:{frozen.getsockname()[1]}"
        asked = time.monotonic()
        waits = late_events_wait(stack.model_copy(update={"clickhouse_url": address}), NOW_MS)

    assert not waits
    assert time.monotonic() - asked < 60


async def test_of_two_services_one_takes_history_in_when_a_segment_is_published(
    shop: Shop, stack: Settings, tmp_path: Path
) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "own.yaml").write_text(NEW.model_dump_json(exclude_unset=True, by_alias=True), "utf-8")
    settings = stack.model_copy(update={"definitions_dir": tmp_path})
    own = load_definitions(settings)
    known = fingerprints(own.segments, [], own.territory, own.policy.address_types)
    note_definitions(shop.redis, stack.redis_namespace, {})
    await shop.export()
    command = [sys.executable, "-m", "deploy.cli.main", "segments", "backfill", "--every", "1s"]
    services = [
        ChildProcess(
            f"backfill-{number}",
            command,
            tmp_path / f"{number}.log",
            environment={**environment(settings), "THROUGHLINE_HOME": str(tmp_path / f"home-{number}")},
        )
        for number in (1, 2)
    ]
    try:
        for service in services:
            service.launch()
        beats = [tmp_path / f"home-{number}" / "heartbeats" / "backfill" for number in (1, 2)]
        await until(lambda: all(beat.exists() for beat in beats))
        note_definitions(shop.redis, stack.redis_namespace, known)  # as the profile workers do
        await until(lambda: waiting_segments(stack) == [])
        await asyncio.sleep(3)  # for the other one to look too
    finally:
        for service in services:
            service.stop(10)
    logs = [(tmp_path / f"{number}.log").read_text("utf-8") for number in (1, 2)]

    ann, cat = [await shop.town.owner("email", who["email"]) for who in (ANN, CAT)]
    await shop.published()

    assert [["twice", "2", "2", "0"]] == [
        line.split() for log in logs for line in log.splitlines() if line.startswith(" twice ")
    ]
    assert {ann, cat} == await shop.members("twice", at(days=8))


async def until(holds: Callable[[], bool], within_s: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_old_events_that_were_imported_date_the_membership(shop: Shop) -> None:
    await shop.fill()
    await shop.views({"email": "dan@shop.example"}, 1, 2)
    dan = await shop.town.owner("email", "dan@shop.example")
    await shop.published()
    before = [dan in await shop.members("twice", day) for day in (at(days=3), text_of_ms(NOW_MS))]
    waits = [late_events_wait(shop.deployment.settings, now) for now in (RECEIVED_MS, NOW_MS)]
    result = await shop.fill(late=True)
    await shop.published()
    dated_ms = await shop.deployment.backfills.dated_ms()
    again = await shop.fill(late=True, since_ms=dated_ms)
    after = [dan in await shop.members("twice", day) for day in (at(days=3), text_of_ms(NOW_MS))]
    sizes = "SELECT toString(day), members FROM v_segment_sizes WHERE segment = 'twice' ORDER BY day"

    assert ([False, True], [True, True]) == (before, after)
    assert {"seen": 4, "twice": 3, "buyers": 1} == result.members
    assert ([False, True], False) == (waits, late_events_wait(shop.deployment.settings, NOW_MS))
    assert (NOW_MS - segment_backfill.CLOCKS_DIFFER_MS, 0) == (dated_ms, again.people)
    assert [("2026-11-03", 1), ("2026-11-04", 2), ("2026-11-06", 3)] == shop.town.tables.rows(sizes)
    assert [] == await shop.differences()


async def test_a_backfill_that_was_killed_goes_on_and_then_counts_go_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_backfill, "PEOPLE_A_PART", 1)
    ben = await shop.town.owner("email", BEN["email"])

    def killed(done: int, parts: int, result: BackfillResult) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await shop.fill(report=killed)
    result = await shop.fill()
    before = await shop.published()
    entered = [one["profile_id"] for one in before if one["kind"] == "journey_entered"]
    await shop.views(BEN, 9)
    values = [one for one in await shop.published() if one not in before]
    later = [one["journey"] for one in values if one["kind"] == "journey_entered"]

    assert ({"twice": 2, "buyers": 1}, {"welcome": 2}) == (result.members, result.entries)
    assert 2 == len(entered) == len({*entered} - {ben})
    assert ["greeting", "welcome"] == later
    assert [] == await shop.differences()


async def test_an_event_that_history_has_before_the_profile_counts_once(shop: Shop) -> None:
    """The recorder is ahead of the profile worker, which applies the event afterwards."""
    view = next(one for one in shop.town.published if one["event"] == "Product Viewed")
    late = {**view, "event_id": "late", "origin": {**view["origin"], "offset": 99}}
    ben = await shop.town.owner("email", BEN["email"])
    late |= {
        "profile_id": ben,
        "anchor": next(one["anchor"] for one in shop.town.published if one["profile_id"] == ben),
    }
    await shop.town.store(late)
    result = await shop.fill()
    await shop.town._update([late])
    await shop.published()

    assert (1, {"twice": 3, "buyers": 1}) == (result.rebuilt, result.members)
    assert [] == await shop.differences()
    note_definitions(shop.redis, shop.town.namespace, fingerprints(OLD, []))
    with pytest.raises(segment_backfill.BackfillRefusedError, match="run other definitions of twice, buyers"):
        await shop.fill(names=["twice", "buyers"])
