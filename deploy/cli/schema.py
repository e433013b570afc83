"""The command group `schema`: the JSON Schema of an event, and the description of tables and views."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.arguments import OutFile
from deploy.cli.output import fail, write_text
from deploy.cli.stores import clickhouse


def register(app: typer.Typer) -> None:
    """Add the commands to `throughline`."""
    schema = typer.Typer(help="The contract with producers and with analysts.", no_args_is_help=True)
    schema.command("export")(schema_export)
    schema.command("register")(schema_register)
    schema.command("tables")(schema_tables)
    schema.command("dbt")(schema_dbt)
    app.add_typer(schema, name="schema")


def schema_export(
    out: OutFile = None,
    asyncapi: Annotated[
        bool, typer.Option("--asyncapi", help="The topics and the collector as an AsyncAPI 3.0 document instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of a touchpoint event."""
    if asyncapi:
        from deploy.operations.asyncapi import text as asyncapi_text
        from deploy.settings import settings

        _print_or_write(asyncapi_text(settings()), out)
        return
    from schemas.events.json_schema import text

    _print_or_write(text(), out)


def schema_register(
    channel: Annotated[list[str] | None, typer.Option(help="A channel, repeatable; without it, all channels.")] = None,
) -> None:
    """Register the JSON Schema of an event in the schema registry, for the topics of channels."""
    from deploy.operations.definition_files import DefinitionError
    from deploy.operations.schema_registry import register_touchpoint_schema
    from deploy.settings import settings
    from sinks.kafka.schema_registry import RegistryDown

    try:
        ids = asyncio.run(register_touchpoint_schema(settings(), channel or settings().channels))
    except DefinitionError as error:
        fail(str(error))
    except RegistryDown as error:
        fail(f"The schema registry does not take it: {error}")
    for subject, id_ in ids.items():
        print(f"{subject}: schema {id_}")


def schema_tables(out: OutFile = None) -> None:
    """Describe every table and view for analysts, with twenty-five questions, as Markdown: `sinks/TABLES.md`."""
    from sinks.clickhouse.tables import describe, markdown, questions

    with clickhouse() as client:
        text = markdown(describe(client), questions())
    _print_or_write(text, out)


def schema_dbt(
    out: Annotated[Path, typer.Option(file_okay=False, help="The folder of models of the package, or of a project.")],
) -> None:
    """Write sources.yml and exposures.yml for dbt: every view with its meaning and tests, every question."""
    from sinks.clickhouse.dbt_package import exposures, sources
    from sinks.clickhouse.tables import describe, questions

    with clickhouse() as client:
        tables = describe(client)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("sources.yml", sources(tables)), ("exposures.yml", exposures(tables, questions()))):
        write_text(text, out / name)
        typer.echo(f"wrote {out / name}", err=True)


def _print_or_write(text: str, out: Path | None) -> None:
    if out is None:
        print(text, end="")
        return
    write_text(text, out)
    typer.echo(f"wrote {out}", err=True)
