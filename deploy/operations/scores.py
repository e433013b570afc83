"""Writes predicted scores into the states of profiles, while workers keep changing the same profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from processors.profiles.joins import canonical_json
from processors.segments.scores import Prediction, set_scores
from schemas.profiles.document import ProfileWrite
from sinks.redis.profiles import RedisProfileStore

MAX_ATTEMPTS = 10
_PROFILES_PER_CALL = 500


@dataclass(slots=True)
class ScoreCounts:
    """Counts of the outcomes of predictions.

    Attributes:
        changed: Scores written; the segments of those people are evaluated at once.
        unchanged: The profile has these scores already.
        missing: The person was erased, or has no profile.
        busy: The profile changed in every attempt, or is about to absorb another; left to the next run.
    """

    changed: int = 0
    unchanged: int = 0
    missing: int = 0
    busy: int = 0


async def write_scores(store: RedisProfileStore, predictions: Mapping[str, Prediction], now_ms: int) -> ScoreCounts:
    """Write scores into the states of profiles; one that changed meanwhile is read and written again.

    Args:
        store: The live profiles.
        predictions: By profile id, live or former.
        now_ms: The time of the scores, in ms.
    """
    done = ScoreCounts()
    ids = sorted(predictions)
    for start in range(0, len(ids), _PROFILES_PER_CALL):
        waiting = ids[start : start + _PROFILES_PER_CALL]
        for _ in range(MAX_ATTEMPTS):
            waiting = await _write(store, {one: predictions[one] for one in waiting}, now_ms, done)
            if not waiting:
                break
        done.busy += len(waiting)
    return done


async def _write(
    store: RedisProfileStore, predictions: Mapping[str, Prediction], now_ms: int, done: ScoreCounts
) -> list[str]:
    """Make one attempt; return the ids of profiles that changed meanwhile."""
    reading = await store.people(list(predictions))
    changes: dict[str, ProfileWrite] = {}
    asked: dict[str, str] = {}
    for profile_id, live in zip(predictions, reading.live, strict=True):
        stored = reading.profiles.get(live) if live else None
        if live is None or stored is None or stored.document is None:
            done.missing += 1
            continue
        if stored.absorbed or live in changes:
            done.busy += 1
            continue
        state = orjson.loads(stored.state) if stored.state else {}
        if not set_scores(state, predictions[profile_id].scores(), now_ms):
            done.unchanged += 1
            continue
        asked[live] = profile_id
        # The timer is due at once, so a worker evaluates the segments; it then sets the next timer itself.
        changes[live] = ProfileWrite(live, stored.version, stored.document, (), (), canonical_json(state), now_ms)
    conflicts = await store.write(list(changes.values()))
    done.changed += len(changes) - len(conflicts)
    return [asked[live] for live in conflicts]
