"""The command group `schema`: the JSON Schema of an event, and the description of tables and views."""

from __future__ import annotations

from pathlib import Path

import typer

from deploy.cli.arguments import OutFile
from deploy.cli.output import write_text
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    schema = typer.Typer(help="The contract with producers and with analysts.", no_args_is_help=True)
    schema.command("export")(schema_export)
    schema.command("tables")(schema_tables)
    app.add_typer(schema, name="schema")


def schema_export(out: OutFile = None) -> None:
    """Print the JSON Schema of a touchpoint event."""
    from schemas.events.json_schema import text

    _print_or_write(text(), out)


def schema_tables(out: OutFile = None) -> None:
    """Describe every table and view for analysts, with ten questions, as Markdown: `sinks/TABLES.md`."""
    from sinks.clickhouse.tables import describe, markdown, questions

    with clickhouse() as client:
        text = markdown(describe(client), questions())
    _print_or_write(text, out)


def _print_or_write(text: str, out: Path | None) -> None:
    if out is None:
        print(text, end="")
        return
    write_text(text, out)
    typer.echo(f"wrote {out}", err=True)
