"""Reads journeys from files, for attribution without a database: counted paths, or events with times.

**Paths**: CSV or JSON Lines with `path`, `conversions` and, if known, `revenue` and `null` (people who came this way
and never converted). A path is a JSON array of channels, or text with a separator; names are taken as they are, so a
channel that contains the separator needs an array. An empty path stands for conversions without a touch.

**Events**: CSV or JSON Lines with `person`, `time`, `channel`, `conversion` and, if known, `revenue`, `goal`,
`event_id` and `view`. An event with a channel is a touch; one whose `conversion` is true, or an order's id, is a
conversion; without that column, one with revenue. The channel of a conversion is no touch of that conversion, but it is
one of the next.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from deploy.operations.importers.tables import TableError, value
from processors.attribution.rules import Conversion, Touch
from schemas.time import lenient_time, time_of_ms

PATH_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "channels", "journey"),
    "conversions": ("conversions", "total_conversions", "conversion", "conv"),
    "revenue": ("revenue", "total_conversion_value", "conversion_value", "value"),
    "null": ("null", "null_journeys", "total_null", "nulls"),
}
EVENT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "person": ("person", "profile_id", "person_id", "user_id", "cookie"),
    "time": ("time", "occurred_at", "timestamp"),
    "channel": ("channel", "marketing_channel"),
    "conversion": ("conversion", "conversion_id"),
    "revenue": ("revenue", "conversion_value", "value"),
    "goal": ("goal", "conversion_type"),
    "event_id": ("event_id", "touchpoint_id", "id"),
    "view": ("view",),
}
"""Each column with the names that it may have; other columns are ignored."""

SEPARATOR = " > "
_YES, _NO = frozenset({"true", "1", "1.0", "yes"}), frozenset({"", "false", "0", "0.0", "no", "null", "none"})
_AMOUNT = "expected a number such as 12.50, not negative"
_DECIMAL = "expected a number such as 12.50"
_TIME = "expected a time such as 2026-11-22T10:15:30Z, or seconds or milliseconds since 1970"


class PathRow(NamedTuple):
    """One line of a file of paths."""

    channels: tuple[str, ...]
    conversions: Decimal
    revenue: Decimal
    nulls: Decimal


def read_paths(lines: Iterable[str], separator: str = SEPARATOR) -> list[PathRow]:
    """Read a file of paths.

    Args:
        lines: The file, line by line.
        separator: Between the channels of a path that is no JSON array.

    Raises:
        TableError: The first thing that is wrong: line, column and rule.
    """
    found = []
    for line, row in _records(lines, PATH_COLUMNS, required=("path", "conversions")):
        amounts = [value(line, name, _text(row.get(name)) or "0", _amount, _AMOUNT)
                   for name in ("conversions", "revenue", "null")]  # fmt: skip
        found.append(PathRow(_path(line, row.get("path"), separator), *amounts))
    return found


def read_events(lines: Iterable[str], goal: str = "purchase") -> tuple[list[Touch], list[Conversion]]:
    """Read a file of events.

    Args:
        lines: The file, line by line.
        goal: Of conversions that do not name theirs.

    Returns:
        Touches and conversions, both in the file's order.

    Raises:
        TableError: The first thing that is wrong: line, column and rule.
    """
    touches, conversions = [], []
    for line, row in _records(lines, EVENT_COLUMNS, required=("person", "time")):
        person = _text(row.get("person"))
        at = value(line, "time", _text(row.get("time")), _time, _TIME)
        event_id = _text(row.get("event_id")) or f"line {line:012d}"
        conversion_id = _conversion_id(row, event_id)
        if conversion_id:
            revenue = value(line, "revenue", _text(row.get("revenue")) or "0", _decimal, _DECIMAL)
            conversions.append(Conversion(conversion_id, _text(row.get("goal")) or goal, person or None, at, revenue))
        channel = _name(row.get("channel"))
        if channel and person:
            seen_only = _text(row.get("view")).lower() in _YES
            touches.append(Touch(event_id, person, at, channel, conversion_id, view=seen_only))
    return touches, conversions


def _records(
    lines: Iterable[str], columns: Mapping[str, tuple[str, ...]], required: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, values by column) of JSON Lines or CSV; a first `{` means JSON Lines."""
    ahead = iter(lines)
    first = next((line for line in ahead if line.strip()), "").lstrip("\ufeff")
    whole = _chain(first, ahead)
    records = _json_lines(whole) if first.lstrip().startswith("{") else _csv(whole, columns, required)
    for line, record in records:
        yield (
            line,
            {
                name: next((record[known] for known in names if known in record), None)
                for name, names in columns.items()
            },
        )


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _json_lines(lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(lines, start=1):
        if text.strip():
            record = value(line, "", text, json.loads, "expected one JSON object a line")
            if not isinstance(record, dict):
                raise TableError(line, "", "expected one JSON object a line")
            yield line, record


def _csv(
    lines: Iterator[str], columns: Mapping[str, tuple[str, ...]], required: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(lines, strict=True)
    header = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    for name in required:
        if not set(columns[name]) & set(header):
            raise TableError(1, name, f"missing; expected the columns {', '.join(columns)}")
    try:
        for row in reader:
            if None in row or None in row.values():
                raise TableError(reader.line_num, "", f"expected {len(header)} values")
            yield reader.line_num, row
    except csv.Error as error:
        raise TableError(reader.line_num, "", f"not CSV: {error}") from None


def _path(line: int, given: object, separator: str) -> tuple[str, ...]:
    if isinstance(given, str):
        if not given.strip():
            return ()
        try:
            given = json.loads(given) if given.lstrip().startswith("[") else given.split(separator)
        except ValueError:
            given = str(given).split(separator)  # a channel may begin with a bracket
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise TableError(line, "path", f"{given!r}: expected channels with {separator!r} between, or a JSON array")
    return tuple(given)


def _conversion_id(row: Mapping[str, Any], event_id: str) -> str:
    """Return the conversion id of an event; empty when it is no conversion."""
    stated = row.get("conversion")
    if stated is None:
        return "" if _text(row.get("revenue")).strip("0.") == "" else event_id  # a table of numbers writes 0.0
    text = _text(stated)
    if text.lower() in _NO:
        return ""
    return event_id if text.lower() in _YES else text


def _name(given: object) -> str:
    return given if isinstance(given, str) else _text(given)


def _text(given: object) -> str:
    if given is None or isinstance(given, bool):
        return "true" if given else ""
    return str(given).strip()


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError
    return number


def _amount(text: str) -> Decimal:
    amount = _decimal(text)
    if amount < 0:
        raise ValueError
    return amount


def _time(text: str) -> datetime:
    try:
        number = float(text)
    except ValueError:
        return lenient_time(text, UTC)
    return time_of_ms(number if abs(number) > 1e11 else number * 1000)
