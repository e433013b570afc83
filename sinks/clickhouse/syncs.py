"""What earlier runs of a sync have brought, read from the events themselves: there is no other state to lose.

The id of an event of a sync is `name:key:row:number`: a keyed hash of the identifier, a hash of the row, and how many
events of that key there were before, so that a row that changes and changes back is three events.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import orjson
from clickhouse_connect.driver.external import ExternalData

_EVENTS = """
    SELECT splitByChar(':', event_id) AS parts, parts[2] AS key, toUInt32OrZero(parts[4]) AS number, received_at
    FROM touchpoints
    WHERE source = {source:String} AND startsWith(event_id, concat({name:String}, ':')) AND length(parts) = 4
"""


class KnownRow(NamedTuple):
    """The newest event of a key: the hash of its row, and its number."""

    row: str
    number: int


def known_rows(client: Any, source: str, name: str, keys: Collection[str]) -> dict[str, KnownRow]:
    """Return the newest event of each of the keys that have one.

    Args:
        client: A clickhouse-connect client.
        source: Of the events.
        name: Of the sync.
        keys: Hashes of identifiers, as in ids; any number, a query may have not as many.
    """
    lines = b"\n".join(orjson.dumps([key]) for key in keys)
    asked = ExternalData(file_name="asked", data=lines, fmt="JSONCompactEachRow", structure=["key String"])
    rows = client.query(
        f"SELECT key, argMax(parts[3], (number, received_at)), max(number) FROM ({_EVENTS})"  # noqa: S608
        " WHERE key IN (SELECT key FROM asked) GROUP BY key",
        {"source": source, "name": name},
        external_data=asked,
    ).result_rows
    return {key: KnownRow(row, int(number)) for key, row, number in rows}


def count_keys(client: Any, source: str, name: str) -> int:
    """Return how many keys earlier runs have brought."""
    found = client.query(f"SELECT uniqExact(key) FROM ({_EVENTS})", {"source": source, "name": name})  # noqa: S608
    return int(found.first_row[0])
