"""Finding a person, and a person's page: profile, time line, identity graph, segments, runs, decisions, consent."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from aiohttp import web

from deploy.console.application import Console
from deploy.console.identity_graph import draw
from deploy.console.panels import NotedClient
from deploy.console.rendering import Viewer, safe, values_of
from deploy.operations.definition_files import load_territory
from deploy.operations.person_export import read_person
from deploy.operations.person_lookup import PROFILE_ID, UnknownPersonError, find_person_or_erasure
from deploy.reporting.terminal.timeline import sentence
from processors.decisions.explain import story
from processors.profiles.document import new_profile, read_profile
from processors.profiles.view import view
from schemas.time import ms_of_text, ms_of_time, time_of_ms
from sinks.clickhouse.activity import people_named, people_seen_last
from sinks.clickhouse.audit_log import read_acts
from sinks.clickhouse.decisions import read_decisions, read_journey_events
from sinks.clickhouse.identity_log import read_changes
from sinks.clickhouse.timeline import TimelineFilter, TimelinePosition, read_timeline

PARTS = ("profile", "timeline", "decisions", "identity")
PAGE_ENTRIES = 40
_SHORTEST_NAME = 2
PERSON = f"/people/{{profile_id:{PROFILE_ID.pattern}}}"
"""Path of a person's parts and acts: none of them is asked with an address in place of the profile id."""


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def search(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        asked = values_of(request.query, "q", "source")
        if not asked["q"]:
            recent = await console.panels.get("people", people_seen_last)
            return console.renderer.page("people.html", viewer, "/people", asked="", said="", people=recent, named=None)
        deployment = await console.stores.deployment()
        try:
            found = await find_person_or_erasure(deployment, asked["q"], asked["source"])
        except UnknownPersonError as unknown:
            named = None
            if len(asked["q"]) >= _SHORTEST_NAME and not unknown.erased:
                key = ("named", asked["q"].lower())
                named = await console.panels.get(key, lambda client: people_named(client, asked["q"]), wait_s=20)
            if named and named.value and len(named.value) == 1:
                raise web.HTTPSeeOther(f"/people/{named.value[0].profile_id}") from None
            status = 200 if named and named.value else 404
            return console.renderer.page(
                "people.html", viewer, "/people", status, asked=asked["q"], said=str(unknown), people=None, named=named
            )
        raise web.HTTPSeeOther(f"/people/{found.profile_id}")

    async def person(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        asked = request.match_info["profile_id"]
        deployment = await console.stores.deployment()
        profile_id = (await find_person_or_erasure(deployment, asked)).profile_id
        if profile_id != asked:
            raise web.HTTPSeeOther(f"/people/{profile_id}")
        stored = await deployment.profiles.get(profile_id)
        described = view(read_profile(stored) if stored and stored.document else new_profile(profile_id))
        rendered = None
        if request.query.get("whole"):
            found = [await _part(console, request, viewer, profile_id, part) for part in PARTS]
            rendered = dict(zip(PARTS, map(safe, found), strict=True))
        return console.renderer.page(
            "person.html",
            viewer,
            f"/people/{profile_id}",
            profile_id=profile_id,
            view=described,
            name=name_of(described),
            parts_of_page=PARTS,
            rendered=rendered,
            query=urlencode(
                {name: value for name, value in request.query.items() if name in ("channel", "day", "after")}
            ),
            done=request.query.get("done", ""),
        )

    async def part(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        profile_id, name = request.match_info["profile_id"], request.match_info["part"]
        if name not in PARTS:
            raise web.HTTPNotFound
        text = await _part(console, request, viewer, profile_id, name)
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    return [
        web.get("/people", console.guarded("view-people", search)),
        web.get("/people/{profile_id}", console.guarded("view-people", person)),
        web.get(f"{PERSON}/parts/{{part}}", console.guarded("view-people", part)),
    ]


async def _part(console: Console, request: web.Request, viewer: Viewer, profile_id: str, part: str) -> str:
    """Render one part of a person's page; the browser asks for all of them at once."""
    deployment = await console.stores.deployment()
    noted = NotedClient(deployment.tables)
    values: dict[str, Any] = {}
    if part == "profile":
        values["person"] = await read_person(deployment, console.settings, profile_id, noted)
    elif part == "timeline":
        wanted = timeline_filter(request, console)
        page = await asyncio.to_thread(read_timeline, noted, profile_id, wanted)
        zone = ZoneInfo(console.settings.timezone)
        values["entries"] = [{**entry, "sentence": sentence(entry, zone)} for entry in page.entries]
        values |= {"following": _position_text(page.last), "channel": wanted.channel}
    elif part == "decisions":
        decisions, lines = await asyncio.to_thread(_decided, noted, profile_id, console.settings.timezone)
        values |= {"decisions": decisions, "story": lines}
    else:
        members = await deployment.identities.members(profile_id)
        anchors = [anchor for anchor, _ in members]
        changes = await asyncio.to_thread(read_changes, noted, profile_id, anchors)
        values |= {"members": members, "graph": draw(profile_id, members, changes), "changes": changes[::-1]}
        values["links"] = {anchor: change for change in changes for anchor, _ in change["anchors"]}
        values["acts"] = await asyncio.to_thread(read_acts, noted, subject=profile_id, limit=20)
    return console.renderer.text(
        f"person_{part}.html", viewer, f"/people/{profile_id}", profile_id=profile_id, queries=noted.queries, **values
    )


def name_of(person: dict[str, Any]) -> str:
    """Return a person's name, else an address; empty: neither is known."""
    traits = person["traits"]
    parts = [traits.get(spelt) for spelt in ("first_name", "firstName", "last_name", "lastName")]
    named = str(traits.get("name") or " ".join(str(part) for part in parts if part))
    return named or next((one["value"] for found in person["addresses"].values() for one in found), "")


def timeline_filter(request: web.Request, console: Console) -> TimelineFilter:
    """Read which entries of a time line are asked for: `channel`, `day`, `after`.

    Raises:
        HTTPBadRequest: A part has another form.
    """
    asked = values_of(request.query, "channel", "day", "after")
    try:
        after = None
        if asked["after"]:
            at, rank, key = asked["after"].split(" ", 2)
            after = TimelinePosition(time_of_ms(int(at)), int(rank), key)
        stop = None
        if asked["day"]:
            zone = load_territory(console.settings).zone
            day = time_of_ms(ms_of_text(f"{asked['day']}T00:00:00Z")).replace(tzinfo=zone)
            stop = day + timedelta(days=1)
    except (ValueError, OverflowError):
        raise web.HTTPBadRequest(text="This address is not one of the time line's.") from None
    return TimelineFilter(limit=PAGE_ENTRIES, channel=asked["channel"], after=after, stop=stop)


def _position_text(last: TimelinePosition | None) -> str:
    return f"{ms_of_time(last.at)} {last.rank} {last.key}" if last else ""


def _decided(client: NotedClient, profile_id: str, timezone: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Read the decisions about a person, newest first, and the story of runs and decisions."""
    decisions, events = read_decisions(client, profile_id), read_journey_events(client, profile_id)
    return list(reversed(decisions)), story(decisions, events, timezone)
