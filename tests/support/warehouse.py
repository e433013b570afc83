"""A ClickHouse database for tests: resolved events in, the answers of the views out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from deploy.operations.definition_files import touch_rules
from deploy.settings import Settings
from processors.recording.rows import Row, identity_rows, touchpoint_rows
from sinks.clickhouse.bots import judge_bots
from sinks.clickhouse.client import ClickHouseSink, connect
from tests.support.builders import DAY_ONE
from tests.support.databases import create_database

_offsets = count()


def instant(time: datetime) -> str:
    """A time as resolved events have it."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def person(number: int) -> str:
    """A profile id, or an anchor: numbers stand for people, their hundreds for their identifiers."""
    return f"00000000-0000-4000-8000-{number:012d}"


def resolved(
    event_id: str, who: int | None, occurred_at: datetime, marketing_channel: str = "", **fields: Any
) -> dict[str, Any]:
    """One resolved event, received a second after it happened; a touch if it names a marketing channel."""
    campaign = (
        {"campaign": {"channel": marketing_channel, "name": f"{marketing_channel} ad"}} if marketing_channel else {}
    )
    return {
        "event_id": event_id,
        "event": "Page Viewed",
        "channel": "web",
        "source": "shop",
        "occurred_at": instant(occurred_at),
        "received_at": instant(occurred_at + timedelta(seconds=1)),
        "profile_id": None if who is None else person(who),
        "anchor": None if who is None else person(who),
        "identifiers": [],
        "origin": {"topic": "touchpoints.web", "partition": 0, "offset": next(_offsets)},
        **campaign,
        **fields,
    }


def resolved_as(event: dict[str, Any], profile_id: str) -> dict[str, Any]:
    """A canonical event as the stage `identify` writes it, received a second after it happened."""
    received = datetime.fromisoformat(event["occurred_at"]) + timedelta(seconds=1)
    origin = {"topic": f"touchpoints.{event['channel']}", "partition": 0, "offset": next(_offsets)}
    person_fields = {"profile_id": profile_id, "anchor": profile_id, "identity_version": 0, "identifiers": []}
    return {**event, **person_fields, "received_at": instant(received), "origin": origin}


def ordered(
    order_id: str, who: int | None, occurred_at: datetime, revenue: str = "100.00", **fields: Any
) -> dict[str, Any]:
    """A resolved `Order Completed`."""
    properties = {"order_id": order_id, "revenue": revenue, "currency": "EUR"}
    return resolved(f"event of {order_id}", who, occurred_at, event="Order Completed", properties=properties, **fields)


def merged(version: int, winner: int, anchors: Iterable[int], kind: str = "merge") -> dict[str, Any]:
    """A change of identity that moves anchors to a profile."""
    return {
        "version": version,
        "kind": kind,
        "profile_id": person(winner),
        "from_profile_id": "",
        "anchors": [[person(anchor), "email"] for anchor in anchors],
        "event_id": "evidence",
        "occurred_at": instant(DAY_ONE),
        "rule": "shared_identifier",
    }


class Warehouse:
    """The tables of one test.

    Attributes:
        client: A clickhouse-connect client of its database.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        create_database(settings.clickhouse_url, settings.clickhouse_database)
        self.client = connect(settings.clickhouse_url)
        self.client.database = settings.clickhouse_database
        self._rules = touch_rules(settings)

    def store(self, *events: dict[str, Any]) -> None:
        """Write resolved events, all of them as one insert for each table."""
        self._insert([row for event in events for row in touchpoint_rows(event, self._rules)])

    def change(self, *changes: dict[str, Any]) -> None:
        """Write changes of identity."""
        self._insert([row for change in changes for row in identity_rows(change)])

    def insert(self, table: str, *rows: bytes) -> None:
        """Write rows as they are."""
        self._insert([(table, row) for row in rows])

    def judge(self) -> None:
        """Judge which events are bots', as the record worker does within a minute."""
        judge_bots(self.client)

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Ask."""
        return [tuple(row) for row in self.client.query(query, parameters=parameters).result_rows]

    def _insert(self, rows: list[Row]) -> None:
        async def insert() -> None:
            sink = ClickHouseSink(self.settings.clickhouse_url, self.settings.clickhouse_database)
            for table in dict.fromkeys(table for table, _ in rows):
                assert [] == await sink.insert_all(table, [row for name, row in rows if name == table], "")
            await sink.close()

        asyncio.run(insert())


@contextmanager
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    """Create the tables; the fixture `stack` removes them."""
    found = Warehouse(settings)
    try:
        yield found
    finally:
        found.client.close()
