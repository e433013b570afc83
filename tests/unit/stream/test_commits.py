"""A batch is acknowledged when its writes are durable, and not when they may be lost; the next one need not wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processors.stream.commits import MOST_WAITING, Commits


class OneBatch:
    def __init__(self) -> None:
        self.acknowledged = False

    async def acknowledge(self) -> None:
        self.acknowledged = True


class Disk:
    """Flushes when it is told to; `server` answers."""

    def __init__(self) -> None:
        self.server = "first"
        self.flushed = asyncio.Event()
        self.waits = 0

    async def begin(self) -> str:
        return self.server

    async def reached(self, server: str) -> None:
        self.waits += 1
        await self.flushed.wait()
        if server != self.server:
            raise RuntimeError("lost")


async def acknowledge(commits: Commits, *batches: Any) -> None:
    for batch in batches:
        await commits.acknowledge(batch, await commits.begin())


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_without_a_durability_a_batch_is_acknowledged_at_once() -> None:
    batch = OneBatch()
    await acknowledge(Commits(None), batch)

    assert batch.acknowledged


async def test_batches_of_a_flush_are_acknowledged_together_after_it() -> None:
    disk, batches = Disk(), [OneBatch() for _ in range(3)]
    commits = Commits(disk)
    await acknowledge(commits, *batches)
    running = asyncio.create_task(commits.run())
    await turn()
    before = [batch.acknowledged for batch in batches]
    disk.flushed.set()
    await turn()
    running.cancel()

    assert ([False] * 3, [True] * 3, 1) == (before, [batch.acknowledged for batch in batches], disk.waits)


async def test_no_batch_is_acknowledged_whose_server_is_gone() -> None:
    disk, batch = Disk(), OneBatch()
    commits = Commits(disk)
    await acknowledge(commits, batch)
    disk.server = "second"
    disk.flushed.set()

    with pytest.raises(RuntimeError, match="lost"):
        await commits.run()
    assert not batch.acknowledged


async def test_a_batch_of_before_keeps_one_of_afterwards_from_being_acknowledged() -> None:
    disk, before, after = Disk(), OneBatch(), OneBatch()
    commits = Commits(disk)
    await acknowledge(commits, before)
    disk.server = "second"
    await acknowledge(commits, after)
    disk.flushed.set()

    with pytest.raises(RuntimeError, match="lost"):
        await commits.run()
    assert (False, False) == (before.acknowledged, after.acknowledged)


async def test_a_disk_that_stands_still_stops_the_stage_after_some_batches() -> None:
    commits = Commits(Disk())
    running = asyncio.create_task(commits.run())
    took = 0
    with pytest.raises(TimeoutError):
        while True:
            await asyncio.wait_for(acknowledge(commits, OneBatch()), 0.05)
            took += 1
    running.cancel()

    assert MOST_WAITING <= took <= MOST_WAITING + 1
