"""Campaigns: broadcasts with their state, forecast, progress, results and winner; start, pause, resume and cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from deploy.console.application import Console
from deploy.console.rendering import Viewer, safe, values_of
from deploy.operations.broadcast_forecast import Forecast, forecast
from deploy.operations.broadcast_results import read_comparison, read_results
from deploy.operations.broadcasts import BroadcastStatus, find_broadcast, read_shares, start, statuses
from deploy.operations.definitions_report import DefinitionsReport
from deploy.operations.deployment import open_deployment
from deploy.operations.publication import NotPublishedError, Publication, wait_for_workers
from deploy.reporting.html.journey_flow import journey_svg
from deploy.settings import Settings
from processors.journeys.drawing import described
from schemas.journeys.broadcasts import Broadcast
from schemas.time import clock_ms
from sinks.clickhouse import journeys as figures
from sinks.clickhouse.definitions import read_changes, read_runs_under_way

FORECAST_PEOPLE = 5_000
WORKERS_WAIT_S = 5.0
RECORD_WAIT_S = 10.0
_LIFE_S, _FORECAST_LIFE_S = 5.0, 120.0
DONE: Mapping[str, str] = {"start": "Started", "pause": "Paused", "resume": "Resumed", "cancel": "Cancelled"}


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def campaigns(_: web.Request, viewer: Viewer) -> web.StreamResponse:
        report, totals = await asyncio.gather(
            console.in_force.report(), console.panels.get("journey totals", figures.journey_totals)
        )
        found = await _statuses(console, report)
        return console.renderer.page("campaigns.html", viewer, "/campaigns", found=found, totals=totals)

    async def campaign(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        name = request.match_info["name"]
        report = await console.in_force.report()
        one = next((one for one in await _statuses(console, report) if one.name == name), None)
        if one is None:
            raise web.HTTPNotFound
        asked = values_of(request.query, "done", "late", "forecast")
        results, counts, changes = await asyncio.gather(
            console.panels.get(("broadcast", name), lambda client: read_results(client, name), life_s=_LIFE_S),
            console.panels.get(("steps", name), lambda client: figures.count_steps(client, name), life_s=_LIFE_S),
            console.panels.get("definition changes", read_changes, life_s=_LIFE_S),
        )
        compared = None
        if one.control and one.broadcast and (one.broadcast.split or one.broadcast.holdout):
            compared = await console.panels.get(("compared", name), lambda client: read_comparison(client, name))
        ahead = None
        if asked["forecast"] and one.broadcast is not None and one.state == "planned":
            key = ("forecast", name, one.broadcast.as_journey().version)
            ahead = await console.panels.get(
                key, lambda _: _forecast(console.settings, report, name), life_s=_FORECAST_LIFE_S
            )
        file = report.definitions.broadcast_files.get(name)
        return console.renderer.page(
            "campaign.html",
            viewer,
            f"/campaigns/{name}",
            one=one,
            results=results,
            compared=compared,
            counts=counts,
            terms=_terms(one.broadcast) if one.broadcast else [],
            picture=safe(journey_svg(one.broadcast.as_journey(), counts.value or {})) if one.broadcast else "",
            ahead=ahead,
            text=file.read_text("utf-8") if file else "",
            file=file.name if file else "",
            changes=[change for change in changes.value or [] if name in change.journeys],
            done=DONE.get(asked["done"], ""),
            asked=asked,
        )

    async def act(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        name, what = request.match_info["name"], request.match_info["act"]
        try:
            late = await console.act(viewer, what, name, _change(console, name, what, viewer.user))
        except NotPublishedError as error:
            return console.error(request, viewer, 409, str(error))
        answer = {"done": what, **({"late": ", ".join(sorted(one["role"] for one in late))} if late else {})}
        raise web.HTTPSeeOther(f"/campaigns/{quote(name)}?{urlencode(answer)}")

    path = "/campaigns/{name:[a-z][a-z0-9_-]*}"
    return [
        web.get("/campaigns", console.guarded("view-numbers", campaigns)),
        web.get(path, console.guarded("view-numbers", campaign)),
        web.post(f"{path}/{{act:pause|resume|cancel}}", console.guarded("edit", act)),
        web.post(f"{path}/{{act:start}}", console.guarded("publish", act)),
    ]


async def _statuses(console: Console, report: DefinitionsReport) -> list[BroadcastStatus]:
    deployment = await console.stores.deployment()
    shares, runs = await asyncio.gather(
        read_shares(deployment.broadcasts, report),
        console.panels.get("runs", read_runs_under_way, life_s=_LIFE_S),
    )
    known = runs.value
    under_way = None if known is None else {name: sum(steps.values()) for name, steps in known.items()}
    return statuses(report, shares, under_way, clock_ms())


def _forecast(settings: Settings, report: DefinitionsReport, name: str) -> Forecast:
    """Take people through a broadcast; it runs in a thread, with connections of its own."""

    async def run() -> Forecast:
        async with open_deployment(settings) as deployment:
            broadcast = find_broadcast(report, name)
            return await forecast(deployment, report, broadcast, clock_ms(), most=FORECAST_PEOPLE)

    return asyncio.run(run())


async def _change(console: Console, name: str, what: str, by: str) -> list[dict[str, Any]]:
    """Start, pause, resume or cancel a broadcast; return the reports of workers that are late.

    Raises:
        NotPublishedError: It cannot be done; the message says why.
    """
    async with open_deployment(console.settings) as deployment:
        store = deployment.definitions
        publication = Publication(console.settings, store, by, clock_ms)
        if what == "start":
            report = await console.in_force.report()
            changed = await start(deployment, publication, report, name, timeout_s=RECORD_WAIT_S, clock=clock_ms)
        elif what == "cancel":
            changed = await publication.stop([name])
        else:
            changed = await publication.control("pause" if what == "pause" else "resume", [name])
        _, late = await wait_for_workers(store, changed.state.number, WORKERS_WAIT_S, clock_ms)
        return late


def _terms(broadcast: Broadcast) -> list[tuple[str, str]]:
    """Describe a broadcast: what, and its terms."""
    found = [
        ("to", f"{broadcast.segment}, {'as at the start' if broadcast.members == 'frozen' else 'live'}"),
        ("sent", described(broadcast.as_journey().steps[0]).removeprefix("send ")),
        ("by", f"{', '.join(broadcast.channels) or 'all channels'}, {broadcast.choose.replace('_', ' ')}"),
    ]
    found += [("without", ", ".join(broadcast.exclude))] if broadcast.exclude else []
    if broadcast.split is not None:
        found.append(("variants", ", ".join(one.name for one in broadcast.split.variants)))
        if (winner := broadcast.split.winner) is not None:
            share = f"{broadcast.split.share or 0:.0%} first"
            found.append(("winner", f"by {winner.metric} on {winner.at:%Y-%m-%d %H:%M}, {share}"))
    found += [("held out", f"{broadcast.holdout:.0%} of people")] if broadcast.holdout else []
    if (budget := broadcast.budget) is not None:
        parts = [f"{budget.messages:,} messages"] if budget.messages else []
        found.append(("budget", " and ".join([*parts, *([f"cost {budget.cost:,.2f}"] if budget.cost else [])])))
    return found
