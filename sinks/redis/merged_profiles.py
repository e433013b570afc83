"""Merges of profiles: a winner's document takes in those of its losers, each once, though they are in other shards.

Identity says who is merged: `alias:<loser>` and `absorb:<winner>`, written in one step. From then on, whoever reads the
winner goes through these steps, each of which may be repeated by anybody after a crash:

1. Read the winner with its version, and whom it has taken in already (`absorbed:<winner>`): one script.
2. Fence each other loser (`gone:<loser>`) and read it: one script. Nothing is written to it any more, so what was read
   stays true. It too says whom it has taken in: these are in its document, and not taken in a second time.
3. Write the winner if its version still is that of step 1, its losers into `absorbed:<winner>` in the same step.
4. Delete the documents of the losers, with their timers.
5. Remove them from `absorb:<winner>`; and, if this removed them, from `absorbed:<winner>` too. If it did not, identity
   has passed them on to another winner, which then learns in step 2 that it gets them with this one.

Step 1 comes before step 2: if somebody else ends a merge in between, the version is another one and step 3 is
refused; if before, the losers are found deleted. An event of a loser that comes later is the winner's: `former` of
the winner's hash says in which shards its events may be marked, as long as these marks live.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgpack
from redis.asyncio import Redis

from schemas.profiles.document import StoredProfile
from schemas.shards import shard_of
from sinks.redis.deduplication import TTL_S
from sinks.redis.keys import person_prefix, shared_prefix, slot_key
from sinks.redis.lua import source
from sinks.redis.packing import unpack_if_any
from sinks.redis.scripts import Call, Script, ScriptCalls, ShardPart, command

IDS_A_CALL = 5000
"""The most people of one look for merges, which blocks the server for about 2 ms."""
ERASED = "!"
_TAKE, _DROP, _MERGES = Script(source("take_profiles")), Script(source("drop_profiles")), Script(source("merges"))

Merges = dict[str, tuple[str, tuple[str, ...]]]
"""Of people who were merged away or have others to absorb: the live profile, or `!`, and whom that is to absorb."""


class TakenProfile(NamedTuple):
    """A fenced profile, as it is until it is dropped."""

    profile_id: str
    version: int
    document: bytes | None
    state: bytes | None
    former: bytes | None
    absorbed: frozenset[str]


class MergedProfiles:
    """The steps of merges.

    Args:
        redis: A client that answers bytes.
        namespace: Of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._namespace = namespace
        self._shared = shared_prefix(namespace)
        self._calls = ScriptCalls(redis)

    def look(self, profile_ids: Sequence[str]) -> list[Call]:
        """Return the calls that look for merges of people; `found` reads their answers."""
        return [
            Call(
                _MERGES,
                [f"{self._shared}alias:"],
                [self._shared, msgpack.packb(profile_ids[start : start + IDS_A_CALL], use_bin_type=False)],
            )
            for start in range(0, len(profile_ids), IDS_A_CALL)
        ]

    @staticmethod
    def found(profile_ids: Sequence[str], answers: Sequence[Any]) -> Merges:
        """Return the merges of people."""
        return {
            profile_ids[number * IDS_A_CALL + position - 1]: (live.decode(), tuple(one.decode() for one in absorb))
            for number, answer in enumerate(answers)
            for position, live, absorb in answer
        }

    async def of(self, profile_ids: Sequence[str]) -> Merges:
        """Look for the merges of people."""
        return self.found(profile_ids, await self._calls.run(self.look(profile_ids)))

    async def take(self, profile_ids: Iterable[str]) -> dict[str, TakenProfile]:
        """Fence profiles that were merged away, and read them (step 2)."""
        groups = self._by_shard(profile_ids)
        calls = self._calls.over_shards(_TAKE, self._parts(groups))
        answers = [answer for call in await self._calls.run(calls) for answer in call]
        found: dict[str, TakenProfile] = {}
        for names, flat in zip(groups.values(), answers, strict=True):
            for place, name in enumerate(names):
                found[name] = taken(name, flat[5 * place : 5 * place + 5])
        return found

    async def peek(self, profile_ids: Sequence[str]) -> dict[str, TakenProfile]:
        """Read profiles that were merged away, and write nothing."""
        calls: list[Call] = []
        for one in profile_ids:
            prefix = person_prefix(self._namespace, one)
            calls.append(command("HMGET", f"{prefix}profile:{one}", "version", "document", "state", "former"))
            calls.append(command("SMEMBERS", f"{prefix}absorbed:{one}"))
        answers = await self._calls.run(calls)
        return {
            one: taken(one, [*stored, absorbed])
            for one, stored, absorbed in zip(profile_ids, answers[::2], answers[1::2], strict=True)
        }

    async def drop(self, profile_ids: Iterable[str]) -> int:
        """Delete profiles, so that nothing is written under their ids any more; returns how many documents (step 4)."""
        calls = self._calls.over_shards(_DROP, self._parts(self._by_shard(profile_ids)), [TTL_S])
        return sum(await self._calls.run(calls))

    async def finish(self, absorbed: Mapping[str, Sequence[str]]) -> None:
        """End the merges of winners that hold their losers: steps 4 and 5.

        Args:
            absorbed: Winner → losers.
        """
        await self.drop(loser for losers in absorbed.values() for loser in losers)
        pairs = [(winner, loser) for winner, losers in absorbed.items() for loser in losers]
        removed = await self._calls.run([command("SREM", f"{self._shared}absorb:{one}", loser) for one, loser in pairs])
        await self._calls.run(
            [
                command("SREM", f"{person_prefix(self._namespace, winner)}absorbed:{winner}", loser)
                for (winner, loser), count in zip(pairs, removed, strict=True)
                if count
            ]
        )

    async def forget(self, profile_id: str) -> int:
        """Delete a profile and those that it has yet to absorb; returns how many documents."""
        (losers,) = await self._calls.run([command("SMEMBERS", f"{self._shared}absorb:{profile_id}")])
        dropped = await self.drop([profile_id, *(loser.decode() for loser in losers)])
        absorbed = f"{person_prefix(self._namespace, profile_id)}absorbed:{profile_id}"
        await self._calls.run([command("DEL", f"{self._shared}absorb:{profile_id}"), command("DEL", absorbed)])
        return dropped

    @staticmethod
    def _by_shard(profile_ids: Iterable[str]) -> dict[int, list[str]]:
        groups: dict[int, list[str]] = {}
        for one in profile_ids:
            groups.setdefault(shard_of(one.encode()), []).append(one)
        return groups

    def _parts(self, groups: Mapping[int, Sequence[str]]) -> list[ShardPart]:
        parts = []
        for names in groups.values():
            prefix = person_prefix(self._namespace, names[0])
            parts.append(ShardPart(slot_key(prefix), (prefix, msgpack.packb(names, use_bin_type=False)), len(names)))
        return parts


