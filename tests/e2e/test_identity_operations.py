"""Taking people apart and erasing them, through the whole pipeline while it runs."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from redis.asyncio import Redis
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.roles import ROLES, consumed_topics, group_id
from deploy.settings import Settings
from sinks.clickhouse.client import connect
from sinks.clickhouse.erasure import count_rows, person_rows
from sinks.redis.keys import patterns
from tests.support.builders import at, order, touchpoint, visit
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.e2e

ANN, BEN = {"email": "ann@shop.example"}, {"phone": "+14155552671"}


@pytest.fixture(autouse=True)
def deployment(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)


def run(*arguments: str) -> Any:
    """Run a command and read the JSON that it prints."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert 0 == result.exit_code, result.stderr
    return json.loads(result.stdout)


def replay(settings: Settings) -> None:
    """Put every group back to the beginning of all its topics; its workers must have stopped."""
    for role in ROLES:
        consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                "group.id": group_id(settings.topic_prefix, role),
                "session.timeout.ms": settings.session_timeout_s * 1000,
                "enable.auto.commit": False,
            }
        )
        # A broker takes offsets from members of the group alone.
        consumer.subscribe([settings.topic_prefix + name for name in consumed_topics(role, settings.channels)])
        while not consumer.assignment():
            consumer.poll(0.1)
        beginning = [TopicPartition(at.topic, at.partition, 0) for at in consumer.assignment()]
        consumer.commit(offsets=beginning, asynchronous=False)
        consumer.close()


def keep_coming(pipeline: Pipeline, events: list[dict[str, Any]]) -> None:
    """Publish events over some three seconds."""
    for event in events:
        pipeline.publish(event)
        time.sleep(0.005)


def credit(pipeline: Pipeline) -> dict[str, str]:
    """Which channel has the last touch before each order."""
    rows = pipeline.rows(
        "SELECT conversion_id, channel FROM v_attribution_default WHERE model = 'last_touch' AND credit > 0"
    )
    return dict(rows)


def test_an_unmerge_restates_attribution_and_gives_both_people_their_own_profile(
    stack: Settings, tmp_path: Path
) -> None:
    ads = visit("Paid Search", identifiers=ANN, occurred_at=at())
    mail = visit("Email", identifiers=BEN, occurred_at=at(days=1))
    hers = order("hers", "10.00", identifiers=ANN, occurred_at=at(days=2))
    his = order("his", "30.00", identifiers=BEN, occurred_at=at(days=3))
    wrong = touchpoint("Identify", identifiers=ANN | BEN, occurred_at=at(days=4))
    later = [touchpoint(identifiers=who, occurred_at=at(days=5)) for _ in range(300) for who in (ANN, BEN)]
    with Pipeline(stack, tmp_path) as pipeline:
        pipeline.publish(ads, mail, hers, his)
        pipeline.drain()
        never_merged = credit(pipeline)
        pipeline.publish(wrong)
        pipeline.drain()
        as_one = credit(pipeline)
        preview = run("identity", "unmerge", "phone:(415) 555-2671")
        with ThreadPoolExecutor(1) as customers:  # events keep coming
            customers.submit(keep_coming, pipeline, later)
            split = run("identity", "unmerge", "phone:(415) 555-2671", "--yes")
        pipeline.drain()
        apart = credit(pipeline)
        profiles = [run("profile", "show", who) for who in ("email:ann@shop.example", "phone:+14155552671")]
        members = run("segments", "check")

    assert {"hers": "Paid Search", "his": "Email"} == never_merged == apart
    assert {"hers": "Email", "his": "Direct"} == as_one  # her order was a visit that nothing brought
    assert ({"phone": 1}, {"email": 1}, 2, 1) == tuple(
        preview[name] for name in ("moved", "stayed", "events", "orders")
    )
    assert {split["source"], split["target"]} == set(split["rebuilt"])
    assert [2, []] == [members[name] for name in ("people", "differences")]
    assert [(split["source"], 303, "10.00"), (split["target"], 302, "30.00")] == [
        (one["profile_id"], one["event_count"], one["orders"]["by_currency"]["EUR"]["net"]) for one in profiles
    ]


