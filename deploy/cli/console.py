"""The command `console`: pages on which people look at the deployment."""

from __future__ import annotations

import typer

from deploy.cli.output import fail


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("console")(console)


def console() -> None:
    """Serve the console, for marketers, analysts, operators and who answers customers, until it is stopped.

    It listens at THROUGHLINE_CONSOLE_URL. Who may do what is in THROUGHLINE_CONSOLE_FILE; people sign in with
    the tokens of THROUGHLINE_CONSOLE_TOKENS.
    """
    import asyncio
    import logging.config

    from deploy.console.access import TokenError
    from deploy.console.server import serve
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.logs import logging_config
    from deploy.settings import settings

    logging.config.dictConfig(logging_config(settings(), "console"))
    try:
        asyncio.run(serve(settings()))
    except (DefinitionError, TokenError, OSError) as error:
        fail(f"The console cannot run: {error}")
