"""Shapes of identity: claims, resolutions, changes.

Those that are made for every event are named tuples: a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple

from schemas.durations import DAY_MS

DUPLICATES_FOUND_MS = 7 * DAY_MS
"""For how long at least the identity store finds a duplicate, in milliseconds."""


class Claim(NamedTuple):
    """One identifier of an event after normalisation: its type and the keyed hash of its value, never the value.

    Attributes:
        type: The identifier type, such as `email`.
        identifier_hash: 16 bytes, keyed BLAKE2b of type and normalised value.
    """

    type: str
    identifier_hash: bytes

    @property
    def anchor(self) -> str:
        """The identifier hash as other systems see it: a UUID's text."""
        return uuid_text(self.identifier_hash)


OWN_SOURCE = "throughline"
"""The source of our own events: of receipts, coupons and links."""
HASHED_IDENTIFIER = "identifier_hash"
"""The identifier type by which our own links name a person: by the hash of an identifier, not by the identifier. In an
event of any other source it is none: whoever has a message can read the hash in its links."""


class HashedIdentifier(NamedTuple):
    """An identifier that is named by its hash.

    Attributes:
        claim: The identifier's type and hash.
        known_s: The person had it at this time, seconds since 1970: who was erased since stays erased.
    """

    claim: Claim
    known_s: int


def hashed_identifier(identifier_type: str, identifier_hash: bytes, known_s: int) -> str:
    """Write the value of an identifier of the type `HASHED_IDENTIFIER`."""
    return f"{identifier_type}:{identifier_hash.hex()}:{known_s}"


def read_hashed_identifier(value: str) -> HashedIdentifier | None:
    """Read the value of an identifier of the type `HASHED_IDENTIFIER`; None: it is none."""
    identifier_type, _, rest = value.partition(":")
    digits, _, known_s = rest.partition(":")
    if not (identifier_type and len(digits) == 32 and known_s.isascii() and known_s.isdecimal() and len(known_s) < 12):
        return None
    try:
        return HashedIdentifier(Claim(identifier_type, bytes.fromhex(digits)), int(known_s))
    except ValueError:
        return None


class ResolveRequest(NamedTuple):
    """The request to the identity store for one event.

    Attributes:
        event_id: The producer's id of the event.
        event_key: 16 bytes, hash of source and `event_id`: the key for de-duplication.
        origin: 8 bytes that name topic, partition and offset. The same origin again is a redelivery of ours;
            another origin with the same key is a producer's duplicate.
        received_ms: Broker time of the record, milliseconds since 1970.
        occurred_ms: Time of the event, milliseconds since 1970.
        claims: Identifiers, strongest first, without repeats. Empty: the event is about no person.
        candidate: 16 bytes, the profile id to mint if none of the claims is known: derived from source and `event_id`,
            so that a replay mints the same.
        signed_out: The event says that the person signed out on the devices that it names.
        content: 4 bytes, hash of what the event is; a duplicate with another one is a conflict. Zeros: not known.
    """

    event_id: str
    event_key: bytes
    origin: bytes
    received_ms: int
    occurred_ms: int
    claims: tuple[Claim, ...]
    candidate: bytes
    signed_out: bool = False
    content: bytes = bytes(4)


class Merge(NamedTuple):
    """Profile `loser` became part of profile `winner`."""

    winner: str
    loser: str


class Refusal(NamedTuple):
    """A link that policy did not allow.

    Attributes:
        type: The refused identifier's type.
        anchor: Its keyed hash as a UUID's text.
        rule: `limit`; `cap`; `separated`, by an unmerge; `shared`: a shared device and a person;
            `quarantined`.
    """

    type: str
    anchor: str
    rule: str


class Resolution(NamedTuple):
    """The answer for one event.

    Attributes:
        event_id: The producer's id of the event.
        profile_id: The person now; None when the event claims no usable identifier.
        anchor: The strongest identifier by which the event was resolved, as a UUID's text; None with `profile_id`.
        duplicate: True when another delivery of this event was accepted before; the event must not go on.
        merged: Merges that this event caused, in order.
        refused: Links that policy did not allow.
        suppressed: True when the event is of a person who was erased since: nothing of it may be stored.
        version: All changes of identity up to this version are in the answer, and none above; 0 without a profile.
        conflict: True for a duplicate that is another event than the accepted one: one source uses an id twice.
    """

    event_id: str
    profile_id: str | None
    anchor: str | None
    duplicate: bool = False
    merged: tuple[Merge, ...] = ()
    refused: tuple[Refusal, ...] = ()
    suppressed: bool = False
    version: int = 0
    conflict: bool = False


