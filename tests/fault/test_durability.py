"""The server of identities and profiles loses its last seconds: what Kafka was told is done is not among them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import redis

from deploy.local.ports import LOOPBACK
from deploy.local.valkey import Valkey
from deploy.settings import Settings
from sinks.redis.keys import patterns
from sinks.redis.packing import unpack
from tests.support.builders import touchpoint
from tests.support.pipeline import Pipeline
from tests.support.stack import Addresses, corner

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300), pytest.mark.timed]

PEOPLE = 40


class Replica(Valkey):
    """A copy of another Valkey."""

    primary: Valkey

    def prepare(self) -> None:
        super().prepare()
        self.command += ["--replicaof", LOOPBACK, str(self.primary.port)]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Valkey, Replica]]:
    primary = Valkey("primary", tmp_path / "primary", tmp_path / "primary.log")
    replica = Replica("replica", tmp_path / "replica", tmp_path / "replica.log")
    replica.primary = primary
    primary.start()
    replica.start()
    yield primary, replica
    replica.stop()
    primary.stop()


def views(pipeline: Pipeline, turn: int) -> None:
    pipeline.publish(
        *(
            touchpoint(
                "Page Viewed", identifiers={"email": f"person-{number}@shop.example"}, event_id=f"{turn}-{number}"
            )
            for number in range(PEOPLE)
        )
    )


def counted(settings: Settings) -> dict[str, int]:
    """How many events the profile of each person holds."""
    with redis.Redis.from_url(settings.redis_url) as client:
        keys = client.scan_iter(match=patterns(settings.redis_namespace, "profile:*")[1], count=1000)
        found = [orjson.loads(unpack(client.hget(key, "document") or b"{}")) for key in keys]
    return {one["profile_id"]: one["event_count"] for one in found}


def take_over(primary: Valkey, replica: Replica) -> None:
    """The primary dies, and what its replica has is what there is at its address."""
    primary.kill()
    replica.stop()
    shutil.rmtree(primary.data)
    shutil.copytree(replica.data, primary.data)
    primary.start()


def restart_dead_workers(pipeline: Pipeline) -> None:
    for name, worker in list(pipeline.workers.items()):
        if not worker.alive:
            pipeline.start(name)


def test_a_replica_that_takes_over_lacks_nothing_that_was_committed(
    servers: Addresses, pair: tuple[Valkey, Replica], tmp_path: Path
) -> None:
    primary, replica = pair
    with corner({**servers, "redis_url": primary.address}) as plain:
        settings = plain.model_copy(update={"redis_durability": "replica", "redis_durability_timeout_s": 0.5})
        with Pipeline(settings, tmp_path) as pipeline:
            views(pipeline, 0)
            pipeline.drain()
            with redis.Redis.from_url(replica.address) as client:
                client.execute_command("REPLICAOF", "NO", "ONE")  # from now on it misses what is written
            views(pipeline, 1)
            time.sleep(6)  # the workers have written it, and would have committed it
            before = counted(settings)
            take_over(primary, replica)
            missing = counted(settings)
            with redis.Redis.from_url(primary.address) as client, redis.Redis.from_url(replica.address):
                client.execute_command("REPLICAOF", "NO", "ONE")
            replica.start()
            deadline = time.monotonic() + 120
            while min(counted(settings).values()) < 2 and time.monotonic() < deadline:
                restart_dead_workers(pipeline)
                time.sleep(0.5)
            found = counted(settings)
            assert pipeline.workers["profile"].last_log_lines()

    assert ([2] * PEOPLE, [1] * PEOPLE) == (list(before.values()), list(missing.values()))
    assert [2] * PEOPLE == list(found.values())
