"""The command `demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.output import fail
from deploy.connections.clickhouse import clickhouse_client


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("demo")(demo)


def demo(
    people: Annotated[int, typer.Option(min=50, help="How many people the simulated retailer has.")] = 2_000,
) -> None:
    """Show what the pipeline does: 110,000 events in, people, a person's path, journeys and attribution out.

    Needs a running stack (`throughline up`). Run it again: every event is recognised as a duplicate.
    """
    from rich.console import Console

    from deploy.cli.profile import profile_show
    from deploy.demo import page as demo_page
    from deploy.demo.run import DemoError, period, rehearse, run
    from deploy.home import home
    from deploy.local.state import LocalHome
    from deploy.settings import settings
    from sinks.clickhouse import overview, reports

    try:
        with Console(stderr=True).status("starting") as spinner:
            flow = run(settings(), people, home() / "cache", spinner.update)
    except DemoError as error:
        fail(str(error))
    console = Console()
    client = clickhouse_client(settings())
    demo_page.show_flow(console, flow)
    demo_page.show_totals(console, overview.totals(client))
    demo_page.show_identity(console, overview.identity(client))
    person = overview.example_person(client)
    if person is not None:
        demo_page.show_person_title(console)
        profile_show(person)
        demo_page.show_path(console, overview.path(client, person))
    try:
        with Console(stderr=True).status("rehearsing the journeys"):
            rehearsed, share = rehearse(settings(), client)
    except DemoError as error:
        fail(str(error))
    demo_page.show_journeys(console, rehearsed, share)
    demo_page.show_attribution(console, reports.attribution(client, period(tuple(demo_page.MODELS))))
    state = LocalHome(home()).read() or {}
    link = state.get("console") or settings().console_url
    demo_page.show_next(console, link, settings().clickhouse_url, person)
    if flow.difference:
        raise typer.Exit(1)
