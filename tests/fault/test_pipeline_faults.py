"""Whatever dies, every published event ends in exactly one place: disturb, drain, recompute, compare."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from deploy.local.servers import Servers
from deploy.operations.roles import ROLES
from deploy.settings import Settings
from schemas.topics import RESOLVED_TOUCHPOINTS
from tests.support.builders import at, order, touchpoint
from tests.support.pipeline import Pipeline
from tests.support.stack import corner, local_stack

pytestmark = pytest.mark.fault

PEOPLE = 200


def history(people: int = PEOPLE, rounds: int = 10) -> Iterator[dict[str, object]]:
    """Every person browses anonymously, signs in, and orders once a round: 3 events a round."""
    for number in range(rounds):
        for person in range(people):
            browser = {"anonymous_id": f"b{person}-{number}"}
            yield touchpoint(identifiers=browser, occurred_at=at(hours=number), event_id=f"v-{person}-{number}")
            yield touchpoint(
                "Signed In",
                identifiers={**browser, "user_id": f"u{person}"},
                occurred_at=at(hours=number, minutes=1),
                event_id=f"s-{person}-{number}",
            )
            yield order(
                f"o-{person}-{number}",
                "1.10",
                identifiers={"user_id": f"u{person}"},
                occurred_at=at(hours=number, minutes=2),
                event_id=f"o-{person}-{number}",
            )


def assert_nothing_lost_nothing_invented(pipeline: Pipeline, people: int = PEOPLE, rounds: int = 10) -> None:
    """Compare every store with what `history` must give."""
    events = people * rounds * 3
    assert events == pipeline.value("SELECT uniqExact(event_id) FROM touchpoints")
    assert people == pipeline.value("SELECT uniqExact(profile_id) FROM v_touchpoints")
    assert (people * rounds, round(people * rounds * 1.10, 2)) == pipeline.rows(
        "SELECT count(), round(toFloat64(sum(revenue)), 2) FROM v_conversions"
    )[0]
    assert 0 == pipeline.value("SELECT sum(difference) FROM v_accounting")
    # Profiles: one for each person, and each event counted once.
    counted = pipeline.rows(
        "SELECT count(), sum(JSONExtractUInt(document, 'event_count')) FROM profiles FINAL"
        " WHERE profile_id IN (SELECT profile_id FROM v_touchpoints)"
    )[0]
    assert (people, events) == counted
    assert [] == pipeline.check_segments()["differences"]


def test_kill_9_of_each_worker_in_turn_under_load_loses_nothing(stack: Settings, tmp_path: Path) -> None:
    with Pipeline(stack, tmp_path) as pipeline:
        publishing = threading.Thread(target=lambda: pipeline.publish(*history()))
        publishing.start()
        for role in ROLES:
            for _ in range(2):
                time.sleep(1.5)
                pipeline.workers[role].kill()
                pipeline.start(role)
        publishing.join()
        pipeline.drain(120)

        assert_nothing_lost_nothing_invented(pipeline)


CRASHES = (
    ("identify", "identify:resolved:1"),
    ("identify", "identify:published:1"),
    ("identify", "relay:published:1"),
    ("profile", "profile:written:1"),
    ("record", "record:inserted:1"),
    ("record", "snapshot:inserted:1"),
)


def test_a_crash_between_any_two_steps_loses_nothing(stack: Settings, tmp_path: Path) -> None:
    events = list(history(people=20, rounds=len(CRASHES)))
    a_round = len(events) // len(CRASHES)
    with Pipeline(stack, tmp_path) as pipeline:
        for number, (role, point) in enumerate(CRASHES):
            pipeline.workers[role].stop()
            pipeline.publish(*events[number * a_round : (number + 1) * a_round])
            doomed = pipeline.start(role, crash_at=point)
            deadline = time.monotonic() + 60
            while doomed.alive and time.monotonic() < deadline:
                time.sleep(0.05)
            assert 137 == doomed.exit_code, (point, doomed.last_log_lines())
            pipeline.start(role)
        pipeline.drain(120)

        assert_nothing_lost_nothing_invented(pipeline, people=20, rounds=len(CRASHES))


def test_a_second_worker_joins_and_leaves_without_loss(stack: Settings, tmp_path: Path) -> None:
    with Pipeline(stack, tmp_path) as pipeline:
        publishing = threading.Thread(target=lambda: pipeline.publish(*history()))
        publishing.start()
        for turn in range(2):
            second = [pipeline.start(role, f"{role}-2") for role in ROLES]
            time.sleep(5)
            for worker in second:
                worker.stop() if turn else worker.kill()
        publishing.join()
        pipeline.drain(120)

        assert_nothing_lost_nothing_invented(pipeline)


def test_poison_neither_stops_nor_skips_its_neighbours(stack: Settings, tmp_path: Path) -> None:
    poison = [b"", None, b"\x00\xff", b"[" * 5000, b'{"event_id": NaN}', b'"text"', b"{}", b'{"channel": "web"}']
    with Pipeline(stack, tmp_path) as pipeline:
        for number, event in enumerate(history(people=20, rounds=5)):
            pipeline.publish(event, key="same partition")
            if number % 10 == 0:
                pipeline.send("web", poison[number // 10 % len(poison)], "same partition")
        pipeline.flush()
        pipeline.drain()

        assert 30 == pipeline.value("SELECT count() FROM dead_letters FINAL")
        assert_nothing_lost_nothing_invented(pipeline, people=20, rounds=5)


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[Servers]:
    with local_stack(tmp_path / "servers") as servers:
        yield servers


@pytest.mark.parametrize("store", ["redis", "clickhouse"])
def test_a_store_that_is_down_costs_delay_and_no_data(store: str, own_servers: Servers, tmp_path: Path) -> None:
    with corner(own_servers.settings) as settings, Pipeline(settings, tmp_path / "home") as pipeline:
        pipeline.publish(*history(people=50, rounds=2))
        pipeline.drain()
        own_servers[store].kill()
        pipeline.publish(*history(people=50, rounds=5))  # the first two rounds again: duplicates
        time.sleep(5)
        own_servers[store].start()
        pipeline.drain(90)

        assert_nothing_lost_nothing_invented(pipeline, people=50, rounds=5)
        assert 300 == pipeline.value("SELECT count() FROM dropped_touchpoints FINAL")


@pytest.mark.timed
def test_an_idle_pipeline_delivers_a_lone_event_within_half_a_second(stack: Settings, tmp_path: Path) -> None:
    resolved = Consumer({"bootstrap.servers": stack.kafka_bootstrap, "group.id": "idle", "fetch.wait.max.ms": 10})
    with Pipeline(stack, tmp_path, roles=["identify"]) as pipeline:
        topic = stack.topic_prefix + RESOLVED_TOUCHPOINTS
        resolved.assign([TopicPartition(topic, number, 0) for number in range(stack.partitions)])
        pipeline.publish(touchpoint())
        assert resolved.poll(30) is not None
        time.sleep(2)

        waits: list[float] = []
        while len(waits) < 5 or (len(waits) < 20 and sorted(waits[-5:])[2] >= 0.5):  # a busy machine has more tries
            started = time.monotonic()
            pipeline.publish(touchpoint())
            assert resolved.poll(60) is not None
            waits.append(time.monotonic() - started)
            time.sleep(0.3)
    resolved.close()

    assert sorted(waits[-5:])[2] < 0.5
