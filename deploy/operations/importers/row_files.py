"""Reads the rows of CSV, JSON Lines and Parquet files of any size, one after the other.

A row that cannot be read is one row with a problem, and the next one is read. A file in another encoding than it is
said to be is refused as a whole, since its names would be wrong without a sign.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from datetime import time as day_time
from decimal import Decimal
from hashlib import blake2b
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from schemas.intake.file_mappings import ROWS, FileFormat

CSV, JSON_LINES, PARQUET = "csv", "jsonl", "parquet"
_SUFFIXES = {".csv": CSV, ".tsv": CSV, ".txt": CSV, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES, ".parquet": PARQUET}
_DELIMITERS = ",;\t|"
_STATED_DELIMITER = re.compile(r"sep=(.)", re.IGNORECASE)
_CHUNK_BYTES = 1 << 20
_PARQUET_ROWS = 1_000
_MAX_GROUP_ROWS = 2_000
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
REFUSED_COLUMNS = ("_line", "_reason")
"""Columns of a file of refused rows before those of the file itself; an import of such a file passes over them."""
_FORMULA = re.compile(r"'*[=+@\t\r-]")
_AMOUNT = re.compile(r"-[0-9.,]+")


class RowFileError(ValueError):
    """A file that cannot be read at all; the message says what to do."""


class Row(NamedTuple):
    """One row of a file.

    Attributes:
        line: The line on which it begins, from 1; in a Parquet file its number.
        values: Its values by column.
        problem: Why it cannot be read; empty if it can.
    """

    line: int
    values: dict[str, Any]
    problem: str = ""


def escaped(cell: str) -> str:
    """Return a cell of a file of refused rows: an apostrophe keeps spreadsheets from reading it as a formula."""
    return f"'{cell}" if _FORMULA.match(cell) and not _AMOUNT.fullmatch(cell) else cell


def unescaped(cell: str) -> str:
    """Return what `escaped` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def file_type(path: Path) -> str:
    """Return the type of a file by its name.

    Raises:
        RowFileError: There is none for its name.
    """
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise RowFileError(f"{path}: {path.suffix or 'a name without an ending'}: expected {', '.join(_SUFFIXES)}")
    return found


def fingerprint(path: Path, encoding: str) -> str:
    """Check the encoding of a whole file, and return a digest of its bytes.

    Raises:
        RowFileError: A byte is not of the encoding; the message names the line and what it probably is. Or there is no
            such encoding.
    """
    try:
        "".encode(encoding)
    except LookupError:
        raise RowFileError(f"{encoding!r} is no encoding such as utf-8 or cp1252") from None
    digest, line, start = blake2b(digest_size=16), 1, True
    decoder = codecs.getincrementaldecoder(encoding)() if file_type(path) != PARQUET else None
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            if decoder is not None:
                if start:
                    _check_mark(path, chunk, encoding)
                try:
                    decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError as error:
                    line += error.object.count(b"\n", 0, error.start)
                    raise RowFileError(_wrong_encoding(path, line, encoding, error)) from None
                line += chunk.count(b"\n")
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
            start = False


def _check_mark(path: Path, start: bytes, encoding: str) -> None:
    for mark, name in _BYTE_ORDER_MARKS:
        if start.startswith(mark) and codecs.lookup(encoding).name != name:
            raise RowFileError(f"{path}: it begins with the mark of {name}: add --encoding {name}")


def _wrong_encoding(path: Path, line: int, encoding: str, error: UnicodeDecodeError) -> str:
    byte = error.object[error.start : error.start + 1].hex().upper()
    probably = ": it is probably written by Excel as Windows-1252, add --encoding cp1252" if encoding == "utf-8" else ""
    return f"{path}: line {line}: the byte 0x{byte} is not {encoding}{probably}"