def test_no_replay_brings_an_erased_person_back_and_who_returns_is_new(stack: Settings, tmp_path: Path) -> None:
    ann = {**ANN, "anonymous_id": "browser-ann"}
    hers = order("hers", "10.00", identifiers=ann)
    events = [
        visit("Paid Search", identifiers={"anonymous_id": "browser-ann"}, context={"session_id": "s1"}),
        touchpoint("Email Delivered", "email", identifiers=ANN, properties={"message_id": "m1"}),
        order("his", "30.00", identifiers=BEN),
    ]
    with Pipeline(stack, tmp_path) as pipeline:
        pipeline.publish(hers)
        pipeline.drain()
        pipeline.publish(*events)
        pipeline.send("web", b'{"event_id": "broken", "identifiers": {"email": "Ann@Shop.example"}}')
        pipeline.send("web", b'{"event_id": "broken too", "identifiers": {"email": "joann@shop.example"}}')
        pipeline.drain()
        preview = run("identity", "erase", "email:ann@shop.example")
        receipt = run("identity", "erase", "email:ann@shop.example", "--yes")
        pipeline.drain()
        after = everything(pipeline)
        accounted = accounting(pipeline)

        for worker in pipeline.workers.values():
            worker.stop(10)
        replay(stack)
        for role in ROLES:
            pipeline.start(role)
        pipeline.drain()
        replayed = everything(pipeline)
        accounted_again = accounting(pipeline)
        tables = connect(stack.clickhouse_url, stack.clickhouse_database)
        left = count_rows(tables, person_rows(tables, receipt["profile_ids"]))
        tables.close()
        pipeline.publish(touchpoint(identifiers=ANN, occurred_at=at(days=400)))
        pipeline.drain()
        returned = run("profile", "show", "email:ann@shop.example")
        again = run("profile", "erase", receipt["profile_ids"][0], "--yes")

    assert ({"anonymous_id": 1, "email": 1}, 1) == (preview["identifiers"], preview["documents"])
    deleted = receipt["stores"]["clickhouse"]
    once = ("arrivals", "order_events", "dead_letters", "identity_log", "messages", "touchpoints")
    assert (3, 1, 1, 1, 1, 3) == tuple(deleted[table] for table in once)
    assert deleted["profiles"] >= 1  # as many versions as were not merged away yet
    assert not any(left.values())
    assert ({"identifiers": 2, "profiles": 1}, 1) == (
        receipt["stores"]["redis_identity"], receipt["stores"]["redis_profiles"]
    )  # fmt: skip
    assert (["his"], [], 1) == (after["orders"], after["messages"], after["dead_letters"])
    assert after == replayed
    assert (6, 1, 0, 3, 2, 0) == accounted == accounted_again
    assert (1, True) == (returned["event_count"], returned["profile_id"] not in receipt["profile_ids"])
    assert {} == again["stores"]["clickhouse"]


def everything(pipeline: Pipeline) -> dict[str, Any]:
    """What ClickHouse and Redis know, as far as it names people."""

    async def documents() -> int:
        async with Redis.from_url(pipeline.settings.redis_url) as redis:
            _, pattern = patterns(pipeline.settings.redis_namespace, "profile:*")
            return len([key async for key in redis.scan_iter(match=pattern, count=1000)])

    return {
        "events": sorted(row[0] for row in pipeline.rows("SELECT event_id FROM touchpoints FINAL")),
        "orders": [row[0] for row in pipeline.rows("SELECT DISTINCT conversion_id FROM order_events FINAL")],
        "messages": pipeline.rows("SELECT message_id FROM messages FINAL"),
        "profiles": pipeline.value("SELECT count() FROM profiles FINAL"),
        "old profiles": pipeline.value("SELECT count() FROM profiles WHERE document LIKE '%ann@%'"),
        "dead_letters": pipeline.value("SELECT count() FROM dead_letters FINAL"),
        "log": pipeline.rows("SELECT kind, count() FROM identity_log FINAL GROUP BY kind ORDER BY kind"),
        "documents": asyncio.run(documents()),
    }


def accounting(pipeline: Pipeline) -> tuple[int, ...]:
    """Received, stored, duplicate, suppressed, dead-lettered, difference."""
    return pipeline.rows(
        "SELECT sum(received), sum(stored), sum(duplicate), sum(suppressed), sum(dead_lettered), sum(difference)"
        " FROM v_accounting"
    )[0]
