"""What can be done to a person: export, suppress, erase. Each shows first what it would do."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from deploy.console.application import Console
from deploy.console.people import PERSON, name_of
from deploy.console.rendering import Viewer
from deploy.operations.deployment import Deployment
from deploy.operations.erasure import NotErasedError, erase_person, preview_erasure
from deploy.operations.person_export import export_person, read_person
from deploy.operations.person_lookup import find_erasure_request, find_person
from deploy.operations.suppression import NotSuppressibleError, suppress_person, suppression_event

WORKERS_TIMEOUT_S = 60.0
"""Longest time that an act waits for workers to have caught up."""


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def export(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        deployment, profile_id = await found_person(console, request)
        data = await console.act(viewer, "export", profile_id, export_person(deployment, profile_id))
        return web.Response(
            body=json.dumps(data, indent=2, ensure_ascii=False).encode(),
            content_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="person-{profile_id}.json"'},
        )

    async def preview(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        deployment, profile_id = await found_person(console, request)
        act = request.match_info["act"]
        person = await read_person(deployment, console.settings, profile_id)
        said: dict[str, Any] = {}
        if act == "erase":
            said = await preview_erasure(deployment, profile_id)
        else:
            try:
                said = await suppression_event(deployment, profile_id)
            except NotSuppressibleError as error:
                said = {"impossible": str(error)}
        return console.renderer.page(
            "person_act.html", viewer, f"/people/{profile_id}", act=act, person=person, name=name_of(person), said=said
        )

    async def erase(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        deployment = await console.stores.deployment()
        who = request.match_info["profile_id"]
        if str((await request.post()).get("confirmed", "")) != who[:8]:
            raise web.HTTPBadRequest(text=f"Nothing was erased: type {who[:8]} to confirm.")
        wanted = await find_erasure_request(deployment, who)
        try:
            task = erase_person(deployment, wanted, timeout_s=WORKERS_TIMEOUT_S)
            receipt = await asyncio.shield(asyncio.ensure_future(console.act(viewer, "erase", wanted.profile_id, task)))
        except NotErasedError as error:
            return console.error(request, viewer, 500, str(error))
        return console.renderer.page("erased.html", viewer, "/people", receipt=receipt.as_json())

    async def suppress(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        deployment, profile_id = await found_person(console, request)
        try:
            task = suppress_person(deployment, profile_id, viewer.user)
            await console.act(viewer, "suppress", profile_id, task)
        except NotSuppressibleError as error:
            return console.error(request, viewer, 500, str(error))
        raise web.HTTPSeeOther(f"/people/{profile_id}?done=suppressed")

    return [
        web.post(f"{PERSON}/export", console.guarded("erase", export)),
        web.get(f"{PERSON}/{{act:suppress}}", console.guarded("edit", preview, also="view-people")),
        web.get(f"{PERSON}/{{act:erase}}", console.guarded("erase", preview)),
        web.post(f"{PERSON}/erase", console.guarded("erase", erase)),
        web.post(f"{PERSON}/suppress", console.guarded("edit", suppress, also="view-people")),
    ]


async def found_person(console: Console, request: web.Request) -> tuple[Deployment, str]:
    """Return the stores, and the live person that a path names.

    Raises:
        UnknownPersonError: There is none.
    """
    deployment = await console.stores.deployment()
    return deployment, (await find_person(deployment, request.match_info["profile_id"])).profile_id
