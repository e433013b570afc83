"""Bring a batch of resolved touchpoints into the profiles: read, fold, write; again for those that changed meanwhile.

Each event is in exactly one profile, once: the store refuses a write when the profile has changed since it was read,
was merged away or is to absorb further profiles, or when one of the events is applied already. A batch may be handled
any number of times, by any number of workers, and may break off anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from processors.identity import event_key
from processors.profile import Document, Event, combine, encode, join, new_profile, of
from processors.profile_joins import milliseconds
from schemas.profile import ProfileReading, ProfileRequest, ProfileWrite, StoredProfile

MOST_ATTEMPTS = 1000


class ProfileStore(Protocol):
    """Keeps profiles; a document is written only if nothing has changed since it was read."""

    async def read(self, requests: Sequence[ProfileRequest]) -> ProfileReading:
        """Find the live profiles of some events' people, and which of the events they hold already."""

    async def write(self, changes: Sequence[ProfileWrite]) -> list[str]:
        """Store documents, each in whole or not at all; answer with the ids of those that are out of date."""


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
        profiles: The new documents, by profile id.
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


async def update(store: ProfileStore, events: Sequence[Event]) -> Updated:
    """Apply each event to the profile of its person, exactly once.

    Args:
        store: Where the profiles are.
        events: Resolved touchpoints, in any order.

    Raises:
        ProfilesContendedError: After `MOST_ATTEMPTS` rounds in which others were faster.
    """
    done = Updated()
    waiting = _prepare(events, done)
    for _ in range(MOST_ATTEMPTS):
        if not waiting:
            return done
        reading = await store.read([one.request for one in waiting])
        by_person: dict[str, list[_Pending]] = {}
        for one, live, applied in zip(waiting, reading.live, reading.applied, strict=True):
            if live is None:
                done.erased += 1
            elif applied:
                done.repeated += 1
            else:
                by_person.setdefault(live, []).append(one)
        documents = {live: _fold(reading.profiles[live], pending) for live, pending in by_person.items()}
        conflicts = set(await store.write(_writes(reading.profiles, by_person, documents)))
        waiting = [one for live in by_person if live in conflicts for one in by_person[live]]
        done.conflicts += len(conflicts)
        for live in by_person.keys() - conflicts:
            done.applied += len(by_person[live])
            done.absorbed += len(reading.profiles[live].absorbed)
            done.profiles[live] = documents[live]
    raise ProfilesContendedError(f"{len(waiting)} events could not be applied in {MOST_ATTEMPTS} rounds")


def load(stored: StoredProfile) -> Document:
    """Read a stored profile as it would be after a write: combined with the profiles that it is to absorb."""
    document: Document = orjson.loads(stored.document) if stored.document else new_profile(stored.profile_id)
    for loser in stored.absorbed:
        if loser.document:
            document = combine(document, orjson.loads(loser.document))
    return document


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
            request = ProfileRequest(profile_id, key, milliseconds(event["received_at"]))
            pending[key] = _Pending(request, event, of(event))
        except Exception as error:  # noqa: BLE001 - a bug costs this event its way, not its neighbours theirs
            done.refused.append((event, f"{type(error).__name__}: {error}"))
    return list(pending.values())


def _fold(stored: StoredProfile, pending: Sequence[_Pending]) -> Document:
    document = load(stored)
    for one in pending:
        join(document, one.adds or of(one.event))
        one.adds = None
    return document


def _writes(
    stored: Mapping[str, StoredProfile], by_person: Mapping[str, Sequence[_Pending]], documents: Mapping[str, Document]
) -> list[ProfileWrite]:
    return [
        ProfileWrite(
            profile_id=live,
            expected_version=stored[live].version,
            document=encode(documents[live]),
            absorbed=tuple((loser.profile_id, loser.version) for loser in stored[live].absorbed),
            events=tuple((one.request.event_key, one.request.received_ms) for one in pending),
        )
        for live, pending in by_person.items()
    ]
