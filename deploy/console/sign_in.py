"""Signing in with a token, by a form or the link that `throughline up` prints; signing out; the theme."""

from __future__ import annotations

from aiohttp import web

from deploy.console.application import Console
from deploy.console.rendering import Viewer
from deploy.console.sessions import SESSION_MS
from schemas.time import clock_ms


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def sign_in(request: web.Request) -> web.StreamResponse:
        if token := request.query.get("token", ""):
            return await _with_token(console, request, token, request.query.get("next", ""))
        if console.viewer(request).session is not None:
            raise web.HTTPSeeOther("/")
        return _form(console, request)

    async def submitted(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise web.HTTPForbidden(text="Sign in on the page of the console itself.")
        form = await request.post()
        return await _with_token(console, request, str(form.get("token", "")).strip(), str(form.get("next", "")))

    async def sign_out(_: web.Request, __: Viewer) -> web.StreamResponse:
        response = web.HTTPSeeOther("/sign-in")
        response.del_cookie(console.cookie, path="/")
        raise response

    async def theme(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        chosen = str(form.get("theme", ""))
        response = web.HTTPSeeOther(local_path(str(form.get("next", ""))))
        if chosen in ("light", "dark"):
            response.set_cookie("throughline_theme", chosen, path="/", max_age=31_536_000, samesite="Strict")
        raise response

    return [
        web.get("/sign-in", sign_in),
        web.post("/sign-in", submitted),
        web.post("/sign-out", console.guarded(None, sign_out)),
        web.post("/theme", theme),
    ]


def local_path(path: str) -> str:
    """Return a path of this console; of anything else, that of the first page."""
    is_local = path.startswith("/") and not path.startswith("//")
    return path if is_local and path.isprintable() and "\\" not in path else "/"


def begin_session(console: Console, user: str, groups: tuple[str, ...], following: str) -> web.HTTPSeeOther:
    """Return the answer that starts a session and goes on to a page."""
    # Groups without a role are left out: with hundreds of them, a browser would refuse the cookie as too large.
    named = tuple(group for group in groups if group in console.definitions.groups)
    session = console.sessions.begin(user, clock_ms(), named)
    response = web.HTTPSeeOther(local_path(following))
    response.set_cookie(
        console.cookie,
        console.sessions.cookie(session),
        path="/",
        max_age=SESSION_MS // 1000,
        httponly=True,
        secure=console.secure,
        samesite="Lax",  # Strict would not be sent by a link in a mail or a terminal; forms have tokens besides
    )
    return response


async def _with_token(console: Console, request: web.Request, token: str, following: str) -> web.StreamResponse:
    address, now_ms = request.remote or "", clock_ms()
    if wait_s := console.limit.blocked_s(address, now_ms):
        said = f"Too many attempts: wait {wait_s} seconds."
        response = _form(console, request, said, 429)
        response.headers["Retry-After"] = str(wait_s)
        return response
    name = console.tokens.name_of(token)
    if not name:
        console.limit.failed(address, now_ms)
        await console.note(Viewer(), "sign in", "", "refused", f"from {address}")
        return _form(console, request, "This token signs nobody in.", 403)
    await console.note(Viewer(console.sessions.begin(name, now_ms)), "sign in", "", "done", f"from {address}")
    raise begin_session(console, name, (), following)


def _form(console: Console, request: web.Request, said: str = "", status: int = 200) -> web.Response:
    following = local_path(request.query.get("next", "/"))
    return console.renderer.page(
        "sign_in.html",
        Viewer(theme=console.viewer(request).theme),
        "/sign-in",
        status,
        said=said,
        following=following,
        has_provider=bool(console.settings.console_oidc_issuer),
        has_tokens=bool(console.tokens),
    )
