"""The command group `export`: history for a data lake."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from deploy.cli.arguments import AsJson, FirstDay, LastDay
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    exports = typer.Typer(help="Take history out.", no_args_is_help=True)
    exports.command("parquet")(export_parquet)
    app.add_typer(exports, name="export")


def export_parquet(
    out: Annotated[str, typer.Option(metavar="DIR|URL", help="A directory, or s3://bucket/prefix.")],
    views: Annotated[str, typer.Option(help="Views, comma-separated; else those that most lakes want.")] = "",
    tables: Annotated[str, typer.Option(help="Tables, comma-separated, without columns with addresses.")] = "",
    first: FirstDay = None,
    last: LastDay = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write views as Parquet files, one for each day, with a manifest; a later export writes only days that changed.

    A late event, a merge, a refund, a withdrawn consent or an erasure changes days of the past: what the view shows of
    a day is compared with what was written. `manifest.json` has rows, bytes, SHA-256 and time of each file. An export
    that was killed goes on where it was. `s3://` needs the extra 'throughline[parquet]'; its keys are those of AWS_…
    """
    from deploy.operations.lake import export
    from deploy.operations.lake_files import LakeError, open_lake
    from deploy.settings import settings
    from sinks.clickhouse.lake import DEFAULT_VIEWS, UnknownDatasetError

    names = [name.strip() for text in (views, tables) for name in text.split(",") if name.strip()]
    with clickhouse() as client:
        try:
            with open_lake(out) as lake:
                done = export(
                    client,
                    lake,
                    names or DEFAULT_VIEWS,
                    timezone=settings().timezone,
                    first=first.date() if first else None,
                    last=last.date() if last else None,
                    dry_run=dry_run,
                    progress=lambda line: typer.echo(f"  {line}", err=True),
                )
        except (LakeError, UnknownDatasetError) as error:
            fail(str(error))
    if as_json:
        print_json([asdict(one) for one in done])
        return
    print_table(
        ("view", "days", "written", "removed", "rows", "bytes"),
        [
            (
                one.name, f"{one.days:,}", f"{len(one.written):,}", f"{len(one.removed):,}", f"{one.rows:,}",
                f"{one.bytes:,}",
            )
            for one in done
        ],
        text_columns=1,
    )  # fmt: skip
