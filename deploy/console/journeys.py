"""Journeys: the list, the picture with people at each step, versions and their differences, pause, resume and stop."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from aiohttp import web

from deploy.connections.redis import async_redis_client
from deploy.console.application import Console
from deploy.console.panels import NotedClient
from deploy.console.rendering import Viewer, safe, values_of
from deploy.operations.definitions_report import DefinitionsReport, unpublished
from deploy.operations.publication import NotPublishedError, Publication, wait_for_workers
from deploy.reporting.html.journey_flow import journey_svg
from processors.journeys.compiled import CompiledJourney
from processors.journeys.drawing import described_trigger
from schemas.durations import duration_text
from schemas.journeys.control import ChangeKind
from schemas.journeys.definitions import Journey, MessageNode
from schemas.time import clock_ms
from sinks.clickhouse import journeys as figures
from sinks.clickhouse.definitions import read_changes, read_files, read_runs_under_way
from sinks.redis.definitions import RedisDefinitions

WORKERS_WAIT_S = 5.0
_LIFE_S = 5.0
ACTS: Mapping[str, ChangeKind] = {"pause": "pause", "resume": "resume", "stop": "stop"}


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def journeys(_: web.Request, viewer: Viewer) -> web.StreamResponse:
        report, totals, runs = await asyncio.gather(
            console.in_force.report(),
            console.panels.get("journey totals", figures.journey_totals),
            console.panels.get("runs", read_runs_under_way, life_s=_LIFE_S),
        )
        key = ("unpublished", report.state.version)
        waiting = await console.panels.get(key, lambda _: unpublished(console.settings, report), life_s=30)
        rows = [
            {"journey": one, "entry": described_trigger(one.entry), "state": state_of(report, one)}
            for one in report.definitions.journeys
        ]
        return console.renderer.page(
            "journeys.html", viewer, "/journeys", rows=rows, totals=totals, runs=runs, unpublished=waiting
        )

    async def journey(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        name = request.match_info["name"]
        report = await console.in_force.report()
        found = find_journey(report, name)
        asked = values_of(request.query, "old", "new", "done", "late")
        counts, endings, lift, changes = await asyncio.gather(
            console.panels.get(("steps", name), lambda client: figures.count_steps(client, name), life_s=_LIFE_S),
            console.panels.get(("endings", name), lambda client: figures.run_endings(client, name)),
            console.panels.get(("lift", name), lambda client: figures.journey_lift(client, name)),
            console.panels.get("definition changes", read_changes, life_s=_LIFE_S),
        )
        compiled = CompiledJourney(found, ZoneInfo("UTC"))
        messages = [(one.id, one.node) for one in compiled.steps.values() if isinstance(one.node, MessageNode)]
        links = {step_id: f"/journeys/{name}/messages/{quote(step_id)}" for step_id, _ in messages}
        file = report.definitions.files[name]
        return console.renderer.page(
            "journey.html",
            viewer,
            f"/journeys/{name}",
            journey=found,
            state=state_of(report, found),
            control=report.state.journeys.get(name),
            version=report.state.version,
            entry=described_trigger(found.entry),
            leave=[described_trigger(match) for match in found.exit_when],
            goals=[(goal.name, described_trigger(goal), duration_text(goal.within)) for goal in found.goals],
            picture=safe(journey_svg(found, counts.value or {}, links)),
            counts=counts,
            endings=endings,
            lift=lift,
            messages=messages,
            text=file.read_text("utf-8"),
            file=file.name,
            changes=[one for one in changes.value or [] if not one.journeys or name in one.journeys],
            difference=await _difference(console, name, asked["old"], asked["new"]),
            asked=asked,
        )

    async def act(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        name, what = request.match_info["name"], request.match_info["act"]
        try:
            late = await console.act(viewer, what, name, change(console, name, ACTS[what], viewer.user))
        except NotPublishedError as error:
            return console.error(request, viewer, 409, str(error))
        answer = {"done": what, **({"late": ", ".join(sorted(one["role"] for one in late))} if late else {})}
        raise web.HTTPSeeOther(f"/journeys/{name}?{urlencode(answer)}")

    name = "{name:[a-z][a-z0-9_-]*}"
    return [
        web.get("/journeys", console.guarded("view-numbers", journeys)),
        web.get(f"/journeys/{name}", console.guarded("view-numbers", journey)),
        web.post(f"/journeys/{name}/{{act:pause|resume}}", console.guarded("edit", act)),
        web.post(f"/journeys/{name}/{{act:stop}}", console.guarded("publish", act)),
    ]


async def change(console: Console, name: str, kind: ChangeKind, by: str) -> list[dict[str, Any]]:
    """Pause, resume or stop a journey, and wait for the workers; return the reports of workers that are late.

    Raises:
        NotPublishedError: It cannot be done; the message says why.
    """
    async with async_redis_client(console.settings, timeout_s=10) as redis:
        store = RedisDefinitions(redis, console.settings.redis_namespace)
        publication = Publication(console.settings, store, by, clock_ms)
        changed = await (publication.stop([name]) if kind == "stop" else publication.control(kind, [name]))
        _, late = await wait_for_workers(store, changed.state.number, WORKERS_WAIT_S, clock_ms)
        return late


def find_journey(report: DefinitionsReport, name: str) -> Journey:
    """Return a journey that is in force.

    Raises:
        HTTPNotFound: There is none of that name.
    """
    found = next((one for one in report.definitions.journeys if one.name == name), None)
    if found is None:
        raise web.HTTPNotFound
    return found


def state_of(report: DefinitionsReport, journey: Journey) -> str:
    """Return `running`, `paused`, `stopped`, or `off`: its file says that it is not enabled."""
    control = report.state.journeys.get(journey.name)
    state = control.state if control else "running"
    return state if journey.enabled or state != "running" else "off"


async def _difference(console: Console, name: str, old: str, new: str) -> list[tuple[str, str]]:
    """Return the lines in which a journey's file differs between two versions, each with `+`, `-`, `@` or nothing."""
    if not old or not new:
        return []

    def read() -> list[str]:
        client = NotedClient(console.stores.tables())
        before, after = (_file_of(name, read_files(client, version) or {}) for version in (old, new))
        return list(difflib.unified_diff(before, after, old, new, n=3, lineterm=""))

    lines = await asyncio.to_thread(read)
    return [(line[0] if line[:1] in ("+", "-", "@") else "", line) for line in lines] or [("", "no difference")]


def _file_of(name: str, files: Mapping[str, str]) -> list[str]:
    """Return the lines of the file of a journey; none: the version does not have it."""
    found = (text for text in files.values() if re.search(rf"^name: {re.escape(name)}\s*$", text, re.MULTILINE))
    return next(found, "").splitlines()
