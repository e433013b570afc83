"""Shards of people: the unit in which the state of profiles is placed, and the partition of its events.

A person's shard is a hash of the profile id, for a deployment's life. A partition of `resolved-touchpoints` has the
events of whole shards (`partition = shard mod partitions`), so who reads a partition has all events of its shards: more
partitions change which worker serves a shard, and no shard.
"""

from __future__ import annotations

from zlib import crc32

SHARDS = 192
"""Shards of a deployment: divisible by 12, 24, 48 and 96 partitions."""


def shard_of(key: bytes) -> int:
    """Return the shard of a person; the key is their profile id."""
    return crc32(key) % SHARDS


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a record whose key is a profile id, in a topic of `partitions` partitions."""
    return shard_of(key) % partitions
