"""Marks of events: those that `identify` has seen, and those that a profile holds.

**Seen.** A mark is a field of the hash `{namespace}:marks:<generation>:<bucket>`:

* generation: `received_ms // GENERATION_MS`; a mark is looked up in its generation and in the one before;
* bucket: the first byte of the event key modulo `BUCKETS`;
* field: bytes 2 to 15 of the event key, of which the last 4 are of the source;
* value: the origin (8 bytes, `processors.identity.claims.origin_key`; zeros when unknown), the content (4 bytes,
  `content_key`; left out when unknown), then `!` where a profile holds the event.

**Applied.** An event that a profile holds is a member of the set `{namespace:<shard>}:applied:<generation>` in the
shard of the profile, by the same field. It is written with the profile, in one step. It is looked up in its
generation alone: what comes again with another time of arrival is another record, and `identify` knows the first.

The `!` of a mark is of releases without shards, and of a rebuild: `shared_marks_until` of `{namespace}:shards` says
up to which time of arrival events may have it, and only of those it is asked.

Releases that knew an event by its id alone wrote `seen:<generation>:<bucket>`, with bytes 2 to 11 as the field and the
origin as the value. Those hashes are still read until the last has expired, 21 days after the upgrade.

A hash or a set expires `TTL_S` after its first mark, by the server's clock, so a duplicate is found for at least two
generations.
"""

from __future__ import annotations

from functools import cache

from schemas.identity.resolution import DUPLICATES_FOUND_MS
from sinks.redis.lua import source

GENERATION_MS = DUPLICATES_FOUND_MS
"""Length of a generation of marks, milliseconds."""
BUCKETS = 16
"""Hashes of a generation: few, so that one command reads or writes many marks, in a fifth of the time. The price is
memory: a mark takes 54 bytes; in hashes that are small enough for the server to pack it would take 23."""
TTL_S = 3 * GENERATION_MS // 1000
"""Life of a bucket, seconds: its own generation and two more."""
KNOWN_MS = TTL_S * 1000 - GENERATION_MS
"""For how long after its arrival an event is known at least, milliseconds: its bucket may be a generation older."""
UNKNOWN_ORIGIN = bytes(8)
"""The origin of a mark that had expired before the profile store applied its event."""
APPLIED = b"!"
"""Appended to a mark's value once a profile holds the event."""


def generation(received_ms: int) -> int:
    """Return the generation of an event by the time it was received."""
    return received_ms // GENERATION_MS


def bucket_key(namespace: str, event_key: bytes, received_ms: int) -> str:
    """Return the key of the hash for a new mark of an event."""
    return f"{{{namespace}}}:marks:{generation(received_ms)}:{event_key[0] % BUCKETS}"


def field(event_key: bytes) -> bytes:
    """Return the field of an event's mark in its hash."""
    return event_key[2:16]


@cache
def applied_script(name: str) -> str:
    """Load `sinks/redis/lua/<name>.lua` with the functions of `applied.lua` before it.

    They are `applied_find(found, prefix, keys, received, first, last)`, which adds to `found`, and
    `applied_write(prefix, keys, received, first, last)`. `prefix` is that of a shard, `first` and `last` are places
    in the lists.
    """
    return f"local GENERATION_MS, TTL_S = {GENERATION_MS}, {TTL_S}\n{source('applied')}{source(name)}"


@cache
def script(name: str) -> str:
    """Load `sinks/redis/lua/<name>.lua` with the functions of `seen.lua` before it.

    They are `seen_find(prefix, keys, received)` → marks, homes; `seen_write(homes, marks)`;
    `seen_applied(mark)`; `seen_and_applied(mark)`; `seen_conflict(mark, other)`. `prefix` is `{namespace}:`.
    """
    constants = f"local GENERATION_MS, BUCKETS, TTL_S = {GENERATION_MS}, {BUCKETS}, {TTL_S}\n"
    return constants + source("seen") + source(name)
