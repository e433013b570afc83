"""START HERE. Every agent on one page, in the order in which a touchpoint meets them.

    touchpoints.<channel> ─▶ identify ─▶ resolved-touchpoints ─▶ update_profile ─▶ profiles, segments, journeys (Redis)
                                │                           └──▶ record ─▶ touchpoints, conversions (ClickHouse)
                                ├─▶ dropped-touchpoints ───────▶ record ─▶ dropped_touchpoints
                                ├─▶ dead-letters ──────────────▶ record ─▶ dead_letters
                                └─▶ (outbox) relay ─▶ identity-changes ─▶ record ─▶ identity_log, identity_overrides
    update_profile, fire_timers ─▶ (outbox) relay ─▶ decisions, journey-events ─▶ record ─▶ decisions, journey_events
                                                 └─▶ actions ─▶ deliver

An agent takes a batch, lets its stage decide, publishes the outcomes and acknowledges the batch. It never raises,
except to stop the worker without acknowledging: Faust would acknowledge the batch of an agent that raised. So an event
that cannot be processed becomes a dead letter, and a store that is down is retried inside the port.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import faust

from processors.delivery.stage import DUE_PER_TURN, Deliver
from processors.identity.changes import CountedChanges
from processors.identity.stage import Identify
from processors.profiles.broadcasts import BroadcastEntries
from processors.profiles.expiry import AnonymousExpiry
from processors.profiles.product_news import ProductNews
from processors.profiles.stage import ProfileUpdate, UpdateResult
from processors.recording.erasure_filter import Erasures
from processors.recording.recorders import Recorder, recorders
from processors.recording.rows import profile_row
from processors.recording.stage import Linger, snapshot_pause_s, store
from processors.recording.touch_rules import TouchRules
from processors.stream.batches import batches
from processors.stream.commits import Commits
from processors.stream.ports import (
    OUTBOX_LIMIT,
    ChangedProfiles,
    Durability,
    Outbox,
    OwnShards,
    ProfileOutbox,
    Progress,
    Publisher,
    Tables,
    Timers,
)
from processors.stream.relay import RELAYED_RECORDS, relay_records
from processors.stream.resolved import ResolvedEvent, parse_resolved
from processors.stream.routing import Router
from processors.stream.watermark import MARGIN_MS, Watermark
from schemas.metrics import DELAY, NO_METER, SNAPSHOTS_AT, STAGE_DURATION, WATERMARK, Meter
from schemas.offsets import Partition
from schemas.outcomes import Ok, Outcome
from schemas.time import ms_of_text
from schemas.topics import ACTIONS, RESOLVED_TOUCHPOINTS, touchpoint_topic

log = logging.getLogger(__name__)

MAX_SNAPSHOTS = 3_000
MAX_TIMERS = 500
TIMER_PAUSE_S = 0.2
FAILED_TIMERS_PAUSE_S = 30.0
BROADCAST_PAUSE_S = 0.5
FULL_OUTBOX_PAUSE_S = 0.5
FOLLOW_PAUSE_S = 0.3
MEASURE_PAUSE_S = 0.5
MEASURE_REST = 10
"""How far the log is processed is measured again after the pause, or so many times as long as the last time took."""
HELD_BACK_MS = 60_000
"""How long a record may wait to be processed until the log says that timers wait for it."""
HOUSEKEEPING_S = 60.0
EXPIRY_PAUSE_S = 60.0
EXPIRY_STEP_PAUSE_S = 0.1
"""Pause between two steps of a pass over all profiles, so that it takes no time from events."""

_APPLIED = Ok(None)

Failpoint = Callable[[str], None]
"""Takes the name of a failpoint; a fault test can end the process there."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Sizes of the batches of agents.

    Attributes:
        records: The most records of a batch of a stage that writes to Redis.
        rows: The most records of a batch that is inserted into ClickHouse.
        linger_s: Shortest wait for such a batch to fill, seconds (`processors/recording/stage.py`, `Linger`).
    """

    records: int
    rows: int
    linger_s: float


@dataclass(frozen=True, slots=True)
class Worker:
    """The context that all agents of one process share.

    Attributes:
        app: The Faust app.
        topic: Returns the Faust topic of topic names without prefix.
        publisher: Writes to Kafka.
        token: Id of this process in leases.
        clock: The time, milliseconds since 1970.
        batching: Sizes of batches.
        failpoint: Called at each failpoint with its name.
        topic_prefix: The deployment's prefix of topic names.
        meter: Counts and measures what the agents do.
        durability: Waits until writes to Redis are durable, before a batch is acknowledged; None: none is waited for.
    """

    app: faust.App
    topic: Callable[..., Any]
    publisher: Publisher
    token: str
    clock: Callable[[], int]
    batching: Batching
    failpoint: Failpoint
    topic_prefix: str = ""
    durability: Durability | None = None
    meter: Meter = NO_METER

    def router(self, stage: str) -> Router:
        """Return the router of one stage's outcomes."""
        return Router(self.publisher, stage, self.clock, topic_prefix=self.topic_prefix, meter=self.meter)

    @contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        """Measure how long a batch takes."""
        clock = asyncio.get_running_loop().time
        started = clock()
        yield
        self.meter.observe(STAGE_DURATION, clock() - started, stage)

    def note_delay(self, event: Mapping[str, Any] | None, to: str) -> None:
        """Measure how long ago an event arrived; None: there is none.

        An event without a time that can be read is not measured: the stage judges it.
        """
        with suppress(LookupError, TypeError, ValueError):
            if event is not None:
                self.meter.observe(DELAY, max(0, self.clock() - ms_of_text(event["received_at"])) / 1000, to)


