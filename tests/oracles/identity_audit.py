"""Checks the invariants of a name space of the real identity store, and replays its log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgpack
import orjson
from redis.asyncio import Redis

from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import IdentityChange, Resolution, uuid_text
from schemas.records import Outgoing
from sinks.redis.outbox import RedisOutbox, identity_outbox
from tests.oracles.identity_model import Answer


@dataclass
class Stored:
    """One profile's hash, sorted by the kind of its fields."""

    members: dict[bytes, str] = field(default_factory=dict)
    anchors: set[str] = field(default_factory=set)
    quarantined: set[bytes] = field(default_factory=set)


class Audit:
    """Reads a name space of the real store and checks its invariants."""

    def __init__(self, redis: Redis, namespace: str, policy: IdentityPolicy) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._policy = policy
        self._outbox = RedisOutbox(redis, identity_outbox(namespace))

    async def owners(self) -> dict[bytes, str]:
        """Return identifier hash → profile id, from the index."""
        return {one: uuid_text(raw[:16]) for one, raw in (await self._index()).items() if len(raw) >= 16}

    async def quarantined(self) -> set[bytes]:
        """The identifier hashes that are quarantined."""
        return {one for one, raw in (await self._index()).items() if len(raw) % 8}

    async def snapshot(self) -> dict[bytes, Any]:
        """Return every key of the name space with its content, marks of seen events included."""
        return await self._each("dump", "")

    async def log(self) -> list[IdentityChange]:
        """Return all changes that are not acknowledged, oldest first."""
        return [change_of(record) for _, record in await self._outbox.pending(10_000_000)]

    async def wipe(self) -> None:
        """Remove every key of the name space."""
        keys = await self._keys("")
        for start in range(0, len(keys), 5000):
            await self._redis.unlink(*keys[start : start + 5000])

    async def check(self) -> dict[bytes, str]:
        """Assert the invariants of `sinks/redis/identity.py`; nothing may have been acknowledged.

        Returns:
            Identifier hash → profile id.
        """
        owners, log = await self.owners(), await self.log()
        profiles = await self._profiles()
        self._check_profiles(profiles, owners, await self.quarantined())
        await self._check_aliases(log, set(profiles))
        _check_versions(log)
        minted = Counter(change.profile_id for change in log if (change.kind, change.rule) == ("bind", "new"))
        assert [] == [name for name, times in minted.items() if times > 1]
        recorded = {anchor: name for name, stored in profiles.items() for anchor in stored.anchors}
        assert recorded == replay(log)
        return owners

    async def _index(self) -> dict[bytes, bytes]:
        buckets = await self._each("hgetall", "i:")
        return {one: raw for bucket in buckets.values() for one, raw in bucket.items()}

    async def _keys(self, kind: str) -> list[bytes]:
        return [key async for key in self._redis.scan_iter(match=f"{self._prefix}{kind}*", count=5000)]

    async def _each(self, command: str, kind: str) -> dict[bytes, Any]:
        """Read every key with a prefix."""
        keys = await self._keys(kind)
        found: dict[bytes, Any] = {}
        for start in range(0, len(keys), 1000):
            part = keys[start : start + 1000]
            pipeline = self._redis.pipeline(transaction=False)
            for key in part:
                getattr(pipeline, command)(key)
            found.update(zip(part, await pipeline.execute(), strict=True))
        return found

    async def _profiles(self) -> dict[str, Stored]:
        profiles: dict[str, Stored] = {}
        for key, fields in (await self._each("hgetall", "p:")).items():
            name = key.decode().removeprefix(f"{self._prefix}p:")
            profiles[name] = stored = Stored()
            for mark, value in fields.items():
                if mark[:1] == b"@":
                    stored.members[mark[1:]] = value.partition(b"\x1f")[0].decode()
                    stored.anchors.add(uuid_text(fields.get(b">" + mark[1:], mark[1:])))
                elif mark[:1] == b"~":
                    stored.anchors.add(uuid_text(mark[1:]))
                elif mark[:1] == b"?":
                    stored.quarantined.add(mark[1:])
            count, counts = len(stored.members), dict.fromkeys((one.encode() for one in stored.members.values()), 1)
            if b"h" in fields:
                count, *_, counts = msgpack.unpackb(fields[b"h"], raw=True)
            counted = {kind.decode(): of_kind for kind, of_kind in dict(counts).items()}
            assert (Counter(stored.members.values()), len(stored.members)) == (counted, count)
        return profiles

    def _check_profiles(
        self, profiles: dict[str, Stored], owners: dict[bytes, str], quarantined: Iterable[bytes]
    ) -> None:
        members: dict[bytes, str] = {}
        for name, stored in profiles.items():
            assert stored.members
            assert not members.keys() & stored.members.keys()
            members.update(dict.fromkeys(stored.members, name))
            assert self._policy.cap is None or len(stored.members) <= self._policy.cap
            for kind, count in Counter(stored.members.values()).items():
                limit = self._policy.rule(kind).limit
                assert limit is None or count <= limit
        assert owners == members
        marked = {one for stored in profiles.values() for one in stored.quarantined}
        assert marked == {one for one in quarantined if one in owners}

    async def _check_aliases(self, log: Sequence[IdentityChange], alive: set[str]) -> None:
        aliases = {
            key.decode().removeprefix(f"{self._prefix}alias:"): onward.decode()
            for key, onward in (await self._each("get", "alias:")).items()
        }
        erased = {change.profile_id for change in log if change.kind == "erase"}
        merged = {change.from_profile_id: change.profile_id for change in log if change.kind == "merge"}
        expired = {change.profile_id for change in log if change.kind == "expire"}
        while more := {loser for loser, winner in merged.items() if winner in expired} - expired:
            expired |= more
        assert not expired & alive
        assert aliases.keys() == (erased | merged.keys()) - expired
        assert not aliases.keys() & alive
        for name in aliases:
            chain = {name: None}
            while (last := next(reversed(chain))) in aliases:
                assert aliases[last] not in chain
                chain[aliases[last]] = None
            assert last in alive or last == "!"
        assert {aliases[name] for name in erased} <= {"!"}


