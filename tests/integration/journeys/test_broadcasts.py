"""A broadcast to people in three time zones, on the real stores: forecast, start, split with its winner, cancel."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import orjson
import pytest
from pydantic import SecretStr

from deploy.operations.broadcast_forecast import forecast
from deploy.operations.broadcast_results import read_comparison, read_results
from deploy.operations.broadcast_tests import send_broadcast_test
from deploy.operations.broadcast_winners import choose_winners
from deploy.operations.broadcasts import BroadcastStatus, find_broadcast, read_shares, start, statuses
from deploy.operations.definitions_report import read_in_force
from deploy.operations.deployment import Deployment
from deploy.operations.erasure import ErasureRequest, erase_person
from deploy.operations.message_tests import NotSentError
from deploy.operations.publication import NotPublishedError, Publication, state_in_force
from deploy.settings import Settings
from deploy.workers.broadcast_members import ListedMembers
from deploy.workers.followed_definitions import FollowedDefinitions, follow_decisions
from processors.decisions.engine import DecisionEngine
from processors.profiles import broadcasts as entries_of_broadcasts
from processors.profiles.broadcasts import BroadcastEntries
from processors.profiles.stage import DecisionRules, ProfileUpdate
from processors.recording.decision_rows import decision_rows, journey_event_rows
from schemas.shards import SHARDS
from schemas.time import ms_of_text, ms_of_time, time_of_ms
from schemas.topics import ACTIONS, DECISIONS, JOURNEY_EVENTS
from sinks.clickhouse.definitions import read_runs_under_way
from sinks.redis.broadcasts import RedisBroadcasts
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.erasures import RedisErasures
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.segment_backfill import RedisSegmentBackfill
from tests.support.builders import touchpoint
from tests.support.in_process_pipeline import RECEIVED_MS, Town, town
from tests.support.mail_server import mail_server
from tests.support.warehouse import resolved

pytestmark = pytest.mark.integration

ZONES = ("Asia/Tokyo", "Europe/Berlin", "America/New_York")
A_ZONE = 40
DAY = datetime(2026, 11, 19)  # noqa: DTZ001 - of each zone
"""The day after the events of the town; a Thursday."""
START_MS = RECEIVED_MS + 600_000
TEMPLATE = """
description: D.
channels: {email: {en: {subject: "S", html: "<p>H</p>", text: "H"}}, sms: {en: {text: "H"}}}
"""
FILES = {
    "segments/all.yaml": "segments: [{name: known, description: K., when: {performed: Identify}}]\n",
    "broadcasts/news.yaml": """
name: news
description: News.
segment: known
send: {at: 2026-11-19 12:00}
message: hello
channel: email
split:
  share: 0.5
  variants: [{name: short}, {name: story, template: story}]
  winner: {metric: clicked, at: 2026-11-20 08:00, within: 4h, send_at: 2026-11-20 12:00}
""",
    "broadcasts/sale.yaml": """
name: sale
description: Sale.
segment: known
send: {at: 2026-11-19 12:00}
message: hello
channel: email
budget: {messages: 100}
""",
    "broadcasts/all.yaml": """
