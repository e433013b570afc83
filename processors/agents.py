"""START HERE. Every agent on one page, in the order in which a touchpoint meets them.

    touchpoints.<channel> ─▶ identify ─▶ resolved-touchpoints ─▶ update_profile ─▶ profiles (Redis)
                                │                           └──▶ record ─▶ touchpoints, conversions (ClickHouse)
                                ├─▶ dropped-touchpoints ───────▶ record ─▶ dropped_touchpoints
                                ├─▶ dead-letters ──────────────▶ record ─▶ dead_letters
                                └─▶ (outbox) relay ─▶ identity-changes ─▶ record ─▶ identity_log, identity_overrides

The contract of an agent: take a batch, let a stage decide, hand the result to a port, acknowledge. Nothing escapes an
agent but the wish to stop: Faust acknowledges a message whose agent raised, so bad data becomes a dead letter, and a
store that is down is waited for inside the port. What does escape stops the process without an acknowledgement.

`at(...)` names the points where a fault test may kill the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import orjson

from processors import record as rows
from processors.batches import Batch, batches
from processors.identify import Identify, dead_letter, utc_text
from processors.ports import ChangedProfiles, IdentityOutbox, Publisher, Tables
from processors.profile_update import ProfileStore, update
from processors.touches import TouchRules
from schemas.dead_letter import Reason
from schemas.identity import IdentityChange
from schemas.records import Outgoing, Record
from schemas.topics import DEAD_LETTERS, DROPPED_TOUCHPOINTS, IDENTITY_CHANGES, RESOLVED_TOUCHPOINTS, touchpoint_topic

RELAY_LEASE_MS = 5_000
RELAY_CHANGES = 2_000
SNAPSHOTS = 2_000


Crossing = Callable[[str], None]
"""Passes a named point of a stage, or ends the process there if a fault test says so."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How much an agent takes at once.

    Attributes:
        records: Most records of a batch for Redis stages.
        rows: Most rows of a ClickHouse insert.
        linger_s: Longest wait for an insert to fill, seconds.
    """

    records: int
    rows: int
    linger_s: float


def register_identify(
    app: faust.App, topic: Callable[..., Any], *, channels: Sequence[str], stage: Identify, publisher: Publisher,
    outbox: IdentityOutbox, relay_token: str, batching: Batching, at: Crossing,
) -> None:  # fmt: skip
    """Producers' records become people's touchpoints; identity's changes follow through the outbox."""

    @app.agent(topic(*(touchpoint_topic(channel) for channel in channels)), name="identify")
    async def identify(stream: Any) -> None:
        async for batch in batches(stream, max_records=batching.records):
            at("identify:taken")
            outgoing = await stage(batch.records)
            at("identify:resolved")
            await publisher.send(outgoing)
            at("identify:published")
            await batch.done()

    @app.task
    async def relay() -> None:
        """Carry identity's changes from the outbox to Kafka, one process at a time, in version order."""
        while not app.should_stop:
            changes = []
            if await outbox.acquire_relay(relay_token, RELAY_LEASE_MS):
                changes = await outbox.pending_changes(RELAY_CHANGES)
            if changes:
                await publisher.send([_change_record(change) for _, change in changes])
                at("relay:published")
                await outbox.acknowledge_changes(changes[-1][0], relay_token)
            await asyncio.sleep(0 if len(changes) == RELAY_CHANGES else 0.1)


def register_profile(
    app: faust.App, topic: Callable[..., Any], *, profiles: ProfileStore, publisher: Publisher, batching: Batching,
    at: Crossing,
) -> None:  # fmt: skip
    """People's touchpoints become their live profiles."""

    @app.agent(topic(RESOLVED_TOUCHPOINTS), name="update_profile")
    async def update_profile(stream: Any) -> None:
        async for batch in batches(stream, max_records=batching.records):
            at("profile:taken")
            events, refused = _parse(batch.records, "update_profile")
            done = await update(profiles, [event for event, _ in events])
            at("profile:written")
            origin = {id(event): record for event, record in events}
            refused += [
                dead_letter(origin[id(event)], "update_profile", Reason.BUG, message) for event, message in done.refused
            ]
            await publisher.send(refused)
            await batch.done()


