"""Finds the live profile that somebody names: by its id, by `TYPE:VALUE`, or by a value of any type."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.operations.deployment import Deployment
    from deploy.operations.erasure import ErasureRequest
    from schemas.identity.policy import IdentityPolicy
    from schemas.identity.resolution import ErasedPerson
    from sinks.redis.identity import RedisIdentityStore
    from sinks.redis.profiles import RedisProfileStore

PROFILE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TYPED = re.compile(r"([a-z][a-z0-9_.]*):(.+)", re.DOTALL)


def identifier(text: str) -> tuple[str, str] | None:
    """Read `TYPE:VALUE` as (type, value); None when the text has another form."""
    found = _TYPED.fullmatch(text)
    return (found[1], found[2]) if found else None


class PersonStores(Protocol):
    """What holds people: `deploy.operations.deployment.Deployment`, or a part of it."""

    @property
    def identities(self) -> RedisIdentityStore:
        """Identifiers and the profile that each belongs to."""

    @property
    def profiles(self) -> RedisProfileStore:
        """The live profiles."""

    @property
    def policy(self) -> IdentityPolicy:
        """The effective identity policy."""

    @property
    def secret(self) -> bytes:
        """Key of the identifier hashes."""


class UnknownPersonError(Exception):
    """A text names no live profile, or several; the message says which.

    Attributes:
        erased: It named a person who was erased.
    """

    def __init__(self, message: str, *, erased: bool = False) -> None:
        super().__init__(message)
        self.erased = erased


class FoundPerson(NamedTuple):
    """The profile that a text names.

    Attributes:
        profile_id: The live profile.
        identifier: The identifier (type, value) that named it; None when the text is a profile id.
    """

    profile_id: str
    identifier: tuple[str, str] | None


async def find_person(stores: PersonStores, who: str, source: str = "") -> FoundPerson:
    """Find the live profile that a text names: a profile id, `TYPE:VALUE`, or a value of any type.

    Raises:
        UnknownPersonError: It names no live profile, or several.
    """
    from processors.identity.claims import all_claims

    if PROFILE_ID.fullmatch(who.lower()):
        live = await stores.identities.follow(who.lower())
        if live is None:
            raise UnknownPersonError(f"{who}: this person was erased", erased=True)
        stored = await stores.profiles.get(live)
        if (stored and stored.document) or await stores.identities.members(live):
            return FoundPerson(live, None)
    named = identifier(who)
    found: dict[str, tuple[str, str]] = {}
    for kind, value in _candidates(who, stores.policy):
        made = all_claims(kind, value, stores.policy, stores.secret, source)
        owners = [owner for one in made if (owner := await stores.identities.owner(one.identifier_hash))]
        if owners:
            found.setdefault(owners[0], (kind, value))
            if named and kind == named[0]:
                break
    if not found:
        advice = "" if named else f": write the type before the value, such as email:{who}"
        raise UnknownPersonError(f"no person is known by {who}{advice}")
    if len(found) > 1:
        names = ", ".join(f"{kind}:{value}" for kind, value in found.values())
        raise UnknownPersonError(f"{who} is {len(found)} people; say which: {names}")
    return FoundPerson(*next(iter(found.items())))


async def find_person_or_erasure(deployment: Deployment, who: str, source: str = "") -> FoundPerson:
    """Find a person as `find_person`, and say of someone who is not there any more when they were erased.

    Raises:
        UnknownPersonError: It names no live profile, or several.
    """
    from deploy.operations.erasure import earlier_erasure
    from processors.identity.claims import all_claims
    from schemas.time import text_of_ms

    try:
        return await find_person(deployment, who, source)
    except UnknownPersonError as unknown:
        if PROFILE_ID.fullmatch(who.lower()):
            erased = await asyncio.to_thread(earlier_erasure, deployment, profile_id=who.lower())
        else:
            anchors = [
                made.anchor
                for kind, value in _candidates(who, deployment.policy)
                for made in all_claims(kind, value, deployment.policy, deployment.secret, source)
            ]
            erased = await asyncio.to_thread(_first_erasure, deployment, anchors)
        if erased is None:
            raise
        at = text_of_ms(erased.at_ms)
        raise UnknownPersonError(f"{who}: this person was erased, with all events up to {at}", erased=True) from unknown


async def find_erasure_request(deployment: Deployment, who: str, source: str = "") -> ErasureRequest:
    """Find the person to erase, an anonymous one who has expired, or an earlier erasure that is to be completed.

    Raises:
        UnknownPersonError: It names no live profile, or several, and nobody who was erased or has expired.
    """
    from deploy.operations.erasure import ErasureRequest, former_owners, last_end, person_of_end
    from processors.identity.claims import all_claims

    try:
        found = await find_person(deployment, who, source)
        return ErasureRequest(found.profile_id, identifier=found.identifier)
    except UnknownPersonError:
        written, ended = None, None
        if PROFILE_ID.fullmatch(who.lower()):
            ended = await asyncio.to_thread(last_end, deployment, who.lower())
        elif written := identifier(who):
            hashes = [one.identifier_hash for one in all_claims(*written, deployment.policy, deployment.secret, source)]
            ends = (await asyncio.to_thread(former_owners, deployment, hashes)).ends
            ended = await asyncio.to_thread(person_of_end, deployment, ends[-1]) if ends else None
        if ended is None:
            raise
        return ErasureRequest(ended.profile_id, ended, written)


def _first_erasure(deployment: Deployment, anchors: Iterable[str]) -> ErasedPerson | None:
    """Return the earlier erasure that the first of these anchors with one has; None: there is none."""
    from deploy.operations.erasure import earlier_erasure

    return next((one for anchor in anchors if (one := earlier_erasure(deployment, anchor=anchor))), None)


def _candidates(who: str, policy: IdentityPolicy) -> list[tuple[str, str]]:
    """Return the identifiers, type and value, that a text may be."""
    from schemas.identity.policy import OTHER_TYPES

    candidates = [(rule.type, who) for rule in policy.types if rule.type != OTHER_TYPES]
    if named := identifier(who):
        # TYPE:VALUE first; a bare value may contain a colon, so the other types are tried too.
        candidates.insert(0, named)
    return candidates
