"""Commands of retention: `retention show` and `retention apply`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.arguments import AsJson
from deploy.cli.output import fail, print_json, print_table
from deploy.cli.stores import clickhouse

if TYPE_CHECKING:
    from schemas.segments.definitions import SegmentDefinitions


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    retention = typer.Typer(help="How long ClickHouse keeps what.", no_args_is_help=True)
    retention.command("show")(show)
    retention.command("apply")(apply)
    app.add_typer(retention, name="retention")


def show(as_json: AsJson = False) -> None:
    """Show how long payloads, events and reports are kept, since when they are complete, and their size."""
    from deploy.operations.kept_history import APPLY, retention_report
    from deploy.settings import settings
    from schemas.recording.retention import kept_text
    from schemas.time import text_of_time

    with clickhouse() as client:
        found = retention_report(settings(), client)
    rows = [
        {
            "class": one.name,
            "days": one.days,
            "complete_since": text_of_time(one.complete_since) if one.complete_since else None,
            "bytes": size.size_bytes,
            "pending_tables": size.pending,
            "wanted_days": found.wanted[one.name],
        }
        for one, size in zip(found.classes, found.sizes, strict=True)
    ]
    if as_json:
        print_json({"is_set": found.is_set, "classes": rows})
        return
    print_table(
        ("class", "kept", "complete since", "setting", "MB"),
        [
            (
                str(row["class"]),
                kept_text(one.days),
                str(row["complete_since"] or "ever")[:10],
                kept_text(found.wanted[one.name]),
                f"{size.size_bytes / 1e6:,.1f}",
            )
            for row, one, size in zip(rows, found.classes, found.sizes, strict=True)
        ],
        text_columns=4,
    )
    if not found.is_set:
        print(f"The settings are not in force: {APPLY}")


def apply(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, the rows that would go are counted.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when what has expired is removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let ClickHouse keep payloads, events and reports for as long as the settings say.

    Longer is always safe, and brings nothing back. Shorter removes what is older, for good: without --yes it is counted
    only. It may be repeated, and changed at any time while workers run.
    """
    from deploy.cli.acts import noted_act
    from deploy.operations.kept_history import RetentionRefusedError, apply_retention, wanted
    from deploy.settings import settings
    from schemas.recording.retention import kept_text

    named = ", ".join(f"{name} {kept_text(days)}" for name, days in wanted(settings()).items())
    try:
        with clickhouse() as client:
            segments = _segments()
            if yes:
                with noted_act("retention", "all", detail=named):
                    change = apply_retention(settings(), client, remove=True, wait=wait, segments=segments)
            else:
                change = apply_retention(settings(), client, remove=False, wait=wait, segments=segments)
    except RetentionRefusedError as error:
        fail(str(error))
    for warning in change.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(asdict(change))
    elif change.was_set:
        print(f"nothing to do: {named}")
    elif change.done:
        print(f"kept from now on: {named}")
    if change.done and not as_json and (rows := sum(change.expiring.values())):
        print(f"{rows:,} rows or payloads have expired; ClickHouse removes them within hours")
    if not change.done:
        if not as_json:
            for table, rows in change.expiring.items():
                print(f"{rows:>12,}  {table}")
        typer.echo(f"{named} would remove these for good: --yes does it", err=True)


def _segments() -> SegmentDefinitions | None:
    """Return the segments in force; None where they cannot be read."""
    import asyncio

    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.definitions_report import settings_or_folder
    from deploy.operations.engines import load_segments
    from deploy.settings import settings

    try:
        return load_segments(asyncio.run(settings_or_folder(settings())))
    except DefinitionError:
        return None
