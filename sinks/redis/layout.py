"""Which layout the keys have: `{namespace}:shards`, a hash, says that profiles are in shards.

* `layout`: 1;
* `shared_marks_until`: up to which time of arrival, ms, events may be marked as applied in the marks that identity
shares (`deduplication.py`): those of a release without shards, or of a rebuild.

It is written at the first start of a deployment, by `throughline state migrate`, and by a rebuild at its end.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from sinks.redis.keys import shared_prefix

LAYOUT = "1"
UNMIGRATED = (
    "the profiles in Redis are as an earlier release has kept them: stop all workers, and run"
    " `throughline state migrate`; until then nothing is read or written"
)


class UnmigratedStateError(RuntimeError):
    """The store's keys are those of an earlier release; the message says what to do."""


def layout_key(namespace: str) -> str:
    """Return the key."""
    return f"{shared_prefix(namespace)}shards"


def has_layout(redis: Any, namespace: str) -> bool:
    """Return whether profiles are in shards; by a synchronous client."""
    return bool(redis.exists(layout_key(namespace)))


async def read_layout(redis: Redis, namespace: str) -> int:
    """Return `shared_marks_until`; 0 where the store is new.

    Raises:
        UnmigratedStateError: The store has people, and their profiles are not in shards.
    """
    found: Any = await redis.hmget(layout_key(namespace), "layout", "shared_marks_until")
    prefix = shared_prefix(namespace)
    # One of the two alone: nobody has come yet, or a rebuild is under way.
    if found[0] is None and await redis.exists(f"{prefix}people", f"{prefix}identity:version") == 2:
        raise UnmigratedStateError(UNMIGRATED)
    return int(found[1] or 0)


def layout_fields(shared_marks_until_ms: int = 0) -> dict[str, str]:
    """Return the fields of the hash."""
    return {"layout": LAYOUT, "shared_marks_until": str(shared_marks_until_ms)}
