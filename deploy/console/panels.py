"""Panels: the parts of a page that show figures. Each keeps its SQL, the time it is as of, and how long it took.

A panel is computed at most once in its life time, however many people look; while an old one is shown, a new one is
computed. The first of all waits a moment, then the page says that it is on its way and loads itself again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.reporting.written_sql import written_sql
from schemas.time import clock_ms
from sinks.clickhouse.client import StoreDown

log = logging.getLogger(__name__)

Value = TypeVar("Value")

LIFE_S = 15.0
"""How old a panel may be before a new one is computed."""
WAIT_S = 2.5
"""How long a page waits for a panel that nobody has computed yet."""
OUTDATED_LIVES = 20
"""A panel that is so many lives old is waited for like one that is not there."""
MAX_PANELS = 300
_SETTINGS = {"max_execution_time": 60, "max_threads": 2, "priority": 5}
"""Of each query, so that a page starves no worker."""


class NotedClient:
    """A clickhouse-connect client that notes the queries it is asked.

    Args:
        client: The client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.queries: list[str] = []

    def query(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Ask, as the client does."""
        self.queries.append(written_sql(query, parameters))
        merged = {**_SETTINGS, **(settings or {})}
        return self._client.query(query, parameters=parameters, settings=merged, **options)

    def query_rows_stream(self, query: str, parameters: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Ask for a stream of rows, as the client does."""
        self.queries.append(written_sql(query, parameters))
        return self._client.query_rows_stream(query, parameters, **{"settings": _SETTINGS, **options})

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Ask, and return rows by the names of their columns."""
        return list(self.query(query, parameters).named_results())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@dataclass(slots=True)
class Panel(Generic[Value]):
    """What was computed.

    Attributes:
        value: The result; None: it is not there yet, or could not be computed.
        queries: The SQL that found it.
        at_ms: As of when, milliseconds since 1970.
        took_ms: How long it took.
        error: Why it could not be computed.
    """

    value: Value | None = None
    queries: Sequence[str] = ()
    at_ms: int = 0
    took_ms: int = 0
    error: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is on its way."""
        return not self.at_ms


@dataclass(slots=True)
class _Entry:
    panel: Panel[Any] = field(default_factory=Panel)
    computed_s: float = float("-inf")
    task: asyncio.Task[None] | None = None


class Panels:
    """Computes and keeps panels.

    Args:
        client: Returns a client of ClickHouse; called in a thread.
    """

    def __init__(self, client: Callable[[], Any]) -> None:
        self._client = client
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._free = asyncio.Semaphore(3)
        self._forgotten = 0

    async def get(
        self,
        key: Hashable,
        compute: Callable[[NotedClient], Value],
        *,
        life_s: float = LIFE_S,
        wait_s: float = WAIT_S,
    ) -> Panel[Value]:
        """Return a panel.

        Args:
            key: Names the panel and its parameters.
            compute: Computes it, in a thread.
            life_s: How old it may be before a new one is computed.
            wait_s: How long to wait for the first.
        """
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        while len(self._entries) > MAX_PANELS:
            self._entries.popitem(last=False)
        age_s = time.monotonic() - entry.computed_s
        if age_s > life_s and (entry.task is None or entry.task.done()):
            entry.task = asyncio.create_task(self._compute(entry, compute))
        if entry.task is not None and not entry.task.done() and (age_s > OUTDATED_LIVES * life_s or entry.panel.error):
            await asyncio.wait([entry.task], timeout=wait_s)
        return entry.panel

    def forget(self) -> None:
        """Compute every panel anew, after an act that changes what they show; those under way are then old, too."""
        self._forgotten += 1
        for entry in self._entries.values():
            entry.computed_s = float("-inf")

    async def _compute(self, entry: _Entry, compute: Callable[[NotedClient], Any]) -> None:
        async with self._free:
            forgotten = self._forgotten
            entry.panel = await asyncio.to_thread(self._computed, compute)
            is_old = bool(entry.panel.error) or forgotten != self._forgotten
            entry.computed_s = float("-inf") if is_old else time.monotonic()

    def _computed(self, compute: Callable[[NotedClient], Any]) -> Panel[Any]:
        at_ms, started = clock_ms(), time.perf_counter()
        try:
            noted = NotedClient(self._client())
            value = compute(noted)
        except (StoreDown, ClickHouseError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            log.warning("a panel of the console could not be computed: %s", reason)
            return Panel(error=reason[:300], at_ms=at_ms)
        except Exception as error:
            log.exception("a panel of the console failed")
            return Panel(error=f"{type(error).__name__}: {error}"[:300], at_ms=at_ms)
        return Panel(value, noted.queries, at_ms, round((time.perf_counter() - started) * 1000))
