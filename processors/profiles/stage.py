"""Bring what happens into people's profiles: read, fold, decide, write; again for those that changed meanwhile.

Each event is in exactly one profile, once: the store refuses a write when the profile has changed since it was read,
was merged away or is to absorb further profiles, or when one of the events is applied already. A batch may be handled
any number of times, by any number of workers, and may break off anywhere. What segments and journeys make of an event
is stored in the same step, together with the messages to send for it, so each of their steps happens once as well.

People come back: profiles that this process has written are remembered, and the next write goes ahead without reading
them. The store finds out when that was wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from processors.identity.claims import event_key
from processors.profiles.document import Document, Event, encode, join, profile_of_event, read_profile
from processors.profiles.joins import json
from schemas.decisions.decision import Emit
from schemas.durations import HOUR_MS
from schemas.profiles.document import ProfileReading, ProfileRequest, ProfileWrite, StoredProfile
from schemas.profiles.person import Person
from schemas.records import Outgoing
from schemas.time import ms_of_text

MOST_ATTEMPTS = 1000
REMEMBERED_BYTES = 16 * 2**20
"""JSON of the profiles that are remembered; as Python objects they take about five times as much."""
WATCHED_EVENTS = frozenset({"Product Viewed", "Product Added", "Product Added to Wishlist"})
"""Events after which a person cares for the price and the stock of a product."""


class ProfileStore(Protocol):
    """Keeps profiles; a document is written only if nothing has changed since it was read."""

    async def read(self, requests: Sequence[ProfileRequest]) -> ProfileReading:
        """Find the live profiles of some events' people, and which of the events they hold already."""

    async def people(self, profile_ids: Sequence[str]) -> ProfileReading:
        """Find the live profiles of some people."""

    async def write(self, changes: Sequence[ProfileWrite]) -> list[str]:
        """Store documents, each in whole or not at all; answer with the ids of those that are out of date."""

    async def forget_timers(self, profile_ids: Sequence[str]) -> None:
        """Take people who are no more off the list of timers."""


class Decider(Protocol):
    """Decides what follows for a person: segments, journeys, messages. It changes `person.state` in place."""

    def on_event(self, person: Person, event: Event, now_ms: int) -> list[Emit]:
        """Say what follows from an event that the document holds, after what was due before it."""

    def on_time(self, person: Person, now_ms: int) -> list[Emit]:
        """Say what follows from the time alone."""

    def due(self, person: Person) -> int | None:
        """Say when time alone will change something."""

    def combine(self, winner: dict[str, Any], loser: dict[str, Any]) -> None:
        """Join the states of two people who turned out to be one."""


class ProfilesContendedError(Exception):
    """Other workers kept changing the same profiles; try the batch again later. Nothing is half done."""


@dataclass(slots=True)
class Updated:
    """What became of a batch.

    Attributes:
        applied: Events that are in a profile now because of this batch.
        repeated: Events that a profile held already, or that the batch held twice.
        erased: Events of people who were erased since; they are in no profile.
        impersonal: Events about no person.
        absorbed: Profiles that were combined with the one they had been merged into.
        conflicts: Writes that had to be tried again.
        refused: Events that no profile can hold, with the error: a bug, which costs no other event its way.
        profiles: The new documents, by profile id. They are the store's memory: look, do not touch.
    """

    applied: int = 0
    repeated: int = 0
    erased: int = 0
    impersonal: int = 0
    absorbed: int = 0
    conflicts: int = 0
    refused: list[tuple[Event, str]] = field(default_factory=list)
    profiles: dict[str, Document] = field(default_factory=dict)


@dataclass(slots=True)
class _Pending:
    """One event on its way: what is asked for it, and what it adds to a profile until it is given away."""

    request: ProfileRequest
    event: Event
    adds: Document | None


@dataclass(slots=True)
class _Known:
    """A profile in the version in which it is stored, as far as this process knows."""

    version: int
    person: Person
    absorbed: tuple[StoredProfile, ...] = ()
    state: bytes = b""
    due: int | None = None
    size: int = 0