def register_identify(worker: Worker, *, channels: Sequence[str], stage: Identify, outbox: Outbox) -> None:
    """Register `identify`: producers' records become resolved touchpoints; its outbox has the identity changes."""
    router, failpoint, commits = worker.router("identify"), worker.failpoint, _register_commits(worker)

    @worker.app.agent(worker.topic(*(touchpoint_topic(channel) for channel in channels)), name="identify")
    async def identify(stream: Any) -> None:
        async for batch in batches(stream, max_records=worker.batching.records):
            failpoint("identify:taken")
            mark = await commits.begin()
            with worker.measured("identify"):
                outcomes = await stage(batch.records)
                failpoint("identify:resolved")
                await router.publish(batch.records, outcomes)
            failpoint("identify:published")
            await commits.acknowledge(batch, mark)

    _register_relay(worker, outbox, "relay:published")


def register_profile(
    worker: Worker,
    *,
    stage: ProfileUpdate,
    product_news: ProductNews,
    timers: Timers,
    own: OwnShards,
    progress: Progress,
    outbox: ProfileOutbox,
    broadcasts: BroadcastEntries,
    expiry: AnonymousExpiry,
) -> None:
    """Register `update_profile`, `fire_timers` and `enter_broadcasts`; what they decide goes through the outbox."""
    router, failpoint, watermark = worker.router("update_profile"), worker.failpoint, Watermark()
    commits = _register_commits(worker)

    @worker.app.agent(worker.topic(RESOLVED_TOUCHPOINTS), name="update_profile")
    async def update_profile(stream: Any) -> None:
        async for batch in batches(stream, max_records=worker.batching.records):
            failpoint("profile:taken")
            mark = await commits.begin()
            with worker.measured("update_profile"):
                parsed = [parse_resolved(record) for record in batch.records]
                events = [outcome.value for outcome in parsed if isinstance(outcome, Ok)]
                updated = await stage(events)
                failpoint("profile:written")
                worker.note_delay(events[0] if events else None, "profile")
                await router.publish(batch.records, _profile_outcomes(parsed, updated))
                rules, _ = await stage.follow()
                news = product_news(zip(batch.records, parsed, strict=True), for_segments=rules.reads_catalogue)
                await router.publish_derived(news)
            await commits.acknowledge(batch, mark)

    @worker.app.task
    async def follow_log() -> None:
        """Move the watermark on, while there is a timer that waits for it."""
        clock = asyncio.get_running_loop().time
        reported_at = -HELD_BACK_MS / 1000
        while not worker.app.should_stop:
            started = clock()
            waits = await broadcasts.wait(worker.clock())
            waiting = await _follow_log(worker, timers, own, progress, watermark, waits)
            if waiting and started - reported_at > HELD_BACK_MS / 1000:
                reported_at = started
                shown = ", ".join(f"{topic}, partition {number}" for topic, number in waiting[:3])
                log.warning("timers wait until %d partitions are processed: %s", len(waiting), shown)
            await asyncio.sleep(max(MEASURE_PAUSE_S, MEASURE_REST * (clock() - started)))

    @worker.app.task
    async def fire_timers() -> None:
        """Fire what is due up to the watermark, of the people whose events this process reads."""
        while not worker.app.should_stop:
            pause_s = await _fire_due(worker, stage, timers, own, watermark)
            is_full = not pause_s and await outbox.size() > OUTBOX_LIMIT
            await asyncio.sleep(FULL_OUTBOX_PAUSE_S if is_full else pause_s)

    @worker.app.task
    async def enter_broadcasts() -> None:
        """Let the people of the shards whose events this process reads enter broadcasts that were started."""
        while not worker.app.should_stop:
            more = await _enter_broadcasts(worker, broadcasts, own, watermark)
            await asyncio.sleep(0 if more else BROADCAST_PAUSE_S)

    _register_expiry(worker, own, expiry)
    _register_relay(worker, outbox, "outbox:published")
    _register_follower(worker, stage.follow)