name: all
description: The same by SMS and e-mail.
segment: known
message: hello
channels: [sms, email]
choose: all
split: {variants: [{name: short-story, template: story}, {name: short}]}
""",
    "templates/hello.yaml": TEMPLATE,
    "templates/story.yaml": TEMPLATE.replace('"S"', '"A story"'),
    "policy.yaml": 'holdout: {share: 0}\nquiet_hours: {"*": null}\ncaps: []\n',
    "delivery.yaml": "sender: Shop <news@shop.example>\n",
    "markets.yaml": "default: all\nmarkets: {all: {}}\n",
}


class _NoLag:
    def lags(self) -> list[Any]:
        return []


def noon(zone: str, days: int = 0) -> int:
    return ms_of_time((DAY + timedelta(days=days, hours=12)).replace(tzinfo=ZoneInfo(zone)))


class Shop:
    """A deployment with people in three time zones, and one worker of profiles at a time."""

    def __init__(self, settings: Settings, here: Town) -> None:
        self.settings, self.town = settings, here
        redis, namespace = here.redis, settings.redis_namespace
        self.now_ms = START_MS
        self.deployment = Deployment(
            settings=settings,
            policy=here.policy,
            identities=here.identities,
            profiles=here.profiles,
            erasures=RedisErasures(redis, namespace),
            broadcasts=RedisBroadcasts(redis, namespace),
            backfills=RedisSegmentBackfill(redis, namespace),
            definitions=RedisDefinitions(redis, namespace),
            outbox=RedisProfileOutbox(redis, namespace),
            tables=here.tables.client,
            lags=cast("Any", _NoLag()),
        )
        self.publication = Publication(settings, self.deployment.definitions, "mia", lambda: self.now_ms)
        self.sent: Counter[str] = Counter()
        self.rows: list[dict[str, Any]] = []
        self._number = 0

    def worker(self) -> None:
        """Start a worker anew, as after a kill: what it remembered is gone."""
        self._number += 1
        self.rules: FollowedDefinitions[DecisionEngine, DecisionRules] = follow_decisions(
            self.settings, self.deployment.definitions, f"w{self._number}", lambda: self.now_ms
        )
        self.stage = ProfileUpdate(self.town.profiles, rules=self.rules)
        members = ListedMembers(self.settings, self.deployment.broadcasts)
        self.entries = BroadcastEntries(self.stage, members, self.deployment.outbox)

    async def starts(self, name: str) -> None:
        report = await read_in_force(self.settings)
        await start(self.deployment, self.publication, report, name, timeout_s=1, clock=lambda: self.now_ms)
        await self.rules.current(newest=True)

    async def enters(self, pages: int = 1000) -> None:
        for _ in range(pages):
            if not await self.entries.turn(range(SHARDS), self.now_ms):
                return

    async def passes(self, until_ms: int) -> None:
        """Let time pass: due timers fire, and what is published comes to ClickHouse."""
        await self.rules.current(newest=True)
        self.now_ms = until_ms
        while due := await self.town.profiles.due(until_ms, 500):
            assert [] == await self.stage.fire(due, until_ms)
        await self.records()

    async def records(self) -> None:
        waiting = await self.deployment.outbox.pending(100_000)
        values = [(record.topic, orjson.loads(record.value)) for _, record in waiting]
        await self.deployment.outbox.acknowledge([place for place, _ in waiting], "")
        self.sent.update(value["profile_id"] for topic, value in values if topic == ACTIONS)
        self.rows += [value for topic, value in values if topic == DECISIONS]
        rows = [row for topic, value in values if topic == DECISIONS for row in decision_rows(value)]
        rows += [row for topic, value in values if topic == JOURNEY_EVENTS for row in journey_event_rows(value)]
        for table in {table for table, _ in rows}:
            await self.town.insert(table, *[row for name, row in rows if name == table])

    async def status(self, name: str) -> BroadcastStatus:
        report = await read_in_force(self.settings)
        shares = await read_shares(self.deployment.broadcasts, report)
        runs = {name: sum(steps.values()) for name, steps in read_runs_under_way(self.town.tables.client).items()}
        return next(one for one in statuses(report, shares, runs, self.now_ms) if one.name == name)


@pytest.fixture
async def shop(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setenv("THROUGHLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(entries_of_broadcasts, "PEOPLE_A_PAGE", 10)
    folder = tmp_path / "definitions"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    files = {f"{name}_file": folder / f"{name}.yaml" for name in ("policy", "delivery", "markets")}
    settings = stack.model_copy(update={"definitions_dir": folder, **files})
    async with town(settings) as here:
        found = Shop(settings, here)
        found.worker()
        here._update = found.stage
        yes = {"marketing": True, "channels": {"email": True}}
        await here.live(
            *(
                touchpoint(
                    "Identify",
                    identifiers={"email": f"{zone[:4].lower()}{number}@shop.example"},
                    consent=yes,
                    traits={"timezone": zone},
                )
                for zone in ZONES
                for number in range(A_ZONE)
            )
        )
        await found.records()
        yield found


async def test_everybody_gets_it_once_at_noon_of_their_own_and_the_rest_gets_what_was_clicked_more(shop: Shop) -> None:
    report = await read_in_force(shop.settings)
    found = await forecast(shop.deployment, report, find_broadcast(report, "news"), shop.now_ms)
    assert (120, 120, 120) == (found.audience, found.reached, found.sent["email"])
    assert 0 == sum(shop.sent.values())

    await shop.starts("news")
    with pytest.raises(NotPublishedError, match="started already"):
        await shop.starts("news")
    await shop.enters(pages=5)
    assert 0 < (await shop.status("news")).entered_share < 1
    shop.worker()  # killed after some pages
    await shop.enters(pages=3)
    await shop.town.redis.delete(*[key async for key in shop.town.redis.scan_iter("*:broadcast:news")])
    shop.worker()  # killed, and how far it had come is lost
    await shop.enters()
    gone = await shop.town.owner("email", "euro1@shop.example")
    await erase_person(shop.deployment, ErasureRequest(gone), timeout_s=0.2)

    samples = []
    for zone in ZONES:
        await shop.passes(noon(zone) - 60_000)
        samples.append(sum(shop.sent.values()))
        await shop.passes(noon(zone) + 1000)
    assert samples[0] == 0 < samples[1] < samples[2] < sum(shop.sent.values()) < 90

    story = [row for row in shop.rows if row["variant"] == "story"]
    clicks = [
        resolved(
            f"click {number}",
            number,
            time_of_ms(ms_of_text(row["decided_at"]) + 60_000),
            event="Email Link Clicked",
            channel="email",
            properties={"message_id": row["idempotency_key"], "link_url": "https://shop.example"},
        )
        for number, row in enumerate(story)
    ]
    await shop.town.store(*clicks)
    await shop.passes(ms_of_time((DAY + timedelta(days=1, hours=8)).replace(tzinfo=ZoneInfo(shop.settings.timezone))))
    assert {"news": "story"} == await choose_winners(shop.settings, lambda: shop.now_ms)
    assert {} == await choose_winners(shop.settings, lambda: shop.now_ms)
    for zone in ZONES:
        await shop.passes(noon(zone, 1) + 1000)
    await shop.passes(noon(ZONES[2], 3))

    assert {1} == set(shop.sent.values())
    assert 119 == len(shop.sent)
    assert gone not in shop.sent
    assert {"story"} == {row["variant"] for row in shop.rows if row["step"].startswith("winner-")}
    assert "done" == (await shop.status("news")).state
    results = await asyncio.to_thread(read_results, shop.town.tables.client, "news")
    compared = await asyncio.to_thread(read_comparison, shop.town.tables.client, "news")
    assert ["split"] == [one.step for one in compared.experiments]
    assert len(shop.sent) == sum(one.sent for one in results.variants)
    assert len(story) <= sum(one.clicked for one in results.variants if one.variant == "story")


async def test_what_is_cancelled_after_the_first_zone_is_sent_to_nobody_else(shop: Shop) -> None:
    await shop.starts("sale")
    await shop.enters()
    await shop.passes(noon(ZONES[0]) + 1000)
    before = sum(shop.sent.values())
    assert 0 < before < 60

    shop.now_ms += 60_000
    await shop.publication.stop(["sale"])
    for zone in ZONES:
        await shop.passes(max(shop.now_ms, noon(zone) + 1000))

    assert before == sum(shop.sent.values())
    assert {100 - before} == {sum(row["gate"] == "stopped" for row in shop.rows)}
    assert "cancelled" == (await shop.status("sale")).state
    with pytest.raises(NotPublishedError, match="cancelled"):
        await shop.publication.control("resume", ["sale"])


async def test_a_variant_is_sent_to_ones_own_address_by_the_channel_that_goes_by_smtp(shop: Shop) -> None:
    report = await read_in_force(shop.settings)
    with pytest.raises(NotSentError, match="no channel of this message goes by SMTP here"):
        await send_broadcast_test(shop.deployment, report, "all", "mia@shop.example")
    shop.settings.delivery_file.write_text("sender: Shop <news@shop.example>\nchannels: {email: {through: smtp}}\n")
    with mail_server() as server:
        by_smtp = shop.settings.model_copy(update={"smtp_url": SecretStr(server.url)})
        there = replace(shop.deployment, settings=by_smtp)
        asked = [("", ""), ("", "short"), ("email:euro1@shop.example", "short")]
        sent = [
            await send_broadcast_test(there, report, "all", "mia@shop.example", who=who, variant=variant)
            for who, variant in asked
        ]
        with pytest.raises(NotSentError, match="no variant shorter; there are short-story, short"):
            await send_broadcast_test(there, report, "all", "mia@shop.example", variant="shorter")

    assert ["A story", "S", "S"] == sent
    assert ["[test] A story", "[test] S", "[test] S"] == [mail["Subject"] for mail in server.mails]
    assert {"mia@shop.example"} == {mail["To"] for mail in server.mails}
    assert 0 == sum(shop.sent.values())


async def test_what_was_started_is_known_after_a_loss_of_redis(shop: Shop) -> None:
    await shop.starts("sale")
    await shop.publication.control("pause", ["sale"])
    before = await state_in_force(shop.settings, shop.deployment.definitions)
    await shop.town.redis.delete(*[key async for key in shop.town.redis.scan_iter("*definitions")])

    assert before == await state_in_force(shop.settings, shop.deployment.definitions)
