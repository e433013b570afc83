"""The command `throughline`: registers the commands of the modules of `deploy/cli`, each named after its command."""

from __future__ import annotations

import importlib
import sys

import typer

app = typer.Typer(
    name="throughline",
    help="An omnichannel event pipeline: one person, one history, attribution that reconciles.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Each module has a function `register(app)`; the order is that of `throughline --help`.
MODULES = (
    "stack",
    "provision",
    "retention",
    "permissions",
    "worker",
    "collector",
    "console",
    "health",
    "publish",
    "simulate",
    "imports",
    "sync",
    "demo",
    "rebuild",
    "backup",
    "replay",
    "state",
    "profile",
    "identity",
    "segments",
    "journeys",
    "broadcasts",
    "experiments",
    "recommendations",
    "coupons",
    "attribution",
    "accounting",
    "funnel",
    "frequency",
    "reachability",
    "budget",
    "ltv",
    "report",
    "mcp",
    "export",
    "markets",
    "plan",
    "hooks",
    "destinations",
    "schema",
    "dead_letters",
)

for _name in MODULES:
    importlib.import_module(f"deploy.cli.{_name}").register(app)


def main() -> None:
    """Run the command line; a closed pipe downstream (`| head`) is not an error, a wrong setting is one in a line."""
    from pydantic import ValidationError

    try:
        app()
    except ValidationError as error:
        if error.title != "Settings":
            raise
        from deploy.settings import setting_errors

        sys.exit(setting_errors(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
