"""START HERE. Every agent on one page, in the order in which a touchpoint meets them.

    touchpoints.<channel> ─▶ identify ─▶ resolved-touchpoints ─▶ update_profile ─▶ profiles, segments, journeys (Redis)
                                │                           └──▶ record ─▶ touchpoints, conversions (ClickHouse)
                                ├─▶ dropped-touchpoints ───────▶ record ─▶ dropped_touchpoints
                                ├─▶ dead-letters ──────────────▶ record ─▶ dead_letters
                                └─▶ (outbox) relay ─▶ identity-changes ─▶ record ─▶ identity_log, identity_overrides
    update_profile, fire_timers ─▶ (outbox) relay ─▶ decisions, journey-events ─▶ record ─▶ decisions, journey_events
                                                 └─▶ actions ─▶ deliver

The contract of an agent: take a batch, let a stage decide, hand the result to a port, acknowledge. Nothing escapes an
agent but the wish to stop: Faust acknowledges a message whose agent raised, so bad data becomes a dead letter, and a
store that is down is waited for inside the port. What does escape stops the process without an acknowledgement.

`at(...)` names the points where a fault test may kill the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import orjson

from processors.delivery.stage import DUE_PER_TURN, Deliver
from processors.identity.stage import Identify
from processors.profiles.product_news import Catalogue
from processors.profiles.stage import ProfileUpdate
from processors.recording import rows
from processors.recording.decision_rows import decision_rows, journey_event_rows
from processors.recording.erasure_filter import (
    Erasures,
    change_remains,
    event_remains,
    letter_trace,
    no_trace,
    nothing_remains,
    person_trace,
)
from processors.recording.stage import Build, rest_after, store
from processors.recording.touch_rules import TouchRules
from processors.stream.batches import batches
from processors.stream.ports import ChangedProfiles, Outbox, Publisher, Tables, Timers
from processors.stream.relay import RELAYED_RECORDS, relay_records
from processors.stream.routing import Router
from processors.stream.watermark import Pace
from schemas.dead_letters import Reason, dead_letter
from schemas.identity.erasure import Trace
from schemas.records import Outgoing, Record
from schemas.topics import (
    ACTIONS,
    DEAD_LETTERS,
    DECISIONS,
    DROPPED_TOUCHPOINTS,
    IDENTITY_CHANGES,
    JOURNEY_EVENTS,
    RESOLVED_TOUCHPOINTS,
    touchpoint_topic,
)

log = logging.getLogger(__name__)

TIMERS_LEASE_MS = 5_000
SNAPSHOTS = 1_000
TIMERS = 500
CHORES_S = 60.0


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
    outbox: Outbox, relay_token: str, clock: Callable[[], int], batching: Batching, at: Crossing,
) -> None:  # fmt: skip
    """Producers' records become people's touchpoints; identity's changes follow through the outbox."""
    router = Router(publisher, "identify", clock)

    @app.agent(topic(*(touchpoint_topic(channel) for channel in channels)), name="identify")
    async def identify(stream: Any) -> None:
        async for batch in batches(stream, max_records=batching.records):
            at("identify:taken")
            outcomes = await stage(batch.records)
            at("identify:resolved")
            await router.publish(batch.records, outcomes)
            at("identify:published")
            await batch.done()

    _relay(app, outbox, router, relay_token, lambda: at("relay:published"))


