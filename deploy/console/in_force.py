"""What is in force, read again only when it has changed: parsing all definitions takes longer than a page may."""

from __future__ import annotations

import asyncio
import time

from deploy.connections.redis import async_redis_client
from deploy.operations.definitions_report import DefinitionsReport
from deploy.operations.engines import Definitions, load_definitions
from deploy.operations.publication import ALIVE_MS, settings_in_force, state_in_force
from deploy.settings import Settings
from schemas.time import clock_ms
from sinks.redis.definitions import RedisDefinitions

FOLDER_LIFE_S = 20.0
"""Files of the folder, where nothing was published, are read again after this time."""


class DefinitionsInForce:
    """Reads the state at each call, and the definitions when the version is another one.

    Args:
        settings: Of the deployment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reading = asyncio.Lock()
        self._version: str | None = None
        self._read_s = 0.0
        self._at = settings
        self._definitions: Definitions | None = None

    async def report(self) -> DefinitionsReport:
        """Return what is in force.

        Raises:
            DefinitionError: This release cannot read it.
            redis.RedisError: Redis does not answer.
        """
        async with async_redis_client(self._settings, timeout_s=5, connect_timeout_s=2) as redis:
            store = RedisDefinitions(redis, self._settings.redis_namespace)
            state = await state_in_force(self._settings, store)
            async with self._reading:
                is_old = not state.version and time.monotonic() - self._read_s > FOLDER_LIFE_S
                if self._definitions is None or state.version != self._version or is_old:
                    self._at = await settings_in_force(self._settings, store, state)
                    self._definitions = await asyncio.to_thread(load_definitions, self._at)
                    self._version, self._read_s = state.version, time.monotonic()
                definitions = self._definitions
            return DefinitionsReport(state, definitions, await store.reports(clock_ms() - ALIVE_MS))

    async def settings(self) -> Settings:
        """Return settings by which the files in force are read.

        Raises:
            DefinitionError: This release cannot read what is in force.
            redis.RedisError: Redis does not answer.
        """
        await self.report()
        return self._at