class RowFile:
    """The rows of a file, from its beginning.

    Args:
        path: The file.
        form: How it is written.

    Attributes:
        columns: The names of its columns; of a JSON Lines file those of its first rows.
        size: Its size in bytes.
        position: How many bytes have been read; of a Parquet file the share of its rows, as bytes.

    Raises:
        RowFileError: It has no header, or another type of file needs a package that is not installed.
    """

    def __init__(self, path: Path, form: FileFormat) -> None:
        self._path, self._form, self._type = path, form, file_type(path)
        self.size, self.position = path.stat().st_size, 0
        self.columns: tuple[str, ...] = ()
        if self._type == CSV:
            header, self._lines_before, stated = _header_line(path, form.encoding)
            self.delimiter = form.delimiter or stated or _delimiter(header)
            self.columns = self._header()
        else:
            self.columns = tuple(dict.fromkeys(name for row in self._first(100) for name in row.values))

    def __iter__(self) -> Iterator[Row]:
        """Read the rows; with `group_by`, one for each run of rows that have the same value there."""
        self.position = 0
        rows = map(_unreserved, {CSV: self._csv, JSON_LINES: self._json_lines, PARQUET: self._parquet}[self._type]())
        if self._form.group_by is None:
            return rows
        if self._form.group_by not in self.columns:
            raise RowFileError(f"{self._path}: there is no column {self._form.group_by!r} to group by")
        return _grouped(rows, self._form.group_by)

    def _first(self, count: int) -> list[Row]:
        rows = self._json_lines() if self._type == JSON_LINES else self._parquet()
        return [row for row, _ in zip(rows, range(count), strict=False)]

    def _lines(self, file: IO[bytes]) -> Iterator[str]:
        """Decode lines, so that the bytes that were read are known."""
        for number, raw in enumerate(codecs.iterdecode(_counted(self, file), self._form.encoding)):
            yield raw.removeprefix("\ufeff") if number == 0 else raw

    def _reader(self, file: IO[bytes]) -> Any:
        return csv.reader(islice(_whole_lines(self._lines(file)), self._lines_before, None), delimiter=self.delimiter)

    def _header(self) -> tuple[str, ...]:
        with self._path.open("rb") as file:
            names = [name.strip() for name in next(self._reader(file), [])]
        self._escaped = tuple(names[:2]) == REFUSED_COLUMNS
        if self._escaped:
            names = [unescaped(name) for name in names]
        if not any(names):
            raise RowFileError(f"{self._path}: the first line should be a header with the names of the columns")
        found: list[str] = []
        for number, name in enumerate(names, start=1):
            name = name or f"column {number}"
            found.append(name if name not in found else f"{name} ({number})")
        return tuple(found)

    def _csv(self) -> Iterator[Row]:
        with self._path.open("rb") as file:
            reader = self._reader(file)
            next(reader, None)
            while True:
                line = self._lines_before + reader.line_num + 1
                try:
                    values = next(reader, None)
                except csv.Error as error:
                    yield Row(line, {}, f"not CSV: {error}")
                    continue
                if values is None:
                    return
                if not any(values):
                    continue
                cells = map(str.strip, map(unescaped, values) if self._escaped else values)
                found = dict(zip(self.columns, cells, strict=False))
                yield Row(line, found, "" if len(values) == len(self.columns) else self._wrong_count(len(values)))

    def _wrong_count(self, count: int) -> str:
        return f"{count} values, expected {len(self.columns)}: is a value with a {self.delimiter!r} in quotes?"

    def _json_lines(self) -> Iterator[Row]:
        with self._path.open("rb") as file:
            for number, line in enumerate(_whole_lines(self._lines(file)), start=1):
                if not line.strip():
                    continue
                try:
                    values = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    yield Row(number, {}, f"not JSON: {error}")
                    continue
                yield Row(number, values) if isinstance(values, dict) else Row(number, {}, "it should be a JSON object")

    def _parquet(self) -> Iterator[Row]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise RowFileError(
                f"{self._path}: a Parquet file needs the package pyarrow: pip install 'throughline[parquet]'"
            ) from None
        try:
            with ParquetFile(self._path) as file:
                total, number = max(file.metadata.num_rows, 1), 0
                for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                    for values in batch.to_pylist():
                        number += 1
                        yield Row(number, {name: _json_value(value) for name, value in values.items()})
                    self.position = self.size * number // total
        except ArrowException as error:
            raise RowFileError(f"{self._path}: not a Parquet file: {error}") from None