def register_profile(
    app: faust.App, topic: Callable[..., Any], *, stage: ProfileUpdate, catalogue: Catalogue, timers: Timers,
    outbox: Outbox, publisher: Publisher, token: str, clock: Callable[[], int], batching: Batching, at: Crossing,
) -> None:  # fmt: skip
    """People's touchpoints become their live profiles, and what segments and journeys make of them."""
    pace = Pace(clock)

    @app.agent(topic(RESOLVED_TOUCHPOINTS), name="update_profile")
    async def update_profile(stream: Any) -> None:
        async for batch in batches(stream, max_records=batching.records):
            at("profile:taken")
            parsed, refused = _parse(batch.records, "update_profile")
            events = [event for event, _ in parsed]
            pace.taken(events)
            done = await stage(events)
            at("profile:written")
            if done.refused:
                origin = {id(event): record for event, record in parsed}
                refused += [
                    dead_letter(origin[id(event)], "update_profile", Reason.BUG, message)
                    for event, message in done.refused
                ]
            await publisher.send(refused + await catalogue(events))
            await batch.done()
            pace.done()

    @app.on_partitions_assigned.connect
    async def begin(_app: faust.App, assigned: set[Any], **_: Any) -> None:
        if assigned:
            pace.begin()

    @app.task
    async def fire_timers() -> None:
        """Do what time alone brings about, one process at a time, up to the time that events have come to."""
        while not app.should_stop:
            due = []
            if pace.begun and await timers.acquire_timers(token, TIMERS_LEASE_MS):
                until = pace.until()
                due = await timers.due(until, TIMERS)
                for error in await stage.fire(due, until):
                    log.error("a timer failed and is tried again in an hour: %s", error)
                if due:
                    at("timers:fired")
            await asyncio.sleep(0 if len(due) == TIMERS else 0.2)

    _relay(app, outbox, Router(publisher, "relay", clock), token, lambda: at("outbox:published"))


def register_record(
    app: faust.App, topic: Callable[..., Any], *, tables: Tables, changed: ChangedProfiles, erasures: Erasures,
    publisher: Publisher, rules: TouchRules, batching: Batching, at: Crossing,
) -> None:  # fmt: skip
    """Everything that happened becomes rows, but for people who were erased since."""

    def recorder(
        source: str, build: Build, trace: Callable[[dict[str, Any]], Trace] = no_trace, remains: Build = nothing_remains
    ) -> None:
        @app.agent(topic(source), name=f"record_{source.replace('-', '_')}")
        async def record(stream: Any) -> None:
            async for batch in batches(stream, max_records=batching.rows, linger_s=batching.linger_s):
                at("record:taken")
                await publisher.send(await store(tables, erasures, batch, build, trace, remains))
                at("record:inserted")
                await batch.done()

    recorder(RESOLVED_TOUCHPOINTS, lambda event: rows.touchpoint_rows(event, rules), person_trace, event_remains)
    recorder(IDENTITY_CHANGES, rows.identity_rows, person_trace, change_remains)
    recorder(DROPPED_TOUCHPOINTS, rows.dropped_rows)
    recorder(DEAD_LETTERS, rows.dead_letter_rows, letter_trace)
    recorder(DECISIONS, decision_rows, person_trace)
    recorder(JOURNEY_EVENTS, journey_event_rows, person_trace)

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
                snapshots = [rows.profile_row(*snapshot) for snapshot in found]
                await tables.insert_all("profiles", snapshots, "")
                at("snapshot:inserted")
                await changed.exported([(profile_id, version) for profile_id, version, _ in found])
            await asyncio.sleep(rest_after(clock() - started))


def register_deliver(
    app: faust.App, topic: Callable[..., Any], *, stage: Deliver, chores: Callable[[], Awaitable[object]],
    batching: Batching, at: Crossing,
) -> None:  # fmt: skip
    """Messages leave, each at most once; what became of them comes back as touchpoints."""

    @app.agent(topic(ACTIONS), name="deliver")
    async def deliver(stream: Any) -> None:
        async for batch in batches(stream, max_records=batching.records):
            at("deliver:taken")
            await stage(batch.records)
            await batch.done()

    @app.task
    async def deliver_again() -> None:
        """Send what could not be sent before, when its time has come."""
        while not app.should_stop:
            tried = await stage.send_due()
            await asyncio.sleep(0 if tried == DUE_PER_TURN else 1)

    @app.timer(CHORES_S)
    async def do_chores() -> None:
        """Keep up to date what messages are made of."""
        await chores()


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


def _relay(app: faust.App, outbox: Outbox, publisher: Publisher, token: str, after_send: Callable[[], None]) -> None:
    @app.task
    async def relay() -> None:
        """Bring records from an outbox to Kafka, one process at a time."""
        while not app.should_stop:
            relayed = await relay_records(outbox, publisher, token, after_send=after_send)
            await asyncio.sleep(0 if relayed == RELAYED_RECORDS else 0.1)
