"""Applies batches of events, and of timers, to the profiles of their people: read, fold, write by compare-and-set.

Each event is in exactly one profile, once: the store refuses a write when the profile has changed since it was read,
was merged away or is to absorb further profiles, or when one of the events is applied already. A batch may be handled
any number of times, by any number of workers, and may break off anywhere. What segments and journeys decide about an
event is stored in the same write, together with the messages to send for it, so each of their steps happens once too.

An error in deciding about one event costs the decisions of that event (`isolation.py`). Nothing that is stored, and no
event, raises out of this stage.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from processors.identity.claims import event_key
from processors.profiles.cache import CACHED_BYTES, OpenProfile, ProfileCache
from processors.profiles.commit import ProfileStore, commit
from processors.profiles.document import Document, Event
from processors.profiles.fold import (
    Broadcaster,
    Decider,
    FoldedProfile,
    PendingEvent,
    addition_of_event,
    fold_entry,
    fold_events,
    fold_time,
)
from processors.profiles.isolation import fold_events_isolated, fold_time_isolated
from processors.profiles.product_news import watched_products
from processors.stream.ports import WatchedProducts
from schemas.metrics import DECISIONS_MADE, NO_METER, Meter
from schemas.outcomes import Reject, rejected_for_bug
from schemas.products import Look
from schemas.profiles.document import ProfileRequest
from schemas.time import ms_of_text

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 1000


class ProfilesContendedError(Exception):
    """Other workers changed the same profiles in every attempt; try the batch again later."""


@dataclass(slots=True)
class UpdateResult:
    """Counts of the outcomes of a batch, and the new documents.

    Attributes:
        applied: Events that are in a profile now because of this batch.
        repeated: Events that a profile held already, or that the batch held twice.
        erased: Events of people who were erased since; they are in no profile.
        impersonal: Events about no person.
        absorbed: Profiles that were combined with the one they had been merged into.
        conflicts: Writes that had to be tried again.
        rejected: Events whose decisions, or which as a whole, were lost to an error, with the reason.
        profiles: The new documents, by profile id. Cached; treat as read-only.
    """

    applied: int = 0
    repeated: int = 0
    erased: int = 0
    impersonal: int = 0
    absorbed: int = 0
    conflicts: int = 0
    rejected: list[tuple[Event, Reject]] = field(default_factory=list)
    profiles: dict[str, Document] = field(default_factory=dict)


class DecisionRules(NamedTuple):
    """What decides about people now.

    Attributes:
        decider: Decides what follows from events and time; None: nothing does.
        number: Number of the definitions of which it is made, as the store of profiles knows it; None: of none.
        reads_catalogue: Whether it asks what the catalogue says of products that people watch.
        broadcaster: Lets people enter broadcasts; None: there are none.
    """

    decider: Decider | None
    number: int | None = None
    reads_catalogue: bool = False
    broadcaster: Broadcaster | None = None


class RulesInForce(Protocol):
    """Returns the rules in force."""

    async def current(self, *, newest: bool = False) -> DecisionRules:
        """Return the rules in force, less than a second old.

        Args:
            newest: Look whether there are newer ones now: others may have decided by them already.
        """


class ConstantRules:
    """The same rules for ever."""

    def __init__(self, rules: DecisionRules) -> None:
        self._rules = rules

    async def current(self, *, newest: bool = False) -> DecisionRules:
        """Return the rules."""
        return self._rules


class ProfileUpdate:
    """Applies batches of events, and of timers, to the profiles of their people.

    Rules change between two batches. If they change while a batch is in hand, the store refuses its writes, and the
    events are decided again by the new rules: no person's events of one batch are decided by two of them.

    Args:
        store: Where the profiles are.
        decider: Decides what follows; None: nothing does.
        rules: Returns the decider that is in force, in the place of one for ever.
        catalogue: What is known of products; None: the decider never asks.
        meter: Counts decisions.
        cached_bytes: Bound of the cache of profiles, in bytes of their JSON.
    """

    def __init__(
        self,
        store: ProfileStore,
        decider: Decider | None = None,
        *,
        rules: RulesInForce | None = None,
        catalogue: WatchedProducts | None = None,
        meter: Meter = NO_METER,
        cached_bytes: int = CACHED_BYTES,
    ) -> None:
        self._store = store
        self._catalogue, self._meter = catalogue, meter
        self._rules_in_force: RulesInForce = rules or ConstantRules(DecisionRules(decider))
        self._rules: DecisionRules | None = None
        self._cached_bytes = cached_bytes
        self._cache = ProfileCache(cached_bytes)
        self._outdated = False

    async def follow(self) -> tuple[DecisionRules, ProfileCache]:
        """Take up the rules in force, and return them with the cache of profiles that were decided by them.

        A due time that other rules gave to a cached profile is not valid any more, so each has a cache of its own.
        """
        rules = await self._rules_in_force.current(newest=self._outdated)
        self._outdated = False
        if rules is not self._rules:
            self._rules, self._cache = rules, ProfileCache(self._cached_bytes)
        return rules, self._cache

    async def __call__(self, events: Sequence[Event]) -> UpdateResult:
        """Apply each event to the profile of its person, exactly once.

        Args:
            events: Resolved touchpoints, in any order.

        Raises:
            ProfilesContendedError: After `MAX_ATTEMPTS` rounds in which others were faster.
        """
        updated = UpdateResult()
        pending = _prepare(events, updated)
        for _ in range(MAX_ATTEMPTS):
            if not pending:
                return updated
            rules, cache = await self.follow()
            people = await self._find(pending, updated, cache)
            if rules.reads_catalogue and self._catalogue is not None:
                await _bring_facts(self._catalogue, people)
            folds = [_fold(profile, theirs, rules.decider) for profile, theirs in people]
            changed = [one for one in folds if one.applied or one.outgoing]
            conflicts = await commit(self._store, cache, changed, rules.number)
            updated.conflicts += len(conflicts)
            self._outdated |= bool(conflicts)
            pending = []
            for folded, (_, theirs) in zip(folds, people, strict=True):
                if folded.stored.profile_id in conflicts:
                    _note_rejects(folded, theirs)
                    pending += theirs
                else:
                    _count(folded, updated)
                    self._count_decisions(folded)
        raise ProfilesContendedError(f"{len(pending)} events could not be applied in {MAX_ATTEMPTS} rounds")

    async def fire(self, profile_ids: Sequence[str], now_ms: int) -> list[str]:
        """Handle what is due for some people; a profile that another worker changes meanwhile is left to the next call.

        Args:
            profile_ids: People whose timers are due.
            now_ms: The time, milliseconds since 1970.

        Returns:
            Errors, each with the id of its person: these timers are tried again in an hour; the others have fired.
        """
        rules, cache = await self.follow()
        decider = rules.decider
        if decider is None or not profile_ids:
            return []
        people = {profile_id: profile for profile_id in profile_ids if (profile := cache.pop(profile_id))}
        unknown = [profile_id for profile_id in profile_ids if profile_id not in people]
        live: Sequence[str | None] = ()
        if unknown:
            reading = await self._store.people(unknown)
            live = reading.live
            people |= {profile_id: OpenProfile(stored) for profile_id, stored in reading.profiles.items()}
        folds = [_fold_time(profile, now_ms, decider) for profile in people.values()]
        # No write is taken that does not absorb what is to be absorbed; the one that does will set the timer again.
        stuck = {folded.stored.profile_id for folded in folds if folded.unreadable and folded.stored.absorbed}
        gone = [asked for asked, now in zip(unknown, live, strict=True) if now is None or now in stuck]
        if gone:
            await self._store.forget_timers(gone)
        fired = [one for one in folds if one.stored.profile_id not in stuck]
        conflicts = await commit(self._store, cache, fired, rules.number)
        self._outdated |= bool(conflicts)
        for one in fired:
            if one.stored.profile_id not in conflicts:
                self._count_decisions(one)
        return [f"{one.stored.profile_id}: {one.suspended.message}" for one in folds if one.suspended]

    async def enter(self, profile_ids: Sequence[str], broadcast: str, now_ms: int) -> list[str]:
        """Let people enter a broadcast, each once in a life.

        Args:
            profile_ids: People, by any id that they ever had; who was erased is left out.
            broadcast: Its name; nobody enters unless it is under way.
            now_ms: The time, milliseconds since 1970.

        Returns:
            Errors, each with the id of its person, who has not entered.

        Raises:
            ProfilesContendedError: After `MAX_ATTEMPTS` rounds in which others were faster.
        """
        pending, failed = list(dict.fromkeys(profile_ids)), list[str]()
        for _ in range(MAX_ATTEMPTS):
            if not pending:
                return failed
            rules, cache = await self.follow()
            if rules.decider is None or rules.broadcaster is None:
                return failed
            for profile_id in pending:
                cache.pop(profile_id)  # what is read now is newer, or the same
            reading = await self._store.people(pending)
            folds = []
            for stored in reading.profiles.values():
                try:
                    profile = OpenProfile(stored)
                    folds.append(fold_entry(profile, broadcast, now_ms, rules.decider, rules.broadcaster))
                except Exception as error:  # noqa: BLE001 - a bug costs this person's message, not the others'
                    failed.append(f"{stored.profile_id}: {error!r}")
            changed = [one for one in folds if one.outgoing]
            conflicts = await commit(self._store, cache, changed, rules.number)
            self._outdated |= bool(conflicts)
            for one in changed:
                if one.stored.profile_id not in conflicts:
                    self._count_decisions(one)
            pending = list(conflicts)
        raise ProfilesContendedError(f"{len(pending)} people could not enter {broadcast} in {MAX_ATTEMPTS} rounds")

    def _count_decisions(self, folded: FoldedProfile) -> None:
        for outcome, gate in folded.decided:
            self._meter.add(DECISIONS_MADE, 1, outcome, gate)

    async def _find(
        self, pending: Sequence[PendingEvent], updated: UpdateResult, cache: ProfileCache
    ) -> Sequence[tuple[OpenProfile, list[PendingEvent]]]:
        """Return the profile of each event's person, from the cache or the store, with the events new to it."""
        people: dict[str, tuple[OpenProfile, list[PendingEvent]]] = {}
        unknown: list[PendingEvent] = []  # events of people who are not cached
        for one in pending:
            profile_id = one.request.profile_id
            found = people.get(profile_id)
            if found is None:
                profile = cache.pop(profile_id)
                if profile is None:
                    unknown.append(one)
                    continue
                found = people[profile_id] = (profile, [])
            found[1].append(one)
        if unknown:
            reading = await self._store.read([one.request for one in unknown])
            for one, live, applied in zip(unknown, reading.live, reading.applied, strict=True):
                if live is None:
                    updated.erased += 1
                elif applied:
                    updated.repeated += 1
                    if one.rejected is not None:  # the conflict was with our own write, whose answer was lost
                        updated.rejected.append((one.event, one.rejected))
                else:
                    if live not in people:
                        people[live] = (OpenProfile(reading.profiles[live]), [])
                    people[live][1].append(one)
        return list(people.values())


