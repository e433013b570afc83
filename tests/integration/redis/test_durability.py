"""Writes are on disk, or on a replica, before the events that made them are committed; a lost write is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.local.ports import LOOPBACK
from deploy.local.valkey import Valkey
from deploy.operations.doctor import durability_check
from deploy.settings import Settings
from sinks.redis.durability import Level, LostWritesError, RedisDurability

pytestmark = pytest.mark.integration

NAMESPACE = "durable"


class Server(Valkey):
    """A Valkey with its own way to flush, as a primary or a replica."""

    fsync = "everysec"
    primary: Valkey | None = None

    def prepare(self) -> None:
        super().prepare()
        self.command[self.command.index("everysec")] = self.fsync
        if self.primary is not None:
            self.command += ["--replicaof", LOOPBACK, str(self.primary.port)]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Server]:
    server = Server("valkey", tmp_path / "data", tmp_path / "valkey.log")
    yield server
    server.stop()


@pytest.fixture
async def client(valkey: Server) -> AsyncIterator[Redis]:
    valkey.start()
    async with Redis.from_url(valkey.address, socket_timeout=5) as found:
        yield found


def durability(client: Redis, level: Level = "disk", timeout_s: float = 0.2) -> RedisDurability:
    return RedisDurability(client, NAMESPACE, level, timeout_s)


async def returns(waiting: Any, within_s: float) -> bool:
    try:
        await asyncio.wait_for(waiting, within_s)
    except TimeoutError:
        return False
    return True


def log_file(valkey: Server) -> Path:
    (found,) = valkey.data.glob("appendonlydir/*.incr.aof")
    return found


async def test_a_power_cut_takes_nothing_that_was_waited_for(valkey: Server, client: Redis) -> None:
    waits = durability(client, timeout_s=5)
    before = await waits.begin()
    await client.set("committed", 1)
    await waits.reached(before)
    flushed = log_file(valkey).stat().st_size
    await client.set("later", 1)
    valkey.kill()
    with log_file(valkey).open("r+b") as log:  # what was not flushed is gone with the power
        log.truncate(flushed)
    valkey.start()
    await client.connection_pool.disconnect()

    assert [b"1", None] == await client.mget("committed", "later")
    with pytest.raises(LostWritesError, match="read"):
        await waits.reached(before)
    await waits.reached(await waits.begin())


async def test_a_write_of_another_connection_is_waited_for(tmp_path: Path, valkey: Server) -> None:
    valkey.fsync = "no"  # the server never says that anything is on disk
    valkey.start()
    async with Redis.from_url(valkey.address) as client, Redis.from_url(valkey.address) as other:
        waits = durability(client)
        before = await waits.begin()
        await other.set("a", 1)

        assert not await returns(waits.reached(before), 1.5)
        await other.config_set("appendfsync", "always")
        await other.set("b", 1)
        assert await returns(waits.reached(before), 5)


async def test_a_restart_while_nothing_was_written_costs_nothing(valkey: Server, client: Redis) -> None:
    waits = durability(client, timeout_s=5)
    await waits.reached(await waits.begin())
    valkey.restart()
    await client.connection_pool.disconnect()
    await asyncio.sleep(1.1)

    await waits.reached(await waits.begin())


async def test_waits_at_the_same_time_are_one(client: Redis) -> None:
    waits = durability(client, timeout_s=5)
    before = await waits.begin()
    await asyncio.gather(*(waits.reached(before) for _ in range(100)))

    assert 2 == int(await client.get(f"{{{NAMESPACE}}}:durable") or 0)  # the first, and one for all who came meanwhile


async def test_a_batch_waits_for_a_replica_and_a_promoted_one_is_noticed(tmp_path: Path, valkey: Server) -> None:
    valkey.start()
    replica = Server("replica", tmp_path / "replica", tmp_path / "replica.log")
    replica.primary = valkey
    async with Redis.from_url(valkey.address) as client:
        waits = durability(client, "replica")
        before = await waits.begin()
        alone = await returns(waits.reached(before), 1)
        replica.start()
        try:
            together = await returns(waits.reached(before), 10)
            await client.set("committed", 1)
            await waits.reached(before)
            async with Redis.from_url(replica.address) as promoted:
                await promoted.replicaof("NO", "ONE")
                await client.set("later", 1)
                cut_off = await returns(waits.reached(before), 1)
                waits._redis = promoted  # as if the address led there now

                assert (False, True, False) == (alone, together, cut_off)
                assert [b"1", None] == await promoted.mget("committed", "later")
                waits._level = "disk"
                with pytest.raises(LostWritesError):
                    await waits.reached(before)
        finally:
            replica.stop()


@pytest.mark.parametrize(
    ("level", "fsync", "found"),
    [
        ("off", "everysec", (True, "off")),
        ("disk", "everysec", (True, "before its events are committed")),
        ("disk", "no", (False, "not on disk within 3 s: workers commit nothing")),
        ("replica", "everysec", (False, "not on a replica within 3 s")),
    ],
)
def test_doctor_says_whether_writes_become_durable(
    valkey: Server, level: Level, fsync: str, found: tuple[bool, str]
) -> None:
    valkey.fsync = fsync
    valkey.start()
    settings = Settings(redis_url=valkey.address, redis_durability=level)

    (check,) = durability_check(settings)  # of all checks of the doctor, the others wait for servers that are not there

    assert (found[0], True) == (check.ok, found[1] in check.found)
