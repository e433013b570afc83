"""Lists of broadcasts in ClickHouse, and how far each shard has come in Redis, as workers of profiles read them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.connections.clickhouse import clickhouse_client
from deploy.settings import Settings
from processors.profiles.broadcasts import END, MemberPage
from sinks.clickhouse.broadcasts import read_members
from sinks.clickhouse.client import StoreDown
from sinks.redis.broadcasts import RedisBroadcasts

TIMEOUT_S = 60


class ListedMembers:
    """Reads the lists page by page; a connection opens with the first page.

    Args:
        settings: Of the deployment.
        store: Keeps how far each shard has come.
    """

    def __init__(self, settings: Settings, store: RedisBroadcasts) -> None:
        self._settings, self._store = settings, store
        self._client: Any = None

    async def progress(self, name: str) -> Mapping[int, int]:
        """Return how far the shards have come: shard → place, or `END`."""
        return await self._store.progress(name)

    async def passed(self, name: str, places: Mapping[int, int]) -> None:
        """Keep how far some shards have come."""
        await self._store.passed(name, places)

    async def page(self, name: str, listed_ms: int, places: Mapping[int, int | None], count: int) -> MemberPage:
        """Return the next people of some shards.

        Raises:
            StoreDown: ClickHouse does not answer.
        """
        rows = await asyncio.to_thread(self._read, name, listed_ms, places, count)
        done = {shard: END for shard in places if len(rows) < count or shard < rows[-1][0]}
        last = {rows[-1][0]: rows[-1][1]} if len(rows) >= count else {}
        return MemberPage([profile_id for _, _, profile_id in rows], {**done, **last})

    def _read(
        self, name: str, listed_ms: int, places: Mapping[int, int | None], count: int
    ) -> list[tuple[int, int, str]]:
        try:
            if self._client is None:
                self._client = clickhouse_client(self._settings, timeout_s=TIMEOUT_S)
            return read_members(self._client, name, listed_ms, places, count)
        except (ClickHouseError, OSError) as error:
            self._client = None
            raise StoreDown(str(error).strip().partition("\n")[0]) from error
