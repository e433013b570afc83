"""Clients of a Valkey or Redis Cluster with the methods of those of one server, as the stores use them.

The asynchronous one sends what belongs together in one round trip to each master, and follows a slot that has moved
(`MOVED`), is moving (`ASK`, `TRYAGAIN`), or a master that was replaced. A node that does not answer is an error of the
connection, as with one server: the topology is read anew with the next call, and whoever may repeat the call does.

A script names one key of its slot and uses others that are only found while it runs. In a slot that is moved key by
key it would find a part of them, and break off between two writes. So each call names two more keys, which never
exist: then the server answers `TRYAGAIN`, before the script begins, until the slot has moved as a whole. A slot that
is moved at once (`CLUSTER MIGRATESLOTS`, Valkey 9) is refused at no time.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

import redis
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, PipelineCommand, RedisCluster
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MaxConnectionsError,
    MovedError,
    RedisClusterException,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

P = ParamSpec("P")
T = TypeVar("T")
Addresses = Sequence[tuple[str, int]]
_TURNS = 16
"""How often commands are sent again to where an answer points."""
_MOVING_S = 0.05
"""Pause before a call is repeated in a slot that is moving, seconds."""
_MOVES_KNOWN = 16
"""After how many moved slots the whole topology is read anew, rather than one slot after the other."""
_SCRIPTS = frozenset(("EVALSHA", "EVAL"))


class AsyncClusterClient(RedisCluster):
    """A client for coroutines.

    Args:
        addresses: Host and port of some nodes; the others are found by them.
        options: As those of `redis.asyncio.RedisCluster`.
    """

    def __init__(self, addresses: Addresses, **options: Any) -> None:
        nodes = [ClusterNode(host, port) for host, port in addresses]
        super().__init__(startup_nodes=nodes, **options)
        self._addresses = list(addresses)
        self._moves = 0
        parser: Any = _FirstKey()
        self.commands_parser = parser

    async def initialize(self, *_: Any, **options: Any) -> AsyncClusterClient:
        """Read the topology, if that is due: also by the addresses of the settings, if no known node answers."""
        if self._initialize:
            try:
                await super().initialize(self._addresses, **options)
            except RedisClusterException as error:
                raise RedisConnectionError(str(error)) from error
        return self

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command where its first key is; one without keys as the library does."""
        if "target_nodes" in options or args[0] in self.command_flags:
            return await super().execute_command(*args, **options)
        options.pop("keys", None)
        sent = _Sent(args, options)
        await self.send([sent])
        if isinstance(sent.result, Exception):
            raise sent.result
        return sent.result

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        """Return a pipeline: commands of one slot if it is a transaction, else of any."""
        return super().pipeline(True) if transaction else _Pipeline(self)  # type: ignore[abstract]  # an attribute of pub/sub

    async def send(self, commands: Sequence[_Sent]) -> None:
        """Send commands, all of a node in one round trip; each then has its result, or its error."""
        waiting = list(commands)
        for _ in range(_TURNS):
            await self.initialize()
            by_node: dict[ClusterNode, list[PipelineCommand]] = {}
            for one in waiting:
                if (node := one.asked or self._master_of(one)) is None:
                    continue
                if one.asked:
                    by_node.setdefault(node, []).append(PipelineCommand(0, "ASKING"))
                by_node.setdefault(node, []).append(one)
            if len(by_node) == 1:
                ((node, some),) = by_node.items()
                await self._send_to(node, some)
            else:
                await asyncio.gather(*(self._send_to(node, some) for node, some in by_node.items()))
            waiting = [one for one in waiting if isinstance(one.result, AskError | TryAgainError)]
            if not waiting:
                return
            await self._follow(waiting)

    async def at_masters(self, asked: Callable[[str], Sequence[tuple[Any, ...]]], keys: Sequence[str]) -> list[Any]:
        """Execute commands on each master that has any of some keys, by one connection and in order.

        Args:
            asked: Returns the commands for a master, of one of its keys.
            keys: The keys.

        Returns:
            The answers of each master.

        Raises:
            redis.exceptions.RedisError: One of them does not answer, or refuses.
        """
        await self.initialize()
        masters: dict[ClusterNode, list[PipelineCommand]] = {}
        for key in keys:
            master = self._master_of(_Sent(("GET", key), {}))
            if master is None:
                raise RedisConnectionError(f"no master of the cluster has the key {key}")
            if master not in masters:
                masters[master] = [PipelineCommand(0, *one) for one in asked(key)]
        await asyncio.gather(*(self._send_to(master, some) for master, some in masters.items()))
        results = [[one.result for one in some] for some in masters.values()]
        for error in (one for some in results for one in some if isinstance(one, Exception)):
            if isinstance(error, MovedError):
                self._initialize = True
            raise error
        return results

    def masters_of(self, keys: Sequence[str]) -> list[str]:
        """Return the name of the master that has each key, as far as is known now; nothing: of some it is not known."""
        slots = self.nodes_manager.slots_cache
        found = [slots.get(_slot_of(key)) for key in keys]
        return [nodes[0].name for nodes in found if nodes] if all(found) else []

    def read_topology_anew(self) -> None:
        """Have the next call read which master has which slot."""
        self._initialize = True

    def _master_of(self, one: _Sent) -> ClusterNode | None:
        slot = _slot_of(one.key)
        if nodes := self.nodes_manager.slots_cache.get(slot):
            return nodes[0]
        one.result = RedisConnectionError(f"no node of the cluster has the slot {slot}")
        self._initialize = True
        return None

    async def _send_to(self, node: ClusterNode, commands: list[PipelineCommand]) -> None:
        try:
            await node.execute_pipeline(commands)
        except Exception as error:  # noqa: BLE001  (of any kind: it is the result of these commands)
            for one in commands:
                one.result = error
        if any(_says_that_topology_is_old(one.result) for one in commands):
            self.nodes_manager.move_node_to_end_of_cached_nodes(node.name)
            self._initialize = True

    async def _follow(self, refused: Sequence[_Sent]) -> None:
        """Note where commands are to be sent instead; wait for a slot that is moving."""
        waits = False
        for one in refused:
            error, one.asked = one.result, None
            if isinstance(error, MovedError):
                self._moves += 1
                if self._moves % _MOVES_KNOWN:
                    await self.nodes_manager.move_slot(error)
                else:
                    self._initialize = True
            elif isinstance(error, AskError):
                one.asked = self.get_node(error.host, error.port)
                self._initialize = self._initialize or one.asked is None
            else:
                waits = True
        if waits or self._initialize:
            await asyncio.sleep(_MOVING_S)


