"""Data: sources with their last event, the event catalogue, dead letters by reason with the original bytes, replay."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from aiohttp import web

from deploy.console.application import Console
from deploy.console.panels import NotedClient
from deploy.console.rendering import Viewer, values_of
from deploy.operations.dead_letters import Replay, replay
from schemas.dead_letters import Reason
from sinks.clickhouse.arrived import sources
from sinks.clickhouse.catalogue import read_catalogue
from sinks.clickhouse.dead_letters import (
    DeadLetterFilter,
    StoredDeadLetter,
    count_dead_letters,
    mark_replayed,
    read_dead_letters,
)

_LIFE_S, _SLOW_LIFE_S, _SHOWN = 15.0, 120.0, 15


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def data(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        reason = _reason(request.query.get("reason", ""))
        get, wanted = console.panels.get, DeadLetterFilter(reason=reason)
        waiting = DeadLetterFilter(replayed=False)
        producers, catalogue, counts, unreplayed, letters = await asyncio.gather(
            get("sources", sources, life_s=_SLOW_LIFE_S),
            get("catalogue", read_catalogue, life_s=_SLOW_LIFE_S),
            get("letters", lambda client: count_dead_letters(client, DeadLetterFilter()), life_s=_LIFE_S),
            get("letters not replayed", lambda client: count_dead_letters(client, waiting), life_s=_LIFE_S),
            get(("letters of", reason), lambda client: _newest(client, wanted), life_s=_LIFE_S),
        )
        return console.renderer.page(
            "data.html",
            viewer,
            "/data",
            producers=producers,
            catalogue=catalogue,
            counts=counts,
            unreplayed=unreplayed,
            letters=letters,
            reason=reason,
        )

    async def letter(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        asked = values_of(request.query, "topic", "partition", "offset")
        try:
            wanted = DeadLetterFilter(
                topic=asked["topic"], partition=int(asked["partition"]), offset=int(asked["offset"])
            )
        except ValueError:
            raise web.HTTPBadRequest(text="This address is not one of a dead letter.") from None
        tables = await asyncio.to_thread(console.stores.tables)
        found = await asyncio.to_thread(_newest, NotedClient(tables), wanted)
        if not found:
            raise web.HTTPNotFound
        return console.renderer.page(
            "letter.html",
            viewer,
            "/data",
            letter=found[0],
            value=found[0].value.decode(errors="backslashreplace"),
            record_key=(found[0].key or b"").decode(errors="backslashreplace"),
        )

    async def again(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        form = await request.post()
        reason, is_dry = _reason(str(form.get("reason", ""))), form.get("mode") != "publish"
        replaying = asyncio.to_thread(_replay, console, reason, is_dry)
        if is_dry:
            outcome = await replaying
        else:
            outcome = await console.act(viewer, "replay", "dead letters", replaying, detail=f"reason {reason or 'any'}")
        return console.renderer.page("replay.html", viewer, "/data", outcome=outcome, reason=reason, is_dry=is_dry)

    return [
        web.get("/data", console.guarded("view-numbers", data)),
        web.get("/data/letter", console.guarded("view-people", letter)),
        web.post("/data/replay", console.guarded("publish", again)),
    ]


def _reason(text: str) -> str:
    """Return a reason of dead letters; empty: all.

    Raises:
        HTTPBadRequest: There is no such reason.
    """
    if text and text not in {str(one) for one in Reason}:
        raise web.HTTPBadRequest(text="There is no such reason.")
    return text


def _newest(client: Any, wanted: DeadLetterFilter) -> list[StoredDeadLetter]:
    return list(read_dead_letters(client, wanted, limit=_SHOWN, newest_first=True))


def _replay(console: Console, reason: str, is_dry: bool) -> Replay:
    tables = console.stores.tables()
    letters = read_dead_letters(tables, DeadLetterFilter(reason=reason, replayed=False))
    return replay(letters, console.settings, dry_run=is_dry, mark=partial(mark_replayed, tables))