TypedAnchor = tuple[str, str]
"""An identifier as other systems see it: anchor (a UUID's text) and type."""


class SplitPreview(NamedTuple):
    """The effect that a split would have.

    Attributes:
        source: The profile that has the identifiers.
        moved: The identifiers that would leave, sorted.
        stayed: Those that would stay, sorted.
        moved_counts: How many of each type would leave.
        stayed_counts: How many of each type would stay.
    """

    source: str
    moved: tuple[TypedAnchor, ...]
    stayed: tuple[TypedAnchor, ...]
    moved_counts: dict[str, int]
    stayed_counts: dict[str, int]


class Split(NamedTuple):
    """Some identifiers of `source` are now the profile `target`; the two stay separated.

    Attributes:
        source: The profile that had them.
        target: The new profile that has them.
        moved: The identifiers that left, sorted.
        stayed: Those that stayed, sorted.
        version: Of the log entry.
    """

    source: str
    target: str
    moved: tuple[TypedAnchor, ...]
    stayed: tuple[TypedAnchor, ...]
    version: int


class ErasedPerson(NamedTuple):
    """An erased person.

    Attributes:
        profile_id: The profile that was erased.
        former_ids: The profiles that had been merged into it, sorted.
        anchors: The identifiers that it had, sorted.
        at_ms: Events up to this time, milliseconds since 1970, that name one of them are suppressed.
        version: Of the log entry.
    """

    profile_id: str
    former_ids: tuple[str, ...]
    anchors: tuple[TypedAnchor, ...]
    at_ms: int
    version: int


ChangeKind = Literal["bind", "merge", "split", "transfer", "erase", "refuse", "release", "expire"]


class IdentityChange(NamedTuple):
    """The value of a record of `identity-changes`, field by field as its JSON says it.

    Merges and splits move the past of the anchors that they list; nothing else does. A transfer lists the new anchor
    that the identifier has from then on, so its past stays with the old one.

    Attributes:
        version: Strictly increasing over all changes of a name space; microseconds since 1970 or more.
        kind: What happened.
        profile_id: The profile after the change (a merge: the winner). Empty where no profile has the identifier: it
            had to leave a full profile (the anchor is then the one that it had), or was quarantined without an owner.
        from_profile_id: The profile before the change (a merge: the loser), else empty.
        anchors: The identifiers concerned as (UUID's text, type): a merge lists all that moved.
        event_id: The evidence: the event that caused it; of a split the name of the operation, of an erasure empty.
        occurred_at: Time of that event, RFC 3339 in UTC with milliseconds.
        rule: Why. A bind: `new`, `attach`; a merge: `shared_identifier`; a transfer: `last_login`,
            `new_anonymous`, `sign_out`, `oldest` (it made room), `quarantined` (what had joined it
            is no device); a refusal: as `Refusal.rule`; a release from quarantine: `request`; an erasure:
            `request`, before it `merged` for each profile that had been merged into the person; an anonymous profile
            that expired: `retention`.
    """

    version: int
    kind: ChangeKind
    profile_id: str
    from_profile_id: str = ""
    anchors: tuple[tuple[str, str], ...] = ()
    event_id: str = ""
    occurred_at: str = ""
    rule: str = ""


NIL_UUID = "00000000-0000-0000-0000-000000000000"
"""No person, in columns of ClickHouse that hold a profile id or an anchor."""


@lru_cache(maxsize=65_536)  # people and their identifiers come back; about 16 MB
def uuid_text(raw: bytes) -> str:
    """Write 16 bytes as a UUID's text, faster than `uuid.UUID`."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def uuid_bytes(text: str) -> bytes:
    """Return the 16 bytes of a UUID's text."""
    return bytes.fromhex(text.replace("-", ""))


def uuid_of(*parts: str) -> str:
    """Return the UUID of some texts, by their hash: the id of a record that a replay repeats."""
    return uuid_text(blake2b("\0".join(parts).encode(), digest_size=16).digest())
