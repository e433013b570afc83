"""Waits until writes are on disk, or on a replica: `WAITAOF` and `WAIT`.

Both wait for the writes of *their own connection*, and a store writes by any connection of the pool. So a wait writes
a key first, by its connection: a server has one order of writes, and where this one is, all are that were answered
before.

A server that lost its last writes knows nothing of them, and a wait would be content. So a wait also compares the run
id of the server with the one from before the writes: a process that was restarted, or a replica that was promoted, has
another.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Any, Literal

from redis.asyncio import Redis

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
        self._key = f"{{{namespace}}}:durable"
        self._level = level
        self._timeout_ms = int(timeout_s * 1000)
        self._server, self._looked_at = "", -_LOOK_S
        self._turn = asyncio.Lock()
        self._asked = self._answered = 0

    async def begin(self) -> str:
        """Return the server's run id, to be taken before the writes.

        It is at most a second old: a server that was restarted while nothing was written costs nothing.
        """
        now = monotonic()
        if now - self._looked_at > _LOOK_S:
            self._server, self._looked_at = run_id(await self._redis.info("server")), now
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
        pipeline = self._redis.pipeline(transaction=False)  # one connection, one after the other
        add_wait(pipeline, self._key, self._level, self._timeout_ms)
        now = monotonic()
        info, _, confirmed = await pipeline.execute()
        self._server, self._looked_at = run_id(info), now
        return is_durable(confirmed, self._level)


PLACES: dict[str, str] = {"disk": "disk", "replica": "a replica"}
"""Where a level has the writes, for messages."""


def add_wait(pipeline: Any, key: str, level: Level, timeout_ms: int) -> None:
    """Add the three commands of a wait to a pipeline that is no transaction: `INFO`, a write, the wait."""
    pipeline.info("server")
    pipeline.incr(key)
    if level == "disk":
        pipeline.execute_command("WAITAOF", 1, 0, timeout_ms)
    else:
        pipeline.execute_command("WAIT", 1, timeout_ms)


def is_durable(confirmed: Any, level: Level) -> bool:
    """Return whether the answer of a wait says that the writes are where they have to be."""
    return bool(confirmed[0] if level == "disk" else confirmed)


def run_id(info: Any) -> str:
    """Return the id of the server's process from `INFO server`."""
    return str(info["run_id"])
