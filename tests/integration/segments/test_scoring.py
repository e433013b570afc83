"""Predictions written back to people, while workers keep changing the same profiles."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations.predictions import examine_predictions
from deploy.operations.scores import MAX_ATTEMPTS, ScoreCounts, write_scores
from deploy.settings import Settings
from processors.profiles.stage import update
from processors.segments.scores import Prediction
from schemas.profiles.document import ProfileReading, ProfileWrite
from sinks.clickhouse.audiences import read_predictions
from sinks.clickhouse.predictions import fit_state, store_ltv
from sinks.redis.profiles import RedisProfileStore
from tests.integration.decisions.test_message_views import message
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


RUN = {
    "fitted_at": datetime.now(UTC), "model": "m", "observed_until": DAY_ONE.date(), "horizon_days": 90,
    "customers": 1, "parameters": {}, "holdout_days": 0, "holdout_orders": 0, "predicted_orders": 0.0,
    "mean_absolute_error": 0.0, "naive_absolute_error": 0.0,
}  # fmt: skip


def test_predictions_are_those_of_the_newest_fit_that_are_finite(stack: Settings) -> None:
    with warehouse(stack) as house:
        house.store(ordered("o1", 1, DAY_ONE), ordered("o2", 2, DAY_ONE))
        predictions = [(person(1), 0.9, 0.5, 80.0, 40.0), (person(2), 0.9, float("nan"), 80.0, float("nan"))]
        store_ltv(house.client, RUN, predictions)
        found = read_predictions(house.client)

    assert {person(1): (0.9, 0.5, 40.0)} == found


def test_scores_are_columns_and_a_scored_fit_is_not_scored_again(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    with warehouse(stack) as house:
        house.store(
            ordered("o1", 1, DAY_ONE),
            *message(1, 2, DAY_ONE, "Link Clicked"),
            *message(2, 2, DAY_ONE),
            *message(3, 2, DAY_ONE, noun="SMS", channel="sms"),
        )
        before = fit_state(house.client)
        store_ltv(house.client, RUN, [(person(1), 0.8, 0.5, 80.0, 40.0)])
        fitted = fit_state(house.client)
        printed = CliRunner().invoke(app, ["segments", "score", "--json"])
        scored = fit_state(house.client)
        columns = (
            "toString(profile_id), probability_alive, expected_orders, expected_revenue, purchase_likelihood,"
            " engage_email, engage_sms, engage_web_push, in_profiles_since IS NULL"
        )
        rows = house.rows(f"SELECT {columns} FROM v_scores ORDER BY profile_id")
        ages = house.rows("SELECT DISTINCT age_hours >= 0, horizon_days FROM v_scores")

    assert (None, False, True) == before
    assert (False, True) == (fitted.is_scored, scored.is_scored)
    assert {"changed": 0, "unchanged": 0, "missing": 1, "busy": 0} == json.loads(printed.stdout)
    likelihood = Prediction(0.8, 0.5, 40.0).scores()["purchase_likelihood"]
    assert (person(1), 0.8, 0.5, 40.0, pytest.approx(likelihood, abs=1e-4), 1 / 20, 1 / 20, 1 / 20, 0) == rows[0]
    assert (person(2), None, None, None, None, 2 / 22, 1 / 21, 1 / 20, 0) == rows[1]
    assert [(1, 90)] == ages


def test_scoring_again_and_again_goes_on_where_it_was(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fit of a process that was killed before it had scored is scored at once; then nothing is due."""
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    pauses = iter(range(2))

    def sleep(seconds: float) -> None:
        if next(pauses, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr("deploy.cli.scores.time.sleep", sleep)
    with warehouse(stack) as house:
        house.store(ordered("o1", 1, DAY_ONE))
        store_ltv(house.client, RUN, [(person(1), 0.8, 0.5, 80.0, 40.0)])
        printed = CliRunner().invoke(app, ["segments", "score", "--every", "24h", "--json"])
        runs = house.rows("SELECT count() FROM score_runs")
        refused = CliRunner().invoke(app, ["segments", "score", "--every", "1m"])

    assert 1 == len(printed.stdout.splitlines())
    assert [(1,)] == runs
    assert (2, True) == (refused.exit_code, "less than 10 minutes" in refused.output)


def test_what_is_due_is_done_once_and_no_process_stays(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the local stack runs it: a fit that is not scored is scored, a second run has nothing to do."""
    monkeypatch.setattr("deploy.settings.settings", lambda: stack)
    due = ["segments", "score", "--every", "24h", "--once", "--json"]
    with warehouse(stack) as house:
        empty = CliRunner().invoke(app, due)
        house.store(ordered("o1", 1, DAY_ONE))
        store_ltv(house.client, RUN, [(person(1), 0.8, 0.5, 80.0, 40.0)])
        before = examine_predictions(stack, NOW)
        first, second = (CliRunner().invoke(app, due) for _ in range(2))
        after = examine_predictions(stack, NOW)
    alone = CliRunner().invoke(app, ["segments", "score", "--once"])

    assert (1, True) == (empty.exit_code, "no new predictions" in empty.stderr)
    assert [(0, 1), (0, 0)] == [(one.exit_code, len(one.stdout.splitlines())) for one in (first, second)]
    assert (False, True) == ("and written" in before.found, "and written" in after.found) if before and after else False
    assert 2 == alone.exit_code
