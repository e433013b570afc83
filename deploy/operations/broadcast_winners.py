"""Chooses the winner among the variants of broadcasts, when its time has come.

The best one of those whose people's window is over: by the mean, whether or not chance might have made it; who is not
sure enough gives the sample more people or more time. `throughline broadcasts results` says how sure it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.redis import async_redis_client
from deploy.operations.engines import former_journeys
from deploy.operations.publication import NotPublishedError, Publication
from deploy.settings import Settings
from processors.journeys.broadcasts import LONGEST_MS, chosen_at
from schemas.journeys.broadcasts import SPLIT
from schemas.journeys.definitions import Journey, RandomSplit
from schemas.time import clock_ms
from sinks.clickhouse.client import StoreDown
from sinks.clickhouse.experiments import VariantOutcomes, read_experiments
from sinks.redis.definitions import RedisDefinitions

log = logging.getLogger(__name__)
CHOOSER = "throughline"
"""Who chose, in the history of changes."""


async def choose_winners(settings: Settings, clock: Callable[[], int] = clock_ms) -> dict[str, str]:
    """Choose the winners whose time has come; several processes may do so at once.

    A store that does not answer is asked the next time.

    Returns:
        The variants that have won now, by broadcast.
    """
    found: dict[str, str] = {}
    async with async_redis_client(settings, timeout_s=10) as redis:
        store = RedisDefinitions(redis, settings.redis_namespace)
        state, now_ms = await store.state(), clock()
        waiting = {
            name: control.version
            for name, control in (state.journeys if state else {}).items()
            if control.version and not control.winner and control.state != "stopped"
            if now_ms < control.started_ms + 2 * LONGEST_MS
        }
        journeys = former_journeys(await store.archived()) if waiting else {}
        for name, version in waiting.items():
            split = split_with_winner(journeys[version]) if version in journeys else None
            if split is None or split.winner is None:
                continue
            if now_ms < chosen_at(split.winner, ZoneInfo(settings.timezone)):
                continue
            try:
                outcomes = await asyncio.to_thread(_outcomes, settings, name, version)
                found[name] = best([arm.name for arm in split.random], outcomes)
                await Publication(settings, store, CHOOSER, clock).choose_winner(name, found[name])
                log.info("broadcast %s: %s has won", name, found[name])
            except (StoreDown, NotPublishedError) as error:
                found.pop(name, None)
                log.warning("broadcast %s: the winner is chosen later: %s", name, error)
    return found


def split_with_winner(journey: Journey) -> RandomSplit | None:
    """Return the step of a broadcast at which the rest waits for the winner; None: it has none."""
    steps = (step for _, step in journey.walk() if isinstance(step, RandomSplit))
    return next((step for step in steps if step.winner is not None), None)


def best(variants: Sequence[str], outcomes: Sequence[VariantOutcomes]) -> str:
    """Return the variant with the greatest mean; of equal ones the first in the file."""
    means = {one.variant: one.total / one.people for one in outcomes if one.people}
    return max(variants, key=lambda name: (means.get(name, 0.0), -variants.index(name)))


def _outcomes(settings: Settings, name: str, version: str) -> Sequence[VariantOutcomes]:
    tables: Any = clickhouse_client(settings, timeout_s=60)
    try:
        experiments = read_experiments(tables, name)
    except (ClickHouseError, OSError) as error:
        raise StoreDown(str(error).strip().partition("\n")[0]) from error
    finally:
        tables.close()
    return next((one.outcomes for one in experiments if one.version == version and one.step == SPLIT), ())