def taken(profile_id: str, flat: Sequence[Any]) -> TakenProfile:
    """Return a profile from its columns of a script's answer."""
    version, document, state, former, absorbed = flat
    return TakenProfile(
        profile_id,
        int(version or 0),
        unpack_if_any(document),
        unpack_if_any(state),
        former,
        frozenset(one.decode() for one in absorbed or ()),
    )


def combined(
    winner: TakenProfile, losers: Sequence[str], found: Mapping[str, TakenProfile], now_ms: int
) -> tuple[StoredProfile, list[str]]:
    """Return a winner with the losers that it has yet to take in, and those that are in its document already.

    Args:
        winner: Read before the losers were.
        losers: Whom identity says it is to absorb.
        found: The losers that are not in `winner.absorbed`.
        now_ms: The time, milliseconds since 1970.
    """
    contained = winner.absorbed.union(*(one.absorbed for one in found.values()))
    new = [found[loser] for loser in losers if loser not in contained]
    shard = shard_of(winner.profile_id.encode())
    until_ms = now_ms + TTL_S * 1000
    former = read_former(winner.former, now_ms)
    for loser in (*new, *(found[one] for one in losers if one in found and one in contained)):
        for place, until in {
            **read_former(loser.former, now_ms),
            shard_of(loser.profile_id.encode()): until_ms,
        }.items():
            if place != shard:
                former[place] = max(until, former.get(place, 0))
    stored = StoredProfile(
        winner.profile_id,
        winner.version,
        winner.document,
        tuple(
            StoredProfile(one.profile_id, one.version, one.document, (), one.state)
            for one in sorted(new, key=itemgetter(0))
        ),
        winner.state,
        tuple(sorted(former.items())),
    )
    return stored, [loser for loser in losers if loser in contained]


def read_former(packed: bytes | None, now_ms: int) -> dict[int, int]:
    """Return the former shards of a profile, with the times until when they count; without those that count no more."""
    if not packed:
        return {}
    return {shard: until_ms for shard, until_ms in msgpack.unpackb(packed) if until_ms > now_ms}


def pack_former(former: Sequence[tuple[int, int]]) -> bytes:
    """Return former shards as they are stored."""
    return bytes(msgpack.packb(former))
