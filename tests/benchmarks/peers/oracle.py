"""What a set of lines should lead to, and what contenders have made of it: people, events per person, rows.

The oracle reads lines with the product's pure functions and finds the people with networkx, as connected components of
identifiers. No contender uses it, and no store takes part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import networkx
import redis

from deploy.settings import Settings
from processors.identity.claims import claims
from processors.intake.decode import decode
from schemas.identity.policy import IdentityPolicy
from sinks.clickhouse.client import connect


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the lines.

    Attributes:
        people: Number of people who have an event.
        events_per_person: The number of events of each, sorted.
        rows: Events in ClickHouse, each once.
    """

    people: int
    events_per_person: tuple[int, ...]
    rows: int

    @classmethod
    def of(cls, events_per_person: Iterable[int], rows: int) -> Outcome:
        """Make the outcome of people's events, in any order."""
        sizes = tuple(sorted(events_per_person))
        return cls(len(sizes), sizes, rows)

    def difference(self, other: Outcome) -> str:
        """Tell in which numbers another outcome differs; empty if in none."""
        return "; ".join(
            f"{name} {getattr(self, name)} ≠ {getattr(other, name)}" if name != "events_per_person" else name
            for name in ("people", "events_per_person", "rows")
            if getattr(self, name) != getattr(other, name)
        )


def expected(lines: Iterable[bytes], settings: Settings) -> Outcome:
    """Compute the outcome from the lines alone."""
    policy = IdentityPolicy.unlimited()
    graph: networkx.Graph[bytes] = networkx.Graph()
    first_of: dict[tuple[str, str], bytes | None] = {}
    for line in lines:
        event = decode(line, channels=frozenset(settings.channels), max_bytes=settings.max_event_bytes)
        if not isinstance(event, dict) or (event["source"], event["event_id"]) in first_of:
            continue
        named = [claim.identifier_hash for claim in claims(event, policy, b"the oracle's")[0]]
        first_of[event["source"], event["event_id"]] = named[0] if named else None
        graph.add_nodes_from(named)
        graph.add_edges_from((named[0], other) for other in named[1:])
    person_of = {one: number for number, people in enumerate(networkx.connected_components(graph)) for one in people}
    counts = Counter(person_of[first] for first in first_of.values() if first is not None)
    return Outcome.of(counts.values(), len(first_of))


def of_peer(settings: Settings, prefix: str, table: str) -> Outcome:
    """Read a peer's outcome from its profiles in Valkey and its table in ClickHouse."""
    with redis.Redis.from_url(settings.redis_url) as client:
        names = list(client.scan_iter(match=f"{prefix}profile:*", count=5000))
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.hget(name, "events")
        sizes = [int(found) for found in pipeline.execute()]
    clickhouse = connect(settings.clickhouse_url, settings.clickhouse_database)
    try:
        return Outcome.of(sizes, int(clickhouse.command(f"SELECT count() FROM {table} FINAL")))
    finally:
        clickhouse.close()


def of_throughline(settings: Settings) -> Outcome:
    """Read Throughline's outcome: people as known now, in ClickHouse."""
    clickhouse = connect(settings.clickhouse_url, settings.clickhouse_database)
    try:
        found = clickhouse.query("SELECT profile_id, count() FROM v_touchpoints GROUP BY profile_id").result_rows
    finally:
        clickhouse.close()
    rows = sum(events for _, events in found)
    return Outcome.of([events for person, events in found if person.int], rows)