def answer_of(resolution: Resolution) -> Answer:
    """Convert the real store's answer to the model's."""
    return Answer(
        resolution.profile_id,
        tuple(merge.loser for merge in resolution.merged),
        tuple((refusal.anchor, refusal.rule) for refusal in resolution.refused),
        resolution.suppressed,
    )


def change_of(record: Outgoing) -> IdentityChange:
    """Read a record of `identity-changes`."""
    value = orjson.loads(record.value)
    return IdentityChange(**{**value, "anchors": tuple(map(tuple, value["anchors"]))})


def replay(log: Iterable[IdentityChange]) -> dict[str, str]:
    """Build anchor → profile id from the log alone, as every reader of `identity-changes` does.

    The anchor of an identifier that has passed to another profile is still there: events recorded under it are still
    the former owner's.
    """
    owners: dict[str, str] = {}
    for change in log:
        for anchor, _ in change.anchors:
            if change.kind in {"bind", "merge", "split"}:
                assert change.from_profile_id == owners.get(anchor, "")
                owners[anchor] = change.profile_id
            elif change.kind == "transfer" and change.profile_id:
                assert anchor not in owners
                owners[anchor] = change.profile_id
            elif change.kind in {"erase", "expire"}:
                assert change.profile_id == owners.pop(anchor)
    return owners


def partition(owners: dict[bytes, str]) -> set[frozenset[bytes]]:
    """Group identifiers by owner, without the profile ids."""
    groups: dict[str, set[bytes]] = {}
    for one, name in owners.items():
        groups.setdefault(name, set()).add(one)
    return {frozenset(group) for group in groups.values()}


def _check_versions(log: Sequence[IdentityChange]) -> None:
    assert all(before.version < after.version for before, after in pairwise(log))