def register_record(
    worker: Worker,
    *,
    tables: Tables,
    changed: ChangedProfiles,
    erasures: Erasures,
    rules: TouchRules,
    housekeeping: Callable[[], Awaitable[object]],
) -> None:
    """Register a recorder for each topic: records become rows of ClickHouse, except those of people erased since."""
    router, failpoint, linger = worker.router("record"), worker.failpoint, Linger(worker.batching.linger_s)
    _register_housekeeping(worker, housekeeping)

    def register_recorder(recorder: Recorder) -> None:
        @worker.app.agent(worker.topic(recorder.topic), name=f"record_{recorder.topic.replace('-', '_')}")
        async def record(stream: Any) -> None:
            clock = asyncio.get_running_loop().time
            async for batch in batches(stream, max_records=worker.batching.rows, linger_s=linger.seconds):
                started = clock()
                failpoint("record:taken")
                with worker.measured("record"):
                    outcomes = await store(tables, erasures, batch, recorder, worker.meter)
                    linger.note(clock() - started)
                    await router.publish(batch.records, outcomes)
                if recorder.topic == RESOLVED_TOUCHPOINTS:
                    first = parse_resolved(batch.records[0])
                    worker.note_delay(first.value if isinstance(first, Ok) else None, "tables")
                failpoint("record:inserted")
                await batch.acknowledge()

    for recorder in recorders(rules):
        register_recorder(recorder)

    @worker.app.task
    async def snapshot_profiles() -> None:
        """Copy changed profiles to ClickHouse, each at most once a turn however often it changed.

        A turn takes at most a fifth of the time: under load, a profile changes many times between two snapshots.
        """
        clock = asyncio.get_running_loop().time
        worker.meter.set(SNAPSHOTS_AT, worker.clock() / 1000)
        while not worker.app.should_stop:
            started, complete_ms = clock(), worker.clock()
            found = await changed.changed(MAX_SNAPSHOTS)
            if found:
                await tables.insert_all("profiles", [profile_row(*snapshot) for snapshot in found], "")
                failpoint("snapshot:inserted")
                await changed.mark_exported([(profile_id, version) for profile_id, version, *_ in found])
            if len(found) < MAX_SNAPSHOTS:
                worker.meter.set(SNAPSHOTS_AT, complete_ms / 1000)
            await asyncio.sleep(snapshot_pause_s(clock() - started))


def register_deliver(
    worker: Worker,
    *,
    stage: Deliver,
    follow: Callable[[], Awaitable[object]],
    housekeeping: Callable[[], Awaitable[object]],
) -> None:
    """Register `deliver`: actions become messages, each sent at most once; their receipts are touchpoints."""
    _register_follower(worker, follow)
    _register_housekeeping(worker, housekeeping)
    commits = _register_commits(worker)

    @worker.app.agent(worker.topic(ACTIONS), name="deliver")
    async def deliver(stream: Any) -> None:
        async for batch in batches(stream, max_records=worker.batching.records):
            worker.failpoint("deliver:taken")
            mark = await commits.begin()
            with worker.measured("deliver"):
                await stage(batch.records)
            await commits.acknowledge(batch, mark)

    @worker.app.task
    async def deliver_due() -> None:
        """Send messages whose retry is due."""
        while not worker.app.should_stop:
            tried = await stage.send_due()
            await asyncio.sleep(0 if tried == DUE_PER_TURN else 1)


def _register_commits(worker: Worker) -> Commits:
    commits = Commits(worker.durability)

    @worker.app.task
    async def acknowledge_durable() -> None:
        """Acknowledge batches when their writes are durable; an error stops the worker, and they are read again."""
        await commits.run()

    return commits


def _register_expiry(worker: Worker, own: OwnShards, expiry: AnonymousExpiry) -> None:
    @worker.app.task
    async def expire_people() -> None:
        """Let anonymous people expire: one of all processes does it, the one that reads partition 0."""
        while not worker.app.should_stop:
            if own.first() and await expiry.is_due(worker.clock()):
                await _expire(worker, own, expiry)
            await asyncio.sleep(EXPIRY_PAUSE_S)


