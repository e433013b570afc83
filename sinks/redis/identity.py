"""The identity store: which profile owns which identifier, in Redis or Valkey.

It writes identity's half of the keys in `sinks/redis/README.md`; `sinks/redis/profiles.py` writes the other half. The
rules are decided in Lua, inside the server, so that a call reads and writes in one atomic step.

Invariants: an identifier is in at most one profile and the index agrees; replaying the log gives the owner of every
anchor; limits hold at all times; resolving an event again changes nothing; versions only rise.

An erasure leaves the outbox as it is: its entries hold keyed hashes only, and without one of them a replay of the log
would no longer give the owners. Readers of the log delete what an `erase` entry names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b, sha1
from typing import Any, cast

import msgpack
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from schemas.durations import DAY_MS, DAY_S
from schemas.identity.policy import OTHER_TYPES, IdentityPolicy
from schemas.identity.resolution import (
    ErasedPerson,
    Merge,
    Refusal,
    Resolution,
    ResolveRequest,
    Split,
    SplitPreview,
    TypedAnchor,
    uuid_bytes,
    uuid_text,
)
from sinks.redis import deduplication as seen
from sinks.redis.lua import source
from sinks.redis.outbox import identity_outbox
from sinks.redis.people import LOST, LostPeopleError

EVENTS_A_CALL = 500
"""The most events of one script call: a call of 500 events blocks the server for about 7 ms."""
BUCKETS = 16_384
"""Hashes of the index. The server packs a hash of up to some 500 identifiers, so 8 million fit at low overhead."""
ERASED_S = 90 * DAY_S
"""Life of an erasure's keys, seconds: three times as long as Kafka keeps an event that may be replayed."""
REFUSED_KEPT = 20_000
"""Identifiers in the ranking of refusals; beyond it, those with the fewest refusals are removed."""
INSTALLS_WINDOW_MS = 30 * DAY_MS
"""Within how long the anonymous ids of one device are counted, milliseconds."""
ERASED = b""
_NO_LIMIT = 2**53  # the largest count that Lua's numbers hold exactly
_DUPLICATE, _SUPPRESSED, _CONFLICT = 0, 1, 2
_QUARANTINED = b"q"


class ImpossibleSplitError(ValueError):
    """These identifiers cannot be split off together; the message names the one that prevents it."""


