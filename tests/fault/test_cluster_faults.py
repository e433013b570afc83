"""A cluster under load: slots move from master to master, a master dies and its replica takes over."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.redis import redis_client
from deploy.settings import Settings
from sinks.clickhouse.reports import accounting, accounting_of_profiles
from sinks.redis.keys import patterns, shard_prefixes, shared_prefix
from sinks.redis.packing import unpack
from tests.support.builders import touchpoint
from tests.support.pipeline import Pipeline
from tests.support.stack import Addresses, corner
from tests.support.valkey_cluster import (
    ClusterNodes,
    client_of,
    move_at_once,
    move_key_by_key,
    other_than,
    owner_of,
    owners,
    slot_of,
    valkey_cluster,
)

pytestmark = [pytest.mark.fault, pytest.mark.timeout(400)]

PEOPLE = 150
PAUSE_S = 0.25


class Load:
    """Publishes a visit of each person in each turn, by one of two browsers, until its block ends.

    Attributes:
        turn: How many turns there were.
        signing_in: People say who they are from now on: their browsers turn out to be of one person.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.turn = 0
        self.signing_in = False
        self._ends = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        self._thread.join()

    def _run(self) -> None:
        left = 2  # turns in which both browsers sign in at the end, at the latest
        while left:
            left -= self._ends
            for person in range(PEOPLE):
                names = {"anonymous_id": f"{('phone', 'laptop')[self.turn % 2]} of {person}"}
                if self.signing_in or self._ends:
                    names["email"] = f"person-{person}@shop.example"
                event = touchpoint(identifiers=names, event_id=f"{person}-{self.turn}")
                self._pipeline.send("web", orjson.dumps(event), str(person))
            self._pipeline.flush()
            self.turn += 1
            time.sleep(PAUSE_S)

    def wait_for(self, turns: int) -> None:
        """Wait until there were so many turns more."""
        last = self.turn + turns
        while self.turn < last:
            time.sleep(0.02)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[ClusterNodes]:
    with valkey_cluster(tmp_path / "cluster", durable=True) as found:
        yield found


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[ClusterNodes]:
    with valkey_cluster(tmp_path / "cluster", replicas=3, durable=True) as found:
        yield found


@contextmanager
def store(servers: Addresses, nodes: ClusterNodes) -> Iterator[Settings]:
    with corner({**servers, "redis_url": nodes.url}) as found:
        yield found.model_copy(update={"store_retry_max_s": 1.0})


def counted(settings: Settings) -> Counter[int]:
    """Events of a live profile → how many profiles have so many."""
    with redis_client(settings, timeout_s=30) as client:
        keys: Any = client.scan_iter(match=patterns(settings.redis_namespace, "profile:*")[1], count=1000)
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.hget(key, "document")
        return Counter(orjson.loads(unpack(document))["event_count"] for document in pipeline.execute())


def account(settings: Settings) -> dict[str, int]:
    """What is stored, missing, and counted otherwise than once."""
    tables = clickhouse_client(settings, timeout_s=30)
    try:
        records, people = accounting(tables), accounting_of_profiles(tables)
    finally:
        tables.close()
    return {
        "stored": sum(one.stored for one in records.sources),
        "difference": sum(abs(one.difference) for one in records.sources),
        "missing": records.missing,
        "people": people.people,
        "differing": people.differing,
    }


def drained(pipeline: Pipeline) -> None:
    """Start workers again that have ended, as their supervisor would, until everything is processed."""
    deadline = time.monotonic() + 240
    while True:
        for name, worker in list(pipeline.workers.items()):
            if not worker.alive:
                pipeline.start(name)
        try:
            return pipeline.drain(timeout_s=10)
        except AssertionError:
            assert time.monotonic() < deadline, pipeline.workers["profile"].last_log_lines(30)


def whole(settings: Settings, pipeline: Pipeline, load: Load) -> None:
    drained(pipeline)

    assert {load.turn: PEOPLE} == counted(settings)
    assert account(settings) == {
        "stored": load.turn * PEOPLE, "difference": 0, "missing": 0, "people": PEOPLE, "differing": 0,
    }  # fmt: skip


def test_slots_that_move_under_load_lose_and_repeat_nothing(
    servers: Addresses, nodes: ClusterNodes, tmp_path: Path
) -> None:
    with store(servers, nodes) as settings, Pipeline(settings, tmp_path) as pipeline:
        shards = [slot_of(prefix) for prefix in shard_prefixes(settings.redis_namespace)]
        identity = slot_of(shared_prefix(settings.redis_namespace))
        with Load(pipeline) as load:
            load.wait_for(2)
            first, second, third = nodes.masters
            before = owners(nodes)
            move_at_once(nodes, [one for one in shards if before[one] is first][:40], third)
            for slot in [one for one in shards if before[one] is second][:8]:
                for _ in move_key_by_key(nodes, slot, third):
                    pass
            load.signing_in = True
            load.wait_for(1)
            for _ in move_key_by_key(nodes, identity, other_than(nodes, identity)):
                time.sleep(0.1)
            move_at_once(nodes, [identity], other_than(nodes, identity))
        whole(settings, pipeline, load)


def test_a_replica_that_takes_over_under_load_lacks_nothing(
    servers: Addresses, replicated: ClusterNodes, tmp_path: Path
) -> None:
    with store(servers, replicated) as found:
        settings = found.model_copy(update={"redis_durability": "replica", "redis_durability_timeout_s": 1})
        identity = slot_of(shared_prefix(settings.redis_namespace))
        with Pipeline(settings, tmp_path) as pipeline:
            with Load(pipeline) as load:
                load.wait_for(3)
                load.signing_in = True
                dead = owner_of(replicated, identity)
                replica = replicated.replicas[replicated.masters.index(dead)]
                dead.kill()
                until(lambda: is_master(replica))
                dead.start()  # it finds that it was replaced, and follows
                until(lambda: not is_master(dead))
                load.wait_for(2)
            whole(settings, pipeline, load)


def is_master(node: Any) -> bool:
    with client_of(node) as client:
        return bool(client.info("replication")["role"] == "master")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
