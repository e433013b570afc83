"""Audience: the funnel, cohorts, classes of customers, message frequency and reachability, by the report's queries."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from deploy.console.application import Console
from deploy.console.panels import NotedClient
from deploy.console.rendering import Viewer
from deploy.reporting.html.queries import query_audience

_LIFE_S = 600.0
_CLASSES = """
SELECT class, count() AS people, avg(recency_days) AS recency_days, avg(frequency) AS orders, avg(monetary) AS monetary
FROM v_rfm
GROUP BY class
ORDER BY people DESC, class
"""


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def audience(_: web.Request, viewer: Viewer) -> web.StreamResponse:
        get = console.panels.get
        report, classes = await asyncio.gather(
            get("audience", query_audience, life_s=_LIFE_S, wait_s=1),
            get("rfm", _classes, life_s=_LIFE_S, wait_s=1),
        )
        return console.renderer.page(
            "audience.html",
            viewer,
            "/audience",
            report=report,
            classes=classes,
            cohorts=_cohorts(report.value.cohorts.rows) if report.value else {},
        )

    return [web.get("/audience", console.guarded("view-numbers", audience))]


def _classes(client: NotedClient) -> list[dict[str, Any]]:
    return client.rows(_CLASSES)


def _cohorts(rows: list[dict[str, Any]]) -> dict[Any, dict[int, float]]:
    """Return retention by cohort and week since."""
    found: dict[Any, dict[int, float]] = {}
    for row in rows:
        found.setdefault(row["cohort"], {})[row["number"]] = row["retention"]
    return found
