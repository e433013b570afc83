"""The journey archive: every version that was in force, since a run continues in the version that it entered with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def archive_journeys(redis: Any, namespace: str, journeys: Mapping[str, bytes]) -> dict[str, bytes]:
    """Add the journeys in force to the archive (`{ns}:journeys:archive`, a hash of version → JSON).

    Args:
        redis: A synchronous client.
        namespace: Hash tag of all keys.
        journeys: Version → the journey as JSON.

    Returns:
        Every version that was ever in force → the journey as JSON.
    """
    key = f"{{{namespace}}}:journeys:archive"
    if journeys:
        redis.hset(key, mapping=dict(journeys))
    return {version.decode(): journey for version, journey in redis.hgetall(key).items()}
