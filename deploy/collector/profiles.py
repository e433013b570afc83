"""Answers `GET /v1/profiles/<type>:<value>`: a person's live profile for the site, the till and the call centre.

Only a server's key reads, and only the parts that `reads` of its source names. The identifier is in the address, so a
proxy before the collector should not log it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, get_args

from aiohttp import web

from deploy.collector.authentication import Authenticator, Sender
from deploy.collector.refusal import RefusedError, json_answer
from deploy.collector.tally import Tally
from deploy.operations.definition_files import identity_policy
from deploy.operations.person_lookup import identifier
from deploy.settings import Settings
from processors.identity.claims import all_claims
from processors.profiles.document import read_profile
from processors.profiles.fold import read_state
from processors.profiles.view import view
from schemas.intake.sources import ProfileField
from schemas.profiles.document import StoredProfile

HashIdentifier = Callable[[str, str, str], list[bytes]]
"""Returns the hashes of an identifier of a type, a value and a source; none: it is malformed."""
FIELDS: frozenset[str] = frozenset(get_args(ProfileField))
_READ_WITH: Mapping[str, tuple[str, ...]] = {
    "addresses": ("soft_bounces",),
    "abandoned": ("bought", "cart", "carted", "settled"),
}
"""Sections of a profile that a part needs besides that of its name."""
_NOT_KEPT = {"Cache-Control": "no-store"}


class People(Protocol):
    """Reads profiles."""

    async def find(self, identifier_hashes: list[bytes]) -> StoredProfile | None:
        """Return the profile of an identifier; raises `RefusedError` while the store does not answer."""


class ProfileReads:
    """Answers reads of profiles.

    Args:
        authenticator: Finds the source of a key.
        people: Reads profiles.
        hash_identifier: Hashes the identifier.
        tally: Counts.
    """

    def __init__(
        self, authenticator: Authenticator, people: People, hash_identifier: HashIdentifier, tally: Tally
    ) -> None:
        self._authenticator = authenticator
        self._people = people
        self._hash = hash_identifier
        self._tally = tally

    async def read(self, http: web.Request) -> web.Response:
        """Answer with the parts of a profile that are asked for.

        Raises:
            RefusedError: The key may not read them, the identifier is none, or nobody is known by it.
        """
        sender = self._authenticator.head(http).sender
        if sender is None:
            raise RefusedError(401, "write_key", "The key is missing: send it as the user name of HTTP Basic.")
        fields = _fields(http.query.get("fields", ""), sender)
        named = identifier(http.match_info["identifier"])
        if named is None:
            raise RefusedError(400, "identifier", "Write the identifier as type:value, such as email:ann@shop.example.")
        hashes = self._hash(*named, sender.name)
        if not hashes:
            raise RefusedError(400, "identifier", f"The value is none of the type {named[0][:50]}, or a placeholder.")
        stored = await self._people.find(hashes)
        self._tally.add(sender.name, "read")
        if stored is None:
            raise RefusedError(404, "person", "Nobody is known by this identifier.")
        answer = json_answer(200, read_fields(stored, fields))
        answer.headers.update(_NOT_KEPT)
        return answer


def read_fields(stored: StoredProfile, fields: frozenset[str]) -> Mapping[str, Any]:
    """Return parts of a profile, as `throughline profile show --json` has them, and its segments by name.

    Args:
        stored: The profile.
        fields: The parts; the profile's id is always there.
    """
    document = read_profile(stored)
    found: dict[str, Any] = {"profile_id": stored.profile_id}
    if fields - {"segments"}:
        # Sections that nobody asks for are not read: that is most of the work.
        needed = {"profile_id", *fields, *(section for name in fields for section in _READ_WITH.get(name, ()))}
        part = {name: section for name, section in document.items() if name in needed}
        found |= {name: value for name, value in view(part).items() if name in fields}
    if "segments" in fields:
        found["segments"] = sorted(read_state(stored.state).get("segments", {}).get("in", {}))
    return found


def identifier_hasher(settings: Settings) -> HashIdentifier:
    """Return what hashes identifiers by the deployment's policy and secret."""
    policy, secret = identity_policy(settings), settings.identity_secret.get_secret_value().encode()

    def hashes(kind: str, value: str, source: str) -> list[bytes]:
        return [one.identifier_hash for one in all_claims(kind, value, policy, secret, source)]

    return hashes


def _fields(asked: str, sender: Sender) -> frozenset[str]:
    if sender.source.kind != "server" or not sender.source.reads:
        raise RefusedError(403, "reads", f"The source {sender.name} may read no profiles: see reads in sources.yaml.")
    wanted = frozenset(filter(None, (name.strip() for name in asked.split(","))))
    if unknown := sorted(wanted - FIELDS):
        known = ", ".join(sorted(FIELDS))
        raise RefusedError(400, "fields", f"There is no field {unknown[0][:50]!r}; there are {known}.")
    if beyond := sorted(wanted - sender.source.reads):
        raise RefusedError(403, "reads", f"The source {sender.name} may not read {', '.join(beyond)}.")
    return wanted or frozenset(sender.source.reads)
