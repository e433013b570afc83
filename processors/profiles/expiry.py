"""Anonymous people expire: whoever was not seen for the retention, and is known by cookies and devices alone.

A profile goes in three steps, at least `GRACE_MS` and `SETTLING_MS` apart, so that nothing which is still on its way
meets a deleted one, and whoever comes back in between stays whole:

1. Its last event is older than the retention and nothing waits for the person: no run, no timer, no snapshot, no
   merge. The version is **noted**, with the time.
2. The version is the same after `GRACE_MS`: nothing has come for the person, as an import of old events would. Identity
   lets the profile expire, unless it is a known person's: from now on its identifiers are nobody's. Noted, too.
3. After `SETTLING_MS`: the document is deleted; the segments that the person was in are left.

Every step may be repeated, and a process may die after each. Events stay in ClickHouse, under the same profile id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from processors.profiles.fold import encode_emits, read_state
from schemas.decisions.decision import Emit
from schemas.durations import DAY_MS
from schemas.metrics import NO_METER, PEOPLE_EXPIRED, Meter
from schemas.profiles.document import IdleProfile, IdleStep
from schemas.records import Outgoing

GRACE_MS = 30 * DAY_MS
"""How long a profile must have stayed as it is, however old its last event is, milliseconds."""
SETTLING_MS = DAY_MS
"""How long after identity has let a profile expire its document is kept, milliseconds."""
PASS_EVERY_MS = DAY_MS
"""From the end of one pass over all profiles to the beginning of the next, milliseconds."""
_DETACHED = b"x"

LeaveSegments = Callable[[str, Mapping[str, Any], int], Sequence[Emit]]


class IdleProfiles(Protocol):
    """Finds and deletes profiles that were not seen for long."""

    async def last_pass(self) -> Mapping[str, int]:
        """Return `ended_ms` and the counts of the last pass; empty: there was none."""

    async def end_pass(self, ended_ms: int, counts: Mapping[str, int]) -> None:
        """Keep that a pass has ended."""

    def ids(self) -> AsyncIterator[list[str]]:
        """Yield the ids of all profiles, in parts."""

    async def find(self, profile_ids: Sequence[str], before_ms: int) -> list[IdleProfile]:
        """Return those that may have been seen last before a time."""

    async def take(self, steps: Sequence[IdleStep]) -> int:
        """Take steps, each only if its profile has not changed; return how many profiles were deleted."""


class Identities(Protocol):
    """Lets anonymous profiles expire."""

    async def expire(self, profile_ids: Sequence[str], at_ms: int, first_seen_before_ms: int) -> list[bool]:
        """Return for each whether it is not there any more; one of a known person stays."""


class AnonymousExpiry:
    """Lets anonymous people expire.

    Args:
        profiles: The profiles.
        identities: Who has which identifier.
        retention_ms: For how long after their last event people are kept, milliseconds; 0: for ever.
        leave_segments: Returns the events by which a person, of this id and state, leaves all segments at a time, ms.
        meter: Counts the people who have expired.
    """

    def __init__(
        self,
        profiles: IdleProfiles,
        identities: Identities,
        retention_ms: int,
        leave_segments: LeaveSegments,
        meter: Meter = NO_METER,
    ) -> None:
        self._profiles = profiles
        self._identities = identities
        self._retention_ms = retention_ms
        self._leave_segments = leave_segments
        self._meter = meter

    async def is_due(self, now_ms: int) -> bool:
        """Return whether a pass over all profiles is due."""
        if not self._retention_ms:
            return False
        last = await self._profiles.last_pass()
        return not 0 <= now_ms - last.get("ended_ms", 0) < PASS_EVERY_MS  # in the future: a clock was wrong

    async def run(self, now_ms: int) -> AsyncIterator[None]:
        """Go over all profiles, in small steps: yields after each, and ends when all are done.

        Args:
            now_ms: The time, milliseconds since 1970.
        """
        counts = {"people": 0, "idle": 0, "expired": 0}
        async for ids in self._profiles.ids():
            counts["people"] += len(ids)
            before_ms = now_ms - self._retention_ms
            found = [one for one in await self._profiles.find(ids, before_ms) if is_idle(one, before_ms)]
            counts["idle"] += len(found)
            counts["expired"] += await self._step(found, now_ms, before_ms)
            yield
        await self._profiles.end_pass(now_ms, counts)

    async def _step(self, found: Sequence[IdleProfile], now_ms: int, before_ms: int) -> int:
        steps: list[IdleStep] = []
        detached: list[IdleProfile] = []
        for one in found:
            noted_ms, is_detached = read_note(one)
            if noted_ms is None or noted_ms > now_ms:  # by a clock that was wrong
                steps.append(IdleStep(one.profile_id, one.version, write_note(one, now_ms)))
            elif is_detached and now_ms >= noted_ms + SETTLING_MS:
                steps.append(
                    IdleStep(one.profile_id, one.version, b"", True, noted_ms, self._last_records(one, now_ms))
                )
            elif not is_detached and now_ms >= noted_ms + GRACE_MS:
                detached.append(one)
        if detached:
            gone = await self._identities.expire([one.profile_id for one in detached], now_ms, before_ms)
            for one, is_gone in zip(detached, gone, strict=True):
                if is_gone:
                    note = write_note(one, now_ms) + _DETACHED
                    steps.append(IdleStep(one.profile_id, one.version, note))
        if not steps:
            return 0
        deleted = await self._profiles.take(steps)
        self._meter.add(PEOPLE_EXPIRED, deleted)
        return deleted

    def _last_records(self, profile: IdleProfile, now_ms: int) -> tuple[Outgoing, ...]:
        emits = self._leave_segments(profile.profile_id, read_state(profile.state), now_ms)
        return tuple(encode_emits(profile.profile_id, emits))


def is_idle(profile: IdleProfile, before_ms: int) -> bool:
    """Return whether a profile was last seen before a time, and nothing waits for its person.

    What cannot be read stays: a newer version may have written it.
    """
    if profile.waits:
        return False
    try:
        last_ms = last_event_ms(orjson.loads(profile.document))
        journeys = read_state(profile.state).get("journeys") or {}
        return last_ms is not None and last_ms < before_ms and not journeys.get("runs")
    except (ValueError, TypeError, LookupError, AttributeError):
        return False


def last_event_ms(document: Mapping[str, Any]) -> int | None:
    """Return when a person was last seen, by events of bots too, milliseconds since 1970; None: that is not known."""
    times = [int(at) for _, at in document.get("bots", {}).values()]
    if "last_seen" in document:
        times.append(int(document["last_seen"]))
    return max(times, default=None)


def write_note(profile: IdleProfile, now_ms: int) -> bytes:
    """Return the note that a profile is as it is since a time."""
    return b"%d %d" % (profile.version, now_ms)


def read_note(profile: IdleProfile) -> tuple[int | None, bool]:
    """Return since when a profile is as it is, and whether identity has let it expire; None: there is no such note."""
    version, _, noted = (profile.note or b"").partition(b" ")
    if version != b"%d" % profile.version:
        return None, False
    return int(noted.removesuffix(_DETACHED)), noted.endswith(_DETACHED)