class RedisIdentityStore:
    """Resolves events to profiles and logs every change to the outbox.

    Errors of the connection come out as `redis.exceptions.RedisError`; every method may then be called again.

    Args:
        redis: A client that answers bytes (`decode_responses=False`).
        namespace: The hash tag of all keys.
        policy: Limits and order of identifier types.
        guarded: Resolve nothing in a store that has lost its people (`sinks/redis/people.py`).
    """

    def __init__(self, redis: Redis, namespace: str, policy: IdentityPolicy, *, guarded: bool = False) -> None:
        pool = getattr(redis, "connection_pool", None)  # a cluster's client has one for each node
        if pool is not None and pool.connection_kwargs.get("decode_responses"):
            raise ValueError("the identity store keeps raw bytes: give it a client with decode_responses=False")
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._log = identity_outbox(namespace).stream
        self._version = f"{self._prefix}identity:version"
        self._policy = policy_for_script(policy, guarded=guarded)
        # redis-py calls a registered script by its hash, and loads it when the server does not know it.
        self._resolve = redis.register_script(identity_script("moves", "decide", seen.script("resolve")))
        self._split = redis.register_script(identity_script("leave", "split"))
        self._erase = redis.register_script(identity_script("leave", "erase_identity"))
        self._separated = redis.register_script(identity_script("separated"))
        self._expire = redis.register_script(identity_script("leave", "expire_identity"))
        self._release = redis.register_script(identity_script("leave", "release_identifier"))
        self._follow = redis.register_script(source("follow"))

    async def resolve(self, requests: Sequence[ResolveRequest]) -> list[Resolution]:
        """Find or create each event's profile, in order; merge profiles that an event links.

        Each script call, of up to `EVENTS_A_CALL` events, is atomic together with the log entries of its changes. A
        repeated request changes nothing and answers with the live profile.

        Returns:
            One resolution for each request, in order.
        """
        answers: list[Resolution] = []
        for start in range(0, len(requests), EVENTS_A_CALL):
            part = requests[start : start + EVENTS_A_CALL]
            raw = await self._run(self._resolve, *_pack(part))
            version, *found = msgpack.unpackb(raw, raw=True)
            answers += [_unpack(request, answer, version) for request, answer in zip(part, found, strict=True)]
        return answers

    async def owner(self, identifier_hash: bytes) -> str | None:
        """Return the id of the profile that owns an identifier; None when it has no owner."""
        found = cast(
            bytes | None,
            await self._redis.hget(f"{self._prefix}i:{index_bucket(identifier_hash)}", cast(str, identifier_hash)),
        )
        return uuid_text(found[:16]) if found and len(found) >= 16 else None

    async def owners(self, identifier_hashes: Sequence[bytes]) -> list[str | None]:
        """Return the owner of each identifier, as `owner` does, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        for one in identifier_hashes:
            pipeline.hget(f"{self._prefix}i:{index_bucket(one)}", cast(str, one))
        found = await pipeline.execute()
        return [uuid_text(one[:16]) if one and len(one) >= 16 else None for one in found]

    async def members(self, profile_id: str) -> list[TypedAnchor]:
        """List a live profile's identifiers as (anchor, type), sorted; empty for one that was merged away or erased."""
        fields = cast(dict[bytes, bytes], await self._redis.hgetall(f"{self._prefix}p:{profile_id}"))
        return sorted(
            (uuid_text(fields.get(b">" + name[1:], name[1:])), value.partition(b"\x1f")[0].decode())
            for name, value in fields.items()
            if name[:1] == b"@"
        )

    async def preview_split(self, identifier_hashes: Sequence[bytes]) -> SplitPreview:
        """Return what `split` would do, without doing it.

        Raises:
            ImpossibleSplitError: As `split` would.
        """
        source, _, moved, stayed, _ = await self._split_off("", identifier_hashes, 0, preview=True)
        return SplitPreview(source, moved, stayed, _count(moved), _count(stayed))

    async def split(self, op_id: str, identifier_hashes: Sequence[bytes], *, occurred_ms: int) -> Split:
        """Split identifiers off their profile into a new one, and separate the two.

        The new profile's id is derived from `op_id`. Later links between the two are refused by the rule `separated`,
        whatever they have merged with since. Events recorded by the identifiers that leave go with them. Both profiles
        keep the time at which the whole was first seen. A repeated `op_id` changes nothing and answers the same.

        Args:
            op_id: Name of the operation, chosen by the caller; a different one for each split.
            identifier_hashes: Identifiers to split off: some, not all, of one profile.
            occurred_ms: Time of the request, milliseconds since 1970.

        Raises:
            ImpossibleSplitError: One has no owner, they are of two profiles, or they are all that the profile has.
        """
        return Split(*await self._split_off(op_id, identifier_hashes, occurred_ms))

    async def separated(self, profile_id: str, others: Sequence[str]) -> set[str]:
        """Return those of `others` that a split separated from a profile, or that merged with such a profile."""
        ids = [uuid_bytes(one) for one in (profile_id, *others)]
        return {others[at - 1] for at in await self._run(self._separated, msgpack.packb(ids, use_bin_type=False))}

    async def erase(self, identifier_hash: bytes, at_ms: int) -> ErasedPerson | None:
        """Erase the identity of the person who has an identifier; if they come back, they get a new profile.

        From now on, events up to `at_ms`, by the earlier of their times, that claim any identifier of the person are
        suppressed, even if they also claim another person's: erased data must not reach another profile. The
        documents of the profile, and of those that it has yet to absorb, are left to the profile store. A repeated
        call answers the same, even when the person has come back.

        Args:
            identifier_hash: One of the person's identifiers.
            at_ms: Up to when events are suppressed, milliseconds since 1970.

        Returns:
            What was erased; None when the identifier has no owner.
        """
        raw = await self._run(self._erase, identifier_hash, at_ms)
        if raw == ERASED:
            return None
        profile, former, anchors, at, version = msgpack.unpackb(raw, raw=True)
        return ErasedPerson(uuid_text(profile), tuple(sorted(map(uuid_text, former))), _named(anchors), at, version)

    async def expire(self, profile_ids: Sequence[str], at_ms: int, first_seen_before_ms: int) -> list[bool]:
        """Let anonymous profiles expire: their identifiers have no owner any more, and history stays as it is.

        An identifier that comes back gets a new profile and another anchor. A profile stays that is a known person's,
        or of which something may still be asked (`lua/expire_identity.lua`). A repeated call answers the same.

        Args:
            profile_ids: Profiles that were not seen for long; at most some hundreds.
            at_ms: The time, milliseconds since 1970.
            first_seen_before_ms: One that was first seen later stays.

        Returns:
            For each whether it is not there any more.

        Raises:
            LostPeopleError: The store has lost its people: it cannot tell who was known.
        """
        ids = msgpack.packb([uuid_bytes(one) for one in profile_ids], use_bin_type=False)
        try:
            answers = await self._run(self._expire, ids, at_ms, first_seen_before_ms)
        except ResponseError as error:
            if "LOSTPEOPLE" in str(error):
                raise LostPeopleError(LOST) from error
            raise
        return [answer == b"1" for answer in answers]

    async def most_refused(self, count: int) -> list[tuple[str, str, int, bool]]:
        """List the identifiers with the most refusals: (anchor, type, refusals, quarantined), most first.

        A refusal counts once for a profile and an identifier, however often its event is seen. The anchor here is the
        identifier hash, which `release` takes.
        """
        ranked = cast(
            list[tuple[bytes, float]],
            await self._redis.zrevrange(f"{self._prefix}identity:refusals", 0, count - 1, withscores=True),
        )
        pipeline = self._redis.pipeline(transaction=False)
        for member, _ in ranked:
            pipeline.hget(f"{self._prefix}i:{index_bucket(member[:16])}", cast(str, member[:16]))
        owners = await pipeline.execute()
        return [
            (
                uuid_text(member[:16]),
                member[16:].decode(),
                int(times),
                bool(owner) and owner[-1:] == _QUARANTINED and len(owner) % 8 == 1,
            )
            for (member, times), owner in zip(ranked, owners, strict=True)
        ]

    async def release(self, identifier_hash: bytes) -> bool:
        """End the quarantine of an identifier and reset its count of refusals; False when it was not quarantined."""
        return bool(await self._run(self._release, identifier_hash))

    async def follow(self, profile_id: str) -> str | None:
        """Return the live profile of an id: itself, the one it was merged into, or None when it was erased."""
        found = await self._follow(keys=[f"{self._prefix}alias:{profile_id}"], args=[self._prefix, profile_id])
        return None if found == ERASED else found.decode()

    async def _run(self, script: Any, *asked: Any) -> Any:
        return await script(keys=[self._log, self._version], args=[self._prefix, self._policy, *asked])

    async def _split_off(
        self, op_id: str, identifier_hashes: Sequence[bytes], occurred_ms: int, *, preview: bool = False
    ) -> tuple[str, str, tuple[TypedAnchor, ...], tuple[TypedAnchor, ...], int]:
        if not identifier_hashes:
            raise ImpossibleSplitError("name at least one identifier to split off")
        token = separation_token(op_id)
        target = blake2b(op_id.encode(), digest_size=16, person=b"split").digest()
        asked = msgpack.packb(list(dict.fromkeys(identifier_hashes)), use_bin_type=False)
        evidence = msgpack.packb((op_id, occurred_ms), use_bin_type=False)
        raw = await self._run(self._split, token, target, asked, evidence, "1" if preview else "0")
        answer = msgpack.unpackb(raw, raw=True)
        if len(answer) == 2:
            raise ImpossibleSplitError(_IMPOSSIBLE[answer[0]].format(uuid_text(answer[1])))
        source, new, moved, stayed, version = answer
        return uuid_text(source), uuid_text(new) if new else "", _named(moved), _named(stayed), version


