"""The command group `destinations`: list where conversions go, check the files, try one over history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson, FirstDay, LastDay, period
from deploy.cli.output import fail, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    destinations = typer.Typer(
        help="Conversions out to advertising networks, webhooks and topics.", no_args_is_help=True
    )
    destinations.command("list")(destinations_list)
    destinations.command("lint")(destinations_lint)
    destinations.command("preview")(destinations_preview)
    app.add_typer(destinations, name="destinations")


def destinations_list(
    days: Annotated[int, typer.Option(min=1, help="Count the exports of so many days.")] = 7, as_json: AsJson = False
) -> None:
    """Print the destinations, what they learn of, the secret that one lacks, and what became of the exports."""
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.destination_preview import describe
    from deploy.operations.destinations import load_destinations
    from deploy.settings import settings

    try:
        rows = describe(settings(), load_destinations(settings()), datetime.now(UTC) - timedelta(days=days))
    except DefinitionError as error:
        fail(str(error))
    if as_json:
        print_json(rows)
        return
    print_table(
        ("destination", "through", "state", "goals", "sent", "refused", "withheld", "last sent"),
        [
            (
                row["destination"],
                row["through"],
                (row["lacks"] or "enabled") if row["enabled"] else "not enabled",
                ", ".join(row["conversions"]),
                *(f"{row[name]:,}" if name in row else "?" for name in ("sent", "refused", "withheld")),
                row.get("last_sent_at") or "never",
            )
            for row in rows
        ],
        text_columns=4,
    )


def destinations_lint(
    files: Annotated[list[Path] | None, typer.Argument(exists=True, help="Destinations; else those in force.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check destinations; exit code 1 at an error, which names file, line, column and what was expected."""
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.destinations import load_destinations
    from deploy.settings import settings

    try:
        found = load_destinations(settings(), files)
    except DefinitionError as error:
        fail(str(error))
    if as_json:
        print_json({"destinations": [one.name for one in found]})
        return
    print(f"{len(found):,} destinations, {sum(one.enabled for one in found):,} enabled")


def destinations_preview(
    name: Annotated[str, typer.Argument(help="A destination, enabled or not.")],
    first: FirstDay = None,
    last: LastDay = None,
    payloads: Annotated[int, typer.Option(min=0, max=1000, help="Show so many exports as they would leave.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what a destination would have learned of history, what not, and why; send nothing.

    Each conversion is looked at as of when it happened, with the consent and the addresses of its person now.
    """
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.destination_preview import preview
    from deploy.operations.destinations import adjusts, destination_secrets, load_destinations
    from deploy.settings import settings
    from schemas.spelling import suggestion

    try:
        found = load_destinations(settings())
        destination = next((one for one in found if one.name == name), None)
        if destination is None:
            raise DefinitionError(f"no destination is called {name}{suggestion(name, [one.name for one in found])}")
        start, stop = period(first, last)
        can_adjust = adjusts(destination, destination_secrets(settings(), found))
        result = preview(settings(), destination, start, stop, payloads=payloads, can_adjust=can_adjust)
    except DefinitionError as error:
        fail(str(error))
    if as_json:
        print_json(result)
        return
    print_table(
        ("outcome", "conversions"),
        [(outcome, f"{count:,}") for outcome, count in result["outcomes"].items()],
        text_columns=1,
    )
    if result["match_keys"]:
        print_table(
            ("of those to send, with", "conversions"),
            [(key, f"{count:,}") for key, count in result["match_keys"].items()],
            text_columns=1,
        )
    for one in result["payloads"]:
        print_json(one)