class _Sent(PipelineCommand):
    """A command and its result.

    Attributes:
        key: A key of its slot.
        asked: The node to send it to, once, because its slot is moving there.
    """

    def __init__(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if args[0] in _SCRIPTS:
            self.key = args[3]
            args = refused_while_moving(args)
        else:
            self.key = args[1]
        self.asked: ClusterNode | None = None
        super().__init__(0, *args, **options)


class _Pipeline(ClusterPipeline):
    """A pipeline that is no transaction."""

    def __init__(self, client: AsyncClusterClient) -> None:
        super().__init__(client)
        self._client, self._queue = client, list[_Sent]()

    def __len__(self) -> int:
        return len(self._queue)

    def execute_command(self, *args: Any, **options: Any) -> ClusterPipeline:
        for one in ("keys", "target_nodes"):  # the first key says where
            options.pop(one, None)
        self._queue.append(_Sent(args, options))
        return self

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        queue, self._queue = self._queue, []
        if queue:
            await self._client.send(queue)
        results = [one.result for one in queue]
        if raise_on_error:
            for error in (one for one in results if isinstance(one, Exception)):
                raise error
        return results

    async def reset(self) -> None:  # type: ignore[override]  # as that of all pipelines
        self._queue = []


class _FirstKey:
    """Finds the keys of a command: the stores use none whose first key is not its first argument."""

    async def initialize(self, _: ClusterNode) -> None:
        """Ask no server."""

    async def get_keys(self, *args: Any) -> list[Any]:
        """Return the first key; the server refuses others that are in another slot."""
        return [args[1]]


class ClusterClient(redis.RedisCluster):
    """A client for tools. It connects when it is made.

    Args:
        addresses: Host and port of some nodes; the others are found by them.
        options: As those of `redis.RedisCluster`.

    Raises:
        redis.exceptions.ConnectionError: No node answers.
    """

    def __init__(self, addresses: Addresses, **options: Any) -> None:
        node: Any = redis.cluster.ClusterNode
        nodes = [node(host, port) for host, port in addresses]
        _of_connection(super().__init__)(startup_nodes=nodes, **options)

    def described(self) -> str:
        """Return how many nodes there are, for a message about the server."""
        masters: Any = self.get_primaries
        replicas: Any = self.get_replicas
        return f", a cluster of {len(masters())} masters and {len(replicas())} replicas"

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command; for the errors, see the class."""
        return _of_connection(super().execute_command)(*args, **options)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:
        """Return a pipeline of commands of any slots; for the errors, see the class."""
        made: Any = super().pipeline
        found = made(transaction, shard_hint)
        found.execute = _of_connection(found.execute)
        return found


def servers_of(client: Any, keys: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """Yield a synchronous client of each server that has any of some keys, and one of these keys."""
    if not isinstance(client, ClusterClient):
        yield client, keys[0]
        return
    masters: dict[str, tuple[Any, str]] = {}
    find: Any = client.get_node_from_key
    for key in keys:
        node = find(key)
        masters.setdefault(node.name, (node, key))
    for node, key in masters.values():
        yield client.get_redis_connection(node), key


@functools.lru_cache(maxsize=4096)
def _slot_of_tag(tag: bytes) -> int:
    return int(key_slot(tag))


def _slot_of(key: str | bytes) -> int:
    """Return the slot of a key; those of the stores begin with a hash tag."""
    raw = key.encode() if isinstance(key, str) else key
    return _slot_of_tag(raw[: raw.find(b"}") + 1] or raw)


def refused_while_moving(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the call of a script that a server refuses as long as not all of its slot is there."""
    end = 3 + int(args[2])
    tag = str(args[3]).partition("}")[0]
    return (*args[:2], end - 1, *args[3:end], f"{tag}}}:moving:1", f"{tag}}}:moving:2", *args[end:])


def _says_that_topology_is_old(result: Any) -> bool:
    """Return whether an error may be one of a master that was replaced."""
    is_down = isinstance(result, RedisConnectionError | RedisTimeoutError | ClusterDownError | OSError)
    return is_down and not isinstance(result, MaxConnectionsError)


def _of_connection(call: Callable[P, T]) -> Callable[P, T]:
    """Raise what says that no node is reachable as an error of the connection, as with one server."""

    @functools.wraps(call)
    def called(*args: P.args, **options: P.kwargs) -> T:
        try:
            return call(*args, **options)
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error

    return called
