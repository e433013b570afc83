"""Reads what is in force for commands that show it."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis import RedisError

from deploy.connections.redis import async_redis_client
from deploy.operations.definition_bundle import difference, read_bundle
from deploy.operations.definition_files import load_markets
from deploy.operations.engines import Definitions, load_definitions
from deploy.operations.provision import market_rows
from deploy.operations.publication import ALIVE_MS, settings_in_force, state_in_force
from deploy.settings import Settings
from schemas.journeys.control import DefinitionsState
from schemas.journeys.definitions import Journey
from schemas.time import clock_ms
from sinks.clickhouse.client import StoreDown
from sinks.redis.definitions import RedisDefinitions


class DefinitionsReport(NamedTuple):
    """What is in force.

    Attributes:
        state: Its version, and the states of journeys.
        definitions: The definitions themselves.
        workers: What each worker that is alive has taken up: `role`, `version`, `refused`.
    """

    state: DefinitionsState
    definitions: Definitions
    workers: list[dict[str, Any]]

    @classmethod
    def of_folder(cls, definitions: Definitions) -> DefinitionsReport:
        """Return a report of definitions of which the state is not known."""
        return cls(DefinitionsState(), definitions, [])

    def running(self) -> list[Journey]:
        """Return the journeys that people may enter."""
        controls = self.state.journeys
        return [
            journey
            for journey in self.definitions.journeys
            if journey.name not in controls or controls[journey.name].state != "stopped"
        ]


async def read_in_force(settings: Settings) -> DefinitionsReport:
    """Read what is in force.

    Raises:
        DefinitionError: This release cannot read it.
        redis.RedisError: Redis does not answer.
    """
    async with async_redis_client(settings, timeout_s=5, connect_timeout_s=2) as redis:
        store = RedisDefinitions(redis, settings.redis_namespace)
        state = await state_in_force(settings, store)
        definitions = load_definitions(await settings_in_force(settings, store, state))
        return DefinitionsReport(state, definitions, await store.reports(clock_ms() - ALIVE_MS))


async def settings_or_folder(settings: Settings) -> Settings:
    """Return settings by which the definitions in force are read; those of the folder where it is not known."""
    try:
        async with async_redis_client(settings, timeout_s=5, connect_timeout_s=2) as redis:
            store = RedisDefinitions(redis, settings.redis_namespace)
            state = await store.state()
            return await settings_in_force(settings, store, state) if state else settings
    except (RedisError, StoreDown, OSError):
        return settings


async def read_market_rows(settings: Settings) -> list[dict[str, Any]]:
    """Read the markets in force, and those of the file: the columns of `provision.market_rows`, and `state`.

    Returns:
        A row for each market with `state` "in force". Where the file says something else, a row with "in force, not as
        in the file" and one with "in the file, not published"; one of the two where only one of them has the market.
        Where Redis does not answer, the markets of the file with "in the file".

    Raises:
        DefinitionError: The file, or what is in force, is not valid.
    """
    rows = [market_rows(load_markets(settings), settings.timezone)]
    try:
        async with async_redis_client(settings, timeout_s=5, connect_timeout_s=2) as redis:
            store = RedisDefinitions(redis, settings.redis_namespace)
            at = await settings_in_force(settings, store, await state_in_force(settings, store))
    except (RedisError, StoreDown, OSError):
        return [{**row, "state": "in the file"} for row in rows[0]]
    rows.append(market_rows(load_markets(at), settings.timezone))
    in_file, in_force = ({row["market"]: row for row in one} for one in rows)
    found = []
    for name in dict.fromkeys((*in_force, *in_file)):
        ours, theirs = in_force.get(name), in_file.get(name)
        if ours is not None:
            found.append({**ours, "state": "in force" if ours == theirs else "in force, not as in the file"})
        if theirs is not None and theirs != ours:
            found.append({**theirs, "state": "in the file, not published"})
    return found


async def read_workers(settings: Settings) -> tuple[DefinitionsState, list[dict[str, Any]]]:
    """Read what is in force, and what each worker that is alive has taken up of it: `role`, `version`, `refused`.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    async with async_redis_client(settings, timeout_s=2, connect_timeout_s=2) as redis:
        store = RedisDefinitions(redis, settings.redis_namespace)
        return await store.state() or DefinitionsState(), await store.reports(clock_ms() - ALIVE_MS)


async def worker_lines(settings: Settings) -> list[str]:
    """Describe in a line each what the workers have in force; a refused version is named with its reason.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    state, reports = await read_workers(settings)
    lines = []
    for version in sorted({report["version"] for report in reports}):
        roles = [report["role"] for report in reports if report["version"] == version]
        count = ", ".join(f"{roles.count(role)} {role}" for role in sorted({*roles}))
        lines.append(f"definitions {version or 'of the folder'}: {count}")
    lines += [f"{report['role']} refused {report['refused']}" for report in reports if report["refused"]]
    halted = {
        name: one.state for name, one in state.journeys.items() if one.state != "running" and not one.is_cancelled
    }
    return [*lines, *(f"journey {name}: {halted[name]}" for name in sorted(halted))]


async def folder_is_in_force(settings: Settings) -> bool | None:
    """Return whether the files of the folder are what was published; None: nothing was.

    Raises:
        DefinitionError: A file is no text.
        redis.RedisError: Redis does not answer.
    """
    async with async_redis_client(settings, timeout_s=2, connect_timeout_s=2) as redis:
        state = await RedisDefinitions(redis, settings.redis_namespace).state()
    return read_bundle(settings).version == state.version if state and state.version else None


def unpublished(settings: Settings, report: DefinitionsReport) -> list[str]:
    """Describe how the files of the folder differ from what was published; empty: they do not, or nothing was.

    Raises:
        DefinitionError: A file of the folder is not valid.
    """
    if not report.state.version or read_bundle(settings).version == report.state.version:
        return []
    return difference(load_definitions(settings), report.definitions).lines() or ["comments in the files"]
