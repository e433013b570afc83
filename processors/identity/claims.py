"""Makes claims of an event's identifiers: normalises, removes placeholders, sorts by strength, hashes with a key.

Only the event's `identifiers` become claims. An e-mail address or phone number among the traits does not: otherwise a
person who types another's address into a form would take over that profile.

Invariants: the same identifier in any spelling gives the same identifier hash; no hash can be turned back without the
secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from processors.identity.phones import (
    NO_REGION,
    Regions,
    compared_phone,
    former_phone,
    guessed_regions,
    is_national,
    read_phone,
    read_whatsapp,
)
from schemas.events.touchpoint import Event
from schemas.identity.policy import IdentifierRule, IdentityPolicy, Normaliser
from schemas.identity.resolution import HASHED_IDENTIFIER, OWN_SOURCE, Claim, read_hashed_identifier

_SEPARATOR = b"\x1f"
_MAX_EMAIL = 254  # RFC 5321, path length less the angle brackets
_EMAIL = re.compile(r"[^@\s<>,;]{1,64}@(?:[^@\s.<>,;]+\.)+[^@\s.<>,;]{2,}")


def claims(event: Event, policy: IdentityPolicy, secret: bytes) -> tuple[tuple[Claim, ...], list[dict[str, Any]]]:
    """Return the identifiers by which an event may be resolved.

    Args:
        event: The event in its canonical form.
        policy: Which identifiers count, how they are written and which is stronger.
        secret: Key of the hashes; its first 64 bytes count.

    Returns:
        The claims, strongest first, and the same identifiers in clear (`type`, `value` normalised, `verified`) for
        the event's record. Placeholders, malformed values and, where policy asks for proof, unverified ones are in
        neither; an identifier that an event of our own names by its hash is a claim alone. Both are empty when the
        event names no person. Cached: treat as read-only.
    """
    named = tuple([(one["type"], one["value"], one["verified"]) for one in event["identifiers"]])
    source = event["source"]
    if source != OWN_SOURCE and source not in policy.sources:
        source = ""  # they share the cache
    maker = _claim_maker(policy, secret)
    found = maker.claims(named, source)
    if found is None:  # an event in some hundreds: a telephone number without a country code
        found = maker.claims(named, source, guessed_regions(event, policy))
    return found or ((), [])


def keep_unknown_phone(event: Event, policy: IdentityPolicy) -> None:
    """Keep an event's national telephone number whose country is not known as the trait `phone`, if it has none.

    It joins nobody and is no address, but it is what the person wrote.

    Args:
        event: The event in its canonical form, with all its identifiers.
        policy: Which identifiers count.
    """
    for one in event["identifiers"]:
        rule, value = policy.rule(one["type"]), one["value"]
        if rule.normalise == "phone" and is_national(value) and not policy.blocks(rule, value):
            guessed = guessed_regions(event, policy)
            if read_phone(value, guessed._replace(stated=policy.regions.get(event["source"], ""))) is None:
                event.setdefault("traits", {}).setdefault("phone", value)


def claim(identifier_type: str, value: str, policy: IdentityPolicy, secret: bytes, source: str = "") -> Claim | None:
    """Return the claim of one identifier that an operator has named.

    Args:
        identifier_type: Its type.
        value: Its value in any spelling.
        policy: How it is written.
        secret: Key of the hashes.
        source: The producer that uses it, where policy gives that producer a name space or a region of its own.

    Returns:
        The claim; None when the value is malformed or a placeholder.
    """
    return next(iter(all_claims(identifier_type, value, policy, secret, source)), None)


def all_claims(
    identifier_type: str, value: str, policy: IdentityPolicy, secret: bytes, source: str = ""
) -> tuple[Claim, ...]:
    """Make the claims under which one identifier may be stored: `claim`, then the one that earlier releases made.

    Arguments and errors are those of `claim`. Most identifiers have one.
    """
    name = _claim_maker(policy, secret).name(identifier_type, value, source, Regions(guessed=(policy.default_region,)))
    return () if name is None else name.claims


class _NormalisedIdentifier(NamedTuple):
    """One normalised identifier; sorts by strength, by the fields before `claims`.

    Attributes:
        priority: Place of the type in the policy's order, 0 the strongest.
        counted_type: The type by which the identifier counts: its own, or the one it is the `same_as`.
        value: The normalised value.
        type: The identifier type that the event names.
        claims: The claim made of it; then, where earlier releases compared it in another form, the claim of theirs.
    """

    priority: int
    counted_type: str
    value: str
    type: str
    claims: tuple[Claim, ...]


class _ClaimMaker:
    """Normalises and hashes identifiers by one policy. The results are cached, since people come back.

    Attributes:
        name: One identifier by type, value, source and guessed regions; the last 50,000 take about 20 MB.
        claims: All identifiers (type, value, verified) of an event by a source, as `claims`; 20,000, another 20 MB.
            None: a national telephone number is among them, so that the guessed regions are needed.
    """

    def __init__(self, policy: IdentityPolicy, secret: bytes) -> None:
        self._policy = policy
        self._secret = secret
        self.name = lru_cache(maxsize=50_000)(self._name)
        self.claims = lru_cache(maxsize=20_000)(self._claims)

    def _name(self, identifier_type: str, value: str, source: str, guessed: Regions) -> _NormalisedIdentifier | None:
        policy = self._policy
        rule = policy.rule(identifier_type)
        if identifier_type == HASHED_IDENTIFIER:
            return self._hashed(value)
        if policy.blocks(rule, value):
            return None
        stated = policy.regions.get(source, "")
        normal = _NORMALISERS[rule.normalise](value, guessed._replace(stated=stated) if stated else guessed)
        if not normal:
            return None
        counted_type = rule.same_as or identifier_type
        prefix = policy.namespaces[source].get(identifier_type, "") if source in policy.namespaces else ""
        found = [
            Claim(counted_type, hash_identifier(counted_type, prefix + form, self._secret))
            for form in _forms(normal, rule)
        ]
        return _NormalisedIdentifier(
            policy.priority(counted_type), counted_type, prefix + normal, identifier_type, tuple(found)
        )

    def _hashed(self, value: str) -> _NormalisedIdentifier | None:
        hashed = read_hashed_identifier(value)
        if hashed is None:
            return None
        counted_type = hashed.claim.type
        priority = self._policy.priority(counted_type)
        return _NormalisedIdentifier(priority, counted_type, value, HASHED_IDENTIFIER, (hashed.claim,))

    def _claims(
        self, identifiers: tuple[tuple[str, str, bool], ...], source: str, guessed: Regions | None = None
    ) -> tuple[tuple[Claim, ...], list[dict[str, Any]]] | None:
        named: dict[_NormalisedIdentifier, bool] = {}
        for identifier_type, value, verified in identifiers:
            rule = self._policy.rule(identifier_type)
            if identifier_type == HASHED_IDENTIFIER and source != OWN_SOURCE:
                continue
            if verified or not rule.verified_only:
                telephone = rule.normalise in _TELEPHONES
                name = self.name(identifier_type, value, source, (guessed or NO_REGION) if telephone else NO_REGION)
                if name is not None:
                    named[name] = verified or named.get(name, False)
                elif telephone and guessed is None and source not in self._policy.regions:
                    return None
        names = sorted(named)
        clear = [
            {"type": name.type, "value": name.value, "verified": named[name]}
            for name in names
            if name.type != HASHED_IDENTIFIER
        ]
        return tuple(dict.fromkeys([one for name in names for one in name.claims])), clear


def _forms(normal: str, rule: IdentifierRule) -> tuple[str, ...]:
    """Return the form by which an identifier is compared, and the one of earlier releases where it differs.

    An identifier that was stored by its former form is still its owner's, and an erased one still erased: an event
    claims both, and so joins them.
    """
    compare = _COMPARED.get(rule.normalise)
    if compare is None:
        return (normal,)
    former = former_phone(normal) if rule.normalise in _TELEPHONES else None
    return (compare(normal),) if former is None else (compare(normal), former)


_claim_makers: dict[tuple[int, bytes], tuple[IdentityPolicy, _ClaimMaker]] = {}


def _claim_maker(policy: IdentityPolicy, secret: bytes) -> _ClaimMaker:
    known = _claim_makers.get((id(policy), secret))  # the policy is stored too, so that no other object gets its id()
    if known is not None:
        return known[1]
    if len(_claim_makers) >= 8:
        _claim_makers.clear()
    maker = _ClaimMaker(policy, secret)
    _claim_makers[id(policy), secret] = policy, maker
    return maker


def hash_identifier(identifier_type: str, value: str, secret: bytes) -> bytes:
    """Hash a normalised identifier: 16 bytes, keyed BLAKE2b of type, 0x1f and value."""
    hasher = _keyed(secret).copy()
    hasher.update(identifier_type.encode() + _SEPARATOR + value.encode())
    return bytes(hasher.digest())


def event_key(source: str, event_id: str) -> bytes:
    """Return the 16 bytes by which duplicates of an event are found: 12 of its id, then 4 of its source.

    The first 12 are those of releases that knew an event by its id alone (`sinks/redis/deduplication.py`).
    """
    return blake2b(event_id.encode(), digest_size=16).digest()[:12] + _source_key(source)


@lru_cache(maxsize=4096)
def _source_key(source: str) -> bytes:
    return blake2b(source.encode(), digest_size=4).digest()


def content_key(event: Event) -> bytes:
    """Return 4 bytes of what an event is: its name and its order.

    A second delivery has the same. Times and context are not in it: an SDK that sends a call again corrects its clock
    anew and may have upgraded. A producer that gives one id to two different events has another one.
    """
    properties = event.get("properties")
    order_id = properties.get("order_id", "") if properties else ""
    return _content_key(event["event"], order_id if type(order_id) is str else "")


@lru_cache(maxsize=4096)
def _content_key(name: str, order_id: str) -> bytes:
    return blake2b(f"{name}\x1f{order_id}".encode(), digest_size=4).digest()


def origin_key(topic: str, partition: int, offset: int) -> bytes:
    """Return 8 bytes of a record's place, which distinguish our own redelivery from a producer's duplicate.

    Half is a hash of the partition, half the end of the offset: two records of a partition share it after 2^32.
    """
    return _partition_key(topic, partition) + (offset & 0xFFFFFFFF).to_bytes(4, "big")


@lru_cache(maxsize=4096)
def _partition_key(topic: str, partition: int) -> bytes:
    return blake2b(b"%s/%d" % (topic.encode(), partition), digest_size=4).digest()


def candidate_profile(source: str, event_id: str, secret: bytes) -> bytes:
    """Return the 16 bytes of the id for a new profile that this event begins; a replay gives the same."""
    hasher = _keyed(secret, b"profile").copy()
    hasher.update(source.encode() + _SEPARATOR + event_id.encode())
    return bytes(hasher.digest())


@lru_cache(maxsize=8)
def _keyed(secret: bytes, person: bytes = b"") -> Any:
    return blake2b(digest_size=16, key=_key(secret), person=person)


def _key(secret: bytes) -> bytes:
    if not secret:
        raise ValueError("the identity secret is empty: set THROUGHLINE_IDENTITY_SECRET")
    return secret[:64]  # BLAKE2b's longest key


def _opaque(value: str, _: Regions) -> str | None:
    return value.strip() or None


def _composed(value: str) -> str:
    # A Mac writes é as two characters. NFC joins what looks the same and is the same; NFKC would join different ids.
    return value if value.isascii() else unicodedata.normalize("NFC", value)


def _email(value: str, _: Regions) -> str | None:
    # No more than this: what a dot or a plus sign before the @ means depends on the mailbox provider.
    address = value.strip().lower()
    if not address.isascii():
        address = unicodedata.normalize("NFC", address)
    return address if len(address) <= _MAX_EMAIL and _EMAIL.fullmatch(address) else None


_NORMALISERS: dict[Normaliser, Callable[[str, Regions], str | None]] = {
    "opaque": _opaque,
    "email_if_address": _opaque,
    "email": _email,
    "phone": read_phone,
    "whatsapp": read_whatsapp,
}
_COMPARED: dict[Normaliser, Callable[[str], str]] = {
    "opaque": _composed,
    "email_if_address": lambda value: _email(value, Regions()) or _composed(value),
    "phone": compared_phone,
    "whatsapp": compared_phone,
}
"""How an identifier is compared, where that differs from the normal form, which is kept for sending and look-ups."""
_TELEPHONES: frozenset[Normaliser] = frozenset(("phone", "whatsapp"))
