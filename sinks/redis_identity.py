"""The identity store: who has which identifier, in Redis or Valkey.

All keys share the hash tag `{namespace}` and so one cluster slot. A leaf is the keyed hash of an identifier (16 bytes).

| key | type | content |
| --- | --- | --- |
| `{ns}:i:<bucket>` | hash | leaf → profile id, both 16 raw bytes; see `index_bucket` |
| `{ns}:p:<profile>` | hash | `@`leaf → type; `#`type → count; `n` all; `f` first seen, ms; see `lua/resolve.lua` |
| `{ns}:alias:<profile>` | string | the profile it was merged into, or `!` = erased |
| `{ns}:absorb:<profile>` | set | merged profiles whose documents the profile store has yet to add |
| `{ns}:seen:<generation>:<bucket>` | hash | marks of events that were seen, see `sinks/seen.py` |
| `{ns}:identity:log` | stream | the outbox: changes that are not yet in Kafka |
| `{ns}:identity:version` | string | the last version given to a change |
| `{ns}:identity:relay` | string | token of the one relay that may trim the outbox |

Invariants: a leaf is in exactly one profile and the index agrees; replaying the log gives the index; limits hold at all
times; resolving an event again changes nothing; versions only rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, cast

import msgpack
from redis.asyncio import Redis

from schemas.identity import ChangeKind, IdentityChange, Merge, Refusal, Resolution, ResolveRequest, uuid_text
from schemas.policy import OTHER, IdentityPolicy
from sinks import seen

EVENTS_A_CALL = 200
"""Most events in one script call: a call of 200 blocks the server for about 3 ms."""
BUCKETS = 16_384
"""Hashes of the index: the server keeps them packed up to some 500 identifiers each, and overhead small before."""
ERASED = b""
_NO_LIMIT = 2**53  # the largest count that Lua's numbers hold exactly
_MEMBER = b"@"


class RedisIdentityStore:
    """Resolves events to profiles and keeps the log of what changed.

    Errors of the connection come out as `redis.exceptions.RedisError`; every method may then be called again.

    Args:
        redis: A client that answers bytes (`decode_responses=False`).
        namespace: The hash tag of all keys.
        policy: Limits and order of identifier types.
    """

    def __init__(self, redis: Redis, namespace: str, policy: IdentityPolicy) -> None:
        if redis.connection_pool.connection_kwargs.get("decode_responses"):
            raise ValueError("the identity store keeps raw bytes: give it a client with decode_responses=False")
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._log = f"{self._prefix}identity:log"
        self._version = f"{self._prefix}identity:version"
        self._lease = f"{self._prefix}identity:relay"
        self._policy = _for_script(policy)
        # A registered script is called by its hash, and loaded and called again when the server does not know it.
        self._resolve = redis.register_script(seen.script("resolve"))
        self._follow = redis.register_script(_script("follow"))
        self._take_relay = redis.register_script(_script("take_relay"))
        self._trim_log = redis.register_script(_script("trim_log"))

    async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
        """Find or make each event's profile, in order; merge profiles that turn out to be one person.

        Each call of up to `EVENTS_A_CALL` events is atomic, with the log entries of what it changed. The same request
        again answers the same (the live profile) and changes nothing.

        Returns:
            One resolution for each request, in order.
        """
        answers: list[Resolution] = []
        for start in range(0, len(requests), EVENTS_A_CALL):
            part = requests[start : start + EVENTS_A_CALL]
            packed = msgpack.packb([_pack(request) for request in part], use_bin_type=False)
            raw = await self._resolve(keys=[self._log, self._version], args=[self._prefix, self._policy, packed])
            answers += map(_unpack, part, msgpack.unpackb(raw, raw=True))
        return answers

    async def owner(self, leaf: bytes) -> str | None:
        """Say which profile has an identifier; None when nobody has it."""
        found = await self._redis.hget(f"{self._prefix}i:{index_bucket(leaf)}", cast(str, leaf))
        return None if found is None else uuid_text(cast(bytes, found))

    async def members(self, profile_id: str) -> list[tuple[str, str]]:
        """List a live profile's identifiers as (anchor, type), sorted; empty for a profile that is no more."""
        fields = cast(dict[bytes, bytes], await self._redis.hgetall(f"{self._prefix}p:{profile_id}"))
        return sorted((uuid_text(name[1:]), kind.decode()) for name, kind in fields.items() if name[:1] == _MEMBER)

    async def follow(self, profile_id: str) -> str | None:
        """Say who a profile is now: itself, the profile it was merged into, or None when it was erased."""
        found = await self._follow(keys=[f"{self._prefix}alias:{profile_id}"], args=[self._prefix, profile_id])
        return None if found == ERASED else found.decode()

    async def acquire_relay(self, token: str, ttl_ms: int) -> bool:
        """Take or renew the right to relay the log for `ttl_ms` milliseconds; False while another token has it."""
        return bool(await self._take_relay(keys=[self._lease], args=[token, ttl_ms]))

    async def pending_changes(self, count: int) -> list[tuple[str, IdentityChange]]:
        """Read the oldest changes that are not acknowledged, with their stream ids; at most `count`."""
        entries = cast(list[tuple[bytes, dict[bytes, bytes]]], await self._redis.xrange(self._log, count=count))
        return [(entry.decode(), _change(fields[b"c"])) for entry, fields in entries]

    async def acknowledge_changes(self, last_id: str, token: str) -> bool:
        """Remove changes up to and with `last_id`, once they are safe elsewhere.

        Returns:
            False, with nothing removed, when `token` no longer has the right to relay: the successor sends them again.
        """
        milliseconds, _, sequence = last_id.partition("-")
        keep = f"{milliseconds}-{int(sequence) + 1}"
        return bool(await self._trim_log(keys=[self._log, self._lease], args=[token, keep]))


