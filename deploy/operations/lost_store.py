"""Makes a Redis that was lost again, from ClickHouse: `throughline rebuild`.

Identities come from their log, with the ids, versions, aliases, separations, quarantines and erasures that they had;
profiles from their snapshots, which have runs, caps and timers too. A snapshot is some seconds old: where events came
after it, the profile is made of all events of the person, and the decisions that the snapshot knows stay. Nothing is
sent. Events that the profile workers have not read yet are left to them.

A rebuild goes on where it broke off: the version of the log and the finished parts are in Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis

from deploy.operations.deployment import Deployment
from deploy.operations.lost_profiles import rebuild_profiles
from deploy.operations.publication import restore_archive
from deploy.operations.rebuild import NotRebuiltError, load_rebuild_definitions
from deploy.operations.segment_backfill import batches, fingerprints
from deploy.operations.unread import ResolvedTopic, read_resolved
from processors.identity.claims import all_claims, content_key, event_key, origin_key
from processors.profiles.product_news import LISTED_EVENTS, WATCHED_EVENTS
from schemas.durations import DAY_S
from schemas.identity.resolution import NIL_UUID, uuid_bytes
from schemas.products import ABOUT_PRODUCTS, facts_of
from schemas.profiles.document import ITEMS_KEPT
from schemas.time import clock_ms, ms_of_time, time_of_ms
from sinks.clickhouse import rebuild as history
from sinks.clickhouse.history import read_events_named
from sinks.redis.deduplication import TTL_S, UNKNOWN_ORIGIN
from sinks.redis.definitions import RedisDefinitions
from sinks.redis.delivery import KEPT_MS, RedisDeliveryLedger
from sinks.redis.identity_replay import CHANGES_A_CALL, LoggedChange, RedisIdentityReplay, SeenEvent
from sinks.redis.products import RedisProducts
from sinks.redis.rebuild import RedisRebuild

WATCHED_S = 90 * DAY_S
"""How far back it counts who looked at a product, seconds."""
_ROWS = 5_000
_LEASE_S = 6.0
"""A lease of a worker that is gone has expired after so many seconds."""

Report = Callable[[str], None]
"""Takes a line about the progress."""


@dataclass(frozen=True, slots=True)
class RebuiltStore:
    """What a rebuild has made.

    Attributes:
        changes: Changes of identity that were replayed.
        marks: Events that were marked as seen.
        profiles: Profiles that are as their snapshot, or nearly all of it, says.
        made_anew: Profiles that were made of their events, since their snapshot was older, or there was none.
    """

    changes: int = 0
    marks: int = 0
    profiles: int = 0
    made_anew: int = 0


async def rebuild_store(
    deployment: Deployment, redis: Redis, *, wipe: bool = False, timeout_s: float = 300, report: Report = lambda _: None
) -> RebuiltStore:
    """Rebuild everything in Redis.

    Args:
        deployment: Open.
        redis: A client of the same server that answers bytes.
        wipe: Delete what is there of people first.
        timeout_s: Longest wait for the recorder, seconds.
        report: Takes lines about the progress.

    Raises:
        NotRebuiltError: Workers run, something is stored, or ClickHouse does not have everything from Kafka yet.
    """
    progress = RedisRebuild(redis, deployment.settings.redis_namespace)
    if not await asyncio.to_thread(history.has_people, deployment.tables):
        raise NotRebuiltError("ClickHouse has no people: there is nothing to rebuild")
    await _check_stopped(deployment, progress, report)
    begun = await progress.begun()
    if wipe and not begun:
        report(f"{await progress.wipe():,} keys were deleted")
    elif not begun and not await progress.is_empty():
        raise NotRebuiltError(
            "Redis has people. `throughline rebuild` is for a store that is lost: --wipe deletes what is there first"
        )
    if begun:
        report("an earlier rebuild had begun: it goes on")
    settings = deployment.settings
    await restore_archive(settings, RedisDefinitions(redis, settings.redis_namespace))
    definitions, former = await load_rebuild_definitions(settings)
    decider = definitions.decider(archive=former)
    await progress.note("begun")
    done = await progress.done()
    await _wait_for_record(deployment, timeout_s, report)
    replay = RedisIdentityReplay(redis, deployment.settings.redis_namespace, deployment.policy)
    if not await replay.version():
        # Members are in the snapshots: no segment has to take history in again.
        by = definitions.territory, definitions.policy.address_types
        filled = fingerprints(definitions.segments, definitions.journeys, *by)
        await deployment.backfills.finish(filled)
    changes = await _replay_log(deployment, replay, report)
    resolved = await asyncio.to_thread(read_resolved, settings, deployment.lags)
    marks = 0
    if "marks" not in done:
        marks = await _mark_seen(deployment, replay, resolved, report)
        await progress.note("marks")
    if "messages" not in done:
        sent = RedisDeliveryLedger(redis, settings.redis_namespace)
        since = time_of_ms(clock_ms() - KEPT_MS)
        for keys in batches(history.read_delivered(deployment.tables, since), _ROWS):
            await sent.close_entries(keys, clock_ms())
        await progress.note("messages")
    if "products" not in done:
        await _rebuild_catalogue(deployment, redis, progress)
        await progress.note("products")
        report("the catalogue is rebuilt")
    kept, anew = await rebuild_profiles(deployment, progress, decider, resolved.unread, report)
    await replay.finish()
    await progress.end()
    return RebuiltStore(changes, marks, kept, anew)


async def _check_stopped(deployment: Deployment, progress: RedisRebuild, report: Report) -> None:
    """Refuse while a worker runs that writes people; the recorder may run."""
    running = await progress.running()
    if running:
        report("waiting whether workers are gone")
        await asyncio.sleep(_LEASE_S)
        running = await progress.running()
    if running:
        raise NotRebuiltError(
            f"workers run: {', '.join(running)}. Stop all but `record`, which may run, and repeat the command"
        )


async def _wait_for_record(deployment: Deployment, timeout_s: float, report: Report) -> None:
    """Wait until ClickHouse has all that the workers had published: identities, events, decisions."""
    left = await deployment.catch_up("record", min(timeout_s, 5), report)
    if left:
        report("waiting for the recorder: start `throughline worker record` if it does not run")
        left = await deployment.catch_up("record", timeout_s, report)
    if left:
        raise NotRebuiltError(
            f"{left:,} records in Kafka are not in ClickHouse yet: start `throughline worker record`, alone, wait until"
            " `throughline status` shows no lag of it, and repeat the command"
        )


async def _replay_log(deployment: Deployment, replay: RedisIdentityReplay, report: Report) -> int:
    """Replay the log of identities after the version that is stored, then say when people were first seen."""
    tables, done = deployment.tables, 0
    after = await replay.version()
    total = await asyncio.to_thread(history.count_changes, tables, after)
    erased = await asyncio.to_thread(history.erased_profiles, tables)
    batch: list[LoggedChange] = []
    for rows in batches(history.read_log(tables, after), _ROWS):
        for row in rows:
            if len(batch) >= CHANGES_A_CALL and (not row.event_id or row.event_id != batch[-1].event_id):
                await replay.apply(batch)
                batch = []
            batch.append(_logged(deployment, row, erased))
            if row.kind == "erase" and row.rule != "merged":
                anchors = [anchor for anchor, _ in row.anchors]
                await deployment.erasures.erase(anchors, [], row.version // 1000)
        done += len(rows)
        report(f"{done:,} of {total:,} changes of identity")
    if batch:
        await replay.apply(batch)
    for first in batches(history.read_first_seen(tables), _ROWS):
        await replay.lower_first_seen((_raw(profile_id), ms) for profile_id, ms in first)
    return done


def _logged(deployment: Deployment, row: history.LoggedRow, erased: set[str]) -> LoggedChange:
    first_ms = 0
    hints: tuple[bytes, ...] = ()
    if row.kind == "split":
        first_ms = history.first_seen_before(deployment.tables, row.from_profile_id, row.version)
    elif row.kind == "transfer" and row.profile_id != NIL_UUID and row.from_profile_id in erased:
        hints = _hints(deployment, row.anchors[0][0])  # the changes of the erased person are not in the log any more
    return LoggedChange(
        row.version,
        row.kind,
        _raw(row.profile_id),
        _raw(row.from_profile_id),
        tuple((_raw(anchor), kind) for anchor, kind in row.anchors),
        row.event_id,
        row.occurred_ms,
        row.rule,
        first_ms,
        hints,
    )


def _hints(deployment: Deployment, anchor: str) -> tuple[bytes, ...]:
    """Return the hashes of the identifiers that events under an anchor name."""
    found = history.identifiers_under(deployment.tables, anchor)
    return tuple(
        dict.fromkeys(
            made.identifier_hash
            for source, kind, value in found
            for made in all_claims(kind, value, deployment.policy, deployment.secret, source)
        )
    )


async def _mark_seen(
    deployment: Deployment, replay: RedisIdentityReplay, resolved: ResolvedTopic, report: Report
) -> int:
    """Mark the events of the last weeks as seen; those that the profile workers have yet to read are not applied."""
    since, marked = time_of_ms(clock_ms() - TTL_S * 1000), 0
    derived = [SeenEvent(key, received_ms, UNKNOWN_ORIGIN, True) for key, received_ms in resolved.derived]
    await replay.mark_seen([one for one in derived if one.received_ms >= ms_of_time(since)])
    for rows in batches(history.read_seen(deployment.tables, since), _ROWS):
        await replay.mark_seen([_seen(row, resolved.unread) for row in rows])
        marked += len(rows)
        report(f"{marked:,} events marked as seen")
    return marked


def _seen(row: history.SeenRow, unread: set[bytes]) -> SeenEvent:
    key = event_key(row.source, row.event_id)
    content = content_key({"event": row.event, "properties": {"order_id": row.order_id}})
    mark = origin_key(row.topic, row.partition, row.offset) + content
    return SeenEvent(key, row.received_ms, mark, row.has_person and key not in unread)


async def _rebuild_catalogue(deployment: Deployment, redis: Redis, progress: RedisRebuild) -> None:
    """State the facts of products again, and who looked at which."""
    products = RedisProducts(redis, deployment.settings.redis_namespace)
    for events in batches(read_events_named(deployment.tables, ABOUT_PRODUCTS), _ROWS):
        await products.state([fact for event in events for fact in facts_of(event)])
    since = time_of_ms(clock_ms() - WATCHED_S * 1000)
    names, lists = sorted(WATCHED_EVENTS), sorted(LISTED_EVENTS)
    for looks in batches(history.read_watchers(deployment.tables, names, lists, ITEMS_KEPT, since), _ROWS):
        await progress.watch(looks)


def _raw(uuid: str) -> bytes:
    return b"" if uuid == NIL_UUID else uuid_bytes(uuid)
