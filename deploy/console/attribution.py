"""Attribution: what each marketing channel earned by several models side by side, with spend, filters and CSV."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from aiohttp import web

from deploy.console.application import Console
from deploy.console.panels import NotedClient, Panel
from deploy.console.rendering import Viewer, values_of
from deploy.reporting.attribution import ModelSelection, UnknownModelError, report, select_models
from deploy.reporting.html.queries import MODELS
from schemas.time import ms_of_text, time_of_ms
from sinks.clickhouse.arrived import goals
from sinks.clickhouse.reports import FIRST, LAST, AttributionOptions, AttributionReport, Dimension, models

_LIFE_S = 300.0
DIMENSIONS = ("channel", "campaign", "creative", "product")
PIECES = {"paths": "How buyers came", "learned": "Learned models", "budget": "What a budget would bring"}
"""Parts of the page that it loads afterwards, with their titles."""
_MARKETS = "SELECT DISTINCT market FROM v_markets ORDER BY market"


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def attribution(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        options, selection, asked = read_filters(request, console)
        found, known, markets, every = await asyncio.gather(
            _report(console, options, selection),
            console.panels.get("goals", goals, life_s=_LIFE_S),
            console.panels.get("markets", _markets, life_s=_LIFE_S),
            console.panels.get("models", models, life_s=_LIFE_S),
        )
        return console.renderer.page(
            "attribution.html",
            viewer,
            "/attribution",
            found=found,
            rows=_pivot(found.value, selection.rules),
            models=selection.rules,
            leading=leading_model(selection.rules),
            every=every.value or MODELS,
            goals=known.value or [],
            markets=markets.value or [],
            dimensions=DIMENSIONS,
            asked=asked,
            query=request.rel_url.raw_query_string,
            pieces=PIECES,
        )

    async def download(request: web.Request, _: Viewer) -> web.StreamResponse:
        options, selection, asked = read_filters(request, console)
        found = await _report(console, options, selection, wait_s=60)
        if found.value is None:
            raise web.HTTPServiceUnavailable(text=found.error or "The figures are still computed: try again.")
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["model", asked["by"], "conversions", "revenue", "new_customers", "spend", "roas", "cpa"])
        for row in found.value.rows:
            key = f"'{row.key}" if row.key.startswith(("=", "+", "-", "@")) else row.key  # a spreadsheet would run it
            figures = (row.conversions, row.revenue, row.new_customers, row.spend, row.roas, row.cpa)
            writer.writerow([row.model, key, *("" if one is None else one for one in figures)])
        headers = {"Content-Disposition": 'attachment; filename="attribution.csv"'}
        return web.Response(text=text.getvalue(), content_type="text/csv", charset="utf-8", headers=headers)

    return [
        web.get("/attribution", console.guarded("view-numbers", attribution)),
        web.get("/attribution.csv", console.guarded("view-numbers", download)),
    ]


def read_filters(request: web.Request, console: Console) -> tuple[AttributionOptions, ModelSelection, dict[str, Any]]:
    """Read the filters of an address.

    Raises:
        HTTPBadRequest: One has another form.
    """
    asked: dict[str, Any] = values_of(request.query, "by", "from", "to", "goal", "market")
    asked["by"] = asked["by"] or "channel"
    asked["models"] = request.query.getall("model", list(MODELS))
    zone = ZoneInfo(console.settings.timezone)
    try:
        start, last = (_day(asked[name], zone) for name in ("from", "to"))
        stop = last + timedelta(days=1) if last else LAST
        selection = select_models(",".join(asked["models"]))
    except (ValueError, OverflowError, UnknownModelError) as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    if asked["by"] not in DIMENSIONS or selection.learned:
        raise web.HTTPBadRequest(text="This address is not one of the attribution page's.")
    options = AttributionOptions(
        by=cast("Dimension", asked["by"]),
        models=selection.rules,
        goal=asked["goal"],
        start=start or FIRST,
        stop=stop,
        markets=(asked["market"],) if asked["market"] else (),
    )
    return options, selection, asked


def leading_model(names: Sequence[str]) -> str:
    """Return the model by which rows are ordered and returns are computed."""
    return "linear" if "linear" in names else names[0] if names else ""


def _day(text: str, zone: ZoneInfo) -> Any:
    return time_of_ms(ms_of_text(f"{text}T00:00:00Z")).replace(tzinfo=zone) if text else None


async def _report(
    console: Console, options: AttributionOptions, selection: ModelSelection, wait_s: float = 1.0
) -> Panel[AttributionReport]:
    key = ("attribution", options)
    return await console.panels.get(
        key, lambda client: report(client, options, selection), life_s=_LIFE_S, wait_s=wait_s
    )


def _markets(client: NotedClient) -> list[str]:
    return [str(name) for (name,) in client.query(_MARKETS).result_rows]


def _pivot(found: AttributionReport | None, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each key, with its revenue by model; the highest revenue of the first model first."""
    keys: dict[str, dict[str, Any]] = {}
    for row in found.rows if found else ():
        one = keys.setdefault(row.key, {"key": row.key, "models": {}, "spend": row.spend})
        one["models"][row.model] = row
    first = leading_model(names)
    return sorted(keys.values(), key=lambda one: -(one["models"][first].revenue if first in one["models"] else 0))
