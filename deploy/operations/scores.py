"""Writes predictions back to the people they are about, beside the workers that keep changing the same profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from processors.profiles.joins import json
from processors.segments.scores import Prediction, set_scores
from schemas.profiles.document import ProfileWrite
from sinks.redis.profiles import RedisProfileStore

MOST_ATTEMPTS = 10
_PEOPLE_A_CALL = 500


@dataclass(slots=True)
class Written:
    """What became of predictions.

    Attributes:
        changed: People whose scores are others now; their segments are evaluated at once.
        unchanged: People of whom the same was known.
        missing: People who were erased, or of whom there is no profile.
        busy: People whose profile kept changing, or is about to absorb another: the next run has them.
    """

    changed: int = 0
    unchanged: int = 0
    missing: int = 0
    busy: int = 0


async def write_scores(store: RedisProfileStore, predictions: Mapping[str, Prediction], now_ms: int) -> Written:
    """Write scores into people's states; a state that changes meanwhile is read again.

    Args:
        store: The live profiles.
        predictions: By profile id, of any time.
        now_ms: When the predictions count as made.
    """
    done = Written()
    ids = sorted(predictions)
    for start in range(0, len(ids), _PEOPLE_A_CALL):
        waiting = ids[start : start + _PEOPLE_A_CALL]
        for _ in range(MOST_ATTEMPTS):
            waiting = await _write(store, {one: predictions[one] for one in waiting}, now_ms, done)
            if not waiting:
                break
        done.busy += len(waiting)
    return done


async def _write(
    store: RedisProfileStore, predictions: Mapping[str, Prediction], now_ms: int, done: Written
) -> list[str]:
    """Try once; answer with those whose profile has changed meanwhile."""
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
        # Due at once, whatever else is due later: the worker then works out when to look next.
        changes[live] = ProfileWrite(live, stored.version, stored.document, (), (), json(state), now_ms)
    conflicts = await store.write(list(changes.values()))
    done.changed += len(changes) - len(conflicts)
    return [asked[live] for live in conflicts]