_IMPOSSIBLE = {
    b"unowned": "no profile has the identifier {}",
    b"two profiles": "the identifier {} is of another profile than those before it: split one profile at a time",
    b"all": "these are all the identifiers of the profile, {} among them: leave at least one where it is",
}


def index_bucket(identifier_hash: bytes) -> int:
    """Return the number of the index bucket that contains an identifier hash."""
    return int.from_bytes(identifier_hash[:2], "big") % BUCKETS


def anchor_after(identifier_hash: bytes, profile_id: str) -> str:
    """Return the anchor that an identifier gets when it comes back after it has expired with a profile."""
    mark = b"x" + uuid_bytes(profile_id)[:7]
    return uuid_text(sha1(identifier_hash + mark, usedforsecurity=False).digest()[:16])


def separation_token(op_id: str) -> bytes:
    """Return the token by which a split keeps its two profiles apart: of the name of the operation."""
    return blake2b(op_id.encode(), digest_size=16, person=b"separation").digest()


def identity_script(*parts: str) -> str:
    """Return scripts after `lua/identity.lua` and its constants; each part is a file's name or a script's text."""
    constants = f"local INDEX_BUCKETS, ERASED_S, REFUSED_KEPT = {BUCKETS}, {ERASED_S}, {REFUSED_KEPT}\n"
    constants += f"local LOST_PEOPLE = '{LOST}'\n"
    texts = [part if "\n" in part else source(part) for part in ("identity", *parts)]
    return constants + "".join(texts)


