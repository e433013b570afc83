"""Text and names of people and producers on a terminal, as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def plain(text: str) -> str:
    """Escape control characters, which would change the terminal: a trait can have any text."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def plain_console() -> Console:
    """Return a console that prints names as they are: they are data, in which a bracket is a bracket."""
    from rich.console import Console

    return Console(markup=False, emoji=False)