def register_record(
    app: faust.App, topic: Callable[..., Any], *, tables: Tables, changed: ChangedProfiles, publisher: Publisher,
    rules: TouchRules, batching: Batching, at: Crossing,
) -> None:  # fmt: skip
    """Everything that happened becomes rows."""

    def recorder(source: str, build: Callable[[dict[str, Any]], list[tuple[str, bytes]]]) -> None:
        @app.agent(topic(source), name=f"record_{source.replace('-', '_')}")
        async def record(stream: Any) -> None:
            async for batch in batches(stream, max_records=batching.rows, linger_s=batching.linger_s):
                at("record:taken")
                await publisher.send(await store(tables, batch, build))
                at("record:inserted")
                await batch.done()

    recorder(RESOLVED_TOUCHPOINTS, lambda event: rows.touchpoint_rows(event, rules))
    recorder(IDENTITY_CHANGES, rows.identity_rows)
    recorder(DROPPED_TOUCHPOINTS, rows.dropped_rows)
    recorder(DEAD_LETTERS, rows.dead_letter_rows)

    @app.task
    async def snapshot_profiles() -> None:
        """Copy changed profiles to ClickHouse, each at most once a turn however often it changed.

        A turn takes at most a fifth of the time: under load, a profile changes many times between two snapshots.
        """
        clock = asyncio.get_running_loop().time
        while not app.should_stop:
            started = clock()
            found = await changed.changed(SNAPSHOTS)
            if found:
                snapshots = [rows.profile_row(version, document) for _, version, document in found]
                await tables.insert_all("profiles", snapshots, "")
                at("snapshot:inserted")
                await changed.exported([(profile_id, version) for profile_id, version, _ in found])
            await asyncio.sleep(max(0.5, 4 * (clock() - started)))


async def store(
    tables: Tables, batch: Batch, build: Callable[[dict[str, Any]], list[tuple[str, bytes]]]
) -> list[Outgoing]:
    """Insert the rows of a batch, table by table.

    Returns:
        Dead letters for what the store refuses; a refused row never takes its neighbours with it.
    """
    by_table: dict[str, tuple[list[bytes], list[Record]]] = {}
    refused: list[Outgoing] = []
    for record in batch.records:
        try:
            found = build(orjson.loads(record.value or b""))
        except Exception as error:  # noqa: BLE001 - a bug costs this record its way, not its neighbours theirs
            refused.append(_refuse(record, "record", Reason.BUG, f"{type(error).__name__}: {error}"))
            continue
        for table, row in found:
            into, origins = by_table.setdefault(table, ([], []))
            into.append(row)
            origins.append(record)
    for table, (into, origins) in by_table.items():
        for index, message in await tables.insert_all(table, into, f"{table}:{batch.token}"):
            refused.append(_refuse(origins[index], "record", Reason.REFUSED_BY_STORE, f"{table}: {message}"))
    return refused


def _refuse(record: Record, stage: str, reason: Reason, message: str) -> Outgoing:
    if record.topic.endswith(DEAD_LETTERS):
        # A dead letter that cannot be stored must not become another one, for ever: stop and let someone look.
        raise RuntimeError(f"dead letter {record.partition}:{record.offset} cannot be stored: {message}")
    return dead_letter(record, stage, reason, message)


def _parse(records: Sequence[Record], stage: str) -> tuple[list[tuple[dict[str, Any], Record]], list[Outgoing]]:
    """Parse our own JSON; what is not ours becomes a dead letter."""
    events: list[tuple[dict[str, Any], Record]] = []
    refused: list[Outgoing] = []
    for record in records:
        try:
            event = orjson.loads(record.value or b"")
            if not isinstance(event, dict) or "profile_id" not in event:
                raise TypeError("not a resolved touchpoint")
            events.append((event, record))
        except (ValueError, TypeError) as error:
            refused.append(dead_letter(record, stage, Reason.NOT_JSON, str(error)))
    return events, refused


def _change_record(change: IdentityChange) -> Outgoing:
    value = {
        "version": change.version,
        "kind": change.kind,
        "profile_id": change.profile_id,
        "from_profile_id": change.from_profile_id,
        "anchors": change.anchors,
        "event_id": change.event_id,
        "occurred_at": utc_text(change.occurred_ms),
        "rule": change.rule,
    }
    return Outgoing(IDENTITY_CHANGES, change.profile_id.encode(), orjson.dumps(value))
