"""Text of people on a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """Escape control characters, which would change the terminal: a trait can have any text."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
