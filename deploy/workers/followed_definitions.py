"""Follows what is in force: a worker takes up published definitions, pauses and stops within a second, between batches.

A version that this worker cannot use is refused: what was in force stays, the log says why, and so does the worker's
report, which `throughline status` and `throughline journeys publish` show.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar

import redis

from deploy.connections.redis import async_redis_client, redis_client
from deploy.operations.definition_bundle import note_use
from deploy.operations.definition_files import DefinitionError
from deploy.operations.engines import Definitions, former_journeys, load_sound_definitions
from deploy.operations.publication import settings_in_force, state_in_force
from deploy.operations.segment_backfill import fingerprints, not_filled
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.delivery.stage import SendingRules
from processors.profiles.stage import DecisionRules
from schemas.journeys.control import Controls, DefinitionsState
from schemas.journeys.definitions import Journey
from sinks.clickhouse.client import StoreDown
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.segment_backfill import note_definitions

log = logging.getLogger(__name__)

READ_EVERY_S = 0.4
REPORT_EVERY_S = 5.0

Built = TypeVar("Built")
Rules = TypeVar("Rules")


class LoadedDefinitions(NamedTuple):
    """Definitions as a worker loads them.

    Attributes:
        definitions: Read and checked.
        archive: Every journey version that was ever in force, for the runs that entered with it.
    """

    definitions: Definitions
    archive: Mapping[str, Journey]


class FollowedDefinitions(Generic[Built, Rules]):
    """The rules in force of one worker.

    Args:
        settings: Of the deployment.
        store: What is in force.
        role: Of the worker, for its report.
        token: Names the worker.
        build: Makes what a new version needs, such as an engine. It runs in a thread.
        apply: Makes the rules of that, of the states of journeys, and of the number of what is in force.
        clock: The time, milliseconds since 1970.

    Raises:
        DefinitionError: What is in force when it starts cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        store: RedisDefinitions,
        role: str,
        token: str,
        *,
        build: Callable[[LoadedDefinitions], Built],
        apply: Callable[[Built, Controls, int], Rules],
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._store = store
        self._role = role
        self._token = token
        self._build = build
        self._apply = apply
        self._clock = clock
        self._lock = asyncio.Lock()
        self._read_at = self._reported_at = 0.0
        self._refused = ""
        self._state, self._built = _in_own_loop(_first_version(settings, build))
        self._version = self._state.version
        self._rules = apply(self._built, self._state.journeys, self._state.number)
        log.info("definitions in force: %s", _named(self._version))

    async def current(self, *, newest: bool = False) -> Rules:
        """Return the rules in force, less than half a second old.

        Args:
            newest: Look whether there are newer ones now.
        """
        asked = monotonic()
        if newest or asked - self._read_at > READ_EVERY_S:
            async with self._lock:
                if self._read_at < asked:
                    await self._follow()
        return self._rules

    async def _follow(self) -> None:
        read_at = monotonic()
        state = await _while_down(lambda: state_in_force(self._settings, self._store))
        if state != self._state:
            if state.version != self._version:
                await _while_down(lambda: self._take_up(state))
            self._state = state
            self._rules = self._apply(self._built, state.journeys, state.number)
            await self._release()
            await self._report()
        elif read_at - self._reported_at > REPORT_EVERY_S:
            await self._release()
            await self._report()
        self._read_at = read_at

    async def _take_up(self, state: DefinitionsState) -> None:
        try:
            at = await settings_in_force(self._settings, self._store, state)
            built = await _built(at, self._store, self._build)
        except DefinitionError as error:
            self._refused = f"{_named(state.version)}: {error}"
            log.error(
                "definitions %s are refused, %s stay in force: %s",
                _named(state.version),
                _named(self._version),
                error,
            )
            return
        self._built, self._version, self._refused = built, state.version, ""
        log.info("definitions in force: %s", _named(self._version))

    async def _release(self) -> None:
        """Make runs go on that a pause has held, unless it still does: who resumed it may have died on the way."""
        for journey in await self._store.holding():
            control = self._state.journeys.get(journey)
            if control is None or control.state != "paused":
                await self._store.release(journey, self._clock())

    async def _report(self) -> None:
        self._reported_at = monotonic()
        note_use(self._version)
        seen = {
            "role": self._role,
            "at": self._clock(),
            "number": self._state.number,
            "version": self._version,
            "refused": self._refused,
        }
        await self._store.report(self._token, seen)


