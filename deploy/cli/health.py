"""The command `health`, for container health checks; `program.py` answers it before this module is imported."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("health")(health)


def health(
    role: Annotated[
        str, typer.Argument(help="identify, profile, record, deliver, scores, backfill, collector or console.")
    ],
) -> None:
    """Exit 0 if the worker of this home polled Kafka in the last 30 seconds, else 1; for container health checks."""
    from deploy.operations.health import print_health

    raise typer.Exit(print_health(role))
