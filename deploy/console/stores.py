"""The stores of the console, opened when they are first asked for and again after they were down."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import Any

from deploy.connections.clickhouse import clickhouse_client
from deploy.operations.deployment import Deployment, open_deployment
from deploy.settings import Settings

QUERY_TIMEOUT_S = 60


class ConsoleStores:
    """Keeps connections open between pages.

    Args:
        settings: Of the deployment.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._opening = asyncio.Lock()
        self._connecting = threading.Lock()
        self._exits = AsyncExitStack()
        self._deployment: Deployment | None = None
        self._tables: Any = None

    def tables(self) -> Any:
        """Return a client of the database; threads may share it.

        Raises:
            StoreDown: ClickHouse does not answer.
        """
        with self._connecting:
            if self._tables is None:
                self._tables = clickhouse_client(self.settings, timeout_s=QUERY_TIMEOUT_S)
            return self._tables

    async def deployment(self) -> Deployment:
        """Return all stores of the deployment.

        Raises:
            StoreDown: ClickHouse does not answer.
            DefinitionError: The identity policy is not valid.
        """
        async with self._opening:
            if self._deployment is None:
                await asyncio.to_thread(self.tables)  # a store that is down takes seconds to say so: not in this thread
                self._deployment = await self._exits.enter_async_context(open_deployment(self.settings))
            return self._deployment

    async def close(self) -> None:
        """Close all connections."""
        await self._exits.aclose()
        if self._tables is not None:
            self._tables.close()