def follow_decisions(
    settings: Settings, store: RedisDefinitions, token: str, clock: Callable[[], int]
) -> FollowedDefinitions[DecisionEngine, DecisionRules]:
    """Follow what decides about people.

    Raises:
        DefinitionError: What is in force now cannot be used.
    """

    def build(loaded: LoadedDefinitions) -> DecisionEngine:
        engine = loaded.definitions.decider(archive=loaded.archive)
        _note_segments(settings, loaded.definitions)
        return engine

    def apply(engine: DecisionEngine, controls: Controls, number: int) -> DecisionRules:
        controlled = engine.under(controls)
        return DecisionRules(controlled, number, engine.segments.reads_catalogue, controlled)

    return FollowedDefinitions(settings, store, "profile", token, build=build, apply=apply, clock=clock)


def _note_segments(settings: Settings, definitions: Definitions) -> None:
    """Note which segments are in force; those that have not taken in history are named in the log."""
    by = definitions.territory, definitions.policy.address_types
    known = fingerprints(definitions.segments, definitions.journeys, *by)
    waiting: list[str] = []
    with (
        suppress(redis.RedisError),  # it is down: this can wait until the next start
        redis_client(settings, timeout_s=30) as client,
    ):
        waiting = not_filled(known, note_definitions(client, settings.redis_namespace, known))
    if waiting:
        shown = ", ".join(waiting[:10]) + (f" and {len(waiting) - 10} more" if len(waiting) > 10 else "")
        log.warning("Not filled with history yet: %s. `throughline segments backfill` does it.", shown)


def follow_sending(
    settings: Settings, store: RedisDefinitions, token: str, clock: Callable[[], int]
) -> FollowedDefinitions[Definitions, SendingRules]:
    """Follow the texts of messages, and whether they may leave.

    Raises:
        DefinitionError: What is in force now cannot be used.
    """

    def apply(definitions: Definitions, controls: Controls, _number: int) -> SendingRules:
        return SendingRules(definitions.templates, controls, definitions.territory)

    return FollowedDefinitions(
        settings, store, "deliver", token, build=lambda loaded: loaded.definitions, apply=apply, clock=clock
    )


async def _while_down(task: Callable[[], Awaitable[Built]]) -> Built:
    """Repeat what needs ClickHouse until it answers: a worker asks it once, and again if Redis was lost."""
    while True:
        try:
            return await task()
        except StoreDown as error:
            log.warning("the definitions in force are to be read from ClickHouse: %s", error)
            await asyncio.sleep(1)


async def _built(at: Settings, store: RedisDefinitions, build: Callable[[LoadedDefinitions], Built]) -> Built:
    definitions = await asyncio.to_thread(load_sound_definitions, at)
    await store.archive(definitions.archived())
    loaded = LoadedDefinitions(definitions, former_journeys(await store.archived()))
    try:
        return await asyncio.to_thread(build, loaded)
    except (LookupError, ValueError) as error:
        raise DefinitionError(str(error)) from error


async def _first_version(
    settings: Settings, build: Callable[[LoadedDefinitions], Built]
) -> tuple[DefinitionsState, Built]:
    async with async_redis_client(settings, timeout_s=30) as client:
        store = RedisDefinitions(client, settings.redis_namespace)
        state = await _while_down(lambda: state_in_force(settings, store))
        at = await _while_down(lambda: settings_in_force(settings, store, state))
        return state, await _built(at, store, build)


def _in_own_loop(task: Coroutine[Any, Any, Built]) -> Built:
    """Run a coroutine to its end, also where a loop runs already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, task).result()


def _named(version: str) -> str:
    return version or "of the folder"
