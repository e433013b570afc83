"""What the page of attribution loads later: how buyers came, learned models, and what a budget would bring."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from aiohttp import web

from deploy.console.application import Console
from deploy.console.attribution import leading_model, read_filters
from deploy.console.charts import Flow, flow
from deploy.console.panels import NotedClient
from deploy.console.rendering import Viewer, values_of
from deploy.reporting.attribution import database_paths, learned_rows, unreliable_keys
from deploy.reporting.html import sankey
from deploy.reporting.html.queries import query_links
from processors.attribution.learned import shares
from processors.attribution.response import Curve, allocate, expected_revenue, fit
from sinks.clickhouse.attribution import LearnedRow, path_counts
from sinks.clickhouse.behaviour import spend_and_revenue
from sinks.clickhouse.reports import FIRST, LAST, AttributionOptions
from sinks.clickhouse.spend import missing_rates

PARTS = ("paths", "learned", "budget")
LEARNED = ("markov_1", "shapley")
REPLICATES = 100
"""Bootstrap replicates of the intervals; `throughline attribution fit` takes more, and stores what it finds."""
SHOWN_PATHS = 20
_LIFE_S = 600.0
_WAIT_S = 40.0


class Route(NamedTuple):
    """A path of touches, with those who bought by it and those who did not.

    Attributes:
        steps: Channels in order.
        conversions: How many ended so.
        revenue: Of these.
        others: People who came the same way and did not convert.
    """

    steps: tuple[str, ...]
    conversions: int
    revenue: float
    others: int


class Routes(NamedTuple):
    """How buyers came.

    Attributes:
        most: The most frequent paths.
        distinct: How many different ones there are.
        conversions: Of all of them.
        map: The journey map; None: nobody has bought after a touch.
    """

    most: list[Route]
    distinct: int
    conversions: int
    map: Flow | None


class Learned(NamedTuple):
    """Credit by models that learn from all journeys.

    Attributes:
        rows: Channel → model → credit; the highest first.
        unreliable: Channels with too few journeys for a reliable credit.
    """

    rows: list[tuple[str, dict[str, LearnedRow]]]
    unreliable: list[str]


class Curves(NamedTuple):
    """What spend brings on each channel.

    Attributes:
        first: First day of the fit.
        last: Its last day.
        curves: One for each channel with spend, the highest marginal return first.
        warnings: Amounts that are in no sum.
    """

    first: date
    last: date
    curves: list[Curve]
    warnings: list[str]


class WhatIf(NamedTuple):
    """What the best split of a day's budget would bring.

    Attributes:
        now: Spend of a day by channel.
        best: The best split.
        before: Credited revenue of a day now.
        after: With the best split.
    """

    now: dict[str, float]
    best: dict[str, float]
    before: float
    after: float


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def part(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        name = request.match_info["part"]
        if name not in PARTS:
            raise web.HTTPNotFound
        options, selection, asked = read_filters(request, console)
        total = read_total(values_of(request.query, "total")["total"])
        options = replace(options, by="channel", models=())
        model, zone = leading_model(selection.rules) or "linear", ZoneInfo(console.settings.timezone)
        compute = {
            "paths": lambda client: bought_by(client, options),
            "learned": lambda client: learned(client, options),
            "budget": lambda client: fitted(client, options, model, zone),
        }[name]
        key = (name, options, model if name == "budget" else "")
        found = await console.panels.get(key, compute, life_s=_LIFE_S, wait_s=_WAIT_S)
        values = {"found": found, "models": LEARNED, "asked": asked, "query": request.query, "total": total}
        if name == "budget":
            values |= {
                "model": model,
                "split": what_if(found.value.curves, total) if isinstance(found.value, Curves) else None,
            }
        text = console.renderer.text(f"attribution_{name}.html", viewer, "/attribution", **values)
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    return [web.get("/attribution/parts/{part}", console.guarded("view-numbers", part))]


def read_total(text: str) -> float | None:
    """Read a day's budget; None: as much as now.

    Raises:
        HTTPBadRequest: It is no amount.
    """
    try:
        total = float(text) if text else None
    except ValueError:
        total = -1.0
    if total is not None and not 0 <= total < 1e12:
        raise web.HTTPBadRequest(text="A day's budget is an amount such as 250.00.")
    return total


def bought_by(client: NotedClient, options: AttributionOptions) -> Routes:
    """Return how buyers came: the most frequent paths, and the map of their first touches."""
    found = [
        Route(tuple(path), n, float(revenue), nulls) for path, n, revenue, _, nulls in path_counts(client, options)
    ]
    bought = sorted((one for one in found if one.conversions and one.steps), key=lambda one: -one.conversions)
    nodes, ribbons = sankey.layout(sankey.merge(query_links(client, options.start, options.stop, options.markets)))
    return Routes(
        bought[:SHOWN_PATHS],
        len(bought),
        sum(one.conversions for one in bought),
        flow(nodes, ribbons) if nodes else None,
    )


def learned(client: NotedClient, options: AttributionOptions) -> Learned:
    """Return the credit of learned models, with 95 % intervals from resampled journeys."""
    found = shares(database_paths(client, options), LEARNED, replicates=REPLICATES, seed=1)
    keys: dict[str, dict[str, LearnedRow]] = {}
    for row in learned_rows(found):
        keys.setdefault(row.key, {})[row.model] = row
    ordered = sorted(keys.items(), key=lambda one: -max(row.revenue for row in one[1].values()))
    return Learned(ordered, unreliable_keys(found))


def fitted(client: NotedClient, options: AttributionOptions, model: str, zone: ZoneInfo) -> Curves | None:
    """Return what spend brings on each channel; None: no spend is known for these days.

    Args:
        client: Asks.
        options: Their period and markets count.
        model: The attribution model whose revenue the curves are fitted to.
        zone: Of the days.
    """
    first = options.start.astimezone(zone).date() if options.start != FIRST else None
    last = (options.stop - timedelta(seconds=1)).astimezone(zone).date() if options.stop != LAST else None
    days = spend_and_revenue(client, model, first, last, options.markets)
    if not days:
        return None
    start, length = days[0].first_day, len(days[0].spend)
    curves = [curve for one in days if (curve := fit(one.channel, one.spend, one.revenue)) is not None]
    return Curves(
        start,
        start + timedelta(days=length - 1),
        sorted(curves, key=lambda curve: -curve.marginal),
        missing_rates(client, start, length, options.markets),
    )


def what_if(curves: list[Curve], total: float | None) -> WhatIf:
    """Return the best split of a day's budget, and what it would bring.

    Args:
        curves: Of all channels with spend.
        total: The budget; None: as much as now.
    """
    now = {curve.channel: curve.spend for curve in curves}
    best = allocate(curves, sum(now.values()) if total is None else total)
    return WhatIf(now, best, expected_revenue(curves, now), expected_revenue(curves, best))
