"""Waits until writes are on disk, or on a replica: `WAITAOF` and `WAIT`.

Both wait for the writes of *their own connection*, and a store writes by any connection of the pool. So a wait writes
a key first, by its connection: a server has one order of writes, and where this one is, all are that were answered
before.

A server that lost its last writes knows nothing of them, and a wait would be content. So a wait also compares the run
id of the server with the one from before the writes: a process that was restarted, or a replica that was promoted, has
another.

On a cluster each master is asked, with a key that it has, and their run ids are compared together. A slot may have
moved to a master that is not known yet; then the epoch of the cluster has risen, and a wait is made again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from time import monotonic
from typing import Any, Literal

from redis.asyncio import Redis

from sinks.redis.cluster import AsyncClusterClient, servers_of
from sinks.redis.keys import shard_prefixes, shared_prefix

log = logging.getLogger(__name__)

Level = Literal["disk", "replica"]
_LOOK_S = 1.0


class LostWritesError(RuntimeError):
    """The server was restarted or replaced after the writes, and may have lost them: they have to be made again."""


class RedisDurability:
    """Tells when everything that was written so far outlives the server's process.

    Callers that wait at the same time share a wait.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
        level: `disk`: the server's append-only file is flushed; `replica`: a replica has the writes.
        timeout_s: How long one wait may take before it is logged and made again, seconds.
    """

    def __init__(self, redis: Redis, namespace: str, level: Level, timeout_s: float) -> None:
        self._redis = redis
        self._keys = durable_keys(namespace)
        self._level = level
        self._timeout_ms = int(timeout_s * 1000)
        self._server, self._looked_at = "", -_LOOK_S
        self._epoch = -1
        self._turn = asyncio.Lock()
        self._asked = self._answered = 0

    async def begin(self) -> str:
        """Return the server's run id, or those of the masters of a cluster, to be taken before the writes.

        It is at most a second old: a server that was restarted while nothing was written costs nothing.
        """
        now = monotonic()
        if now - self._looked_at > _LOOK_S:
            self._server, self._looked_at = await self._run_ids(), now
        return self._server

    async def reached(self, server: str) -> None:
        """Return when all writes that were answered before this call are durable.

        Args:
            server: What `begin` returned before the first of these writes.

        Raises:
            LostWritesError: Another server answers now.
        """
        self._asked += 1
        ticket = self._asked
        async with self._turn:
            if self._answered < ticket:  # else a wait that began after this call has covered it
                asked = self._asked
                while not await self._wait():
                    log.warning(
                        "writes to Redis are not on %s after %.1f s: nothing is committed until they are",
                        PLACES[self._level],
                        self._timeout_ms / 1000,
                    )
                self._answered = asked
        if self._server != server:
            raise LostWritesError(
                "Redis was restarted or replaced, and may have lost writes of batches that are not committed: "
                "the worker ends, and reads them again"
            )

    async def _wait(self) -> bool:
        now = monotonic()
        if isinstance(self._redis, AsyncClusterClient):
            while True:
                asked = await self._redis.at_masters(self._asked_of_master, self._keys)
                answers = [answer for *answer, _ in asked]
                epoch = max(epoch_of(cluster) for *_, cluster in asked)
                if epoch == self._epoch:
                    break
                self._epoch = epoch
                self._redis.read_topology_anew()
        else:
            pipeline = self._redis.pipeline(transaction=False)  # one connection, one after the other
            for one in wait_commands(self._keys[0], self._level, self._timeout_ms):
                pipeline.execute_command(*one)
            answers = [await pipeline.execute()]
        self._server, self._looked_at = _joined(info for info, *_ in answers), now
        return all(is_durable(confirmed, self._level) for *_, confirmed in answers)

    def _asked_of_master(self, key: str) -> list[tuple[Any, ...]]:
        return [*wait_commands(key, self._level, self._timeout_ms), ("CLUSTER INFO",)]

    async def _run_ids(self) -> str:
        if isinstance(self._redis, AsyncClusterClient):
            answers = await self._redis.at_masters(lambda _: [("INFO", "server")], self._keys)
            return _joined(info for (info,) in answers)
        return run_id(await self._redis.info("server"))


PLACES: dict[str, str] = {"disk": "disk", "replica": "a replica"}
"""Where a level has the writes, for messages."""


def durable_keys(namespace: str) -> list[str]:
    """Return the keys that are written by waits; each of them by one that asks the master which has its slot."""
    return [f"{prefix}durable" for prefix in (shared_prefix(namespace), *shard_prefixes(namespace))]


def wait_commands(key: str, level: Level, timeout_ms: int) -> list[tuple[Any, ...]]:
    """Return the three commands of a wait, for one connection and no transaction: `INFO`, a write, the wait."""
    wait = ("WAITAOF", 1, 0, timeout_ms) if level == "disk" else ("WAIT", 1, timeout_ms)
    return [("INFO", "server"), ("INCR", key), wait]


def confirm_write(client: Any, namespace: str, level: Level, timeout_ms: int) -> bool:
    """Return whether a write is durable within some time, by a synchronous client; on a cluster, on each master."""
    for server, key in servers_of(client, durable_keys(namespace)):
        pipeline = server.pipeline(transaction=False)
        for one in wait_commands(key, level, timeout_ms):
            pipeline.execute_command(*one)
        if not is_durable(pipeline.execute()[-1], level):
            return False
    return True


def is_durable(confirmed: Any, level: Level) -> bool:
    """Return whether the answer of a wait says that the writes are where they have to be."""
    return bool(confirmed[0] if level == "disk" else confirmed)


def run_id(info: Any) -> str:
    """Return the id of the server's process from `INFO server`."""
    return str(info["run_id"])


def epoch_of(cluster: Any) -> int:
    """Return the epoch from `CLUSTER INFO`: it rises with each slot that moves, and with each promotion."""
    return int(cluster["cluster_current_epoch"])


def _joined(infos: Iterator[Any]) -> str:
    return ",".join(sorted(map(run_id, infos)))
