"""The loop of read, fold and write, against a store that never gets it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from processors.profiles import stage as profile_update
from processors.profiles.stage import ProfilesContendedError, update
from schemas.profiles.document import ProfileReading, ProfileRequest, ProfileWrite, StoredProfile
from tests.support.profiles import resolved


class Contended:
    """A store in which somebody else is always faster, until `losses` are used up."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.written: list[bytes] = []

    async def read(self, requests: Sequence[ProfileRequest]) -> ProfileReading:
        live = [request.profile_id for request in requests]
        return ProfileReading(list(live), [False] * len(live), {one: StoredProfile(one, 0, None) for one in live})

    async def people(self, profile_ids: Sequence[str]) -> ProfileReading:
        return ProfileReading(list(profile_ids), [], {one: StoredProfile(one, 0, None) for one in profile_ids})

    async def forget_timers(self, profile_ids: Sequence[str]) -> None:
        raise AssertionError("nobody is gone")

    async def write(self, changes: Sequence[ProfileWrite], definitions: int | None = None) -> list[str]:
        self.written += [change.document for change in changes]
        self.losses -= 1
        return [change.profile_id for change in changes] if self.losses >= 0 else []


async def test_every_try_writes_the_same_as_the_first() -> None:
    store = Contended(losses=2)
    done = await update(store, [resolved(traits={"likes": ["lamps"]}), resolved()])

    assert (3, 1) == (len(store.written), len(set(store.written)))
    assert (2, 2) == (done.applied, done.conflicts)


async def test_a_batch_that_never_gets_through_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_update, "MAX_ATTEMPTS", 3)

    with pytest.raises(ProfilesContendedError, match="1 events could not be applied in 3 rounds"):
        await update(Contended(losses=4), [resolved()])
