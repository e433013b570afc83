"""Output of commands: JSON, tables, text files, and the message that ends a command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer


def fail(message: str, code: int = 1) -> NoReturn:
    """Print a message on standard error and end the command.

    Raises:
        Exit: Always, with `code`.
    """
    typer.echo(message, err=True)
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """Print a value as indented JSON; what JSON has no type for becomes text."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 0, title: str | None = None
) -> None:
    """Print a table whose first `text_columns` columns are text, on the left; the others are numbers, on the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, header_style="dim", padding=(0, 1))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < text_columns else "right", no_wrap=number >= text_columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def write_text(text: str, out: Path) -> None:
    """Write a file, or end the command with exit code 1 when it cannot be written."""
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        fail(f"cannot write {out}: {error.strerror}")
