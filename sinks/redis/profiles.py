"""The profile store: documents with versions, written in one atomic step together with the marks of their events.

It writes the profiles' half of the keys in `sinks/redis/README.md`; `sinks/redis/identity.py` writes the other half.
The two meet at a merge: identity writes `alias:<loser>` and `absorb:<winner>`, and from then on the profile store reads
and writes the winner, combines the losers' documents with it and deletes them (`merged_profiles.py`).

A person's keys are in the shard of their profile id, so a write is atomic in one shard. Before it, one round trip
asks what other slots know: whether a person was merged meanwhile, and whether an event is applied in a shard of
former days. Neither can change after a batch was read such that the write would be wrong: a merge fences the loser
before it reads it, and what is marked in a former shard was marked before the fence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgpack
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from schemas.profiles.document import ProfileReading, ProfileRequest, ProfileWrite, StoredProfile
from schemas.shards import SHARDS, shard_of
from schemas.time import clock_ms
from sinks.redis import deduplication as seen
from sinks.redis.keys import person_prefix, shard_prefixes, shared_prefix, slot_key
from sinks.redis.layout import read_layout
from sinks.redis.lua import source
from sinks.redis.merged_profiles import (
    ERASED,
    IDS_A_CALL,
    MergedProfiles,
    combined,
    pack_former,
    read_former,
    taken,
)
from sinks.redis.packing import pack, unpack, unpack_if_any
from sinks.redis.people import LOST, LostPeopleError
from sinks.redis.profile_columns import (
    APPLIED,
    ShardAsked,
    asked_columns,
    event_columns,
    gone_document,
    in_parts,
    packed,
    read_columns,
    read_weight,
    weight_of,
    write_columns,
)
from sinks.redis.scripts import CALL_WEIGHT, Call, Script, ScriptCalls, ShardPart, ShardPoll, command

Events = Mapping[str, Sequence[tuple[bytes, int]]]
"""Profile id → (event key, received_ms) of its events."""
_ROUNDS = 10
"""How often people are looked up who are merged again meanwhile."""
_SHARDS_A_TURN = 16
"""Shards of a cluster that are asked at once for changed profiles."""
_READ = Script(seen.applied_script("read_profiles"))
_WRITE = Script(seen.applied_script("write_profiles"))
_REPLACE = Script(seen.applied_script("replace_profile"))
_KNOWN = Script(seen.script("known_applied"))
_LIST = Script(source("changed_profiles"))
_EXPORTED = Script(source("exported_profiles"))
_DUE = Script(source("due_timers"))
_WATCH = Script(source("watch_products"))


class RedisProfileStore:
    """Keeps profiles in Redis or Valkey.

    Args:
        redis: A client that answers with bytes.
        namespace: Of all keys.
        guarded: Refuse to write into a store that has lost its people (`people.py`).
    """

    def __init__(self, redis: Redis, namespace: str, *, guarded: bool = False) -> None:
        self._redis = redis
        self._namespace = namespace
        self._guarded = "1" if guarded else "0"
        self._shared = shared_prefix(namespace)
        self._prefixes = shard_prefixes(namespace)
        self._calls = ScriptCalls(redis)
        self._merged = MergedProfiles(redis, namespace)
        self._due = ShardPoll(self._calls, _DUE, [f"{prefix}timers" for prefix in self._prefixes])
        self._shared_marks_until: int | None = None
        self._turn = 0

    async def read(self, requests: Sequence[ProfileRequest]) -> ProfileReading:
        """Read the live profiles of events, and which of the events are applied to them already."""
        events: dict[str, list[tuple[bytes, int]]] = {}
        for profile_id, key, received_ms in requests:
            events.setdefault(profile_id, []).append((key, received_ms))
        live, profiles, applied = await self._read(events)
        return ProfileReading(
            [live[one.profile_id] for one in requests], [one.event_key in applied for one in requests], profiles
        )

    async def write(self, changes: Sequence[ProfileWrite], definitions: int | None = None) -> list[str]:
        """Store profiles, each in full or not at all.

        Args:
            changes: The profiles.
            definitions: Number of the definitions by which they were decided; None: by none.

        Returns:
            The ids of those that have changed since the read; all of a shard where newer definitions have decided.

        Raises:
            LostPeopleError: The store is guarded, and has lost its people.
        """
        if not changes:
            return []
        conflicts = await self._prepare(changes)
        shards: dict[int, list[ProfileWrite]] = {}
        for change in changes:
            if change.profile_id not in conflicts:
                shards.setdefault(shard_of(change.profile_id.encode()), []).append(change)
        head = ("" if definitions is None else definitions, self._guarded)
        parts = [(self._prefixes[shard], some) for shard, of_shard in shards.items() for some in in_parts(of_shard)]
        calls = [
            Call(_WRITE, [slot_key(group[0][0])], [*head, packed(write_columns(group))])
            for group in self._calls.grouped(parts, weight_of)
        ]
        try:
            answers = await self._calls.run(calls)
        except ResponseError as error:
            if "LOSTPEOPLE" in str(error):
                raise LostPeopleError(LOST) from error
            raise
        conflicts |= {found.decode() for found in chain.from_iterable(answers)}
        ended = {one.profile_id: [loser for loser, _ in one.absorbed] for one in changes if one.absorbed}
        if ended := {winner: losers for winner, losers in ended.items() if winner not in conflicts}:
            await self._merged.finish(ended)
        return [change.profile_id for change in changes if change.profile_id in conflicts]

    async def people(self, profile_ids: Sequence[str]) -> ProfileReading:
        """Read live profiles by any id that they ever had.

        Returns:
            `live` has one entry for each id; `applied` is empty.
        """
        live, profiles, _ = await self._read(dict.fromkeys(profile_ids, ()))
        return ProfileReading([live[one] for one in profile_ids], [], profiles)

    async def due(self, now_ms: int, count: int, shards: Sequence[int] = range(SHARDS)) -> list[str]:
        """List profiles of some shards with a timer that is due by `now_ms`, the longest overdue first.

        Args:
            now_ms: Milliseconds since 1970.
            count: The most profiles.
            shards: The shards; with more due than `count`, another of them is asked first each time.
        """
        await self._layout()
        found = [part for _, answer in await self._due.ask(shards, now_ms, count) for part in answer]
        ordered = sorted(zip(map(float, found[1::2]), found[::2], strict=True))
        return [profile_id.decode() for _, profile_id in ordered[:count]]

    async def forget_timers(self, profile_ids: Sequence[str]) -> None:
        """Remove the timers of profiles that were merged away or erased."""
        await self._calls.run(
            [command("ZREM", f"{person_prefix(self._namespace, one)}timers", one) for one in profile_ids]
        )

    async def get(self, profile_id: str) -> StoredProfile | None:
        """Read a profile by any id that it ever had, and write nothing.

        Returns:
            The live profile with those that it has yet to absorb, version 0 when nothing is stored of it; None when
            it was erased.
        """
        live, profiles, _ = await self._read({profile_id: ()}, take=False)
        now = live[profile_id]
        return None if now is None else profiles[now]

    async def live(self, profile_ids: Iterable[str]) -> dict[str, str | None]:
        """Return the live profile of each id: itself, the one that it was merged into, or None when it was erased."""
        now: dict[str, str | None] = dict.fromkeys(profile_ids)
        waiting = {profile_id: profile_id for profile_id in now}
        while waiting:
            onward: dict[str, str] = {}
            steps = list(waiting.items())
            for asked in (steps[start : start + IDS_A_CALL] for start in range(0, len(steps), IDS_A_CALL)):
                found: Any = await self._redis.mget([f"{self._shared}alias:{current}" for _, current in asked])
                for (profile_id, current), alias in zip(asked, found, strict=True):
                    if alias is None:
                        now[profile_id] = current
                    elif alias != ERASED.encode():
                        onward[profile_id] = alias.decode()
            waiting = onward
        return now

    async def replace(self, change: ProfileWrite) -> bool:
        """Replace the stored profile by one that was rebuilt from history, in full or not at all.

        Unlike with `write`, its events may be applied already; afterwards all of them are marked as applied.
        `watches` are not used.

        Returns:
            False, with nothing done, when the profile has changed since it was read.
        """
        live, profiles, _ = await self._read({change.profile_id: ()})
        stored = profiles.get(change.profile_id)
        if live[change.profile_id] != change.profile_id or stored is None:
            return False
        losers = tuple((one.profile_id, one.version) for one in stored.absorbed)
        if (stored.version, losers) != (change.expected_version, change.absorbed):
            return False
        prefix, names = person_prefix(self._namespace, change.profile_id), [loser for loser, _ in losers]
        columns = (
            change.profile_id,
            change.expected_version,
            pack(change.document),
            names,
            pack_former(stored.former) if names else False,
            *event_columns([change]),
            False if change.state is None else pack(change.state),
            False if change.due_ms is None else change.due_ms,
            tuple(chain.from_iterable((one.topic, one.key or b"", one.value) for one in change.outgoing)),
        )
        (written,) = await self._calls.run([Call(_REPLACE, [slot_key(prefix)], [prefix, packed(columns)])])
        if written and names:
            await self._merged.finish({change.profile_id: names})
        return bool(written)

    async def put_back(self, change: ProfileWrite, version: int) -> bool:
        """Store a profile that was lost, under a version of which no later one was ever stored.

        Returns:
            False, with nothing done, when something is stored of it, or it was merged away.
        """
        if version > 1:
            key = f"{person_prefix(self._namespace, change.profile_id)}profile:{change.profile_id}"
            await self._redis.hset(key, "version", str(version - 1))
        return await self.replace(change._replace(expected_version=version - 1))

    async def changed(self, count: int) -> list[tuple[str, int, bytes, bytes]]:
        """List profiles that have changed since their last snapshot (`mark_exported`); at most `count`.

        Returns:
            Profile id, version, document and state. The document of a profile that was merged into another, or
            erased, is `{"profile_id": …, "event_count": 0, "gone": true}`.
        """
        await self._layout()
        parts = [ShardPart(slot_key(prefix), (prefix,)) for prefix in self._rotated()]
        calls = self._calls.over_shards(_LIST, parts, [count])
        found: list[Any] = []
        for start in range(0, len(calls), _SHARDS_A_TURN):
            if len(found) < count:
                found += chain.from_iterable(await self._calls.run(calls[start : start + _SHARDS_A_TURN]))
        return [
            (name, version, unpack(document) if document else gone_document(name), unpack(state or b""))
            for name, version, document, state in ((one[0].decode(), *one[1:]) for one in found[:count])
        ]

    async def mark_exported(self, snapshots: Sequence[tuple[str, int]]) -> None:
        """Remove versions whose snapshots are stored from the lists; a profile that has changed again stays listed."""
        shards: dict[str, list[tuple[str, int]]] = {}
        for one in snapshots:
            shards.setdefault(person_prefix(self._namespace, one[0]), []).append(one)
        parts = [
            ShardPart(slot_key(prefix), (prefix, msgpack.packb(some, use_bin_type=False)), len(some))
            for prefix, some in shards.items()
        ]
        await self._calls.run(self._calls.over_shards(_EXPORTED, parts))

    async def erase(self, profile_id: str) -> int:
        """Delete a live profile and those that it has yet to absorb, once identity has erased the person.

        Returns:
            How many documents were deleted.
        """
        await self._layout()
        return await self._merged.forget(profile_id)

    async def _layout(self) -> int:
        """Return up to when events may be marked as applied in the marks that identity shares, ms since 1970.

        Raises:
            UnmigratedStateError: The store's profiles are as an earlier release has kept them.
        """
        if self._shared_marks_until is None:
            self._shared_marks_until = await read_layout(self._redis, self._namespace)
        return self._shared_marks_until

    async def _prepare(self, changes: Sequence[ProfileWrite]) -> set[str]:
        """Do what is in other slots than the profiles are, before these are written; return what must not be."""
        until = await self._layout()
        ids = [change.profile_id for change in changes]
        looks = self._merged.look(ids)
        watches = [part for one in changes for name in one.watches for part in (name, one[0], one.events[-1][1])]
        held = {journey for one in changes for journey in one.held}
        others = [command("SADD", f"{self._shared}held", *held)] if held else []
        if watches:
            others.append(Call(_WATCH, [f"{self._shared}watch:"], [self._shared, packed(watches)]))
        marked, read = self._elsewhere({one.profile_id: (one.events, one.former) for one in changes}, until)
        answers = await self._calls.run([*looks, *others, *marked])
        merges = self._merged.found(ids, answers[: len(looks)])
        applied = read(answers[len(looks) + len(others) :])
        refused: set[str] = set()
        for one in changes if merges or applied else ():
            live, absorb = merges.get(one.profile_id, (one.profile_id, ()))
            if (
                live != one.profile_id
                or {loser for loser, _ in one.absorbed} != set(absorb)
                or any(key in applied for key, _ in one.events)
            ):
                refused.add(one.profile_id)
        return refused

    async def _read(
        self, events: Events, *, take: bool = True
    ) -> tuple[dict[str, str | None], dict[str, StoredProfile], set[bytes]]:
        """Read the live profiles of people, and which of their events are applied.

        Args:
            events: Of each person.
            take: Fence what is merged into them, so that it can be combined and written.

        Returns:
            The live id of each person, or None; the live profiles; the keys of the events that are applied.
        """
        until, now_ms, ids = await self._layout(), clock_ms(), list(events)
        live: dict[str, str | None] = {}
        profiles: dict[str, StoredProfile] = {}
        looks = self._merged.look(ids)
        names, reads = self._reads(events, events, with_absorbed=False)
        answers = await self._calls.run([*looks, *reads])
        merges = self._merged.found(ids, answers[: len(looks)])
        found, applied = read_columns(names, answers[len(looks) :])
        rest: list[str] = []
        for one, flat in found.items():
            if flat[0] is None or one in merges:
                rest.append(one)
                continue
            live[one] = one
            former = tuple(read_former(flat[3], now_ms).items()) if flat[3] else ()
            profiles[one] = StoredProfile(one, int(flat[0]), unpack_if_any(flat[1]), (), unpack_if_any(flat[2]), former)
        # What the first look has found in a loser's shard was read before the loser was fenced.
        applied -= {key for one in rest for key, _ in events[one]}
        for _ in range(_ROUNDS):
            if not rest:
                break
            rest = await self._read_merged(rest, events, live, profiles, applied, take=take)
        else:
            raise RuntimeError(f"{rest[0]} was merged away, and identity does not say into whom")
        theirs: dict[str, list[tuple[bytes, int]]] = {}
        for one, some in events.items():
            if (now := live[one]) is not None and some:
                theirs.setdefault(now, []).extend(some)
        if theirs:
            marked, read = self._elsewhere({one: (theirs[one], profiles[one].former) for one in theirs}, until)
            if marked:
                applied |= read(await self._calls.run(marked))
        return live, profiles, applied

    async def _read_merged(
        self,
        ids: Sequence[str],
        events: Events,
        live: dict[str, str | None],
        profiles: dict[str, StoredProfile],
        applied: set[bytes],
        *,
        take: bool,
    ) -> list[str]:
        """Read the winners of people who were merged, or who have others to absorb; return who was merged meanwhile."""
        merges = await self._merged.of(ids)
        theirs: dict[str, list[str]] = {}
        losers: dict[str, tuple[str, ...]] = {}
        for one in ids:
            now, absorb = merges.get(one, (one, ()))
            live[one] = None if now == ERASED else now
            if now != ERASED:
                theirs.setdefault(now, []).append(one)
                losers[now] = absorb
        asked = {one: [event for former in some for event in events[former]] for one, some in theirs.items()}
        names, reads = self._reads(theirs, asked, with_absorbed=True)
        found, more = read_columns(names, await self._calls.run(reads))
        applied |= more
        winners = {one: taken(one, flat) for one, flat in found.items() if flat[0] is not None}
        wanted = {one: [loser for loser in losers[one] if loser not in winners[one].absorbed] for one in winners}
        everybody = [loser for some in wanted.values() for loser in some]
        read = await (self._merged.take(everybody) if take else self._merged.peek(everybody)) if everybody else {}
        now_ms, ended = clock_ms(), {}
        for one, winner in winners.items():
            some = {loser: read[loser] for loser in wanted[one]}
            profiles[one], contained = combined(winner, losers[one], some, now_ms)
            if contained:
                ended[one] = contained
        if ended and take:
            await self._merged.finish(ended)
        return [former for one, some in theirs.items() if one not in winners for former in some]

    def _reads(
        self, people: Iterable[str], events: Events, *, with_absorbed: bool
    ) -> tuple[list[tuple[list[str], list[bytes]]], list[Call]]:
        """Return what is asked of each shard, people and event keys, and the calls that ask it."""
        shards: dict[int, ShardAsked] = {}
        for one in people:
            group = shards.setdefault(shard_of(one.encode()), ([], [], []))
            group[0].append(one)
            for key, received_ms in events[one]:
                group[1].append(key)
                group[2].append(received_ms)
        return self._read_calls(shards, with_absorbed=with_absorbed)

    def _read_calls(
        self, shards: Mapping[int, ShardAsked], *, with_absorbed: bool = False
    ) -> tuple[list[tuple[list[str], list[bytes]]], list[Call]]:
        names, calls = [], []
        for group in self._calls.grouped(shards.items(), read_weight):
            prefixes = [self._prefixes[shard] for shard, _ in group]
            columns = asked_columns([asked for _, asked in group])
            names.append((columns[1], columns[3]))
            calls.append(Call(_READ, [slot_key(prefixes[0])], [packed((prefixes, *columns, with_absorbed))]))
        return names, calls

    def _elsewhere(
        self, events: Mapping[str, tuple[Collection[tuple[bytes, int]], Sequence[tuple[int, int]]]], until_ms: int
    ) -> tuple[list[Call], Any]:
        """Return calls that ask for marks of events in other places than their people's shards, and what reads them.

        Args:
            events: Of each live profile its events and its former shards.
            until_ms: Up to which time of arrival the marks that identity shares count.
        """
        shards: dict[int, ShardAsked] = {}
        shared: list[tuple[bytes, int]] = []
        for some, former in events.values():
            for shard, _ in former:
                _, keys, received = shards.setdefault(shard, ([], [], []))
                keys += [key for key, _ in some]
                received += [received_ms for _, received_ms in some]
            if until_ms:
                shared += [event for event in some if event[1] <= until_ms]
        names, calls = self._read_calls(shards)
        of_shards = len(calls)
        for start in range(0, len(shared), CALL_WEIGHT):
            columns = tuple(zip(*shared[start : start + CALL_WEIGHT], strict=True))
            calls.append(Call(_KNOWN, [f"{self._shared}marks:"], [self._shared, packed(columns)]))

        def read(answers: Sequence[Any]) -> set[bytes]:
            _, applied = read_columns(names, answers[:of_shards])
            marks = b"".join(answers[of_shards:])
            applied.update(key for (key, _), mark in zip(shared, marks, strict=True) if mark == APPLIED)
            return applied

        return calls, read

    def _rotated(self) -> list[str]:
        """Return the prefixes of shards from another one on each time, so that none has to wait for ever."""
        self._turn = (self._turn + 1) % SHARDS
        return [*self._prefixes[self._turn :], *self._prefixes[: self._turn]]
