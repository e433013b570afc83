"""Lets the people on the list of a broadcast enter it: page by page, each worker those of its own shards.

After each page it is noted how far each shard has come, so that another worker goes on there. A page that is worked off
twice has the effect of once: a person enters a broadcast once in a life, which the profile itself keeps.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from processors.profiles.stage import ProfileUpdate
from processors.stream.ports import OUTBOX_LIMIT, Waiting

log = logging.getLogger(__name__)

PEOPLE_A_PAGE = 500
SHARDS_A_PAGE = 32
END = -1
"""The place of a shard of which everybody has entered."""


class MemberPage(NamedTuple):
    """A page of the list of a broadcast.

    Attributes:
        people: Profile ids.
        places: How far each shard has come with them: shard → place, or `END`.
    """

    people: Sequence[str]
    places: Mapping[int, int]


class BroadcastMembers(Protocol):
    """Keeps the lists of broadcasts, and how far each shard has come."""

    async def progress(self, name: str) -> Mapping[int, int]:
        """Return how far the shards have come: shard → place, or `END`."""

    async def page(self, name: str, listed_ms: int, places: Mapping[int, int | None], count: int) -> MemberPage:
        """Return the next people of some shards, after the places that these have come to."""

    async def passed(self, name: str, places: Mapping[int, int]) -> None:
        """Keep how far some shards have come."""


class BroadcastEntries:
    """Lets people enter broadcasts that were started.

    Args:
        stage: Applies what follows to profiles.
        members: The lists.
        outbox: Of the profiles of this process.
    """

    def __init__(self, stage: ProfileUpdate, members: BroadcastMembers, outbox: Waiting) -> None:
        self._stage, self._members, self._outbox = stage, members, outbox
        self._shards: Sequence[int] = ()
        self._turns = 0
        self._places: dict[tuple[str, int], dict[int, int | None]] = {}

    async def wait(self, now_ms: int) -> bool:
        """Return whether a broadcast is under way of which people may wait to enter."""
        return any(self._places.get(key) != {} for key in await self._under_way(now_ms))

    async def turn(self, shards: Sequence[int], now_ms: int) -> bool:
        """Let some people of these shards enter; returns whether more wait."""
        if list(shards) != list(self._shards):  # others may have worked on them meanwhile
            self._shards, self._places = list(shards), {}
        under_way = await self._under_way(now_ms)
        self._places = {key: places for key, places in self._places.items() if key in under_way}
        self._turns += 1  # a long list is not to keep a short one waiting
        first = self._turns % len(under_way) if under_way else 0
        for key in under_way[first:] + under_way[:first]:
            name, listed_ms = key
            if (places := self._places.get(key)) is None:
                known = await self._members.progress(name)
                places = {shard: known.get(shard) for shard in shards if known.get(shard) != END}
                self._places[key] = places
            if not places:
                continue
            if await self._outbox.size() > OUTBOX_LIMIT:
                return False
            page = await self._members.page(name, listed_ms, dict(islice(places.items(), SHARDS_A_PAGE)), PEOPLE_A_PAGE)
            failed = await self._stage.enter(page.people, name, now_ms)
            for error in failed:
                log.error("broadcast %s: not entered: %s", name, error)
            await self._members.passed(name, page.places)
            for shard, place in page.places.items():
                if place == END:
                    del places[shard]
                else:
                    places[shard] = place
            return True
        return False

    async def _under_way(self, now_ms: int) -> list[tuple[str, int]]:
        rules, _ = await self._stage.follow()
        found = rules.broadcaster.broadcasts(now_ms) if rules.broadcaster is not None else ()
        return [(name, control.started_ms) for name, control in found]
