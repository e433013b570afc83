"""The first page: what comes in, what goes wrong, what is sold, and what needs somebody."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from aiohttp import web

from deploy.console.application import Console
from deploy.console.panels import NotedClient, Panel
from deploy.console.rendering import Viewer
from deploy.operations import conditions
from deploy.operations.definitions_report import read_workers
from deploy.operations.lag import LagReader, measure_lags
from deploy.settings import Settings
from schemas.time import clock_ms, ms_of_time, time_of_ms
from sinks.clickhouse import activity
from sinks.clickhouse.audit_log import read_acts

_SLOT_MINUTES, _HOURS, _DAYS = 30, 24, 30
_SLOW_LIFE_S = 60.0
_SHOWN_CHANNELS = 7
_PAGES = {"ManyRefusals": "/data"}
"""Alert → the page that shows more; all others: the page of the system."""


class Sales(NamedTuple):
    """Sales of the days up to the last one that has any.

    Attributes:
        days: One for each day, those without a sale too.
        today: That of today; None: nothing was sold today.
        currency: Of the amounts.
        is_current: Whether the last day is today.
    """

    days: list[activity.SalesDay]
    today: activity.SalesDay | None
    currency: str
    is_current: bool


class Alert(NamedTuple):
    """Something that needs somebody.

    Attributes:
        text: What it is.
        path: The page that shows more.
        serious: Whether it is more than a hint.
    """

    text: str
    path: str
    serious: bool = True


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def overview(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        names = ("arrivals", "delay", "refusals", "sales", "accounting", "lag", "workers", "acts", "conditions")
        found = dict(zip(names, await asyncio.gather(*_panels(console)), strict=True))
        return console.renderer.page(
            "overview.html", viewer, "/", alerts=_alerts(found), slots=_slots(found["arrivals"], console), **found
        )

    return [web.get("/", console.guarded("view-numbers", overview))]


async def warm(console: Console) -> None:
    """Compute the panels before anybody looks."""
    await asyncio.gather(*_panels(console))


def _panels(console: Console) -> list[Any]:
    get, settings = console.panels.get, console.settings
    today = time_of_ms(clock_ms()).astimezone(ZoneInfo(settings.timezone)).date()
    return [
        get("arrivals", lambda client: activity.arrivals(client, _HOURS, _SLOT_MINUTES)),
        get("delay", activity.delay),
        get("refusals", activity.refusals),
        get(("sales", today), lambda client: _sales(client, today), life_s=_SLOW_LIFE_S),
        get("accounting", activity.accounting_totals, life_s=_SLOW_LIFE_S),
        get("lag", lambda _: lags(settings)),
        get("workers", lambda _: workers(settings)),
        get("acts", lambda client: read_acts(client, limit=6)),
        get("conditions", lambda _: held_conditions(settings), life_s=_SLOW_LIFE_S),
    ]


def lags(settings: Settings) -> dict[str, int]:
    """Return how many records the workers of each role are behind, by what the broker says."""
    with LagReader(settings, timeout_s=5) as reader:
        found: dict[str, int] = {}
        for one in reader.lags(exact=False):
            found[one.role] = found.get(one.role, 0) + one.records
        return found


def held_conditions(settings: Settings) -> list[conditions.Condition]:
    """Return the conditions of shipped alerts that hold now, as `throughline doctor` finds them."""
    readings = conditions.read(settings, measure_lags(settings, timeout_s=5))
    return [one for one in conditions.conditions(readings) if one.alert]


def workers(settings: Settings) -> dict[str, Any]:
    """Return what is in force: workers alive by role, what they refuse, journeys that do not run."""
    state, reports = asyncio.run(read_workers(settings))
    return {
        "alive": [report["role"] for report in reports],
        "refused": [f"{report['role']}: {report['refused']}" for report in reports if report["refused"]],
        "halted": {name: one.state for name, one in state.journeys.items() if one.state != "running"},
        "version": state.version,
    }


def _sales(client: NotedClient, today: date) -> Sales:
    last = activity.last_sale(client)
    end = today if last is None or last > today or (today - last).days < _DAYS else last
    known = {one.day: one for one in activity.sales(client, end, _DAYS)}
    days = [end - timedelta(days=back) for back in reversed(range(_DAYS))]
    filled = [known.get(day, activity.SalesDay(day, 0, 0.0, 0)) for day in days]
    return Sales(filled, known.get(today), activity.report_currency(client), end == today)


def _slots(panel: Panel[list[tuple[datetime, str, int]]], console: Console) -> dict[str, Any]:
    """Return the arrivals as columns of the channels with most events, all others together."""
    rows = panel.value or []
    totals: dict[str, int] = {}
    for _, channel, events in rows:
        totals[channel] = totals.get(channel, 0) + events
    shown = sorted(totals, key=lambda one: -totals[one])[:_SHOWN_CHANNELS]
    names = [*shown, *(["others"] if len(totals) > len(shown) else [])]
    place = {name: number for number, name in enumerate(shown)}
    zone = ZoneInfo(console.settings.timezone)
    slot_ms = _SLOT_MINUTES * 60_000
    last = panel.at_ms // slot_ms * slot_ms
    starts = [last - back * slot_ms for back in reversed(range(_HOURS * 60 // _SLOT_MINUTES))] if rows else []
    columns = {start: [0] * len(names) for start in starts}
    for slot, channel, events in rows:
        if (start := ms_of_time(slot)) in columns:
            columns[start][place.get(channel, len(names) - 1)] += events
    points = [(f"{time_of_ms(start).astimezone(zone):%H:%M}", parts) for start, parts in columns.items()]
    return {"points": points, "names": names, "events": sum(totals.values()), "totals": totals}


def _alerts(found: dict[str, Panel[Any]]) -> list[Alert]:
    alerts = []
    held = {one.alert: one for one in found["conditions"].value or ()}
    if (accounting := found["accounting"].value) and accounting.difference:
        alerts.append(Alert(f"{abs(accounting.difference):,} records have two outcomes, or none", "/system"))
        held.pop("AccountingDifference", None)
    alerts += [
        Alert(f"{one.name}: {one.found} (alert {name})", _PAGES.get(name, "/system")) for name, one in held.items()
    ]
    if lag := found["lag"].value:
        behind = {role: records for role, records in lag.items() if records > 10_000}
        alerts += [Alert(f"{role} is {records:,} records behind", "/system") for role, records in behind.items()]
    if found["lag"].error:
        alerts.append(Alert(f"Kafka does not answer: {found['lag'].error}", "/system"))
    if in_force := found["workers"].value:
        missing = [role for role in ("identify", "profile", "deliver") if role not in in_force["alive"]]
        if not in_force["alive"]:
            alerts.append(Alert("no worker runs", "/system"))
        elif lost := [role for role in missing if role == "profile"]:
            alerts.append(Alert(f"no {lost[0]} worker runs", "/system"))
        alerts += [Alert(f"definitions are refused by {one}", "/system") for one in in_force["refused"]]
        alerts += [
            Alert(f"journey {name} is {state}", f"/journeys/{name}", False)
            for name, state in in_force["halted"].items()
        ]
    if found["workers"].error:
        alerts.append(Alert(f"Redis does not answer: {found['workers'].error}", "/system"))
    if refused := found["refusals"].value:
        total = sum(one.records for one in refused)
        alerts.append(Alert(f"{total:,} records were refused within a day", "/data", False))
    return alerts
