"""The known name that a misspelt one was meant to be, and the list of what is known."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

LISTED = 12
"""The most names that an error lists."""
_SEPARATORS = re.compile(r"[\s_-]+")


def nearest_names(name: str, known: Iterable[str], similarity: float = 0.6) -> list[str]:
    """Return the known name that is most like another, in a list; an empty list if none is.

    Case, blanks, `_` and `-` count least: `product viewed` is `Product Viewed`, and not `Product Reviewed`, which has
    more letters in common with it where they are compared as they are.

    Args:
        name: The unknown name.
        known: The known names.
        similarity: The least share of equal characters, from 0 to 1.
    """
    by_plain: dict[str, str] = {}
    for one in known:
        by_plain.setdefault(_plain(one), one)
    return [by_plain[plain] for plain in get_close_matches(_plain(name), by_plain, 1, similarity)]


def known_names(name: str, known: Iterable[str]) -> str:
    """Return the end of the error about an unknown name: ` (known: a, b, c)`.

    Args:
        name: The unknown name.
        known: The known names. Of more than `LISTED`, those that are most like the unknown one are listed.
    """
    by_plain: dict[str, str] = {}
    for one in known:
        by_plain.setdefault(_plain(one), one)
    if not by_plain:
        return " (known: none)"
    listed = list(by_plain)
    if len(listed) > LISTED:
        listed = get_close_matches(_plain(name), by_plain, LISTED, 0.0)
    further = len(by_plain) - len(listed)
    return f" (known: {', '.join(by_plain[one] for one in listed)}{f' and {further} more' if further else ''})"


def suggestion(name: str, known: Iterable[str], similarity: float = 0.6, *, before: str = "; ") -> str:
    """Return the end of the error about an unknown name: `; did you mean a? (known: a, b)`.

    Args:
        name: The unknown name.
        known: The known names.
        similarity: As in `nearest_names`.
        before: What is before the question.
    """
    names = list(known)
    near = nearest_names(name, names, similarity)
    return f"{f'{before}did you mean {near[0]}?' if near else ''}{known_names(name, names)}"


def _plain(name: str) -> str:
    return _SEPARATORS.sub(" ", name.strip()).casefold()
