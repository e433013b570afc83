"""Resolves the WHO argument of a command to a live profile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from deploy.cli.arguments import identifier

if TYPE_CHECKING:
    from deploy.cli.stores import Stores
    from deploy.operations.deployment import Deployment

PROFILE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class UnknownPersonError(Exception):
    """A WHO argument names no live profile, or several; the message says which.

    Attributes:
        erased: It named a person who was erased.
    """

    def __init__(self, message: str, *, erased: bool = False) -> None:
        super().__init__(message)
        self.erased = erased


class FoundPerson(NamedTuple):
    """The profile that a WHO argument names.

    Attributes:
        profile_id: The live profile.
        identifier: The identifier (type, value) that named it; None when WHO is a profile id.
    """

    profile_id: str
    identifier: tuple[str, str] | None


async def find_person(stores: Stores | Deployment, who: str, source: str = "") -> FoundPerson:
    """Find the live profile that a WHO argument names: a profile id, `TYPE:VALUE`, or a value of any type.

    Raises:
        UnknownPersonError: It names no live profile, or several.
    """
    from processors.identity.claims import all_claims
    from schemas.identity.policy import OTHER_TYPES

    if PROFILE_ID.fullmatch(who.lower()):
        live = await stores.identities.follow(who.lower())
        if live is None:
            raise UnknownPersonError(f"{who}: this person was erased", erased=True)
        stored = await stores.profiles.get(live)
        if (stored and stored.document) or await stores.identities.members(live):
            return FoundPerson(live, None)
    candidates = [(rule.type, who) for rule in stores.policy.types if rule.type != OTHER_TYPES]
    if named := identifier(who):
        # TYPE:VALUE first; a bare value may contain a colon, so the other types are tried too.
        candidates.insert(0, named)
    found: dict[str, tuple[str, str]] = {}
    for kind, value in candidates:
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
