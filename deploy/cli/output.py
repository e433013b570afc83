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


_WIDEST = 10_000
_TEXT_WIDTH = 24
"""Characters that a text gets on a line, if it has as many, however narrow the terminal is."""


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 0, title: str | None = None
) -> None:
    """Print a table whose first `text_columns` columns are text, on the left; the others are numbers, on the right.

    Where it is too wide, its headings get a line for each word. If that is not enough, its lines are longer than those
    of the terminal, or of a pipe: no column is left out.
    """
    from rich.measure import Measurement
    from rich.table import Table

    from deploy.reporting.terminal.text import plain_console

    console = plain_console()
    unbounded = console.options.update(max_width=_WIDEST)

    def table(headings: Sequence[str]) -> tuple[Table, Measurement]:
        made = Table(title=title, title_justify="left", box=None, header_style="dim", padding=(0, 1))
        for number, heading in enumerate(headings):
            is_text = number < text_columns
            width = max((len(row[number]) for row in rows), default=0)
            made.add_column(
                heading,
                justify="left" if is_text else "right",
                no_wrap=not is_text,
                min_width=min(width, _TEXT_WIDTH) if is_text else width,
            )
        for row in rows:
            made.add_row(*row)
        return made, Measurement.get(console, unbounded, made)

    shown, needed = table(headings)
    if needed.maximum > console.width:
        shown, needed = table([heading.replace(" ", "\n") for heading in headings])
        console.width = max(console.width, needed.minimum)
    console.print(shown)


def write_text(text: str, out: Path) -> None:
    """Write a file, or end the command with exit code 1 when it cannot be written."""
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        fail(f"cannot write {out}: {error.strerror}")
