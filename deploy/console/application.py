"""The console as a web application: who may see which page, the headers of answers, and what errors look like."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.resources import files
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from aiohttp import web
from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import RedisError

from deploy.console.access import RIGHTS, ConsoleDefinitions, Right, SignInTokens
from deploy.console.in_force import DefinitionsInForce
from deploy.console.panels import Panels
from deploy.console.rendering import Renderer, Viewer, asset
from deploy.console.sessions import SESSION_MS, Session, Sessions, SignInLimit
from deploy.console.stores import ConsoleStores
from deploy.home import home
from deploy.operations.audit import AuditTrail
from deploy.operations.definition_files import DefinitionError
from deploy.operations.lag import KafkaUnreachableError
from deploy.operations.person_lookup import UnknownPersonError
from deploy.settings import Settings
from schemas.time import clock_ms
from sinks.clickhouse.client import StoreDown
from sinks.redis.layout import UnmigratedStateError

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Page = Callable[[web.Request, Viewer], Awaitable[web.StreamResponse]]

MAX_FORM_BYTES = 1024 * 1024
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer, unless it sets its own."""
STORE_ERRORS = (StoreDown, ClickHouseError, RedisError, KafkaUnreachableError, UnmigratedStateError, OSError)
_STATIC_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Console:
    """What all pages share.

    Args:
        settings: Of the deployment.
        definitions: Roles and users.
        tokens: By which people sign in.

    Attributes:
        stores: Open connections.
        panels: Figures that were computed.
        in_force: Definitions in force.
        renderer: Renders templates.
        sessions: Signs and reads sessions.
        limit: Of failed sign-ins.
        audit: Where acts are noted.
    """

    def __init__(self, settings: Settings, definitions: ConsoleDefinitions, tokens: SignInTokens) -> None:
        self.settings, self.definitions, self.tokens = settings, definitions, tokens
        self.stores = ConsoleStores(settings)
        self.panels = Panels(self.stores.tables)
        self.in_force = DefinitionsInForce(settings)
        self.renderer = Renderer(settings)
        self.sessions = Sessions(settings.console_secret.get_secret_value())
        self.limit = SignInLimit()
        self.audit = AuditTrail(settings, home(), "console")
        address = urlsplit(settings.console_public_url or settings.console_url)
        self.secure = address.scheme == "https"
        self._proxies = [ip_network(one) for one in settings.console_proxy_networks]
        self.cookie = f"throughline_{urlsplit(settings.console_url).port}"  # cookies of one host are of all its ports

    def viewer(self, request: web.Request) -> Viewer:
        """Return who looks, by the cookie."""
        theme = request.cookies.get("throughline_theme", "")
        theme = theme if theme in ("light", "dark") else ""
        session = self._of_proxy(request) or self.sessions.read(request.cookies.get(self.cookie, ""), clock_ms())
        if session is None:
            return Viewer(theme=theme)
        rights = self.definitions.rights(session.user, session.groups)
        return Viewer(session, rights, self.sessions.form_token(session), theme)

    def _of_proxy(self, request: web.Request) -> Session | None:
        """Return the session of whom a trusted proxy names; None: there is no such proxy, or it names nobody."""
        header = self.settings.console_proxy_header
        values = request.headers.getall(header, []) if header else []
        if len(values) != 1 or not values[0].strip():
            return None
        try:
            address = ip_address(request.remote or "")
        except ValueError:
            return None
        if not any(address in network for network in self._proxies):
            return None
        user = values[0].strip()
        return Session(user, (), clock_ms() + SESSION_MS, f"proxy {user}")

    def guarded(
        self, right: Right | None, page: Page, *, also: Right | None = None
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return a handler that answers only those who have signed in and have a right; forms must be ours.

        Args:
            right: The right; None: to have signed in is enough.
            page: Answers.
            also: A second right that is needed.
        """

        async def handler(request: web.Request) -> web.StreamResponse:
            viewer = self.viewer(request)
            if viewer.session is None:
                if request.method != "GET":
                    return self.error(request, viewer, 401, "Your session has ended: sign in again.")
                raise web.HTTPSeeOther(f"/sign-in?next={quote(request.path_qs)}")
            if request.method != "GET" and not await self._is_own_form(request, viewer):
                return self.error(request, viewer, 403, "This form is not of your session: open the page again.")
            for needed in (right, also):
                if needed is None or needed in viewer.rights:
                    continue
                if request.method != "GET":
                    await self.note(viewer, request.path, "", "refused", f"the right {needed} is missing")
                said = f"You may not {RIGHTS[needed]}: that needs the right “{needed}”, which console.yaml gives."
                return self.error(request, viewer, 403, said)
            return await page(request, viewer)

        return handler

    async def note(self, viewer: Viewer, act: str, subject: str, outcome: Any, detail: str = "") -> None:
        """Note an act in the audit log."""
        await asyncio.to_thread(self.audit.note, viewer.user, act, subject, outcome, detail)

    async def act(
        self,
        viewer: Viewer,
        act: str,
        subject: str,
        task: Awaitable[Result],
        *,
        detail: str | Callable[[Result], str] = "",
    ) -> Result:
        """Do something, note it and its outcome in the audit log, and compute all panels anew.

        Args:
            viewer: Who does it.
            act: What, a verb.
            subject: On whom or what; never an address.
            task: Does it.
            detail: More, in words, or what says it of the result.
        """
        try:
            result = await task
        except BaseException as error:
            said = str(error).strip().partition("\n")[0] if isinstance(error, Exception) else "broken off"
            # The people's names are not for the log: errors about a person may quote what somebody searched for.
            await self.note(viewer, act, subject, "failed", "" if isinstance(error, UnknownPersonError) else said)
            raise
        await self.note(viewer, act, subject, "done", detail if isinstance(detail, str) else detail(result))
        self.panels.forget()
        return result

    def error(self, request: web.Request, viewer: Viewer, status: int, said: str) -> web.Response:
        """Answer with an error page."""
        titles = {401: "Sign in", 403: "Not allowed", 404: "Not found", 503: "A store does not answer"}
        title = titles.get(status, "Something went wrong")
        return self.renderer.page("error.html", viewer, request.path, status, title=title, said=said, code=status)

    async def _is_own_form(self, request: web.Request, viewer: Viewer) -> bool:
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return False
        token = request.headers.get("X-Form-Token") or str((await request.post()).get("form_token", ""))
        return viewer.session is not None and self.sessions.is_form_token(viewer.session, token)


def application(console: Console, routes: list[web.RouteDef]) -> web.Application:
    """Return the application with these routes, the static files and `/healthz`."""

    @web.middleware
    async def with_headers(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response = await _answered(console, request, handler)
        except web.HTTPException as redirect:
            _add_headers(redirect)
            raise
        if not response.prepared:
            _add_headers(response)
        return response

    async def static(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        with suppress(FileNotFoundError, IsADirectoryError):
            content = files("deploy.console").joinpath("static", name).read_bytes()
            kind = _STATIC_TYPES.get(name.rpartition(".")[2])
            if kind and request.path == asset(name):
                kept = {"Cache-Control": "public, max-age=31536000, immutable"}
                return web.Response(body=content, content_type=kind, charset="utf-8", headers=kept)
        raise web.HTTPNotFound

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application(middlewares=[with_headers], client_max_size=MAX_FORM_BYTES)
    app.add_routes([*routes, web.get("/static/{hash}/{name}", static), web.get("/healthz", healthy)])
    return app


def _add_headers(response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


async def _answered(console: Console, request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer, and turn what goes wrong into pages."""
    viewer = console.viewer(request)
    try:
        return await handler(request)  # type: ignore[no-any-return] # aiohttp's handlers are not typed
    except web.HTTPNotFound:
        return console.error(request, viewer, 404, "There is no such page.")
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return console.error(request, viewer, error.status, error.text or error.reason)
    except UnknownPersonError as error:
        return console.error(request, viewer, 404, str(error))
    except DefinitionError as error:
        return console.error(request, viewer, 500, str(error))
    except STORE_ERRORS as error:
        log.warning("%s cannot be answered: %s", request.path, error)
        reason = str(error).strip().partition("\n")[0]
        return console.error(request, viewer, 503, f"{type(error).__name__}: {reason}")
    except (asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception:  # a fault of ours: the log has it, the reader a page
        log.exception("%s failed", request.path)
        return console.error(request, viewer, 500, "The log of the console says what it was.")
