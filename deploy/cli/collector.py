"""The command `collector`: takes events over HTTP."""

from __future__ import annotations

import typer

from deploy.cli.output import fail


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("collector")(collector)


def collector() -> None:
    """Take events over HTTP, from Segment-compatible SDKs, browsers and curl, until it is stopped.

    It listens at THROUGHLINE_COLLECTOR_URL. The sources that may publish are in THROUGHLINE_SOURCES_FILE, their keys in
    THROUGHLINE_WRITE_KEYS.
    """
    import asyncio
    import logging.config

    from deploy.collector.server import serve
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.logs import logging_config
    from deploy.settings import settings

    logging.config.dictConfig(logging_config(settings(), "collector"))
    try:
        asyncio.run(serve(settings()))
    except (DefinitionError, OSError) as error:
        fail(f"The collector cannot run: {error}")
