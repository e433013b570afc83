"""Compares the business days of tills with what is stored: the only answers of the collector that need ClickHouse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.collector.refusal import RefusedError
from sinks.clickhouse.client import StoreDown
from sinks.clickhouse.till_sums import read_till_sum

log = logging.getLogger(__name__)

MAX_TILL_CHARS = 200


class TillSums:
    """Reads `v_till_sums`, one question at a time: all tills of a chain close at the same minute.

    Args:
        connect: Opens a client of the database of the views; called when the first till asks, and after a failure.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._client: Any = None
        self._lock = asyncio.Lock()

    async def read(self, source: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the sum of a day, for the answer.

        Args:
            source: The source that asks: it sees its own tills alone.
            query: `till` and `day`.

        Raises:
            RefusedError: A parameter is missing or no day; or, with a status that asks to try again, ClickHouse cannot
                be read now.
        """
        till, day = query.get("till", ""), query.get("day", "")
        if not 0 < len(till) <= MAX_TILL_CHARS:
            raise RefusedError(400, "till", f"till should be the till's name, of 1 to {MAX_TILL_CHARS} characters.")
        try:
            day = date.fromisoformat(day).isoformat()
        except ValueError:
            raise RefusedError(400, "day", "day should be a business day such as 2026-11-20.") from None
        async with self._lock:
            try:
                return await asyncio.to_thread(self._read, source, till, day)
            except (StoreDown, ClickHouseError, OSError) as error:
                self._client = None
                log.warning("a till's sum cannot be read: %s", str(error).partition("\n")[0])
                raise RefusedError(
                    503, "clickhouse_unreachable", "Stored events cannot be read now; what was sent is safe.", 10
                ) from None

    def _read(self, source: str, till: str, day: str) -> dict[str, Any]:
        if self._client is None:
            self._client = self._connect()
        return read_till_sum(self._client, source, till, day)
