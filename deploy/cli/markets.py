"""The command group `markets`: list the markets in force, check the table of markets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.stores import exit_on_store_error

if TYPE_CHECKING:
    from schemas.markets import MarketDefinitions


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    markets = typer.Typer(help="Countries, stores, currency and time zone by market.", no_args_is_help=True)
    markets.command("list")(markets_list)
    markets.command("lint")(markets_lint)
    app.add_typer(markets, name="markets")


def markets_list(as_json: AsJson = False) -> None:
    """List the markets in force: countries, currency, time zone, languages, stores; and how the file differs."""
    import asyncio

    from deploy.operations.definitions_report import read_market_rows
    from deploy.settings import settings

    with exit_on_store_error():
        rows = asyncio.run(read_market_rows(settings()))
    states = {row["state"] for row in rows}
    if states == {"in the file"}:
        typer.echo("Redis does not answer: these are the markets of the file.", err=True)
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("market", "state", "countries", "currency", "time zone", "languages", "stores", ""),
            [
                (
                    row["market"], row["state"], " ".join(row["countries"]) or "all others", row["currency"],
                    row["timezone"], " ".join(row["languages"]), str(len(row["stores"])),
                    "default" if row["is_default"] else "",
                )
                for row in rows
            ],
            text_columns=6,
        )  # fmt: skip
    if states - {"in force", "in the file"}:
        typer.echo("The file differs from what is in force. `throughline journeys publish` puts it in force.", err=True)


def markets_lint(
    file: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="A table; else that of the deployment.")
    ] = None,
) -> None:
    """Check the table of markets: file, line, place and what would be right for every mistake; exit code 1 if any."""
    found = _markets(file)
    countries = sum(len(market.countries) for market in found.markets.values())
    stores = sum(len(market.stores) for market in found.markets.values())
    typer.echo(f"{len(found.markets)} markets, {countries} countries, {stores} stores; default: {found.default}")


def _markets(file: Path | None) -> MarketDefinitions:
    from deploy.operations.definition_files import DefinitionError, load_markets
    from deploy.settings import settings

    found = settings()
    try:
        return load_markets(found.model_copy(update={"markets_file": file}) if file else found)
    except DefinitionError as error:
        fail(str(error))