class ProfileUpdate:
    """Applies batches of events, and of timers, to the profiles of their people.

    Args:
        store: Where the profiles are.
        decider: Decides what follows; None: nothing does.
        remembered_bytes: Bound of the memory for profiles, in bytes of their JSON.
    """

    def __init__(
        self, store: ProfileStore, decider: Decider | None = None, *, remembered_bytes: int = REMEMBERED_BYTES
    ) -> None:
        self._store = store
        self._decider = decider
        self._memory: OrderedDict[str, _Known] = OrderedDict()
        self._memory_size = 0
        self._memory_limit = remembered_bytes

    async def __call__(self, events: Sequence[Event]) -> Updated:
        """Apply each event to the profile of its person, exactly once.

        Args:
            events: Resolved touchpoints, in any order.

        Raises:
            ProfilesContendedError: After `MOST_ATTEMPTS` rounds in which others were faster.
        """
        done = Updated()
        waiting = _prepare(events, done)
        for _ in range(MOST_ATTEMPTS):
            if not waiting:
                return done
            people, by_person = await self._find(waiting, done)
            writes = [self._apply(people[live], pending, done) for live, pending in by_person.items()]
            conflicts = await self._write(people, writes, done)
            waiting = [one for live in by_person if live in conflicts for one in by_person[live]]
            done.applied += sum(len(pending) for live, pending in by_person.items() if live not in conflicts)
        raise ProfilesContendedError(f"{len(waiting)} events could not be applied in {MOST_ATTEMPTS} rounds")

    async def fire(self, profile_ids: Sequence[str], now_ms: int) -> list[str]:
        """Do what is due for some people; what another worker changes meanwhile is left to the next call.

        Args:
            profile_ids: Whose time has come.
            now_ms: The time, milliseconds since 1970.

        Returns:
            Errors of deciders, each with its person: a bug, which is tried again in an hour and stops nobody else.
        """
        if self._decider is None or not profile_ids:
            return []
        people = {profile_id: known for profile_id in profile_ids if (known := self._remember(profile_id))}
        unknown = [profile_id for profile_id in profile_ids if profile_id not in people]
        if unknown:
            reading = await self._store.people(unknown)
            await self._store.forget_timers([one for one, live in zip(unknown, reading.live, strict=True) if not live])
            people |= {live: self._load(stored) for live, stored in reading.profiles.items()}
        errors: list[str] = []
        writes = [self._on_time(known, now_ms, errors) for known in people.values()]
        await self._write(people, writes, Updated())
        return errors

    async def _find(
        self, waiting: Sequence[_Pending], done: Updated
    ) -> tuple[dict[str, _Known], dict[str, list[_Pending]]]:
        """Find everybody's profile, in memory or in the store, and the events that are new to it."""
        people: dict[str, _Known] = {}
        by_person: dict[str, list[_Pending]] = {}
        unknown: list[_Pending] = []  # events whose people are to be read
        for one in waiting:
            profile_id = one.request.profile_id
            known = people.get(profile_id) or self._remember(profile_id)
            if known is None:
                unknown.append(one)
                continue
            people[profile_id] = known
            by_person.setdefault(profile_id, []).append(one)
        if not unknown:
            return people, by_person
        reading = await self._store.read([one.request for one in unknown])
        for one, live, applied in zip(unknown, reading.live, reading.applied, strict=True):
            if live is None:
                done.erased += 1
            elif applied:
                done.repeated += 1
            else:
                if live not in people:
                    people[live] = self._load(reading.profiles[live])
                by_person.setdefault(live, []).append(one)
        return people, by_person

    def _remember(self, profile_id: str) -> _Known | None:
        """Take a profile out of the memory: it is put back when its write went well."""
        known = self._memory.pop(profile_id, None)
        if known is not None:
            self._memory_size -= known.size
        return known

    def _load(self, stored: StoredProfile) -> _Known:
        document: Document = read_profile(stored)
        state: dict[str, Any] = orjson.loads(stored.state) if stored.state else {}
        known = _Known(stored.version, Person(stored.profile_id, document, state), stored.absorbed, stored.state or b"")
        if self._decider is not None:
            known.due = self._decider.due(known.person) if state else None
            for loser in stored.absorbed:
                self._decider.combine(state, orjson.loads(loser.state) if loser.state else {})
        return known

    def _apply(self, known: _Known, pending: Sequence[_Pending], done: Updated) -> ProfileWrite:
        """Fold events into a profile; answer with what must be stored."""
        document = known.person.document
        emits: list[Emit] = []
        watches: list[str] = []
        for one in pending:
            if one.adds is None:
                one.adds = _told(one.event)
            if self._decider is None:
                join(document, one.adds)
            else:
                emits = self._decide(known, one, emits, done)
                if one.event["event"] in WATCHED_EVENTS and (product := _product(one.event)):
                    watches.append(product)
            one.adds = None
        events = tuple((one.request.event_key, one.request.received_ms) for one in pending)
        return self._change(known, events, emits, tuple(dict.fromkeys(watches)))

    def _decide(self, known: _Known, one: _Pending, emits: list[Emit], done: Updated) -> list[Emit]:
        """Join an event into the document and add what follows, after what was due before it."""
        assert one.adds is not None
        assert self._decider is not None
        at = one.request.received_ms
        if known.person.state:
            due = self._decider.due(known.person)
            if due is not None and due <= at:  # and must not see the event
                emits = self._safely(known, one, emits, done, self._decider.on_time, at)
        join(known.person.document, one.adds)
        return self._safely(known, one, emits, done, self._decider.on_event, one.event, at)

    def _safely(
        self,
        known: _Known,
        one: _Pending,
        emits: list[Emit],
        done: Updated,
        decide: Callable[..., list[Emit]],
        *asked: Any,
    ) -> list[Emit]:
        try:
            return [*emits, *decide(known.person, *asked)]
        except Exception as error:  # noqa: BLE001 - a bug costs this person a decision, not the others theirs
            done.refused.append((one.event, f"{type(error).__name__}: {error}"))
            self._restore(known)
            return []

    def _on_time(self, known: _Known, now_ms: int, errors: list[str]) -> ProfileWrite:
        assert self._decider is not None
        try:
            emits = self._decider.on_time(known.person, now_ms)
            due = self._decider.due(known.person)
            # A timer that is still due would be asked for again and again, at full speed.
            pause = 1000 if due is not None and due <= now_ms else 1
            return self._change(known, (), emits, (), not_before=now_ms + pause)
        except Exception as error:  # noqa: BLE001 - a bug costs this person the timer, not the others theirs
            errors.append(f"{known.person.profile_id}: {type(error).__name__}: {error}")
            self._restore(known)
            return self._change(known, (), (), (), not_before=now_ms + HOUR_MS)

    def _restore(self, known: _Known) -> None:
        """Take back what a decider has half done, and with it the records that belong to it."""
        known.person = known.person._replace(state=orjson.loads(known.state) if known.state else {})

    def _change(
        self,
        known: _Known,
        events: tuple[tuple[bytes, int], ...],
        emits: Iterable[Emit],
        watches: tuple[str, ...],
        not_before: int = 0,
    ) -> ProfileWrite:
        person = known.person
        document = encode(person.document)
        state: bytes | None = None
        due: int | None = None
        outgoing: tuple[Outgoing, ...] = ()
        if self._decider is not None:
            now_due = self._decider.due(person)
            if now_due is not None:
                now_due = max(now_due, not_before)
            if now_due != known.due or known.absorbed or not_before:
                known.due, due = now_due, now_due or 0
            encoded = json(person.state) if person.state else b""
            if encoded != known.state:
                known.state = state = encoded
            key = person.profile_id.encode()
            outgoing = tuple(Outgoing(emit.topic, key, orjson.dumps(emit.value)) for emit in emits)
        known.size = len(document) + len(known.state)
        return ProfileWrite(
            person.profile_id,
            known.version,
            document,
            tuple((loser.profile_id, loser.version) for loser in known.absorbed),
            events,
            state,
            due,
            outgoing,
            watches,
        )

    async def _write(
        self, people: Mapping[str, _Known], writes: Sequence[ProfileWrite], done: Updated
    ) -> frozenset[str]:
        """Store; remember what was stored. Answers with whose profiles were not, because they had changed."""
        conflicts = frozenset(await self._store.write(writes))
        done.conflicts += len(conflicts)
        for write in writes:
            if write.profile_id in conflicts:
                continue
            known = people[write.profile_id]
            self._remember(write.profile_id)
            done.absorbed += len(known.absorbed)
            done.profiles[write.profile_id] = known.person.document
            known.version += 1
            known.absorbed = ()
            self._memory[write.profile_id] = known
            self._memory_size += known.size
        while self._memory_size > self._memory_limit:
            self._memory_size -= self._memory.popitem(last=False)[1].size
        return conflicts


async def update(store: ProfileStore, events: Sequence[Event]) -> Updated:
    """Apply one batch as a worker that has just started would."""
    return await ProfileUpdate(store)(events)


def _prepare(events: Sequence[Event], done: Updated) -> list[_Pending]:
    pending: dict[bytes, _Pending] = {}
    for event in events:
        profile_id = event["profile_id"]
        if profile_id is None:
            done.impersonal += 1
            continue
        key = event_key(event["event_id"])
        if key in pending:
            done.repeated += 1
            continue
        try:
            request = ProfileRequest(profile_id, key, ms_of_text(event["received_at"]))
            pending[key] = _Pending(request, event, _told(event))
        except Exception as error:  # noqa: BLE001 - a bug costs this event its way, not its neighbours theirs
            done.refused.append((event, f"{type(error).__name__}: {error}"))
    return list(pending.values())


def _product(event: Event) -> str | None:
    """The product that an event is about; it may name it by something else than its id, or not at all."""
    found: str | None = (event.get("properties") or {}).get("product_id")
    return found


def _told(event: Event) -> Document:
    """What an event adds to a profile; what we derived for somebody ourselves is nothing that they did."""
    return {} if event.get("derived") else profile_of_event(event)