def policy_for_script(policy: IdentityPolicy, *, guarded: bool = False) -> bytes:
    """Pack what the scripts need to know of a policy, and whether they are to refuse a store that lost its people."""
    rules = {}
    for rule in policy.types:
        makes_room, sharing = policy.makes_room(rule), policy.sharing(rule)
        rules[rule.type] = {
            "limit": _NO_LIMIT if rule.limit is None else rule.limit,
            "known": rule.known,
            "fifo": makes_room,
            "share": sharing,
            "dated": makes_room or sharing != "first_owner",
            **({} if rule.most_installs is None else {"installs": rule.most_installs}),
        }
    constants = {
        "types": [name for name in rules if name != OTHER_TYPES],
        "rules": rules,
        "cap": policy.cap or _NO_LIMIT,
        "sign_out": policy.on_sign_out == "new_anonymous",
        "quarantine": policy.quarantine_after or _NO_LIMIT,
        "installs_window": INSTALLS_WINDOW_MS,
        "guarded": guarded,
    }
    return cast(bytes, msgpack.packb(constants, use_bin_type=False))


def _pack(requests: Sequence[ResolveRequest]) -> tuple[bytes, bytes, bytes]:
    """Return what `resolve.lua` takes: the requests as columns, their event ids, their candidates."""
    columns = (
        [request.event_key for request in requests],
        [request.origin + request.content for request in requests],
        [request.received_ms for request in requests],
        [request.occurred_ms for request in requests],
        [request.signed_out for request in requests],
        [2 * len(request.claims) for request in requests],
        [part for request in requests for claim in request.claims for part in claim],
    )
    return (
        msgpack.packb(columns, use_bin_type=False),
        msgpack.packb([request.event_id for request in requests], use_bin_type=False),
        b"".join([request.candidate for request in requests]),
    )


def _unpack(request: ResolveRequest, answer: Any, version_before: int) -> Resolution:
    if type(answer) is bytes:
        return Resolution(request.event_id, uuid_text(answer), request.claims[0].anchor, version=version_before)
    if answer is False:
        return Resolution(request.event_id, None, None)
    if not isinstance(answer, list):
        return Resolution(
            request.event_id,
            None,
            None,
            duplicate=answer != _SUPPRESSED,
            suppressed=answer == _SUPPRESSED,
            conflict=answer == _CONFLICT,
        )
    raw_profile, anchor, merged, refused, version = answer
    # A claim is its index in the flat list of types and identifier hashes, and Lua counts from 1.
    if not raw_profile:
        return Resolution(request.event_id, None, None, refused=_refusals(request, refused))
    profile = uuid_text(raw_profile)
    return Resolution(
        request.event_id,
        profile,
        request.claims[anchor // 2].anchor if isinstance(anchor, int) else uuid_text(anchor),
        merged=tuple(Merge(profile, uuid_text(loser)) for loser in merged) if merged else (),
        refused=_refusals(request, refused) if refused else (),
        version=version,
    )


def _refusals(request: ResolveRequest, refused: Any) -> tuple[Refusal, ...]:
    claims = request.claims
    return tuple(Refusal(claims[index // 2].type, claims[index // 2].anchor, rule.decode()) for index, rule in refused)


def _named(flat: Sequence[bytes]) -> tuple[TypedAnchor, ...]:
    return tuple(sorted((uuid_text(raw), name.decode()) for raw, name in zip(flat[::2], flat[1::2], strict=True)))


def _count(named: Sequence[TypedAnchor]) -> dict[str, int]:
    return dict(sorted(Counter(kind for _, kind in named).items()))
