"""Stores folded profiles by compare-and-set: a write is complete or refused, and refused if the profile has changed.

The document, the marks of its events, state, timer and what is to be published are one write. So each event is in
exactly one profile, once, and what follows from it is published once, wherever a process dies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from processors.profiles.cache import OpenProfile, ProfileCache
from processors.profiles.fold import FoldedProfile
from schemas.profiles.document import ProfileReading, ProfileRequest, ProfileWrite, StoredProfile


class ProfileStore(Protocol):
    """Keeps profiles; a document is written only if nothing has changed since it was read."""

    async def read(self, requests: Sequence[ProfileRequest]) -> ProfileReading:
        """Return the live profiles of the people of some events, and which of the events they contain already."""

    async def people(self, profile_ids: Sequence[str]) -> ProfileReading:
        """Return the live profiles of some people."""

    async def write(self, changes: Sequence[ProfileWrite], definitions: int | None = None) -> list[str]:
        """Store documents, each in whole or not at all; returns the ids of those that are out of date.

        All of them are, unless `definitions` is the number of what is in force; None: nothing was decided.
        """

    async def forget_timers(self, profile_ids: Sequence[str]) -> None:
        """Remove the timers of people who do not exist any more."""


async def commit(
    store: ProfileStore, cache: ProfileCache, folds: Sequence[FoldedProfile], definitions: int | None = None
) -> frozenset[str]:
    """Store folded profiles, and cache the stored ones.

    Args:
        store: The profile store.
        cache: Gets each written profile.
        folds: At most one for each profile.
        definitions: Number of the definitions by which they were decided; None: nothing was decided.

    Returns:
        Ids of the profiles that had changed meanwhile. Nothing of theirs was written, and they are not cached.
    """
    if not folds:
        return frozenset()
    writes = [profile_write(folded) for folded in folds]
    conflicts = frozenset(await store.write(writes, definitions))
    for folded, write in zip(folds, writes, strict=True):
        if folded.person is not None and write.profile_id not in conflicts:
            state = folded.stored.state if write.state is None else write.state
            stored = StoredProfile(
                write.profile_id, write.expected_version + 1, write.document, (), state, write.former
            )
            timer_ms = folded.stored_timer_ms if write.due_ms is None else write.due_ms or None
            cache.put(OpenProfile(stored, folded.person, folded.due_ms, timer_ms))
    return conflicts


def profile_write(folded: FoldedProfile) -> ProfileWrite:
    """Return the write that turns the stored profile into the folded one; unchanged parts are left out."""
    stored = folded.stored
    timer_ms = next_timer_ms(folded) if folded.timer_from_ms else folded.due_ms
    return ProfileWrite(
        stored.profile_id,
        stored.version,
        folded.document,
        tuple([(loser.profile_id, loser.version) for loser in stored.absorbed]) if stored.absorbed else (),
        tuple([(one.request.event_key, one.request.received_ms) for one in folded.applied]),
        None if folded.state == (stored.state or b"") else folded.state,
        None if timer_ms == folded.stored_timer_ms else timer_ms or 0,
        tuple(folded.outgoing),
        tuple(folded.watches),
        tuple(folded.held),
        stored.former,
    )


def next_timer_ms(folded: FoldedProfile) -> int | None:
    """Return the time of a person's next timer, milliseconds since 1970; None: there is none."""
    if folded.due_ms is None:
        return folded.timer_from_ms if folded.suspended else None
    return max(folded.due_ms, folded.timer_from_ms)