async def _bring_facts(catalogue: WatchedProducts, people: Sequence[tuple[OpenProfile, list[PendingEvent]]]) -> None:
    """Add to each event by which a person watches products what the catalogue says of them.

    The person is a watcher before the catalogue is read: what is stated later becomes an event for them.
    """
    found = [
        (one, [Look(product, profile.stored.profile_id, one.request.received_ms) for product in products])
        for profile, theirs in people
        for one in theirs
        if (products := watched_products(one.event))
    ]
    if found:
        facts = await catalogue.watch([look for _, looks in found for look in looks])
        for one, looks in found:
            one.facts = [fact for look in looks for fact in facts.get(look.product_id, ())]


async def update(store: ProfileStore, events: Sequence[Event]) -> UpdateResult:
    """Apply one batch without a cache and without decisions."""
    return await ProfileUpdate(store)(events)


def _fold(profile: OpenProfile, pending: Sequence[PendingEvent], decider: Decider | None) -> FoldedProfile:
    stored = profile.stored
    try:
        return fold_events(profile, pending, decider)
    except Exception:  # noqa: BLE001 - of which event it is, the second attempt finds out
        return fold_events_isolated(stored, pending, decider)


def _fold_time(profile: OpenProfile, now_ms: int, decider: Decider) -> FoldedProfile:
    stored = profile.stored
    try:
        return fold_time(profile, now_ms, decider)
    except Exception:  # noqa: BLE001 - as above
        return fold_time_isolated(stored, now_ms, decider)


