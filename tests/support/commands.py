"""The commands that the command line has, read from the command line itself."""

from __future__ import annotations

from typing import Any

import typer

from deploy.cli.main import app


def names() -> list[tuple[str, ...]]:
    """List every command that does something, as the words after `throughline`, in the order of `--help`."""
    return _names(typer.main.get_command(app), ())


def _names(command: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    below = getattr(command, "commands", None)
    if below is None:
        return [path]
    return [name for word, inner in below.items() for name in _names(inner, (*path, word))]
