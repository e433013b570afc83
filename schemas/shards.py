"""Shards of people: the unit in which the state of profiles is placed, and the partition of its events.

A person's shard is a hash of the profile id, for a deployment's life. A partition of `resolved-touchpoints` has the
events of whole shards (`partition = shard mod partitions`), so who reads a partition has all events of its shards: more
partitions change which worker serves a shard, and no shard.
"""

from __future__ import annotations

from collections.abc import Collection
from zlib import crc32

SHARDS = 192
"""Shards of a deployment: divisible by 12, 24, 48 and 96 partitions."""


def shard_of(profile_id: str) -> int:
    """Return the shard of a person."""
    return crc32(profile_id.encode()) % SHARDS


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a record whose key is a profile id, in a topic of `partitions` partitions."""
    return crc32(key) % SHARDS % partitions


def shards_of(assigned: Collection[int], partitions: int) -> list[int]:
    """Return the shards whose events are in some partitions of a topic of `partitions` partitions, ascending."""
    return [shard for shard in range(SHARDS) if shard % partitions in assigned]
