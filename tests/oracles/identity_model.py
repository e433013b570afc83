"""A plain model of the identity store, with which tests compare the real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha1
from typing import NamedTuple

from processors.identity.claims import candidate_profile, event_key, hash_identifier, origin_key
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import Claim, ResolveRequest, uuid_text

SECRET = b"a secret of the tests"
RECEIVED_MS = 1_790_000_000_000
TypedAnchor = tuple[str, str]
"""An identifier in clear: type and value."""


def identifier_hash(kind: str, value: str) -> bytes:
    """Return the hash of an identifier in clear."""
    return hash_identifier(kind, value, SECRET)


def request(
    event_id: str, *named: TypedAnchor, policy: IdentityPolicy | None = None,
    origin: tuple[str, int, int] | None = None,
    occurred_ms: int = RECEIVED_MS, received_ms: int = RECEIVED_MS, signed_out: bool = False,
    source: str = "shop", content: bytes = bytes(4),
) -> ResolveRequest:  # fmt: skip
    """Make the request of an event with these identifiers; each event id is a record of its own by default."""
    order = policy or IdentityPolicy()
    ranked = sorted(dict.fromkeys(named), key=lambda one: (order.priority(one[0]), *one))
    return ResolveRequest(
        event_id=event_id,
        event_key=event_key(source, event_id),
        origin=origin_key(*(origin or (event_id, 0, 0))),
        received_ms=received_ms,
        occurred_ms=occurred_ms,
        claims=tuple(Claim(kind, identifier_hash(kind, value)) for kind, value in ranked),
        candidate=candidate_profile(source, event_id, SECRET),
        signed_out=signed_out,
        content=content,
    )


class Answer(NamedTuple):
    """The resolution of an event, as far as the model computes it."""

    profile: str | None = None
    merged: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    suppressed: bool = False


@dataclass
class Person:
    """A profile of the model.

    `members` is identifier hash → (type, time since when it is there, 0 where the policy does not need it);
    `separations` is operation → side; a `shared` profile is of a device that several people use.
    """

    first_ms: int
    members: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    separations: dict[str, int] = field(default_factory=dict)
    shared: bool = False
    refused: set[bytes] = field(default_factory=set)

    def counts(self) -> Counter[str]:
        """Count the identifiers of each type."""
        return Counter(kind for kind, _ in self.members.values())


@dataclass
class Union:
    """What an event joins: profiles, unowned identifiers, and the claims that change their owner or are refused."""

    whole: Person
    joined: list[str] = field(default_factory=list)
    unowned: list[Claim] = field(default_factory=list)
    transfers: list[tuple[Claim, str]] = field(default_factory=list)
    to_new_profile: list[tuple[Claim, str]] = field(default_factory=list)
    evictions: list[bytes] = field(default_factory=list)
    refused: list[tuple[Claim, str]] = field(default_factory=list)
    login: bool = False


class IdentityModel:
    """What the store should answer. It is simple and slow: every step counts everything anew."""

    REFUSALS_LOGGED = 100

    def __init__(self, policy: IdentityPolicy) -> None:
        self.policy = policy
        self.people: dict[str, Person] = {}
        self.alias: dict[str, str | None] = {}
        self.former_owners: dict[bytes, list[tuple[int, str]]] = {}
        self.erased: dict[bytes, int] = {}
        self.refusals: Counter[bytes] = Counter()
        self.quarantined: set[bytes] = set()
        self.expired: dict[bytes, bytes] = {}  # of unowned identifiers, what the id of their next profile is derived by
        self._derived: set[bytes] = set()  # members whose anchor is not the identifier hash
        self._seen: dict[bytes, bytes] = {}

    def owners(self) -> dict[bytes, str]:
        """Identifier hash → profile id."""
        return {one: name for name, person in self.people.items() for one in person.members}

    def resolve(self, asked: ResolveRequest) -> Answer:
        """Resolve one event."""
        redelivered = asked.event_key in self._seen
        if self._seen.setdefault(asked.event_key, asked.origin) != asked.origin or not asked.claims:
            return Answer()
        time = min(asked.occurred_ms, asked.received_ms)
        if any(time <= self.erased.get(claim.identifier_hash, time - 1) for claim in asked.claims):
            return Answer(suppressed=True)
        owners, then = self._owners_at(asked, time, redelivered)
        if None in then.values():
            return Answer(suppressed=True)
        owners |= {one: name for one, name in then.items() if name}
        union = self._decide(asked, owners, then.keys(), time)
        refused = tuple((claim.anchor, rule) for claim, rule in union.refused)
        if len(union.refused) == len(asked.claims):
            return Answer(refused=refused)
        before = [
            owners[claim.identifier_hash] for claim in asked.claims if owners.get(claim.identifier_hash) in union.joined
        ]
        if redelivered and before:
            return Answer(before[0], (), refused)
        winner, losers = self._execute(asked, union, time)
        self._count_refusals(winner, union, then.keys())
        if asked.signed_out and self.policy.on_sign_out == "new_anonymous":
            self._sign_out(asked, winner, [claim for claim, _ in union.refused], then.keys(), time)
        return Answer(winner, losers, refused)

    def _owners_at(
        self, asked: ResolveRequest, time: int, redelivered: bool
    ) -> tuple[dict[bytes, str], dict[bytes, str | None]]:
        """Return the owners now, and the former owners at the time of the event (None: erased since)."""
        now = self.owners()
        then: dict[bytes, str | None] = {}
        for claim in asked.claims:
            former_owners = self.former_owners.get(claim.identifier_hash, [])
            for until, name in former_owners:
                if time < until or (
                    redelivered and claim.identifier_hash not in now and (until, name) == former_owners[-1]
                ):
                    then[claim.identifier_hash] = self.follow(name)
                    break
        return now, then

    def follow(self, name: str) -> str | None:
        """Return the live profile of an id; None when it was erased."""
        while name in self.alias:
            onward = self.alias[name]
            if onward is None:
                return None
            name = onward
        return name

    def _decide(self, asked: ResolveRequest, owners: dict[bytes, str], then: Collection[bytes], time: int) -> Union:
        union = Union(Person(asked.occurred_ms))
        own = {claim.identifier_hash for claim in asked.claims}
        for claim in asked.claims:
            owner = owners.get(claim.identifier_hash)
            rule: str | None
            if claim.identifier_hash in self.quarantined:
                rule = "quarantined"
            elif owner is None:
                rule = self._add_identifier(union, claim, own, time)
                if rule is None:
                    union.unowned.append(claim)
            elif owner in union.joined:
                rule = None
            else:
                rule = self._add_owner(union, claim, owner, own, claim.identifier_hash in then, time)
            if rule:
                union.refused.append((claim, rule))
            elif self.policy.rule(claim.type).known:
                union.login = True
        return union

    def _add_identifier(self, union: Union, claim: Claim, own: Collection[bytes], time: int) -> str | None:
        alone = Person(0, {claim.identifier_hash: (claim.type, time)})
        rule = self._violated_rule(union, alone)
        if rule == "limit" and self._make_room(union, alone, claim, own):
            rule = None
        if rule is None:
            union.whole.members |= alone.members
        return rule

    def _add_owner(
        self, union: Union, claim: Claim, owner: str, own: Collection[bytes], past: bool, time: int
    ) -> str | None:
        other = self.people[owner]
        rule = self._violated_rule(union, other)
        if rule == "limit" and union.login and not past and self._two_people(union, other, claim, time):
            if self.policy.sharing(self.policy.rule(claim.type)) == "new_anonymous":
                union.to_new_profile.append((claim, owner))
                return rule
            rule = self._add_identifier(union, claim, own, time)
            if rule is None:
                union.transfers.append((claim, owner))
            return rule
        if rule == "limit" and self._make_room(union, other, claim, own):
            rule = None
        if rule is None:
            union.whole.members |= {one: what for one, what in other.members.items() if one not in union.evictions}
            union.whole.separations |= other.separations
            union.whole.shared |= other.shared
            union.joined.append(owner)
        return rule

    def _violated_rule(self, union: Union, other: Person) -> str | None:
        whole = union.whole
        if any(whole.separations.get(operation, side) != side for operation, side in other.separations.items()):
            return "separated"
        if (whole.shared and self._known(other)) or (other.shared and self._known(whole)):
            return "shared"
        if self._excess(union, other):
            return "limit"
        cap = self.policy.cap
        full = cap is not None and len(whole.members) + len(other.members) > cap
        return "cap" if whole.members and full else None

    def _excess(self, union: Union, other: Person) -> dict[str, int]:
        have, extra = union.whole.counts(), other.counts()
        over = {}
        for kind in have.keys() & extra.keys():
            limit = self.policy.rule(kind).limit
            if limit is not None and have[kind] + extra[kind] > limit:
                over[kind] = have[kind] + extra[kind] - limit
        return over

    def _two_people(self, union: Union, other: Person, claim: Claim, time: int) -> bool:
        kinds = self._excess(union, other)
        free = self.policy.sharing(self.policy.rule(claim.type)) != "first_owner"
        return (
            free
            and any(self.policy.rule(kind).known for kind in kinds)
            and time > other.members[claim.identifier_hash][1]
        )

    def _make_room(self, union: Union, other: Person, claim: Claim, own: Collection[bytes]) -> bool:
        leaving: list[bytes] = []
        standing = {one: what for name in union.joined for one, what in self.people[name].members.items()}
        if any(other is person for person in self.people.values()):
            standing |= other.members
        for kind, excess in sorted(self._excess(union, other).items()):
            rule = self.policy.rule(kind)
            both_known = union.login and self.policy.rule(claim.type).known
            may_leave = sorted(
                (since, one)
                for one, (its, since) in standing.items()
                if its == kind and one not in {*own, *union.evictions, *self.quarantined}
            )
            if not self.policy.makes_room(rule) or (rule.known and not both_known) or len(may_leave) < excess:
                return False
            leaving += [one for _, one in may_leave[:excess]]
        cap = self.policy.cap
        if cap is not None and len(union.whole.members) + len(other.members) - len(leaving) > cap:
            return False
        union.evictions += leaving
        for one in leaving:
            union.whole.members.pop(one, None)
        return True

    def _execute(self, asked: ResolveRequest, union: Union, time: int) -> tuple[str, tuple[str, ...]]:
        winner = min(union.joined, key=self._order) if union.joined else self._new_id(self._candidate(asked, union))
        for one in union.evictions:
            self._remove(one, time)
        losers = tuple(name for name in union.joined if name != winner)
        person = self.people.setdefault(winner, Person(asked.occurred_ms))
        for name in losers:
            loser = self.people.pop(name)
            self.alias[name] = winner
            person.members |= loser.members
            person.separations |= loser.separations
            person.shared |= loser.shared
        if not losers:
            person.first_ms = min(person.first_ms, asked.occurred_ms)
        for claim in union.unowned:
            one = claim.identifier_hash
            person.members[one] = self._member(claim.type, time)
            self._derived.discard(one)
            if self.expired.pop(one, None) or one in self.erased or self.former_owners.get(one):
                self._derived.add(one)
        for claim, name in union.transfers:
            if name not in union.joined:
                person.members[claim.identifier_hash] = self._remove(claim.identifier_hash, time)
        parted = [claim.identifier_hash for claim, name in union.to_new_profile if name not in union.joined]
        if parted:
            self._move_to_new_profile(asked, parted, time, "new_anonymous", shared=True)
        return winner, losers

    def _candidate(self, asked: ResolveRequest, union: Union) -> str:
        for claim in union.unowned:
            if mark := self.expired.get(claim.identifier_hash):
                return _derived(asked.candidate + mark)
        return uuid_text(asked.candidate)

    def _member(self, kind: str, time: int) -> tuple[str, int]:
        rule = self.policy.rule(kind)
        dated = self.policy.makes_room(rule) or self.policy.sharing(rule) != "first_owner"
        return kind, time if dated else 0

    def _remove(self, one: bytes, until: int) -> tuple[str, int]:
        """Remove an identifier from its owner; return its new member entry."""
        name = self.owners()[one]
        kind, _ = self.people[name].members.pop(one)
        before = self.former_owners.setdefault(one, [])
        until = max(until, before[-1][0]) if before else until
        before.append((until, name))
        self._derived.add(one)
        return self._member(kind, until)

    def _move_to_new_profile(
        self, asked: ResolveRequest, identifier_hashes: Sequence[bytes], until: int, rule: str, *, shared: bool = False
    ) -> None:
        name = self._new_id(_derived(asked.candidate + rule.encode()))
        self.people[name] = Person(
            asked.occurred_ms, {one: self._remove(one, until) for one in identifier_hashes}, shared=shared
        )

    def _sign_out(
        self, asked: ResolveRequest, winner: str, refused: Sequence[Claim], then: Collection[bytes], time: int
    ) -> None:
        identifier_hashes = [
            claim.identifier_hash
            for claim in asked.claims
            if claim not in refused and claim.identifier_hash not in then and not self.policy.rule(claim.type).known
        ]
        if identifier_hashes and self._known(self.people[winner]):
            self._move_to_new_profile(asked, identifier_hashes, time + 1, "sign_out")

    def _count_refusals(self, winner: str, union: Union, then: Collection[bytes]) -> None:
        person = self.people[winner]
        for claim, rule in union.refused:
            fresh = claim.identifier_hash not in person.refused and len(person.refused) < self.REFUSALS_LOGGED
            if rule != "quarantined" and fresh:
                person.refused.add(claim.identifier_hash)
                if claim.identifier_hash not in then:
                    self.refusals[claim.identifier_hash] += 1
                    if self.refusals[claim.identifier_hash] >= (self.policy.quarantine_after or 2**53):
                        self.quarantined.add(claim.identifier_hash)

    def _new_id(self, candidate: str) -> str:
        while candidate in self.alias or candidate in self.people:
            candidate = _derived(bytes.fromhex(candidate.replace("-", "")))
        return candidate

    def _known(self, person: Person) -> bool:
        return any(self.policy.rule(kind).known for kind, _ in person.members.values())

    def _order(self, name: str) -> tuple[bool, int, str]:
        person = self.people[name]
        return not self._known(person), person.first_ms, name

    def split(self, operation: str, identifier_hashes: Sequence[bytes]) -> str | None:
        """Split identifiers off a profile; return the new profile, None where that is impossible."""
        names = {self.owners().get(one) for one in identifier_hashes}
        (name,) = names if len(names) == 1 else (None,)
        if name is None or set(identifier_hashes) == self.people[name].members.keys():
            return None
        source = self.people[name]
        target = self._new_id(uuid_text(blake2b(operation.encode(), digest_size=16, person=b"split").digest()))
        moved = {one: source.members.pop(one) for one in identifier_hashes}
        self.people[target] = Person(source.first_ms, moved, source.separations | {operation: 1}, source.shared)
        source.separations[operation] = 0
        source.refused -= set(identifier_hashes)
        return target

    def erase(self, one: bytes, at_ms: int) -> str | None:
        """Erase the owner of an identifier; return its profile id, None where the identifier has no owner."""
        if self.erased.get(one, -1) >= at_ms or one not in self.owners():
            return None
        name = self.owners()[one]
        for gone in self.people.pop(name).members:
            self.erased[gone] = max(at_ms, self.erased.get(gone, at_ms))
            if gone in self._derived and not self.former_owners.get(gone):
                self.expired[gone] = _mark(name)
            self.quarantined.discard(gone)
            self.refusals.pop(gone, None)
        self.alias[name] = None
        return name

    def expire(self, name: str) -> bool:
        """Let an anonymous profile expire; False when it stays."""
        person = self.people.get(name)
        if person is None:
            return True
        left = any(self.follow(owner) == name for owners in self.former_owners.values() for _, owner in owners)
        if self._known(person) or person.separations or left or self.quarantined & person.members.keys():
            return False
        del self.people[name]
        self.expired |= dict.fromkeys(person.members, _mark(name))
        self.alias = {one: onward for one, onward in self.alias.items() if self.follow(one) != name}
        return True

    def release(self, one: bytes) -> bool:
        """End the quarantine of an identifier; False when it was not quarantined."""
        if one not in self.quarantined:
            return False
        self.quarantined.remove(one)
        self.refusals.pop(one, None)
        return True


def _mark(name: str) -> bytes:
    return b"x" + bytes.fromhex(name.replace("-", ""))[:7]


def _derived(seed: bytes) -> str:
    return uuid_text(sha1(seed, usedforsecurity=False).digest()[:16])
