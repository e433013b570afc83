"""Reads views and tables day by day for files of a data lake: which days have changed, and the rows of one as Parquet.

What a view shows of a day changes long after it: a late event, a merge, a refund, a withdrawn consent, an erasure. So
a day has a fingerprint, the sum of the hashes of its rows as the view shows them now: one pass over the view, in memory
of a few numbers a day, says which days are not what they were when they were written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

import orjson

DEFAULT_VIEWS = (
    "v_touchpoints",
    "v_sessions",
    "v_conversions",
    "v_conversion_values",
    "v_order_items",
    "v_returns",
    "v_messages",
    "v_decisions",
    "v_segment_changes",
    "v_spend",
    "v_attribution_stored",
    "v_ltv",
    "v_rfm",
)
WHOLE = "all"
"""The day of rows without a day, such as one for each customer."""

_SETTINGS = {
    "max_bytes_before_external_sort": 500_000_000,
    "max_bytes_before_external_group_by": 500_000_000,
    "output_format_parquet_row_group_size": 100_000,
    "output_format_parquet_row_group_size_bytes": 64_000_000,
}
_FLOAT = re.compile(r"(Nullable\()?Float(32|64)\)?")
_MERGED = re.compile(r"(Replacing|Summing|Aggregating|Collapsing)MergeTree")
"""Engines of tables that have FINAL."""
_ROUNDED = "round({0}, 6)"
"""Sums of floats depend on the order of their parts in the last digits: they are no change."""


class UnknownDatasetError(ValueError):
    """There is no such view or table, or it cannot be read as a whole: it has parameters."""


class Column(NamedTuple):
    """A column of a file: its name, type in ClickHouse, and meaning."""

    name: str
    type: str
    comment: str


class Fingerprint(NamedTuple):
    """What a day has: its rows, and the sum of their hashes."""

    rows: int
    content: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A view or table that is written as files.

    Attributes:
        name: Its name.
        comment: What one row of it is.
        columns: Those that are written.
        day: The column by which its rows have a day; empty: they have none.
        is_table: Whether it is a table that may hold a row twice until it is merged.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    day: str
    is_table: bool = False

    def day_expression(self, timezone: str) -> str:
        """Return the day of a row, in the time zone of reports."""
        kind = next(one.type for one in self.columns if one.name == self.day)
        return f"toDate32(`{self.day}`, '{timezone}')" if kind.startswith("DateTime") else f"`{self.day}`"

    def source(self) -> str:
        """Return what stands after FROM."""
        return f"`{self.name}`{' FINAL' if self.is_table else ''}"


def datasets(client: Any, names: Sequence[str], hidden: Mapping[str, Collection[str]]) -> list[Dataset]:
    """Describe views and tables.

    Args:
        client: A clickhouse-connect client.
        names: Of the views and tables.
        hidden: Columns with addresses and traits in clear by table: they are left out.

    Raises:
        UnknownDatasetError: One of them cannot be written.
    """
    found = {}
    about = client.query(
        "SELECT name, comment, engine FROM system.tables"
        " WHERE database = currentDatabase() AND name IN {names:Array(String)}",
        parameters={"names": list(names)},
    ).result_rows
    for name, comment, engine in about:
        rows = client.query(
            "SELECT name, type, comment FROM system.columns"
            " WHERE database = currentDatabase() AND table = {name:String} ORDER BY position",
            parameters={"name": name},
        ).result_rows
        columns = tuple(Column(*row) for row in rows if row[0] not in hidden.get(name, ()))
        found[name] = Dataset(name, comment, columns, _day_column(columns), bool(_MERGED.search(engine)))
    for name in names:
        if name not in found:
            raise UnknownDatasetError(f"there is no view or table {name}")
        if not found[name].columns:
            raise UnknownDatasetError(f"{name} has parameters: export the view that its comment names")
    return [found[name] for name in dict.fromkeys(names)]


def fingerprints(
    client: Any, dataset: Dataset, timezone: str, first: date | None = None, last: date | None = None
) -> dict[str, Fingerprint]:
    """Read which days there are, and what each has, by the day as text; `WHOLE` of a dataset without days.

    Args:
        client: A clickhouse-connect client.
        dataset: The view or table.
        timezone: Of days.
        first: First day; None: from the beginning.
        last: Last day; None: to the end.
    """
    hashed = ", ".join(
        _ROUNDED.format(f"`{one.name}`") if _FLOAT.fullmatch(one.type) else f"`{one.name}`" for one in dataset.columns
    )
    day = f"toString({dataset.day_expression(timezone)})" if dataset.day else f"'{WHOLE}'"
    where = _range(dataset, timezone, first, last)
    rows = client.query(
        f"SELECT {day} AS day_of_file, count(), sum(cityHash64(formatRow('RowBinary', {hashed})))"  # noqa: S608
        f" FROM {dataset.source()} {where} GROUP BY day_of_file ORDER BY day_of_file",
        settings=_SETTINGS,
    ).result_rows
    return {name: Fingerprint(int(count), format(int(content), "016x")) for name, count, content in rows if count}


def parquet(client: Any, dataset: Dataset, timezone: str, day: str) -> Any:
    """Return a stream of the Parquet file of one day, as the server writes it, group of rows by group.

    UUIDs are text in it, since few readers know the type.
    """
    columns = ", ".join(
        f"toString(`{one.name}`) AS `{one.name}`" if one.type == "UUID" else f"`{one.name}`" for one in dataset.columns
    )
    which = date.fromisoformat(day) if dataset.day else None
    order = f"ORDER BY `{dataset.name}`.`{dataset.day}`" if dataset.day else ""
    return client.raw_stream(
        f"SELECT {columns} FROM {dataset.source()} {_range(dataset, timezone, which, which)} {order}",  # noqa: S608
        fmt="Parquet",
        settings=_SETTINGS,
    )


def recorded_until(client: Any) -> str:
    """Return when the newest recorded event arrived, as text; empty: none has."""
    found = client.query("SELECT if(count() = 0, '', toString(max(received_at))) FROM touchpoints").first_row[0]
    return f"{found.replace(' ', 'T')}Z" if found else ""


def schema_version(client: Any) -> int:
    """Return the number of the newest migration of the tables and views."""
    return int(client.query("SELECT max(number) FROM schema_migrations").first_row[0])


def columns_key(dataset: Dataset) -> str:
    """Return the columns of a dataset as one text: where it changes, files are written anew."""
    return orjson.dumps([(one.name, one.type) for one in dataset.columns]).decode()


def _day_column(columns: Collection[Column]) -> str:
    for one in columns:
        if one.name in ("day", "date") and one.type in ("Date", "Date32"):
            return one.name
    return next((one.name for one in columns if one.type.startswith("DateTime")), "")


def _range(dataset: Dataset, timezone: str, first: date | None, last: date | None) -> str:
    """Write the condition on days, by the column itself, so that the server leaves out what is of other months."""
    if not dataset.day:
        return ""
    column = f"`{dataset.name}`.`{dataset.day}`"
    is_time = dataset.day_expression(timezone) != f"`{dataset.day}`"

    def bound(day: date) -> str:
        return f"toDateTime64('{day.isoformat()} 00:00:00', 3, '{timezone}')" if is_time else f"toDate('{day}')"

    parts = [f"{column} >= {bound(first)}"] if first else []
    parts += [f"{column} < {bound(last + timedelta(days=1))}"] if last else []
    return f"WHERE {' AND '.join(parts)}" if parts else ""
