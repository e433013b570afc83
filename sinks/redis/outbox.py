"""Outboxes: records that an atomic step in Redis has decided on and that Kafka does not have yet.

An outbox is a stream. The script that changes a profile or an identity appends the records that follow from the change,
so there is never the one without the other. One process at a time, the holder of a lease, publishes the oldest entries
and then removes them (`processors/stream/relay.py`).

There are two, because two roles write and relay independently of each other: `identify` and `profile`. An entry has one
of two layouts, and either outbox may hold either:

* `t`, `k`, `v`: a record's topic, key and value;
* `c`: a change of identity as MessagePack, `[version, kind, profile, former profile, [anchor, type, …], event id, time
  in ms, rule]`, ids as 16 raw bytes. Its JSON is written here and not in the script: Lua's cjson keeps 14 digits of a
  number and a version has 16, and the script that resolves events is the hottest one.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import msgpack
import orjson
from redis.asyncio import Redis

from schemas.identity.resolution import uuid_text
from schemas.records import Outgoing
from schemas.time import text_of_ms
from schemas.topics import IDENTITY_CHANGES
from sinks.redis.lease import Lease
from sinks.redis.lua import source


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


def profile_outbox(namespace: str) -> OutboxKeys:
    """Keys of the outbox of decisions, actions and journey events, which `profile` relays."""
    return OutboxKeys(f"{{{namespace}}}:outbox", f"{{{namespace}}}:outbox:relay")


class RedisOutbox:
    """One outbox.

    Errors of the connection come out as `redis.exceptions.RedisError`; every method may then be called again.

    Args:
        redis: A client that answers bytes.
        keys: Its keys: `identity_outbox(namespace)` or `profile_outbox(namespace)`.
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

    async def acknowledge(self, last_id: str, token: str) -> bool:
        """Remove records up to and with `last_id`, once the broker has confirmed them.

        Returns:
            False, with nothing removed, when `token` no longer holds the lease: the successor publishes them again.
        """
        milliseconds, _, sequence = last_id.partition("-")
        first_kept = f"{milliseconds}-{int(sequence) + 1}"
        return bool(await self._trim(keys=[self._keys.stream, self._keys.lease], args=[token, first_kept]))


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
