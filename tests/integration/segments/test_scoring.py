"""Predictions written back to people, while workers keep changing the same profiles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from deploy.operations.scores import MAX_ATTEMPTS, ScoreCounts, write_scores
from deploy.settings import Settings
from processors.profiles.stage import update
from processors.segments.scores import Prediction
from schemas.profiles.document import ProfileReading, ProfileWrite
from sinks.clickhouse.audiences import read_predictions
from sinks.clickhouse.behaviour import store_ltv
from sinks.redis.profiles import RedisProfileStore
from tests.support.builders import DAY_ONE
from tests.support.profiles import resolved
from tests.support.warehouse import ordered, person, warehouse

pytestmark = pytest.mark.integration

NOW = 1_800_000_000_000
HOPEFUL = Prediction(alive=0.9, orders=0.5, revenue=40.0)


class Busy(RedisProfileStore):
    """A store in which somebody else is faster, so many times."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        super().__init__(redis, namespace)
        self.times = 0
        self.other = RedisProfileStore(redis, namespace)

    async def write(self, changes: Sequence[ProfileWrite], definitions: int | None = None) -> list[str]:
        """Let another event of the person come first."""
        if changes and self.times:
            self.times -= 1
            await update(self.other, [resolved(person=changes[0].profile_id)])
        return await super().write(changes)


@pytest.fixture
async def redis(stack: Settings) -> AsyncIterator[Redis]:
    async with Redis.from_url(stack.redis_url) as client:
        yield client


async def busy(redis: Redis, stack: Settings, times: int) -> Busy:
    store = Busy(redis, stack.redis_namespace)
    await update(store, [resolved(person="p1")])
    store.times = times
    return store


async def scores(store: RedisProfileStore) -> Any:
    reading: ProfileReading = await store.people(["p1"])
    state = reading.profiles["p1"].state
    return orjson.loads(state)["scores"] if state else None


async def test_scores_are_written_once_and_due_at_once(redis: Redis, stack: Settings) -> None:
    store = await busy(redis, stack, 0)
    first = await write_scores(store, {"p1": HOPEFUL, "nobody": HOPEFUL}, NOW)
    again = await write_scores(store, {"p1": HOPEFUL}, NOW + 1)

    assert (ScoreCounts(changed=1, missing=1), ScoreCounts(unchanged=1)) == (first, again)
    assert {name: [value, NOW] for name, value in HOPEFUL.scores().items()} == await scores(store)
    assert ["p1"] == await store.due(NOW, 10)


async def test_a_profile_that_changes_meanwhile_is_read_again_and_loses_nothing(redis: Redis, stack: Settings) -> None:
    store = await busy(redis, stack, 2)
    written = await write_scores(store, {"p1": HOPEFUL}, NOW)
    stored = await store.get("p1")

    assert ScoreCounts(changed=1) == written
    assert stored is not None
    assert 3 == orjson.loads(stored.document or b"")["event_count"]


async def test_a_profile_that_never_stops_changing_is_left_to_the_next_run(redis: Redis, stack: Settings) -> None:
    store = await busy(redis, stack, MAX_ATTEMPTS)

    assert ScoreCounts(busy=1) == await write_scores(store, {"p1": HOPEFUL}, NOW)
    assert None is await scores(store)


def test_predictions_are_those_of_the_newest_fit_that_are_finite(stack: Settings) -> None:
    run = {
        "fitted_at": datetime.now(UTC), "model": "m", "observed_until": DAY_ONE.date(), "horizon_days": 90,
        "customers": 1, "parameters": {}, "holdout_days": 0, "holdout_orders": 0, "predicted_orders": 0.0,
        "mean_absolute_error": 0.0, "naive_absolute_error": 0.0,
    }  # fmt: skip
    with warehouse(stack) as house:
        house.store(ordered("o1", 1, DAY_ONE), ordered("o2", 2, DAY_ONE))
        predictions = [(person(1), 0.9, 0.5, 80.0, 40.0), (person(2), 0.9, float("nan"), 80.0, float("nan"))]
        store_ltv(house.client, run, predictions)
        found = read_predictions(house.client)

    assert {person(1): (0.9, 0.5, 40.0)} == found
