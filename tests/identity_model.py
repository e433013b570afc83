"""Identity as it should be: a plain model to hold the real store against, and the invariants of the real store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

from redis.asyncio import Redis

from processors.identity import candidate_profile, event_key, leaf_of, origin_key
from schemas.identity import Claim, IdentityChange, ResolveRequest, uuid_text
from schemas.policy import IdentityPolicy
from sinks.redis_identity import RedisIdentityStore

SECRET = b"a secret of the tests"
RECEIVED_MS = 1_790_000_000_000
Named = tuple[str, str]
"""An identifier in clear: type and value."""


def leaf(kind: str, value: str) -> bytes:
    """The leaf of an identifier in clear."""
    return leaf_of(kind, value, SECRET)


def request(
    event_id: str, *named: Named, policy: IdentityPolicy | None = None, origin: tuple[str, int, int] | None = None,
    occurred_ms: int = RECEIVED_MS, received_ms: int = RECEIVED_MS,
) -> ResolveRequest:  # fmt: skip
    """Ask who an event with these identifiers belongs to; each event id is a record of its own by default."""
    order = policy or IdentityPolicy()
    ranked = sorted(dict.fromkeys(named), key=lambda one: (order.priority(one[0]), *one))
    return ResolveRequest(
        event_id=event_id,
        event_key=event_key(event_id),
        origin=origin_key(*(origin or (event_id, 0, 0))),
        received_ms=received_ms,
        occurred_ms=occurred_ms,
        claims=tuple(Claim(kind, leaf(kind, value)) for kind, value in ranked),
        candidate=candidate_profile(event_id, SECRET),
    )


@dataclass
class Person:
    """A profile of the model."""

    first_ms: int
    members: dict[bytes, str] = field(default_factory=dict)


class IdentityModel:
    """What `resolve.lua` should answer, without a thought for speed: every step counts everything again."""

    def __init__(self, policy: IdentityPolicy) -> None:
        self._policy = policy
        self._seen: dict[bytes, bytes] = {}
        self.people: dict[str, Person] = {}

    def owners(self) -> dict[bytes, str]:
        """Leaf → profile id."""
        return {one: name for name, person in self.people.items() for one in person.members}

    def resolve(self, asked: ResolveRequest) -> tuple[str | None, tuple[str, ...], tuple[tuple[str, str], ...]]:
        """Answer the profile, the profiles that were merged into it, and the refusals as (anchor, rule)."""
        if self._seen.setdefault(asked.event_key, asked.origin) != asked.origin or not asked.claims:
            return None, (), ()
        owners = self.owners()
        union: dict[bytes, str] = {}
        joined: list[str] = []
        refused = []
        for claim in asked.claims:
            owner = owners.get(claim.leaf)
            if owner in joined:
                continue
            more = self.people[owner].members if owner else {claim.leaf: claim.type}
            rule = self._objection(union, more)
            if rule:
                refused.append((claim.anchor, rule))
                continue
            union |= more
            if owner:
                joined.append(owner)
        winner = min(joined, key=self._order) if joined else asked.candidate
        losers = tuple(name for name in joined if name != winner)
        first = min([asked.occurred_ms, *(self.people[name].first_ms for name in joined)])
        for name in losers:
            del self.people[name]
        self.people[winner] = Person(first, union)
        return winner, losers, tuple(refused)

    def _objection(self, union: dict[bytes, str], more: dict[bytes, str]) -> str | None:
        have, extra = Counter(union.values()), Counter(more.values())
        for kind in have.keys() & extra.keys():
            limit = self._policy.rule(kind).limit
            if limit is not None and have[kind] + extra[kind] > limit:
                return "limit"
        full = self._policy.cap is not None and len(union) + len(more) > self._policy.cap
        return "cap" if union and full else None

    def _order(self, name: str) -> tuple[bool, int, str]:
        person = self.people[name]
        return not any(self._policy.rule(kind).known for kind in person.members.values()), person.first_ms, name


class Audit:
    """Everything that a name space of the real store holds, and what must be true of it."""

    def __init__(self, redis: Redis, namespace: str, policy: IdentityPolicy) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._policy = policy
        self._store = RedisIdentityStore(redis, namespace, policy)

    async def owners(self) -> dict[bytes, str]:
        """Leaf → profile id, from the index."""
        found: dict[bytes, str] = {}
        async for key in self._redis.scan_iter(match=f"{self._prefix}i:*", count=5000):
            fields = cast(dict[bytes, bytes], await self._redis.hgetall(key))
            found.update({one: uuid_text(raw) for one, raw in fields.items()})
        return found

    async def snapshot(self) -> dict[bytes, Any]:
        """Every identity key with its content: marks of seen events too."""
        content: dict[bytes, Any] = {}
        async for key in self._redis.scan_iter(match=f"{self._prefix}*", count=5000):
            content[key] = await self._redis.dump(key)
        return content

    async def log(self) -> list[IdentityChange]:
        """All changes that are not acknowledged, oldest first."""
        return [change for _, change in await self._store.pending_changes(10_000_000)]

    async def check(self) -> dict[bytes, str]:
        """Assert the invariants of `sinks/redis_identity.py`; nothing may have been acknowledged.

        Returns:
            Leaf → profile id.
        """
        owners, log = await self.owners(), await self.log()
        await self._check_profiles(owners)
        await self._check_aliases({change.from_profile_id for change in log if change.kind == "merge"}, owners)
        _check_versions(log)
        minted = Counter(change.profile_id for change in log if (change.kind, change.rule) == ("bind", "new"))
        assert [] == [name for name, times in minted.items() if times > 1]
        assert owners == replay(log)
        return owners

    async def _check_profiles(self, owners: dict[bytes, str]) -> None:
        members: dict[bytes, str] = {}
        async for key in self._redis.scan_iter(match=f"{self._prefix}p:*", count=5000):
            name = cast(bytes, key).decode().removeprefix(f"{self._prefix}p:")
            fields = cast(dict[bytes, bytes], await self._redis.hgetall(key))
            own = {one[1:]: kind.decode() for one, kind in fields.items() if one[:1] == b"@"}
            counts = {one[1:].decode(): int(count) for one, count in fields.items() if one[:1] == b"#"}
            assert not members.keys() & own.keys()
            assert (Counter(own.values()), len(own)) == (counts, int(fields[b"n"]))
            for kind, count in counts.items():
                limit = self._policy.rule(kind).limit
                assert limit is None or count <= limit
            assert self._policy.cap is None or len(own) <= self._policy.cap
            members.update(dict.fromkeys(own, name))
        assert owners == members

    async def _check_aliases(self, merged: set[str], owners: dict[bytes, str]) -> None:
        alive = set(owners.values())
        aliases = {
            cast(bytes, key).decode().removeprefix(f"{self._prefix}alias:")
            async for key in self._redis.scan_iter(match=f"{self._prefix}alias:*", count=5000)
        }
        assert merged == aliases
        assert not aliases & alive
        for name in aliases:
            assert await self._store.follow(name) in alive


def replay(log: Iterable[IdentityChange]) -> dict[bytes, str]:
    """Build the owner map from the log alone, as every reader of `identity-changes` does."""
    owners: dict[bytes, str] = {}
    for change in log:
        if change.kind in {"bind", "merge"}:
            for anchor, _ in change.anchors:
                before = owners.get(bytes.fromhex(anchor.replace("-", "")), "")
                assert change.from_profile_id == before
                owners[bytes.fromhex(anchor.replace("-", ""))] = change.profile_id
    return owners


def partition(owners: dict[bytes, str]) -> set[frozenset[bytes]]:
    """Forget the profiles' ids: who is together with whom."""
    groups: dict[str, set[bytes]] = {}
    for one, name in owners.items():
        groups.setdefault(name, set()).add(one)
    return {frozenset(group) for group in groups.values()}


def _check_versions(log: Sequence[IdentityChange]) -> None:
    assert all(before.version < after.version for before, after in pairwise(log))
