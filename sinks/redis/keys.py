"""Prefixes of keys: `{namespace}:` of what all people share, `{namespace:000}:` to `{namespace:191}:` of their shards.

The part in braces is the hash tag: keys with the same tag are in one slot of a cluster, so one script may use them
together. A person's keys are in the shard of their profile id (`schemas/shards.py`).
"""

from __future__ import annotations

from schemas.shards import SHARDS, shard_of


def shared_prefix(namespace: str) -> str:
    """Return the prefix of the keys that are not of one shard."""
    return f"{{{namespace}}}:"


def shard_prefix(namespace: str, shard: int) -> str:
    """Return the prefix of the keys of a shard."""
    return f"{{{namespace}:{shard:03d}}}:"


def shard_prefixes(namespace: str) -> list[str]:
    """Return the prefixes of all shards, in order."""
    return [shard_prefix(namespace, shard) for shard in range(SHARDS)]


def person_prefix(namespace: str, profile_id: str) -> str:
    """Return the prefix of a person's keys."""
    return shard_prefix(namespace, shard_of(profile_id.encode()))


def slot_key(prefix: str) -> str:
    """Return the key of a shard that is passed to scripts, to name its slot; whoever uses a shard may use it."""
    return f"{prefix}shard"


def patterns(namespace: str, name: str = "*") -> tuple[str, str]:
    """Return the patterns by which `SCAN` finds keys of some name: those that are shared, and those of shards."""
    escaped = "".join(f"\\{one}" if one in "*?[]^\\" else one for one in namespace)
    return f"{{{escaped}}}:{name}", f"{{{escaped}:[0-9][0-9][0-9]}}:{name}"


def name_of(key: bytes, namespace: str) -> str:
    """Return the name of a key without its prefix."""
    return key.decode("utf-8", "surrogateescape").removeprefix(f"{{{namespace}").partition("}:")[2]
