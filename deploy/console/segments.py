"""Segments: sizes, definition, size over time, who entered and left, overlap with others, lists for networks."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping

import yaml
from aiohttp import web

from deploy.console.application import Console
from deploy.console.panels import Panel
from deploy.console.rendering import Viewer
from deploy.operations.segment_lists import condition_as_written, read_list
from processors.segments.audiences import LIST_FORMATS
from schemas.segments.definitions import Segment
from schemas.time import clock_ms, time_of_ms
from sinks.clickhouse import audiences

_LIFE_S = 60.0


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def segments(_: web.Request, viewer: Viewer) -> web.StreamResponse:
        known, counts = await asyncio.gather(_segments(console), _counts(console))
        rows = sorted(known.values(), key=lambda one: -(counts.value or {}).get(one.name, 0))
        return console.renderer.page("segments.html", viewer, "/segments", rows=rows, counts=counts)

    async def segment(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        name = request.match_info["name"]
        known = await _segments(console)
        if name not in known:
            raise web.HTTPNotFound
        get, now = console.panels.get, time_of_ms(clock_ms())
        counts, days, shared = await asyncio.gather(
            _counts(console),
            get(("segment days", name), lambda client: audiences.segment_days(client, name), life_s=_LIFE_S),
            get(("overlaps", name), lambda client: audiences.overlaps(client, name, now), life_s=_LIFE_S),
        )
        when = await asyncio.to_thread(condition_as_written, known[name], await console.in_force.settings())
        return console.renderer.page(
            "segment.html",
            viewer,
            f"/segments/{name}",
            segment=known[name],
            members=(counts.value or {}).get(name, 0) if counts.value is not None else None,
            counts=counts,
            days=days,
            shared=shared,
            condition=yaml.safe_dump({"when": when}, sort_keys=False, allow_unicode=True),
            networks=list(LIST_FORMATS),
        )

    async def export(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        name, network = request.match_info["name"], str((await request.post()).get("network", ""))
        if name not in await _segments(console):
            raise web.HTTPNotFound
        if network not in LIST_FORMATS:
            raise web.HTTPBadRequest(text="Choose one of the networks.")
        tables, now = await asyncio.to_thread(console.stores.tables), time_of_ms(clock_ms())
        reading = asyncio.to_thread(read_list, tables, name, network, now)
        found = await console.act(viewer, "export", name, reading, detail=f"list for {network}")
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(found.columns)
        writer.writerows(found.rows)
        return web.Response(
            text=text.getvalue(),
            content_type="text/csv",
            charset="utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}-{network}.csv"'},
        )

    name = "{name:[a-z][a-z0-9_]*}"
    return [
        web.get("/segments", console.guarded("view-numbers", segments)),
        web.get(f"/segments/{name}", console.guarded("view-numbers", segment)),
        web.post(f"/segments/{name}/export", console.guarded("publish", export)),
    ]


async def _segments(console: Console) -> Mapping[str, Segment]:
    """Return the segments in force by name."""
    found = await console.in_force.report()
    return {one.name: one for one in found.definitions.segments.segments}


async def _counts(console: Console) -> Panel[dict[str, int]]:
    return await console.panels.get(
        "members", lambda client: audiences.count_members(client, time_of_ms(clock_ms())), life_s=_LIFE_S
    )