def _register_relay(worker: Worker, outbox: Outbox, published: str) -> None:
    router = CountedChanges(worker.router("relay"), worker.meter)

    @worker.app.task
    async def relay() -> None:
        """Publish the records of an outbox, one process at a time."""
        while not worker.app.should_stop:
            relayed = await relay_records(outbox, router, worker.token, after_send=lambda: worker.failpoint(published))
            await asyncio.sleep(0 if relayed == RELAYED_RECORDS else 0.1)


def _register_follower(worker: Worker, follow: Callable[[], Awaitable[object]]) -> None:
    @worker.app.task
    async def follow_definitions() -> None:
        """Take up what is published, paused or stopped, also while no event comes."""
        while not worker.app.should_stop:
            await follow()
            await asyncio.sleep(FOLLOW_PAUSE_S)


def _register_housekeeping(worker: Worker, housekeeping: Callable[[], Awaitable[object]]) -> None:
    @worker.app.timer(HOUSEKEEPING_S)
    async def run_housekeeping() -> None:
        """Do what is due now and then, such as judging bots or refreshing recommendations."""
        await housekeeping()


async def _follow_log(
    worker: Worker, timers: Timers, own: OwnShards, progress: Progress, watermark: Watermark, waits: bool = False
) -> Sequence[Partition]:
    """Move the watermark on, if a timer is due or a broadcast waits; returns the partitions that hold it back for long.

    It also measures while it is not known which shards are in the partitions that this process reads.
    """
    shards = own.shards()
    if not own.any() or (shards and not waits and not await timers.due(worker.clock() - MARGIN_MS, 1, shards)):
        return ()
    measured = await progress.measure()
    if measured is None:
        return ()
    watermark.observe(measured)
    worker.meter.set(WATERMARK, watermark.current() / 1000)
    return watermark.held_back_by(HELD_BACK_MS)


async def _fire_due(
    worker: Worker, stage: ProfileUpdate, timers: Timers, own: OwnShards, watermark: Watermark
) -> float:
    """Fire a turn of timers of own people; returns the pause until the next turn, in seconds."""
    until = watermark.current()
    shards = own.shards() if until else ()
    due = await timers.due(until, MAX_TIMERS, shards) if shards else []
    try:
        for error in await stage.fire(due, until):
            log.error("a timer failed and is tried again in an hour: %s", error)
    except Exception:  # a bug: an immediate retry would fail too, and so would a restarted worker
        log.exception("%d timers failed and are tried again in %.0f s", len(due), FAILED_TIMERS_PAUSE_S)
        return FAILED_TIMERS_PAUSE_S
    if due:
        worker.failpoint("timers:fired")
    return 0 if len(due) >= MAX_TIMERS else TIMER_PAUSE_S


async def _enter_broadcasts(worker: Worker, broadcasts: BroadcastEntries, own: OwnShards, watermark: Watermark) -> bool:
    """Let a page of people enter; returns whether more wait."""
    until, shards = watermark.current(), own.shards()
    if not until or not shards:
        return False
    try:
        more = await broadcasts.turn(shards, until)
    except Exception:  # as with timers
        log.exception("people who enter a broadcast are tried again in %.0f s", FAILED_TIMERS_PAUSE_S)
        await asyncio.sleep(FAILED_TIMERS_PAUSE_S)
        return False
    if more:
        worker.failpoint("broadcast:entered")
    return more


async def _expire(worker: Worker, own: OwnShards, expiry: AnonymousExpiry) -> None:
    """Go over all profiles once, unless another process has to by now."""
    try:
        async for _ in expiry.run(worker.clock()):
            if worker.app.should_stop or not own.first():
                return
            await asyncio.sleep(EXPIRY_STEP_PAUSE_S)
    except Exception:  # a bug: nobody expires, and everything else goes on
        log.exception("anonymous people could not expire; it is tried again in %.0f s", EXPIRY_PAUSE_S)


def _profile_outcomes(parsed: Sequence[Outcome[ResolvedEvent]], updated: UpdateResult) -> list[Outcome[None]]:
    """Return the outcome of each record: the profiles are stored already, so no `Ok` has a record to publish."""
    rejects = {id(event): reject for event, reject in updated.rejected}
    return [rejects.get(id(one.value), _APPLIED) if isinstance(one, Ok) else one for one in parsed]
