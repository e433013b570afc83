"""Former versions of journeys: a run ends in the version that it entered with, however the file has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def keep(redis: Any, namespace: str, journeys: Mapping[str, bytes]) -> dict[str, bytes]:
    """Add the journeys in force to the archive.

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
