"""Runs the console: reads who may do what, listens, and touches its heartbeat."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress

from aiohttp import web

from deploy.collector.listening import sites
from deploy.console import (
    attribution,
    attribution_parts,
    audience,
    campaigns,
    data,
    journeys,
    live,
    messages,
    openid,
    overview,
    people,
    person_acts,
    segments,
    sign_in,
    system,
    unmerge,
)
from deploy.console.access import ConsoleDefinitions, SignInTokens
from deploy.console.application import Console, application
from deploy.home import Home, home
from deploy.operations.definition_files import load
from deploy.settings import Settings

log = logging.getLogger(__name__)

PAGES = (
    sign_in, openid, overview, live, people, person_acts, unmerge, segments, journeys, messages, campaigns, attribution,
    attribution_parts, audience, data, system,
)  # fmt: skip
HEARTBEAT_S = 5.0


def build(settings: Settings) -> tuple[Console, web.Application]:
    """Wire a console; nothing connects before it is used.

    Raises:
        DefinitionError: `console.yaml` is not valid.
        TokenError: The tokens are not.
    """
    definitions = load(settings.console_file, ConsoleDefinitions)
    tokens = SignInTokens(settings.console_tokens.get_secret_value())
    if not (tokens or settings.console_oidc_issuer or settings.console_proxy_header):
        log.warning("nobody can sign in: there are no tokens, no identity provider and no header of a proxy")
    console = Console(settings, definitions, tokens)
    return console, application(console, [route for page in PAGES for route in page.routes(console)])


async def serve(settings: Settings) -> None:
    """Run a console until SIGTERM or SIGINT.

    Raises:
        DefinitionError: As `build`.
        TokenError: As `build`.
        OSError: The address, or a socket that was passed, cannot be listened on.
    """
    console, app = build(settings)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        for site in sites(runner, settings.console_url):
            await site.start()
            log.info("the console listens on %s", site.name)
        heartbeat = asyncio.create_task(_touch(home_of_console()))
        warming = asyncio.create_task(overview.warm(console))
        await stop.wait()
        heartbeat.cancel()
        warming.cancel()
    finally:
        await runner.cleanup()
        await console.stores.close()


def home_of_console() -> Home:
    """Return the home whose heartbeat is touched."""
    return Home(home())


async def _touch(at: Home) -> None:
    file = at.heartbeat("console")
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with suppress(OSError):
            file.touch()
        await asyncio.sleep(HEARTBEAT_S)
