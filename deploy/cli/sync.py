"""The command `sync`: rows of a warehouse as traits of people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson, Yes
from deploy.cli.import_files import advice, dry_run_of, preview_of, publish_file
from deploy.cli.output import fail
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the command to `throughline`."""
    app.command("sync")(sync)


def sync(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The definition, YAML.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge all changed rows and count what they would do; publish nothing.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Bring rows of a warehouse in as traits: a query, a key, columns; only rows that have changed become events.

    The database is ClickHouse or one that SQLAlchemy reaches (extra 'throughline[sql]'; THROUGHLINE_SYNC_DATABASES has
    its URL). What earlier runs brought is read from history, so a run that was killed is run again. Events are
    published as those of `import people`: they start no journey. People who are not in the query any more are counted,
    and nothing is done to them. Without --yes the first changes are shown.
    """
    from deploy.home import home
    from deploy.operations.definition_files import load
    from deploy.operations.importers.import_rows import ImportFiles
    from deploy.operations.warehouse_rows import WarehouseError
    from deploy.operations.warehouse_sync import find_changes, mapping_of
    from deploy.settings import settings
    from schemas.intake.syncs import SyncDefinition
    from schemas.time import clock_ms

    with advice():
        definition = load(file, SyncDefinition)
        files = ImportFiles(home() / "syncs" / f"{definition.name}.jsonl")
        try:
            with clickhouse() as client:
                found = find_changes(definition, settings(), client, files.path, clock_ms())
            said = (
                f"{found.rows:,} rows: {found.changed:,} new or changed, {found.unchanged:,} as they were,"
                f" {found.without_key:,} without a key, {found.repeated:,} with the key of another row"
            )
            typer.echo(said, err=True)
            if found.missing:
                typer.echo(
                    f"{found.missing:,} people of earlier runs are not in the query any more: their traits stay; for"
                    " others, let the query return them with the values that they have now",
                    err=True,
                )
            mapping = mapping_of(definition)
            if dry_run:
                dry_run_of(files, mapping, as_json=as_json, more={"query": asdict(found)})
            elif yes:
                publish_file(files, mapping, resume=False, as_json=as_json, more={"query": asdict(found)})
            else:
                preview_of(files, mapping, f"throughline sync {file}")
        except WarehouseError as error:
            fail(str(error))
        finally:
            files.path.unlink(missing_ok=True)  # it has personal data
            files.state.unlink(missing_ok=True)
