"""Calls of scripts: many in one round trip; on one server a call covers many shards, on a cluster one.

A cluster demands that all keys of a call are in one slot. So a script that works on shards takes a list of them, and
this is the one place that knows how many may be in it. A script that writes nothing may use all slots of its master:
so a poll, which is made several times a second, is one call for each master.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgpack
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoScriptError, ResponseError

from sinks.redis.cluster import AsyncClusterClient

T = TypeVar("T")
_OVER_SLOTS = "#!lua flags=no-writes,allow-cross-slot-keys"
_ELSEWHERE = "non local key"
"""In the error of a script that uses a key of another master."""
CALL_WEIGHT = 500
"""The most events, or profiles, of one script call over several shards: it blocks the server for about 2 ms."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script.

    Attributes:
        text: Lua.
        digest: By which the server knows it.
    """

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Reckon the digest."""
        object.__setattr__(self, "digest", sha1(self.text.encode(), usedforsecurity=False).hexdigest())


class Call(NamedTuple):
    """One command: a script with its keys and arguments, or, with `script` None, a plain command in `args`."""

    script: Script | None
    keys: Sequence[str]
    args: Sequence[Any]


class ShardPart(NamedTuple):
    """What a call of a script says of one shard.

    Attributes:
        key: A key of the shard.
        args: The script's arguments for the shard.
        weight: Events or profiles in them.
    """

    key: str
    args: tuple[Any, ...]
    weight: int = 1


class ScriptCalls:
    """Runs scripts and commands, all of one request in one round trip to each node.

    Args:
        redis: A client that answers bytes.
    """

    def __init__(self, redis: Redis | RedisCluster) -> None:
        self._redis: Any = redis
        self._is_cluster = isinstance(redis, RedisCluster)

    def over_shards(self, script: Script, parts: Iterable[ShardPart], head: Sequence[Any] = ()) -> list[Call]:
        """Return the calls of a script for some shards, as few as there may be.

        Args:
            script: Takes a key of each shard, `head`, and the arguments of each shard.
            parts: The shards.
            head: Arguments before those of the shards.
        """
        return [
            Call(script, [one.key for one in group], [*head, *(arg for one in group for arg in one.args)])
            for group in self.grouped(parts, attrgetter("weight"))
        ]

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run calls and return their answers, in order.

        Raises:
            redis.exceptions.RedisError: The first error of a call; the other calls may have been made.
        """
        if not calls:
            return []
        answers = await self._execute(calls)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            for script in {one.digest: one for place in unknown if (one := calls[place].script)}.values():
                await self._redis.script_load(script.text)
            for place, answer in zip(unknown, await self._execute([calls[place] for place in unknown]), strict=True):
                answers[place] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def masters_of(self, keys: Sequence[str]) -> list[str]:
        """Return which master of a cluster has each key; nothing: it is one server, or not known yet."""
        return self._redis.masters_of(keys) if isinstance(self._redis, AsyncClusterClient) else []

    def grouped(self, parts: Iterable[T], weigh: Callable[[T], int]) -> Iterator[list[T]]:
        """Yield parts, each of one shard, in groups for one call each.

        Args:
            parts: The parts.
            weigh: Returns the events or profiles of a part.
        """
        group: list[T] = []
        weight = 0
        for part in parts:
            its = weigh(part)
            if group and (self._is_cluster or weight + its > CALL_WEIGHT):
                yield group
                group, weight = [], 0
            group.append(part)
            weight += its
        if group:
            yield group

    async def _execute(self, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for script, keys, args in calls:
            if script is None:
                pipeline.execute_command(*args)
            else:
                pipeline.execute_command("EVALSHA", script.digest, len(keys), *keys, *args)
        found: list[Any] = await pipeline.execute(raise_on_error=False)
        return found


class ShardPoll:
    """Asks the same shards the same thing several times a second: what a call says of them is packed once.

    Args:
        calls: Runs the calls.
        script: Writes nothing. Takes a key that names the slot; msgpack of the keys that are asked, from which of them
            to begin (0: the first), and the arguments of `ask`.
        keys: The key of each shard, of all shards in order.
    """

    def __init__(self, calls: ScriptCalls, script: Script, keys: Sequence[str]) -> None:
        self._calls = calls
        self._script = script
        self._of_master = Script(f"{_OVER_SLOTS}\n{script.text}")
        self._keys = keys
        self._shards: list[int] = []
        self._masters: list[str] = []
        self._packed: list[tuple[list[int], bytes]] = []
        self._turn = 0

    async def ask(self, shards: Sequence[int], *args: Any) -> list[tuple[list[int], Any]]:
        """Ask shards, another of them first each time, so that none has to wait for ever.

        Args:
            shards: The shards.
            args: Further arguments of the script.

        Returns:
            The shards and the answer of each call.
        """
        if not (asked := list(shards)):
            return []
        masters = self._calls.masters_of([self._keys[shard] for shard in asked])
        if (self._shards, self._masters) != (asked, masters):
            self._pack(asked, masters)
        try:
            return await self._ask(self._of_master if masters else self._script, args)
        except ResponseError as error:
            if not masters or _ELSEWHERE not in str(error):
                raise
        self._pack(asked, [])  # a slot has moved, or is moving: this once by shard, which finds where
        return await self._ask(self._script, args)

    async def _ask(self, script: Script, args: Sequence[Any]) -> list[tuple[list[int], Any]]:
        self._turn += 1
        turn, first = divmod(self._turn, len(self._packed))
        packed = [*self._packed[first:], *self._packed[:first]]
        calls = [Call(script, [self._keys[group[0]]], [keys, turn % len(group), *args]) for group, keys in packed]
        return list(zip((group for group, _ in packed), await self._calls.run(calls), strict=True))

    def _pack(self, asked: list[int], masters: list[str]) -> None:
        groups = list(self._calls.grouped(asked, lambda _: 1))
        if masters:
            of_master: dict[str, list[int]] = {}
            for shard, master in zip(asked, masters, strict=True):
                of_master.setdefault(master, []).append(shard)
            groups = list(of_master.values())
        self._packed = [(group, msgpack.packb([self._keys[shard] for shard in group])) for group in groups]
        self._shards, self._masters = asked, masters


def command(*args: Any) -> Call:
    """Return a plain command as a call."""
    return Call(None, (), args)
