"""Events as they arrive, as server-sent events: person, touch, refusal, reason. One query serves all readers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

from aiohttp import web

from deploy.console.application import STORE_ERRORS, Console
from deploy.console.panels import NotedClient
from deploy.console.rendering import Viewer, values_of
from schemas.time import clock_ms, time_of_ms
from sinks.clickhouse.arrived import arrived_since

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
MAX_LISTENERS = 50
_SHOWN, _WAITING, _PING_S = 60, 20, 15.0
_FILTERS = ("channel", "source", "only")

Row = dict[str, Any]


class Feed:
    """Asks once for all listeners, and only while there is one.

    Args:
        console: The console.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._listeners: set[asyncio.Queue[list[Row]]] = set()
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> asyncio.Queue[list[Row]]:
        """Return a queue that gets what arrives from now on.

        Raises:
            HTTPServiceUnavailable: Too many listen already.
        """
        if len(self._listeners) >= MAX_LISTENERS:
            raise web.HTTPServiceUnavailable(text="Too many people look at live events.")
        queue: asyncio.Queue[list[Row]] = asyncio.Queue(_WAITING)
        self._listeners.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._read())
        return queue

    def leave(self, queue: asyncio.Queue[list[Row]]) -> None:
        """Give up a queue."""
        self._listeners.discard(queue)

    async def _read(self) -> None:
        since = time_of_ms(clock_ms())
        while self._listeners:
            await asyncio.sleep(INTERVAL_S)
            try:
                tables = await asyncio.to_thread(self._console.stores.tables)
                rows = await asyncio.to_thread(arrived_since, NotedClient(tables), since, _SHOWN)
            except STORE_ERRORS as error:
                log.warning("live events cannot be read now: %s", error)
                continue
            if rows:
                since = rows[0]["at"]
                for queue in self._listeners:
                    with suppress(asyncio.QueueFull):  # a slow reader misses some, and holds nobody
                        queue.put_nowait(rows)


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""
    feed = Feed(console)

    async def live(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        asked = values_of(request.query, *_FILTERS)
        since = time_of_ms(clock_ms()) - timedelta(days=1)
        recent = await console.panels.get("recent", lambda client: arrived_since(client, since, 400), life_s=3)
        rows = [row for row in recent.value or [] if _fits(row, asked)][:_SHOWN]
        channels = sorted({row["channel"] for row in recent.value or [] if row["kind"] == "event"})
        return console.renderer.page(
            "live.html",
            viewer,
            "/live",
            rows=rows,
            recent=recent,
            asked=asked,
            channels=channels,
            query=request.rel_url.raw_query_string,
        )

    async def stream(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        asked, queue = values_of(request.query, *_FILTERS), feed.listen()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        try:
            await response.prepare(request)
            await response.write(b"retry: 3000\n\n")
            while True:
                try:
                    rows = await asyncio.wait_for(queue.get(), _PING_S)
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                shown = [row for row in rows if _fits(row, asked)]
                text = console.renderer.text("live_rows.html", viewer, "/live", rows=shown)
                lines = "".join(f"data: {line}\n" for line in text.splitlines() if line.strip())
                if shown:
                    await response.write(f"{lines}\n".encode())
        except (ConnectionResetError, asyncio.CancelledError):
            return response
        finally:
            feed.leave(queue)

    return [
        web.get("/live", console.guarded("view-people", live)),
        web.get("/live/stream", console.guarded("view-people", stream)),
    ]


def _fits(row: Row, asked: dict[str, str]) -> bool:
    """Return whether a row is one that a reader wants."""
    if asked["channel"] and row["channel"] != asked["channel"]:
        return False
    if asked["source"] and row["source"] != asked["source"]:
        return False
    match asked["only"]:
        case "refused":
            return bool(row["kind"] == "refused")
        case "touches":
            return row["touch"] in ("rule", "campaign")
        case _:
            return True
