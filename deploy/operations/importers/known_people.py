"""Says what an import would do to people: make new ones, change known ones, or join several into one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from processors.identity.claims import claims
from schemas.events.touchpoint import Event
from schemas.identity.policy import IdentityPolicy

Outcome = Literal["new", "changed", "merged", "impersonal"]
Owners = Callable[[Sequence[bytes]], Awaitable[Sequence[str | None]]]
"""Takes identifier hashes; returns the profile that owns each, or None."""


class KnownPeople:
    """Compares the events of a file with the people who are known, and with those of earlier rows.

    Args:
        owners: Reads the identity store.
        policy: Which identifiers count.
        secret: Key of the identifier hashes.
    """

    def __init__(self, owners: Owners, policy: IdentityPolicy, secret: bytes) -> None:
        self._owners, self._policy, self._secret = owners, policy, secret
        self._in_file: set[int] = set()  # the first 64 bits of hashes: a million identifiers take some 60 MB

    async def compare(self, events: Sequence[Event]) -> list[Outcome]:
        """Return what each event would do, in order."""
        hashes = [[one.identifier_hash for one in claims(event, self._policy, self._secret)[0]] for event in events]
        flat = list(dict.fromkeys(one for found in hashes for one in found))
        owners = dict(zip(flat, await self._owners(flat) if flat else (), strict=True))
        return [self._outcome(found, {owner for one in found if (owner := owners[one])}) for found in hashes]

    def _outcome(self, hashes: Sequence[bytes], owners: set[str]) -> Outcome:
        if not hashes:
            return "impersonal"
        short = [int.from_bytes(one[:8], "big") for one in hashes]
        repeated = not self._in_file.isdisjoint(short)
        self._in_file.update(short)
        if len(owners) > 1:
            return "merged"
        return "changed" if owners or repeated else "new"
