"""The known name that a misspelt one was meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

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


def _plain(name: str) -> str:
    return _SEPARATORS.sub(" ", name.strip()).casefold()
