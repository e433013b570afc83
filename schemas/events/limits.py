"""The limits of an event: depth, number of keys, length of texts. Custom events and extra fields have the same.

They bound the memory and the time that later stages need; the size in bytes is bounded before that.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from math import isfinite

from pydantic_core import PydanticCustomError

from schemas.text import MAX_TEXT

HALF_PAIR = "half a surrogate pair"
"""The words of an error about a text that UTF-8 cannot hold."""

MAX_DEPTH = 16
MAX_PRODUCTS = 500
"""Most products of one event."""

MAX_KEYS = 12_000
"""Most keys of one event: products of 20 keys and the one that validation adds to each, and 1,500 for all the rest."""

Path = tuple[str | int, ...]


class OutOfBoundsError(ValueError):
    """An event breaks a limit.

    Attributes:
        path: Where, as keys and list positions.
        rule: What the limit is, an error that pydantic can carry, of type `too_deep`, `too_many_keys` or `bounds`.
        value: The value found there.
    """

    def __init__(self, path: Path, rule: PydanticCustomError, value: object) -> None:
        super().__init__(rule.message())
        self.path = path
        self.rule = rule
        self.value = value


def check(event: object) -> None:
    """Check a parsed event against the limits.

    Raises:
        OutOfBoundsError: At the first value that is too deep, one key too many, too long, not a JSON value, not finite,
            or a text with a NUL character or half a surrogate pair (which no store can keep).
    """
    _walk(event, (), 0)


def fits_by_size(raw: bytes) -> bool:
    """Return whether the size of the JSON alone rules out a broken limit; ten times faster than `check`.

    False: `check` has to decide.
    """
    return (
        len(raw) <= MAX_TEXT  # too short to hold too many keys as well: each has 5 bytes at least
        and raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH
        and (b"\\" not in raw or b"\\u0000" not in raw)  # most have no escape, which is found out in no time
    )


def _walk(value: object, path: Path, keys: int) -> int:
    """Check `value` and what it holds; return how many keys have been seen, with those of `value`."""
    if isinstance(value, dict | list):
        if len(path) >= MAX_DEPTH:
            raise _error(path, value, f"an event should be nested at most {MAX_DEPTH} levels deep", "too_deep")
        if isinstance(value, list):
            for position, inner in enumerate(value):
                keys = _walk(inner, (*path, position), keys)
            return keys
        keys += len(value)
        if keys > MAX_KEYS:
            raise _error(path, value, f"an event should have at most {MAX_KEYS} keys in all", "too_many_keys")
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _error(path, value, "its keys should be strings")
            _check_text(key, path)
            keys = _walk(inner, (*path, key), keys)
    elif isinstance(value, str):
        _check_text(value, path)
    elif value is not None:
        _check_scalar(value, path)
    return keys


def _check_scalar(value: object, path: Path) -> None:
    if isinstance(value, float | Decimal):
        if not isfinite(value):
            raise _error(path, value, "it should be a finite number")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise _error(path, value, "an integer should fit into 64 bits: send it as a text")
    elif not isinstance(value, datetime):
        raise _error(path, value, "it should be a JSON value")


def _check_text(text: str, path: Path) -> None:
    if len(text) > MAX_TEXT:
        raise _error(path, text, f"a text should have at most {MAX_TEXT} characters")
    if "\0" in text:
        raise _error(path, text, "a text should have no NUL character: remove it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _error(path, text, f"a text should be valid Unicode: it has {HALF_PAIR}") from None


def _error(path: Path, value: object, rule: str, kind: str = "bounds") -> OutOfBoundsError:
    return OutOfBoundsError(path, PydanticCustomError(kind, rule), value)
