"""Takes history into new and changed segments, while events keep coming; nothing is sent for it.

The people are divided into parts of some thousand. Of a part, the versions of the profiles are read first, then the
recorder is waited for, so the history that is read next contains every event of each profile. A profile whose count of
events is that of its history has exactly those events: its series are made anew from them and the segments evaluated,
in one write that fails if the profile has changed since. Who cannot be filled so (an event came meanwhile, a merge, an
event that was counted twice) is tried again, and in the end rebuilt as `throughline profile rebuild` does.

The progress is kept after each part. A backfill that broke off goes on there; a part that is done twice has the result
of once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4

from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import RedisError

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.redis import redis_client
from deploy.operations.catalogue_history import read_catalogue
from deploy.operations.deployment import Deployment
from deploy.operations.publication import wait_for_workers
from deploy.operations.rebuild import rebuild_people, wait_for, whole_since_ms
from deploy.settings import Settings
from processors.decisions.engine import DecisionEngine
from processors.profiles.document import read_profile
from processors.profiles.fold import read_state
from processors.profiles.rebuild import RebuiltProfile, may_lack_events, refill, replacement
from processors.segments.preview import history_of
from processors.segments.reachability import AddressTypes
from schemas.channels import ADDRESS_TYPES_OF
from schemas.durations import MINUTE_MS
from schemas.journeys.definitions import Journey, SegmentEntry
from schemas.profiles.document import ProfileWrite, StoredProfile
from schemas.segments.conditions import SegmentHistory
from schemas.segments.definitions import SegmentDefinitions
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import clock_ms, ms_of_time, time_of_ms
from schemas.topics import JOURNEY_EVENTS
from sinks.clickhouse.audiences import (
    count_people,
    late_arrivals,
    late_people_of_part,
    people_of_part,
    segments_on_record,
)
from sinks.clickhouse.client import StoreDown
from sinks.clickhouse.history import read_events_of, read_people
from sinks.clickhouse.rfm import publish_rfm
from sinks.redis.segment_backfill import RedisSegmentBackfill, read_dated_ms, read_definitions

Item = TypeVar("Item")
Event = dict[str, Any]
Histories = Iterable[tuple[str, list[Event]]]

PEOPLE_A_PART = 10_000
"""People between two notes of the progress; each part reads the events once, so many small parts would take long."""
FEW_PEOPLE = 500
"""So many people of a part are read by themselves, and not with the whole part."""
CLOCKS_DIFFER_MS = 30_000
"""A late event that was received so shortly before a backfill may be dated by the next one once more, milliseconds."""
SETTLED_MS, LONGEST_WAIT_MS = 60_000, 15 * MINUTE_MS
"""Late events are taken in when no further one has come for so long, or when the first of them has waited so long."""
OUTBOX_LIMIT = 50_000
"""Records in the outbox at which a backfill waits for the profile workers to publish them."""
LEASE_MS, RENEWED_EACH_S = 30_000, 5
"""Life of the lease after a backfill was killed, ms; and how often one that runs renews it."""
JOURNEY = "journey:"
"""Prefix of the names of journeys that existing members enter, among definitions that take in history."""
_PEOPLE_A_CALL, _ROUNDS = 200, 3


class BackfillRefusedError(Exception):
    """A backfill cannot run now; the message says why and what to do."""


@dataclass
class BackfillResult:
    """The outcome of a backfill.

    Attributes:
        segments: The segments that have taken in history.
        journeys: The journeys that existing members have entered.
        people: People whose history was read.
        changed: People whose series or memberships were not as history has them.
        rebuilt: Of `people`, those whose whole profile was rebuilt.
        members: Members of each segment.
        entered: People who are members since the backfill, by segment.
        left: People who are no members any more, by segment.
        entries: Runs that began, by journey.
        failed: People whose profile cannot be read, with the reason.
    """

    segments: list[str]
    journeys: list[str]
    people: int = 0
    changed: int = 0
    rebuilt: int = 0
    members: dict[str, int] = field(default_factory=dict)
    entered: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    entries: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


Report = Callable[[int, int, BackfillResult], None]
"""Takes the number of parts that are done, that of all parts, and the result so far."""


def fingerprints(
    segments: SegmentDefinitions,
    journeys: Iterable[Journey],
    territory: Territory = ONE_TERRITORY,
    address_types: AddressTypes = ADDRESS_TYPES_OF,
) -> dict[str, str]:
    """Return what takes in history: each segment, and `JOURNEY` with each journey that existing members enter.

    Args:
        segments: The segments.
        journeys: The journeys.
        territory: Of the deployment.
        address_types: The identifier types that messages of each channel are sent to, as the message policy has them.

    Returns:
        Name → a fingerprint, which changes when other people belong to it.
    """
    by = territory.zone.key, territory.markets.fingerprint, address_types
    found = {one.name: segments.fingerprint(one.name, *by) for one in segments.segments}
    for journey in journeys:
        entry = journey.entry
        if isinstance(entry, SegmentEntry) and entry.existing and journey.enabled and entry.segment in found:
            found[f"{JOURNEY}{journey.name}"] = found[entry.segment]
    return found


def waiting_segments(settings: Settings, known: Mapping[str, str] | None = None) -> list[str] | None:
    """Return what has not taken in history yet; None: Redis does not answer, or no profile worker has run yet.

    Args:
        settings: Of the deployment.
        known: `fingerprints` of the files; None: of what the profile workers run.
    """
    try:
        with redis_client(settings, timeout_s=3, connect_timeout_s=3) as client:
            in_force, filled = read_definitions(client, settings.redis_namespace)
    except RedisError:
        return None
    if not in_force:
        return None
    return not_filled(in_force if known is None else known, filled)


def late_events_wait(settings: Settings, now_ms: int) -> bool:
    """Return whether events have arrived over a day late that have not dated memberships yet, and no more are coming.

    A store that does not answer within seconds is asked the next time: who asks has workers to watch.

    Args:
        settings: Of the deployment.
        now_ms: The time, milliseconds since 1970.
    """
    try:
        with redis_client(settings, timeout_s=3, connect_timeout_s=3) as client:
            since_ms = read_dated_ms(client, settings.redis_namespace)
        tables = clickhouse_client(settings, timeout_s=3)
        try:
            found = late_arrivals(tables, time_of_ms(since_ms))
        finally:
            tables.close()
    except (RedisError, StoreDown, ClickHouseError, OSError):
        return False
    if found is None:
        return False
    first_ms, last_ms = map(ms_of_time, found)
    return last_ms < now_ms - SETTLED_MS or first_ms < now_ms - LONGEST_WAIT_MS


def not_filled(known: Mapping[str, str], filled: Mapping[str, str]) -> list[str]:
    """Return the names of definitions that have not taken in history as they are now."""
    return [name for name, fingerprint in known.items() if filled.get(name) != fingerprint]


async def backfill(
    deployment: Deployment,
    known: Mapping[str, str],
    decider: DecisionEngine,
    *,
    names: Sequence[str] = (),
    late: bool = False,
    since_ms: int = 0,
    dry_run: bool = False,
    timeout_s: float = 300,
    clock: Callable[[], int] = clock_ms,
    report: Report = lambda *_: None,
) -> BackfillResult:
    """Take history into segments, and let members enter journeys that take in existing ones.

    Args:
        deployment: Open.
        known: `fingerprints` of what is in force.
        decider: The decision engine that the profile workers run.
        names: What to fill, of `known`; empty: what is not filled yet.
        late: Instead, date all segments anew for people with an event that arrived more than a day after it happened.
        since_ms: With `late`: and that was received at this time or after it, milliseconds since 1970.
        dry_run: Count, and write nothing.
        timeout_s: Longest time of each wait for the workers, in seconds.
        clock: The time, milliseconds since 1970, for which memberships are exact.
        report: Called after each part.

    Raises:
        BackfillRefusedError: Another one runs, or workers run other definitions or do not take up those in force.
        NotRebuiltError: The workers did not catch up in time. What is done stays done.
    """
    store, token = deployment.backfills, uuid4().hex
    if not await store.acquire(token, LEASE_MS):
        raise BackfillRefusedError(
            f"another backfill runs, or was killed less than {LEASE_MS // 1000} seconds ago: try again then"
        )
    lease = asyncio.create_task(_keep_lease(store, token))
    try:
        # Under the lease: what another one has filled just now is not filled again.
        chosen = await _chosen(store, known, names, late=late)
        run = _Backfill(deployment, known, decider, token, since_ms if late else None, timeout_s, dry_run, clock)
        return await run.run(chosen, report)
    finally:
        lease.cancel()
        await store.acquire(token, 1)  # which ends the lease


async def _chosen(
    store: RedisSegmentBackfill, known: Mapping[str, str], names: Sequence[str], *, late: bool
) -> list[str]:
    """Return the names of the definitions to fill.

    Raises:
        BackfillRefusedError: The workers run other definitions of them.
    """
    in_force = await store.in_force()
    chosen = list(names) or not_filled(known, await store.filled())
    if late:
        chosen = [name for name in known if not name.startswith(JOURNEY)]
    if in_force and any(in_force.get(name) != known[name] for name in chosen):
        other = ", ".join(name for name in chosen if in_force.get(name) != known[name])
        raise BackfillRefusedError(f"the profile workers run other definitions of {other}: restart them first")
    return chosen


async def _keep_lease(store: RedisSegmentBackfill, token: str) -> None:
    """Renew the lease. Two backfills at once would do no harm but work: a write fails where the other one was first."""
    while True:
        await asyncio.sleep(RENEWED_EACH_S)
        if not await store.acquire(token, LEASE_MS):
            return


class _Backfill:
    def __init__(
        self,
        deployment: Deployment,
        known: Mapping[str, str],
        decider: DecisionEngine,
        run_id: str,
        late_since_ms: int | None,
        timeout_s: float,
        dry_run: bool,
        clock: Callable[[], int],
    ) -> None:
        self._deployment, self._known, self._decider = deployment, known, decider
        self._id, self._late, self._since_ms = run_id, late_since_ms is not None, late_since_ms
        self._timeout_s, self._dry_run, self._clock = timeout_s, dry_run, clock

    async def run(self, chosen: Sequence[str], report: Report) -> BackfillResult:
        store, wanted = self._deployment.backfills, {name: self._known[name] for name in chosen}
        former = None if self._dry_run else await store.progress()
        until_ms = self._clock() - CLOCKS_DIFFER_MS
        asked = (wanted, self._late, self._since_ms)
        if former and (former["wanted"], former.get("late", False), former.get("since")) == asked:
            until_ms = former.get("until", until_ms)
            self._id, parts, done, result = former["id"], former["parts"], former["done"], former["result"]
            self._result = BackfillResult(**result)
        else:
            people = await asyncio.to_thread(count_people, self._deployment.tables)
            parts, done = -(-people // PEOPLE_A_PART), 0
            self._result = BackfillResult(
                [name for name in chosen if not name.startswith(JOURNEY)],
                [name.removeprefix(JOURNEY) for name in chosen if name.startswith(JOURNEY)],
            )
        self._whole_since_ms = await whole_since_ms(self._deployment)
        self._names = frozenset(self._result.segments)
        self._engine = self._decider.segments.part(self._result.segments)
        if chosen:
            await self._wait_for_definitions()
            await wait_for(self._deployment, "identify", self._timeout_s, lambda _: None)
        if self._late:  # who has late events is asked of the tables
            await wait_for(self._deployment, "record", self._timeout_s, lambda _: None)
        for number in range(done, parts if chosen else 0):
            await self._fill_part((number, parts))
            if not self._dry_run:
                progress = {"id": self._id, "wanted": wanted, "late": self._late, "parts": parts, "done": number + 1}
                times = {"since": self._since_ms, "until": until_ms}
                await store.save({**progress, **times, "result": asdict(self._result)})
            report(number + 1, parts, self._result)
        if not self._dry_run:
            await asyncio.to_thread(publish_rfm, self._deployment.tables, self._decider.segments.rfm)
            await store.finish({} if self._late else wanted, until_ms if self._late else None)
        return self._result

    async def _wait_for_definitions(self) -> None:
        """Wait until all workers have what is in force: before that, one may make no events of a price for a segment.

        Raises:
            BackfillRefusedError: They have not in time.
        """
        store = self._deployment.definitions
        state = await store.state()
        _, late = await wait_for_workers(store, state.number if state else 0, self._timeout_s, self._clock)
        if late:
            raise BackfillRefusedError(
                f"{len(late)} workers have not taken up the definitions in force: `throughline status` shows them"
            )

    async def _fill_part(self, part: tuple[int, int]) -> None:
        tables = self._deployment.tables
        if self._since_ms is None:
            people = await asyncio.to_thread(people_of_part, tables, part)
        else:
            people = await asyncio.to_thread(late_people_of_part, tables, part, time_of_ms(self._since_ms))
            if not people:
                return
        versions, again = await self._versions(people)
        asked = {*versions}
        self._on_record = await asyncio.to_thread(segments_on_record, tables, sorted(self._names), part)
        await wait_for(self._deployment, "record", self._timeout_s, lambda _: None)
        self._catalogue = await asyncio.to_thread(read_catalogue, tables, self._decider.segments)
        stop = time_of_ms(self._clock() + MINUTE_MS)  # clocks differ
        if self._late and len(asked) <= FEW_PEOPLE:
            again |= asked
        else:
            histories = read_people(tables, stop, part=part)
            again |= await self._fill(versions, (one for one in histories if not self._late or one[0] in asked))
        for _ in range(_ROUNDS):
            if not again:
                return
            waiting, again = again, set()
            for some in batches(sorted(waiting), _PEOPLE_A_CALL):
                versions, moved = await self._versions(some)
                await wait_for(self._deployment, "record", self._timeout_s, lambda _: None)
                again |= moved | await self._fill(versions, read_events_of(tables, list(versions)))
        if again and not self._dry_run:
            await self._rebuild(sorted(again))

    async def _rebuild(self, profile_ids: list[str]) -> None:
        before = await self._deployment.profiles.people(profile_ids)
        rebuilt = await rebuild_people(
            self._deployment,
            profile_ids,
            timeout_s=self._timeout_s,
            decider=self._decider,
            history=self._history,
        )
        after = await self._deployment.profiles.people(list(rebuilt))
        for profile_id in rebuilt.keys() & after.profiles.keys() & before.profiles.keys():
            states = [read_state(found.profiles[profile_id].state) for found in (before, after)]
            self._tally(states[0], states[1])
        self._result.people += len(rebuilt)
        self._result.changed += len(rebuilt)
        self._result.rebuilt += len(rebuilt)

    async def _versions(self, profile_ids: Iterable[str]) -> tuple[dict[str, int], set[str]]:
        """Return the versions of live profiles that hold events, and those that some were merged into."""
        versions: dict[str, int] = {}
        moved: set[str] = set()
        for some in batches(profile_ids, _PEOPLE_A_CALL):
            reading = await self._deployment.profiles.people(some)
            for profile_id, live in zip(some, reading.live, strict=True):
                if live == profile_id:
                    versions[live] = reading.profiles[live].version
                elif live is not None:
                    moved.add(live)
        return versions, moved

    async def _fill(self, versions: dict[str, int], histories: Histories) -> set[str]:
        """Fill people from their histories; return those who could not be filled."""
        waiting = dict(versions)
        again: set[str] = set()
        remaining = batches(histories, _PEOPLE_A_CALL)
        while some := await asyncio.to_thread(next, remaining, None):
            await self._wait_for_relay()
            reading = await self._deployment.profiles.people([profile_id for profile_id, _ in some])
            changes: list[ProfileWrite] = []
            for profile_id, events in some:
                stored = reading.profiles.get(profile_id)
                if stored is None or stored.version != waiting.pop(profile_id, -1):
                    again.add(profile_id)
                    continue
                now_ms = self._clock()
                try:
                    history = self._history(profile_id, events, now_ms)
                    received = self._catalogue.around(profile_id, events)
                    partial = may_lack_events(read_profile(stored), self._whole_since_ms)
                    rebuilt = refill(stored, received, self._decider, now_ms, history, partial=partial)
                except Exception as error:  # noqa: BLE001  (one person that cannot be read must not stop the others)
                    self._result.failed[profile_id] = f"{type(error).__name__}: {error}"[:200]
                    continue
                if rebuilt is None:
                    again.add(profile_id)
                elif self._count(stored, rebuilt):
                    changes.append(replacement(stored, rebuilt, decided=True, marked_since_ms=0))
            if not self._dry_run:
                again.update(await self._deployment.profiles.write(changes))
        return again | {profile_id for profile_id, version in waiting.items() if version}

    def _history(self, profile_id: str, events: list[Event], now_ms: int) -> SegmentHistory:
        happened = self._catalogue.around(profile_id, events, "occurred_at")
        changes = history_of(self._engine, profile_id, happened, now_ms) if self._names else ()
        dated = {one.segment for one in changes}
        stated = self._on_record.get(profile_id, frozenset()) - dated
        if any(event["profile_id"] != profile_id for event in events):
            stated = self._names  # what those who were merged into this person had been in ends here
        named = tuple(one for one in changes if one.segment in self._names)
        return SegmentHistory(self._names, named, frozenset(stated), frozenset(self._result.journeys), self._id)

    def _count(self, stored: StoredProfile, rebuilt: RebuiltProfile) -> bool:
        """Add a person to the result; return whether there is something to write."""
        result, before = self._result, read_state(stored.state)
        self._tally(before, rebuilt.state)
        for emit in rebuilt.emits:
            if emit.topic == JOURNEY_EVENTS and emit.value["kind"] == "journey_entered":
                name = emit.value["journey"]
                result.entries[name] = result.entries.get(name, 0) + 1
        parts = [(state.get("features"), state.get("segments", {}).get("due")) for state in (before, rebuilt.state)]
        is_changed = bool(rebuilt.emits or stored.absorbed) or parts[0] != parts[1]
        result.people += 1
        result.changed += is_changed
        return is_changed

    def _tally(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        result = self._result
        was, now = (state.get("segments", {}).get("in", {}).keys() & self._names for state in (before, after))
        for counted, found in ((result.members, now), (result.entered, now - was), (result.left, was - now)):
            for name in found:
                counted[name] = counted.get(name, 0) + 1

    async def _wait_for_relay(self) -> None:
        """Wait while the outbox is full."""
        while True:
            if self._dry_run or await self._deployment.outbox.size() < OUTBOX_LIMIT:
                return
            await asyncio.sleep(0.2)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of at most `size`."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
