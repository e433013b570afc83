"""Reads stored dead letters: refused records with the reason and the original bytes."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from schemas.time import ms_of_time, utc
from sinks.clickhouse.client import without_deduplication

_COLUMNS = (
    "topic", "partition", "offset", "received_at", "stored_at", "stage", "reason", "field", "message",
    "key_base64", "value_base64",
)  # fmt: skip


class LetterKey(NamedTuple):
    """What a dead letter is known by; its topic, partition and offset are those of the record."""

    topic: str
    partition: int
    offset: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """One row of the table `dead_letters`.

    Attributes:
        topic: The record's topic, full name.
        partition: The record's partition.
        offset: The record's offset.
        received_at: The broker's time of the record.
        stored_at: When the row was written.
        stage: The agent that refused it.
        reason: The code, see `schemas.dead_letters.Reason`.
        field: The path of the offending field, or empty.
        message: The value that was found and the rule that it breaks.
        key_base64: The original key.
        value_base64: The original value.
    """

    topic: str
    partition: int
    offset: int
    received_at: datetime
    stored_at: datetime
    stage: str
    reason: str
    field: str
    message: str
    key_base64: str
    value_base64: str

    @property
    def letter_key(self) -> LetterKey:
        """What the letter is known by."""
        return LetterKey(self.topic, self.partition, self.offset, self.received_at)

    @property
    def key(self) -> bytes | None:
        """The original key; None for an empty key: the two are stored alike."""
        return b64decode(self.key_base64) or None

    @property
    def value(self) -> bytes:
        """The original value."""
        return b64decode(self.value_base64)


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Selects dead letters; a field that is None or empty does not filter.

    Attributes:
        reason: This reason.
        stage: Refused by this agent.
        topic: Of this topic, full name.
        partition: Of this partition.
        offset: Of this offset.
        start: Received at this time or later.
        end: Received before this time.
        replayed: Published again before, or not.
    """

    reason: str = ""
    stage: str = ""
    topic: str = ""
    partition: int | None = None
    offset: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    replayed: bool | None = None

    def sql(self) -> tuple[str, dict[str, Any]]:
        """Return the SQL condition and its parameters; values never become part of the text."""
        conditions: list[str] = []
        parameters: dict[str, Any] = {}
        for name, type_ in (
            ("reason", "String"), ("stage", "String"), ("topic", "String"), ("partition", "Int64"), ("offset", "Int64"),
        ):  # fmt: skip
            value = getattr(self, name)
            if value not in ("", None):
                conditions.append(f"{name} = {{{name}:{type_}}}")
                parameters[name] = value
        for name, operator in (("start", ">="), ("end", "<")):
            time = getattr(self, name)
            if time is not None:
                conditions.append(f"received_at {operator} fromUnixTimestamp64Milli({{{name}:Int64}})")
                parameters[name] = ms_of_time(time)
        if self.replayed is not None:
            among = "IN" if self.replayed else "NOT IN"
            columns = ", ".join(LetterKey._fields)
            conditions.append(f"({columns}) {among} (SELECT {columns} FROM dead_letter_replays)")  # noqa: S608 - fixed text
        return " AND ".join(conditions) or "1", parameters


def count_dead_letters(client: Any, selection: DeadLetterFilter) -> dict[str, int]:
    """Count dead letters by reason, the most frequent first."""
    condition, parameters = selection.sql()
    query = (
        f"SELECT reason, count() FROM dead_letters FINAL WHERE {condition} "  # noqa: S608 - fixed text, bound values
        "GROUP BY reason ORDER BY count() DESC, reason"
    )
    return {str(reason): int(count) for reason, count in client.query(query, parameters).result_rows}


def read_dead_letters(
    client: Any, selection: DeadLetterFilter, *, limit: int | None = None, newest_first: bool = False
) -> Iterator[StoredDeadLetter]:
    """Read dead letters in the order of publication, or the newest first, as a stream.

    Args:
        client: From `sinks.clickhouse.client.connect`.
        selection: The filter.
        limit: Most dead letters.
        newest_first: By time of receipt, descending.
    """
    condition, parameters = selection.sql()
    order = "received_at DESC, topic, partition, offset DESC" if newest_first else "topic, partition, offset"
    query = (
        f"SELECT {', '.join(_COLUMNS)} FROM dead_letters FINAL WHERE {condition} "  # noqa: S608 - the same
        f"ORDER BY {order}{'' if limit is None else f' LIMIT {int(limit)}'}"
    )
    with client.query_rows_stream(query, parameters) as rows:
        for row in rows:
            fields = dict(zip(_COLUMNS, row, strict=True))
            for name in ("received_at", "stored_at"):
                fields[name] = utc(fields[name])
            yield StoredDeadLetter(**fields)


def mark_replayed(client: Any, letters: Sequence[LetterKey]) -> None:
    """Note that dead letters were published again; a letter may be marked more than once."""
    if letters:
        client.insert("dead_letter_replays", letters, column_names=LetterKey._fields, settings=without_deduplication())
