"""Reads CSV tables; an error names line, column and rule."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


class TableError(ValueError):
    """A table that cannot be imported.

    Attributes:
        line: Line of the file, counted from 1; the header is line 1.
        column: The column's name; empty when the error is of the whole line.
        rule: What is wrong and what is expected.
    """

    def __init__(self, line: int, column: str, rule: str) -> None:
        super().__init__(f"line {line}, column {column}: {rule}" if column else f"line {line}: {rule}")
        self.line = line
        self.column = column
        self.rule = rule


def rows(
    lines: Iterable[str], required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a CSV table with a header.

    Args:
        lines: The file, line by line.
        required: Columns that must be there, in any order.
        optional: Columns that may be there; absent ones read as empty.

    Yields:
        The line's number and its values by column, without outer white space. Empty lines are skipped.

    Raises:
        TableError: A column is missing, unknown or twice in the header, or a line has too few or too many values.
    """
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.strip().lstrip("\ufeff") for name in next(reader)]
    except StopIteration:
        raise TableError(1, "", f"the file is empty; expected a header: {','.join((*required, *optional))}") from None
    _check(header, required, optional)
    absent = dict.fromkeys(set(optional) - set(header), "")
    try:
        for values in reader:
            if not any(values):
                continue
            if len(values) != len(header):
                raise TableError(reader.line_num, "", f"{len(values)} values, expected {len(header)}")
            found = dict(zip(header, map(str.strip, values), strict=True))
            yield reader.line_num, found | absent
    except csv.Error as error:
        raise TableError(reader.line_num, "", f"not CSV: {error}") from None


def _check(header: list[str], required: Sequence[str], optional: Sequence[str]) -> None:
    known = (*required, *optional)
    for name in required:
        if name not in header:
            raise TableError(1, name, f"missing; expected the columns {','.join(known)}")
    for name in header:
        if name not in known:
            raise TableError(1, name, f"unknown; expected the columns {','.join(known)}")
        if header.count(name) > 1:
            raise TableError(1, name, "there twice")


def value(line: int, column: str, text: str, read: Callable[[str], T], rule: str) -> T:
    """Parse one value.

    Raises:
        TableError: `read` raised a ValueError (or an error of decimal arithmetic); `rule` says what is expected.
    """
    try:
        return read(text)
    except (ValueError, ArithmeticError):
        raise TableError(line, column, f"{text!r}: {rule}") from None