def _prepare(events: Sequence[Event], updated: UpdateResult) -> list[PendingEvent]:
    """Return the events with the requests for their profiles; count or reject events without a profile."""
    pending: dict[bytes, PendingEvent] = {}
    for event in events:
        profile_id = event["profile_id"]
        if profile_id is None:
            updated.impersonal += 1
            continue
        try:
            if type(profile_id) is not str:
                raise TypeError("a profile id is a text")
            key = event_key(event["source"], event["event_id"])
            if key in pending:
                updated.repeated += 1
                continue
            request = ProfileRequest(profile_id, key, ms_of_text(event["received_at"]))
            pending[key] = PendingEvent(request, event, addition_of_event(event))
        except Exception as error:  # noqa: BLE001 - a bug costs this event, not its neighbours
            updated.rejected.append((event, rejected_for_bug(error)))
    return list(pending.values())


def _note_rejects(folded: FoldedProfile, pending: Sequence[PendingEvent]) -> None:
    """Note with each event why its decisions were lost: the write may be stored although its answer is a conflict.

    Where an answer is lost on the way, the port sends the write again, and then the profile has changed: by itself.
    """
    rejects = {id(event): reject for event, reject in folded.rejected}
    for one in pending:
        one.rejected = rejects.get(id(one.event))


def _count(folded: FoldedProfile, updated: UpdateResult) -> None:
    """Add the outcome of one profile to that of the batch."""
    profile_id = folded.stored.profile_id
    if folded.rejected:
        updated.rejected += folded.rejected
    if folded.suspended is not None:
        log.error("profile %s: nothing can be decided: %s", profile_id, folded.suspended.message)
    if folded.applied:
        updated.applied += len(folded.applied)
        updated.absorbed += len(folded.stored.absorbed)
        if folded.person is not None:
            updated.profiles[profile_id] = folded.person.document
