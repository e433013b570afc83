"""Decimal digits of any script, as the phones and systems of a language write them."""

from __future__ import annotations

from unicodedata import decimal


def with_ascii_digits(text: str) -> str:
    """Write the decimal digits of any script as ASCII, since they have one meaning; all else stays as it is."""
    if text.isascii():
        return text
    return "".join(char if (digit := decimal(char, None)) is None else str(digit) for char in text)
