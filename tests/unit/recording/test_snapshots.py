"""A metric says up to when changed profiles are in ClickHouse, also while ClickHouse does not answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deploy.operations.definition_files import load
from deploy.operations.metrics import PrometheusMeter
from deploy.settings import DEFINITIONS
from processors.agents import Batching, Worker, register_record
from processors.recording.touch_rules import TouchRules
from schemas.metrics import SNAPSHOTS_AT
from schemas.recording.touches import TouchDefinitions
from schemas.time import clock_ms

STARTED_MS = clock_ms()


class Stores:
    """A profile changes again and again, a read takes a minute; ClickHouse takes the snapshots or does not."""

    def __init__(self, *, answers: bool) -> None:
        self.now_ms, self.turns, self._answers = STARTED_MS, 0, answers
        self.seen = asyncio.Event()

    async def changed(self, count: int) -> list[tuple[str, int, bytes, bytes]]:
        if self.turns == 1:  # the second turn
            self.seen.set()
        self.turns += 1
        self.now_ms += 60_000
        return [("p1", 1, b"{}", b"")]

    async def insert_all(self, *_: Any) -> list[tuple[int, str]]:
        if not self._answers:
            self.seen.set()
            await asyncio.Event().wait()
        return []

    async def mark_exported(self, snapshots: Any) -> None:
        """It is in ClickHouse."""


async def nothing() -> None:
    """Nothing is due."""


@pytest.mark.parametrize(("answers", "expected_s"), [(True, 60), (False, 0)], ids=["it answers", "it does not"])
async def test_the_time_of_snapshots_goes_on_while_clickhouse_takes_them(answers: bool, expected_s: int) -> None:
    stores, meter = Stores(answers=answers), PrometheusMeter()
    tasks: dict[str, Any] = {}

    def register(task: Any) -> Any:
        return tasks.setdefault(task.__name__, task)

    app = SimpleNamespace(task=register, agent=lambda *_, **__: register, timer=lambda *_: register, should_stop=False)
    worker = Worker(
        cast(Any, app), lambda *_: None, cast(Any, None), "w1", lambda: stores.now_ms, Batching(1, 1, 0),
        lambda _: None, meter=meter,
    )  # fmt: skip
    rules = TouchRules(load(DEFINITIONS / "touches.yaml", TouchDefinitions))
    register_record(
        worker, tables=cast(Any, stores), changed=stores, erasures=cast(Any, None), rules=rules, housekeeping=nothing
    )
    running = asyncio.create_task(tasks["snapshot_profiles"]())
    await asyncio.wait_for(stores.seen.wait(), 10)
    running.cancel()

    assert STARTED_MS / 1000 + expected_s == meter.registry.get_sample_value(SNAPSHOTS_AT.name)
