"""A message of a journey as a real or a sample person would get it on each channel, and a test to oneself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from deploy.connections.redis import async_redis_client
from deploy.console.application import Console
from deploy.console.journeys import find_journey
from deploy.console.rendering import Viewer, values_of
from deploy.operations.definitions_report import DefinitionsReport
from deploy.operations.message_preview import Preview, UnknownStepError, preview_for, renderer_of
from deploy.operations.message_preview import preview as preview_of
from deploy.operations.message_tests import NotSentError, send_test, testable_channels
from deploy.operations.person_lookup import UnknownPersonError, find_person
from processors.profiles.document import new_profile
from schemas.journeys.definitions import Journey

SAMPLE_ID = "00000000-0000-4000-8000-000000000000"
MAIL_POLICY = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'self'; form-action 'none'; base-uri 'none'",
    "X-Frame-Options": "SAMEORIGIN",
}
"""Of the text of a mail: it has styles of its own, and may neither run anything nor ask any host."""


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def message(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        name, step = request.match_info["name"], request.match_info["step"]
        report = await console.in_force.report()
        journey = find_journey(report, name)
        asked = values_of(request.query, "who", "sent", "failed")
        found, missing, said = await _rendered(console, report, journey, step, asked["who"], viewer)
        return console.renderer.page(
            "message.html",
            viewer,
            f"/journeys/{name}/messages",
            journey=journey,
            step=step,
            found=found,
            missing=missing,
            said=said,
            asked=asked,
            query=urlencode({"who": asked["who"]}),
            testable=sorted(testable_channels(console.settings)),
        )

    async def mail(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        report = await console.in_force.report()
        journey = find_journey(report, request.match_info["name"])
        who = request.query.get("who", "")
        found, _, _ = await _rendered(console, report, journey, request.match_info["step"], who, viewer)
        html = next((one.rendered.html for one in found if one.rendered and one.rendered.html), "")
        return web.Response(text=html or "<p>No HTML.</p>", content_type="text/html", headers=MAIL_POLICY)

    async def test(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        name, step = request.match_info["name"], request.match_info["step"]
        form = await request.post()
        address, who = str(form.get("address", "")).strip(), str(form.get("who", ""))
        if "@" not in address or any(char.isspace() for char in address):
            raise web.HTTPBadRequest(text="Write your own e-mail address.")
        report = await console.in_force.report()
        journey = find_journey(report, name)
        found, _, _ = await _rendered(console, report, journey, step, who, viewer)
        answer = {"who": who, "sent": "1"}
        try:
            await console.act(
                viewer, "send a test", name, send_test(console.settings, found, address), detail=f"step {step}"
            )
        except NotSentError as error:
            answer = {"who": who, "failed": error.said}
        raise web.HTTPSeeOther(f"/journeys/{name}/messages/{quote(step)}?{urlencode(answer)}")

    path = "/journeys/{name:[a-z][a-z0-9_-]*}/messages/{step}"
    return [
        web.get(path, console.guarded("view-numbers", message)),
        web.get(f"{path}/mail", console.guarded("view-numbers", mail)),
        web.post(f"{path}/test", console.guarded("edit", test)),
    ]


async def _rendered(
    console: Console, report: DefinitionsReport, journey: Journey, step: str, who: str, viewer: Viewer
) -> tuple[Sequence[Preview], list[str], str]:
    """Render for a person if one is named and may be seen, else for a sample person."""
    said = ""
    try:
        if who and "view-people" in viewer.rights:
            deployment = await console.stores.deployment()
            try:
                profile_id = (await find_person(deployment, who)).profile_id
                return *(await preview_for(deployment, report, journey, step, profile_id)), ""
            except UnknownPersonError as error:
                said = f"{error}: this is a sample person."
        sample: dict[str, Any] = new_profile(SAMPLE_ID)
        templates, territory = report.definitions.templates, report.definitions.territory
        async with async_redis_client(console.settings, timeout_s=10) as redis:
            renderer = renderer_of(redis, console.settings)
            found, missing = await preview_of(
                journey, step, sample, [], templates=templates, renderer=renderer, territory=territory
            )
        return found, missing, said
    except UnknownStepError:
        raise web.HTTPNotFound from None
