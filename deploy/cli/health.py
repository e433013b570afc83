"""The command `health`, for container health checks."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from deploy.cli.output import fail

HEALTHY_S = 30
"""A younger heartbeat counts as healthy."""


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("health")(health)


def health(
    role: Annotated[str, typer.Argument(help="identify, profile, record, deliver, scores, backfill or collector.")],
) -> None:
    """Exit 0 if the worker of this home polled Kafka in the last 30 seconds, else 1; for container health checks."""
    from deploy.home import Home
    from deploy.settings import home

    path = Home(home()).heartbeat(role)
    age_s = time.time() - path.stat().st_mtime if path.exists() else None
    if age_s is None or age_s > HEALTHY_S:
        fail(f"{role}: " + ("no heartbeat" if age_s is None else f"last heartbeat {age_s:.0f} s ago"))
    print(f"{role}: ok")
