"""Marks of events that were seen: the one layout that the identity store and the profile store share.

A mark is a field of the hash `{namespace}:seen:<generation>:<bucket>`:

* generation: `received_ms // GENERATION_MS`; a mark is looked up in its generation and in the one before;
* bucket: the first byte of the event key modulo `BUCKETS`;
* field: bytes 2 to 11 of the event key;
* value: the origin (8 bytes; zeros when it is not known), then `!` once the profile store has applied the event.

A bucket lives `TTL_S` from its first mark by the server's own clock, so a mark answers for two generations.
"""

from __future__ import annotations

from functools import cache

from schemas.durations import DAY_MS
from sinks.redis.lua import source

GENERATION_MS = 7 * DAY_MS
"""Length of a generation of marks, milliseconds."""
BUCKETS = 16
"""Hashes in a generation: few, so that one command reads or writes many marks, which costs a fifth of the time. A mark
takes 54 bytes for it; in hashes so small that the server packs them it would take 23, up to 50 events a second."""
TTL_S = 3 * GENERATION_MS // 1000
"""Life of a bucket, seconds: that of its generation and two more."""
UNKNOWN_ORIGIN = bytes(8)
"""The origin of a mark that had expired before the profile store applied its event."""
APPLIED = b"!"
"""Appended to a mark's value once a profile holds the event."""


def generation(received_ms: int) -> int:
    """The generation of an event received then."""
    return received_ms // GENERATION_MS


def bucket_key(namespace: str, event_key: bytes, received_ms: int) -> str:
    """The hash that a new mark of this event belongs in."""
    return f"{{{namespace}}}:seen:{generation(received_ms)}:{event_key[0] % BUCKETS}"


def field(event_key: bytes) -> bytes:
    """The field of this event's mark in its hash."""
    return event_key[2:12]


@cache
def script(name: str) -> str:
    """Load `sinks/redis/lua/<name>.lua` with the functions of `seen.lua` before it.

    They are `seen_find(prefix, events, key_at, received_at)` → marks, homes; `seen_write(homes, marks)`;
    `seen_applied(mark)`; `seen_and_applied(mark)`. `prefix` is `{namespace}:`.
    """
    constants = f"local GENERATION_MS, BUCKETS, TTL_S = {GENERATION_MS}, {BUCKETS}, {TTL_S}\n"
    return constants + source("seen") + source(name)
