"""Makes the identity store again from the log of its changes, in an empty name space.

The script uses the functions that made the changes (`lua/moves.lua`, `lua/leave.lua`), so what comes out is what was
there, byte for byte, but for what the log does not have: how many anonymous ids a device has joined within 30 days
starts anew, a device that was quarantined for them has the policy's number of refusals, and lists whose order means
nothing may have another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgpack
from redis.asyncio import Redis

from schemas.identity.policy import IdentityPolicy
from sinks.redis import deduplication as seen
from sinks.redis.identity import identity_script, policy_for_script, separation_token
from sinks.redis.outbox import identity_outbox

CHANGES_A_CALL = 500
"""About as many changes of one script call, which blocks the server for a few milliseconds."""
_EMPTY = b""


class LoggedChange(NamedTuple):
    """A change of identity as it was logged, with what its replay needs beside the log.

    Attributes:
        version: Of the log.
        kind: As `IdentityChange.kind`.
        profile: 16 bytes; empty: none.
        former: The profile before the change, likewise.
        anchors: (anchor as 16 bytes, type) of the identifiers concerned.
        event_id: The evidence.
        occurred_ms: Time of the evidence, milliseconds since 1970.
        rule: Why.
        first_ms: Of a split: when the profile was first seen by the events before it; 0: not known.
        hints: Of a transfer: hashes of identifiers that the event, or events under the new anchor, name.
    """

    version: int
    kind: str
    profile: bytes
    former: bytes
    anchors: tuple[tuple[bytes, str], ...]
    event_id: str
    occurred_ms: int
    rule: str
    first_ms: int = 0
    hints: tuple[bytes, ...] = ()


class SeenEvent(NamedTuple):
    """An event to mark as seen.

    Attributes:
        event_key: 16 bytes, of source and id.
        received_ms: When the broker got it, milliseconds since 1970.
        mark: Origin and content, as in `deduplication.py`.
        applied: Whether a profile holds it.
    """

    event_key: bytes
    received_ms: int
    mark: bytes
    applied: bool


class RedisIdentityReplay:
    """Replays logged changes.

    Every method may be repeated, after an error or in a new process.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
        policy: Limits and order of identifier types, as of the store.
    """

    def __init__(self, redis: Redis, namespace: str, policy: IdentityPolicy) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._keys = [identity_outbox(namespace).stream, f"{self._prefix}identity:version"]
        self._policy = policy_for_script(policy)
        self._replay = redis.register_script(identity_script("replay_log", "moves", "leave", "replay"))
        self._mark = redis.register_script(seen.script("mark_seen"))

    async def version(self) -> int:
        """Return the version of the last change that is in the store; 0: it has none."""
        return int(await self._redis.get(self._keys[1]) or 0)

    async def apply(self, changes: Sequence[LoggedChange]) -> None:
        """Replay changes, in the order of their versions; those that are in the store already are left out.

        All changes of one event must be in one call: it is one step.
        """
        await self._run([_packed(change) for change in changes])

    async def lower_first_seen(self, times: Iterable[tuple[bytes, int]]) -> None:
        """Set when profiles (16 bytes) were first seen, milliseconds, if that is earlier than what the log says."""
        entries = [(0, "seen", profile, _EMPTY, (), "", ms, "") for profile, ms in times]
        for start in range(0, len(entries), CHANGES_A_CALL):
            await self._run(entries[start : start + CHANGES_A_CALL])

    async def mark_seen(self, events: Sequence[SeenEvent]) -> None:
        """Mark events as seen, unless they are."""
        for start in range(0, len(events), CHANGES_A_CALL):
            part = events[start : start + CHANGES_A_CALL]
            columns = (
                [one.event_key for one in part],
                [one.received_ms for one in part],
                [one.mark + (seen.APPLIED if one.applied else b"") for one in part],
            )
            packed = msgpack.packb(columns, use_bin_type=False)
            await self._mark(keys=[self._keys[1]], args=[self._prefix, packed])

    async def finish(self) -> None:
        """Delete what only a replay needs."""
        await self._redis.delete(f"{self._prefix}replay:anchors", f"{self._prefix}replay:free")

    async def _run(self, entries: Sequence[tuple[object, ...]]) -> None:
        packed = msgpack.packb(entries, use_bin_type=False)
        await self._replay(keys=self._keys, args=[self._prefix, self._policy, packed])


def _packed(change: LoggedChange) -> tuple[object, ...]:
    anchors = [part for anchor in change.anchors for part in anchor]
    extra: object = change.hints
    if change.kind == "split":
        extra = (separation_token(change.event_id), change.first_ms)
    fields = (change.version, change.kind, change.profile, change.former, anchors)
    return (*fields, change.event_id, change.occurred_ms, change.rule, extra)
