"""The command group `markets`: list the markets, check the table of markets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.output import fail, print_json, print_table

if TYPE_CHECKING:
    from schemas.markets import MarketDefinitions


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    markets = typer.Typer(help="Countries, stores, currency and time zone by market.", no_args_is_help=True)
    markets.command("list")(markets_list)
    markets.command("lint")(markets_lint)
    app.add_typer(markets, name="markets")


def markets_list(as_json: AsJson = False) -> None:
    """Print the markets of the file: default, countries, currency, time zone, languages, stores."""
    from deploy.operations.provision import market_rows
    from deploy.settings import settings

    rows = market_rows(_markets(None), settings().timezone)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("market", "countries", "currency", "time zone", "languages", "stores", ""),
        [
            (
                row["market"], " ".join(row["countries"]) or "all others", row["currency"], row["timezone"],
                " ".join(row["languages"]), str(len(row["stores"])), "default" if row["is_default"] else "",
            )
            for row in rows
        ],
        text_columns=5,
    )  # fmt: skip


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
