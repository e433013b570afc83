"""Taking a person apart whom events of two people made: what would move first, then the act."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from deploy.console.application import Console
from deploy.console.people import PERSON, name_of
from deploy.console.person_acts import WORKERS_TIMEOUT_S, found_person
from deploy.console.rendering import Viewer
from deploy.operations.deployment import Deployment
from deploy.operations.person_export import read_person
from deploy.operations.rebuild import NotRebuiltError, load_rebuild_decider
from deploy.operations.unmerge import Unmerge, UnmergePreview, preview_unmerge, rebuild_both, split_off
from schemas.identity.resolution import uuid_bytes
from sinks.redis.identity import ImpossibleSplitError


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def preview(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        deployment, profile_id = await found_person(console, request)
        person = await read_person(deployment, console.settings, profile_id)
        anchors = request.query.getall("anchor", [])
        said: dict[str, Any] = {"anchors": anchors}
        try:
            said |= (await _preview(deployment, profile_id, _hashes(anchors)))._asdict()
        except ImpossibleSplitError as error:
            said["impossible"] = str(error)
        return console.renderer.page(
            "person_unmerge.html", viewer, f"/people/{profile_id}", person=person, name=name_of(person), said=said
        )

    async def separate(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        deployment, profile_id = await found_person(console, request)
        anchors = [str(one) for one in (await request.post()).getall("anchor", [])]
        task = _separate(deployment, profile_id, anchors)
        act = console.act(viewer, "unmerge", profile_id, task, detail=lambda done: f"into {done.target}")
        try:
            done = await asyncio.shield(asyncio.ensure_future(act))  # also when the reader closes the page
        except (ImpossibleSplitError, NotRebuiltError) as error:
            return console.error(request, viewer, 500, str(error))
        raise web.HTTPSeeOther(f"/people/{done.target}?done=unmerged")

    return [
        web.get(f"{PERSON}/unmerge", console.guarded("edit", preview, also="view-people")),
        web.post(f"{PERSON}/unmerge", console.guarded("edit", separate, also="view-people")),
    ]


async def _preview(deployment: Deployment, profile_id: str, identifier_hashes: list[bytes]) -> UnmergePreview:
    found = await preview_unmerge(deployment, identifier_hashes)
    if found.source != profile_id:
        raise ImpossibleSplitError("these identifiers are of another person by now: open the person again")
    return found


async def _separate(deployment: Deployment, profile_id: str, anchors: list[str]) -> Unmerge:
    hashes = _hashes(anchors)
    await _preview(deployment, profile_id, hashes)
    decider = await load_rebuild_decider(deployment.settings)
    split = await split_off(deployment, hashes)
    return await rebuild_both(deployment, split, decider, timeout_s=WORKERS_TIMEOUT_S)


def _hashes(anchors: list[str]) -> list[bytes]:
    """Read the anchors of a form.

    Raises:
        ImpossibleSplitError: None is chosen, or one is none.
    """
    if not anchors:
        raise ImpossibleSplitError("choose the identifiers that are to leave this person")
    hashes = []
    for anchor in anchors:
        try:
            hashes.append(uuid_bytes(anchor))
        except ValueError:
            hashes.append(b"")
    if any(len(one) != 16 for one in hashes):
        raise ImpossibleSplitError("an identifier is named by its keyed hash, as the table shows it")
    return hashes