def _unreserved(row: Row) -> Row:
    """Refuse a row with a column that has a name of the import's own."""
    if ROWS not in row.values:
        return row
    values = {name: value for name, value in row.values.items() if name != ROWS}
    return Row(row.line, values, row.problem or f"{ROWS} is a name that the import uses itself: rename the column")


def _counted(rows: RowFile, file: IO[bytes]) -> Iterator[bytes]:
    for raw in file:
        rows.position += len(raw)
        yield raw


def _whole_lines(parts: Iterator[str]) -> Iterator[str]:
    """Cut a text into lines: of UTF-16, what ends at a byte of a line feed is half of one."""
    rest = ""
    for part in parts:
        *lines, rest = (rest + part).split("\n")
        for line in lines:
            yield f"{line}\n"
    if rest:
        yield rest


def _header_line(path: Path, encoding: str) -> tuple[str, int, str]:
    """Find the header of a CSV file.

    Returns:
        The line; how many are before it, which are empty or `sep=;` as Excel writes it; the delimiter that this states.
    """
    with path.open("rb") as file:
        beginning = file.read(_CHUNK_BYTES).decode(encoding, "replace").removeprefix("\ufeff")
    stated = ""
    for number, line in enumerate(beginning.split("\n")):
        text = line.strip(" \r\0")
        if found := _STATED_DELIMITER.fullmatch(text):
            stated = found[1]
        elif text:
            return line, number, stated
    return "", 0, stated


def _delimiter(header: str) -> str:
    """Find the delimiter of a header: the one that it has most of outside of quotes."""
    counts = {one: len(next(csv.reader([header], delimiter=one), [])) for one in _DELIMITERS}
    return max(_DELIMITERS, key=lambda one: counts[one])


def _grouped(rows: Iterator[Row], column: str) -> Iterator[Row]:
    """Join rows that follow each other and have the same value in a column; a value that comes back is a problem."""
    group: list[Row] = []
    seen: set[int] = set()  # hashes of 64 bits: a million orders take some 60 MB

    def joined() -> Iterator[Row]:
        if group:
            key = str(group[0].values[column])
            digest = int.from_bytes(blake2b(key.encode("utf-8", "replace"), digest_size=8).digest(), "big")
            problem = (
                "" if digest not in seen else f"the rows of {column} {key!r} do not follow each other: sort the file"
            )
            seen.add(digest)
            yield _one_of(group, problem)
            group.clear()

    for row in rows:
        key = row.values.get(column)
        if row.problem or key in (None, ""):
            yield from joined()
            yield row if row.problem else Row(row.line, row.values, f"{column} is missing: the row is of no order")
            continue
        if group and group[0].values[column] != key:
            yield from joined()
        group.append(row)
        if len(group) > _MAX_GROUP_ROWS:
            yield Row(row.line, row.values, f"{column} {key!r} has more than {_MAX_GROUP_ROWS:,} rows")
            group.pop()
    yield from joined()


def _one_of(group: list[Row], problem: str) -> Row:
    values: dict[str, Any] = {}
    for row in group:
        for name, value in row.values.items():
            if values.get(name) in (None, ""):
                values[name] = value
    return Row(group[0].line, {**values, ROWS: [row.values for row in group]}, problem)


def _json_value(value: Any) -> Any:
    """Return a value of Parquet as one of JSON."""
    if isinstance(value, datetime | date | day_time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float) and not isfinite(value):  # how data frames write that a number is missing
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {str(name): _json_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(inner) for inner in value]
    return value
