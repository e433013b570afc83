"""The command group `recommendations`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    recommendations = typer.Typer(help="Products that go with what people bought.", no_args_is_help=True)
    recommendations.callback()(_group)
    recommendations.command("refresh")(recommendations_refresh)
    app.add_typer(recommendations, name="recommendations")


def _group() -> None:
    """Make typer treat this single command as a command group."""


def recommendations_refresh(
    days: Annotated[int, typer.Option(min=1, max=3650, help="Age limit of the orders that count, in days.")] = 180,
    as_json: AsJson = False,
) -> None:
    """Compute recommendations from orders and store them for the templates of messages. Run it once a day."""
    import asyncio

    from deploy.operations.recommendations import refresh
    from deploy.settings import settings

    with clickhouse() as client:
        found = asyncio.run(refresh(settings(), client, days=days))
    if as_json:
        print(json.dumps(found._asdict()))
    else:
        print(f"{found.products:,} products, {found.pairs:,} pairs, {found.best:,} best sellers")
