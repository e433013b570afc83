"""Cache of the decoded profiles that this process wrote last, so that their next write needs no read.

An entry may be stale, since other workers write too. The store then refuses the write, and the profile is read again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from schemas.profiles.document import StoredProfile
from schemas.profiles.person import Person

CACHED_BYTES = 16 * 2**20
"""JSON of the profiles that are cached. A cached profile takes about six times as much memory: the JSON, and Python
objects five times its size."""

UNKNOWN_TIMER = -1
"""The stored timer is not known, so the next write sets it."""


@dataclass(slots=True)
class OpenProfile:
    """A decoded profile with its stored form, during a change or in the cache.

    Attributes:
        stored: The stored form, as far as this process knows; an error resets the profile to it.
        person: The decoded form, combined with the profiles that it is to absorb; None: not decoded yet.
        due_ms: The next due time without an event; None: there is none.
        timer_ms: The timer that the store holds, later than `due_ms` when it was put off; None: no timer. See
            `UNKNOWN_TIMER`.
        size_bytes: The JSON of `stored`, as the cache counts it.
    """

    stored: StoredProfile
    person: Person | None = None
    due_ms: int | None = None
    timer_ms: int | None = None
    size_bytes: int = 0


class ProfileCache:
    """The most recently written profiles, bounded by the size of their JSON.

    Args:
        limit_bytes: The bound.
    """

    def __init__(self, limit_bytes: int = CACHED_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._profiles: OrderedDict[str, OpenProfile] = OrderedDict()
        self._size_bytes = 0

    def pop(self, profile_id: str) -> OpenProfile | None:
        """Remove and return a profile that is about to change; it is put back after a successful write."""
        profile = self._profiles.pop(profile_id, None)
        if profile is not None:
            self._size_bytes -= profile.size_bytes
        return profile

    def put(self, profile: OpenProfile) -> None:
        """Add a written profile; beyond the limit, the profiles written longest ago are dropped."""
        profile_id, _, document, _, state, _ = profile.stored
        if profile_id in self._profiles:
            self.pop(profile_id)
        self._profiles[profile_id] = profile
        profile.size_bytes = len(document or b"") + len(state or b"")
        self._size_bytes += profile.size_bytes
        while self._size_bytes > self._limit_bytes:
            self._size_bytes -= self._profiles.popitem(last=False)[1].size_bytes
