"""Outboxes: records that an atomic step in Redis has decided on and that Kafka does not have yet.

An outbox is a stream. The script that changes a profile or an identity appends the records that follow from the change,
so there is never the one without the other. A relay publishes the oldest entries and then removes them
(`processors/stream/relay.py`).

`identify` has one outbox, and one process at a time relays it, the holder of a lease. Profiles have one in each
shard, and the process that reads the shard's partition relays it; where two believe that for a moment, records come
twice. Order holds for the records of one person. An entry has one of two layouts, and either outbox may hold either:

* `t`, `k`, `v`: a record's topic, key and value;
* `c`: a change of identity as MessagePack, `[version, kind, profile, former profile, [anchor, type, …], event id, time
  in ms, rule]`, ids as 16 raw bytes. Its JSON is written here and not in the script: Lua's cjson keeps 14 digits of a
  number and a version has 16, and the script that resolves events is the hottest one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import msgpack
import orjson
from redis.asyncio import Redis

from schemas.identity.resolution import uuid_text
from schemas.records import Outgoing
from schemas.shards import SHARDS
from schemas.time import text_of_ms
from schemas.topics import IDENTITY_CHANGES
from sinks.redis.keys import shard_prefix, shard_prefixes, shared_prefix
from sinks.redis.lease import Lease
from sinks.redis.lua import source
from sinks.redis.scripts import Script, ScriptCalls, ShardPoll, command

_WAITING = Script(source("waiting_records"))


class OutboxKeys(NamedTuple):
    """The keys of an outbox.

    Attributes:
        stream: The entries.
        lease: Token of the process that publishes and removes them.
    """

    stream: str
    lease: str


def identity_outbox(namespace: str) -> OutboxKeys:
    """Keys of the outbox of identity changes, which `identify` relays."""
    return OutboxKeys(f"{{{namespace}}}:identity:log", f"{{{namespace}}}:identity:relay")


def profile_outboxes(namespace: str) -> list[str]:
    """Keys of the outboxes of decisions, actions and journey events, one for each shard, which `profile` relays."""
    return [f"{prefix}outbox" for prefix in shard_prefixes(namespace)]


def waiting_in_shards(redis: Any, namespace: str, command: str, name: str, *arguments: Any) -> int:
    """Return the sum of what a counting command, such as `XLEN`, answers for a key of each shard.

    Args:
        redis: A synchronous client.
        namespace: Of all keys.
        command: The command.
        name: Of the keys, without prefix.
        arguments: After the key.
    """
    pipeline = redis.pipeline(transaction=False)
    for prefix in shard_prefixes(namespace):
        pipeline.execute_command(command, f"{prefix}{name}", *arguments)
    return sum(map(int, pipeline.execute()))


class RedisOutbox:
    """The outbox of identity changes.

    Errors of the connection come out as `redis.exceptions.RedisError`; every method may then be called again.

    Args:
        redis: A client that answers bytes.
        keys: Its keys: `identity_outbox(namespace)`.
    """

    def __init__(self, redis: Redis, keys: OutboxKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._lease = Lease(redis, keys.lease)
        self._trim = redis.register_script(source("trim_outbox"))

    async def acquire_relay(self, token: str, ttl_ms: int) -> bool:
        """Acquire or renew the lease for `ttl_ms` milliseconds; False while another token holds it."""
        return await self._lease.acquire(token, ttl_ms)

    async def pending(self, count: int) -> list[tuple[str, Outgoing]]:
        """Read the oldest records, with their stream ids; at most `count`."""
        entries = cast(list[tuple[bytes, dict[bytes, bytes]]], await self._redis.xrange(self._keys.stream, count=count))
        return [(entry_id.decode(), _record(fields)) for entry_id, fields in entries]

    async def size(self) -> int:
        """Return how many records wait."""
        return int(await self._redis.xlen(self._keys.stream))

    async def acknowledge(self, ids: Sequence[str], token: str) -> bool:
        """Remove records up to and with the last of `ids`, once the broker has confirmed them.

        Returns:
            False, with nothing removed, when `token` no longer holds the lease: the successor publishes them again.
        """
        return bool(await self._trim(keys=[self._keys.stream, self._keys.lease], args=[token, _after(ids[-1])]))


class RedisProfileOutbox:
    """The outboxes of profiles: those of the shards that a process relays.

    Args:
        redis: A client that answers bytes.
        namespace: Of all keys.
        shards: Returns the shards now; the default: all.
    """

    def __init__(
        self, redis: Redis, namespace: str, shards: Callable[[], Sequence[int]] = lambda: range(SHARDS)
    ) -> None:
        self._namespace = namespace
        self._relay = f"{shared_prefix(namespace)}outbox:relay"
        self._redis = redis
        self._calls = ScriptCalls(redis)
        self._waiting = ShardPoll(self._calls, _WAITING, profile_outboxes(namespace))
        self._shards = shards
        self._noted_until_s = -math.inf

    async def acquire_relay(self, token: str, ttl_ms: int) -> bool:
        """Note that a process relays, at most three times in `ttl_ms`; False where it has no shard now."""
        if not self._shards():
            return False
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._noted_until_s:
            await self._redis.set(self._relay, token, px=ttl_ms)
            self._noted_until_s = now_s + ttl_ms / 3000
        return True

    async def pending(self, count: int) -> list[tuple[str, Outgoing]]:
        """Read the oldest records of some shards, with their ids: shard and stream id; at most `count`."""
        found: list[tuple[str, Outgoing]] = []
        for shards, answer in await self._waiting.ask(self._shards(), count):
            for place, entries in answer:
                for entry_id, flat in entries:
                    fields = dict(zip(flat[::2], flat[1::2], strict=True))
                    found.append((f"{shards[place]}/{entry_id.decode()}", _record(fields)))
        return found[:count]

    async def size(self) -> int:
        """Return how many records wait."""
        outboxes = [f"{shard_prefix(self._namespace, shard)}outbox" for shard in self._shards()]
        return sum(await self._calls.run([command("XLEN", outbox) for outbox in outboxes]))

    async def acknowledge(self, ids: Sequence[str], token: str) -> bool:
        """Remove records, once the broker has confirmed them; who else publishes them has read them already."""
        last = dict(one.split("/") for one in ids)
        await self._calls.run(
            [
                command("XTRIM", f"{shard_prefix(self._namespace, int(shard))}outbox", "MINID", "=", _after(entry))
                for shard, entry in last.items()
            ]
        )
        return True


def _after(entry_id: str) -> str:
    """Return the id that follows an entry's."""
    milliseconds, _, sequence = entry_id.partition("-")
    return f"{milliseconds}-{int(sequence) + 1}"


def _record(fields: dict[bytes, bytes]) -> Outgoing:
    packed = fields.get(b"c")
    if packed is None:
        return Outgoing(fields[b"t"].decode(), fields[b"k"], fields[b"v"])
    change = _identity_change(packed)
    return Outgoing(IDENTITY_CHANGES, change["profile_id"].encode(), orjson.dumps(change))


def _identity_change(packed: bytes) -> dict[str, Any]:
    """Unpack an `IdentityChange` as an object of its JSON; a named tuple on the way would take a third of the time."""
    version, kind, profile, former, anchors, event_id, occurred_ms, rule = msgpack.unpackb(packed, raw=True)
    return {
        "version": version,
        "kind": kind.decode(),
        "profile_id": uuid_text(profile) if profile else "",
        "from_profile_id": uuid_text(former) if former else "",
        "anchors": [(uuid_text(raw), name.decode()) for raw, name in zip(anchors[::2], anchors[1::2], strict=True)],
        "event_id": event_id.decode(),
        "occurred_at": text_of_ms(occurred_ms),
        "rule": rule.decode(),
    }
