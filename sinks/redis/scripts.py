"""Calls of scripts: many in one round trip; on one server a call covers many shards, on a cluster one.

A cluster demands that all keys of a call are in one slot. So a script that works on shards takes a list of them, and
this is the one place that knows how many may be in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgpack
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoScriptError

T = TypeVar("T")
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
        script: Takes a key that names the slot; msgpack of the keys that are asked, from which of them to begin (0: the
            first), and the arguments of `ask`.
        keys: The key of each shard, of all shards in order.
    """

    def __init__(self, calls: ScriptCalls, script: Script, keys: Sequence[str]) -> None:
        self._calls = calls
        self._script = script
        self._keys = keys
        self._shards: list[int] = []
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
        if self._shards != (asked := list(shards)):
            groups = list(self._calls.grouped(asked, lambda _: 1))
            self._packed = [(group, msgpack.packb([self._keys[shard] for shard in group])) for group in groups]
            self._shards = asked
        if not asked:
            return []
        self._turn += 1
        first = self._turn % len(self._packed)
        packed = [*self._packed[first:], *self._packed[:first]]
        calls = [
            Call(self._script, [self._keys[group[0]]], [keys, self._turn % len(group), *args]) for group, keys in packed
        ]
        return list(zip((group for group, _ in packed), await self._calls.run(calls), strict=True))


def command(*args: Any) -> Call:
    """Return a plain command as a call."""
    return Call(None, (), args)