def index_bucket(leaf: bytes) -> int:
    """Number the hash of the index that holds a leaf."""
    return int.from_bytes(leaf[:2], "big") % BUCKETS


@cache
def _script(name: str) -> str:
    return (files("sinks") / "lua" / f"{name}.lua").read_text("utf-8")


def _for_script(policy: IdentityPolicy) -> bytes:
    rules = {
        rule.type: {"limit": _NO_LIMIT if rule.limit is None else rule.limit, "known": rule.known}
        for rule in policy.types
    }
    cap = _NO_LIMIT if policy.cap is None else policy.cap
    types = [name for name in rules if name != OTHER]
    constants = {"types": types, "rules": rules, "cap": cap, "buckets": BUCKETS}
    return cast(bytes, msgpack.packb(constants, use_bin_type=False))


def _pack(request: ResolveRequest) -> tuple[Any, ...]:
    claims: list[str | bytes] = []
    for claim in request.claims:
        claims += (claim.type, claim.leaf)
    return (
        request.event_id,
        request.event_key,
        request.origin,
        request.received_ms,
        request.occurred_ms,
        bytes.fromhex(request.candidate.replace("-", "")),
        claims,
    )


def _unpack(request: ResolveRequest, answer: Any) -> Resolution:
    if not answer:
        return Resolution(request.event_id, None, None, duplicate=answer is not False)
    raw_profile, anchor, merged, refused = answer
    profile = uuid_text(raw_profile)
    # Lua counts from 1 and over types and leaves alternately.
    claims = request.claims
    return Resolution(
        request.event_id,
        profile,
        claims[anchor // 2].anchor,
        merged=tuple(Merge(profile, uuid_text(loser)) for loser in merged) if merged else (),
        refused=tuple(
            Refusal(claims[index // 2].type, claims[index // 2].anchor, rule.decode()) for index, rule in refused
        )
        if refused
        else (),
    )


def _change(packed: bytes) -> IdentityChange:
    version, kind, profile, before, flat, event_id, occurred_ms, rule = msgpack.unpackb(packed, raw=True)
    return IdentityChange(
        version=version,
        kind=cast(ChangeKind, kind.decode()),
        profile_id=uuid_text(profile),
        from_profile_id=uuid_text(before) if before else "",
        anchors=tuple((uuid_text(leaf), name.decode()) for leaf, name in zip(flat[::2], flat[1::2], strict=True)),
        event_id=event_id.decode(),
        occurred_ms=occurred_ms,
        rule=rule.decode(),
    )
