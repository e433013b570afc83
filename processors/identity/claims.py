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

import phonenumbers

from schemas.events.touchpoint import Event
from schemas.identity.policy import IdentifierRule, IdentityPolicy, Normaliser
from schemas.identity.resolution import Claim

_SEPARATOR = b"\x1f"
_MAX_EMAIL = 254  # RFC 5321, path length less the angle brackets
_EMAIL = re.compile(r"[^@\s<>,;]{1,64}@(?:[^@\s.<>,;]+\.)+[^@\s.<>,;]{2,}")
_PLUS_AND_DIGITS = re.compile(r"\+[1-9][0-9]{6,14}")


def claims(event: Event, policy: IdentityPolicy, secret: bytes) -> tuple[tuple[Claim, ...], list[dict[str, Any]]]:
    """Return the identifiers by which an event may be resolved.

    Args:
        event: The event in its canonical form.
        policy: Which identifiers count, how they are written and which is stronger.
        secret: Key of the hashes; its first 64 bytes count.

    Returns:
        The claims, strongest first, and the same identifiers in clear (`type`, `value` normalised, `verified`) for
        the event's record. Placeholders, malformed values and, where policy asks for proof, unverified ones are in
        neither. Both are empty when the event names no person. Cached: treat as read-only.
    """
    named = tuple([(one["type"], one["value"], one["verified"]) for one in event["identifiers"]])
    source = event["source"] if event["source"] in policy.namespaces else ""  # other sources share the cache
    return _claim_maker(policy, secret).claims(named, source)


def claim(identifier_type: str, value: str, policy: IdentityPolicy, secret: bytes, source: str = "") -> Claim | None:
    """Return the claim of one identifier that an operator has named.

    Args:
        identifier_type: Its type.
        value: Its value in any spelling.
        policy: How it is written.
        secret: Key of the hashes.
        source: The producer that uses it, where policy gives that producer a name space of its own.

    Returns:
        The claim; None when the value is malformed or a placeholder.
    """
    name = _claim_maker(policy, secret).name(identifier_type, value, source)
    return None if name is None else name.claim


class _NormalisedIdentifier(NamedTuple):
    """One normalised identifier; sorts by strength, by the fields before `claim`.

    Attributes:
        priority: Place of the type in the policy's order, 0 the strongest.
        counted_type: The type by which the identifier counts: its own, or the one it is the `same_as`.
        value: The normalised value.
        type: The identifier type that the event names.
        claim: The claim made of it.
    """

    priority: int
    counted_type: str
    value: str
    type: str
    claim: Claim


class _ClaimMaker:
    """Normalises and hashes identifiers by one policy. The results are cached, since people come back.

    Attributes:
        name: One identifier by type, value and source; the last 50,000 take about 20 MB.
        claims: All identifiers (type, value, verified) of an event by a source, as `claims`; 20,000, another 20 MB.
    """

    def __init__(self, policy: IdentityPolicy, secret: bytes) -> None:
        self._policy = policy
        self._secret = secret
        self.name = lru_cache(maxsize=50_000)(self._name)
        self.claims = lru_cache(maxsize=20_000)(self._claims)

    def _name(self, identifier_type: str, value: str, source: str) -> _NormalisedIdentifier | None:
        policy = self._policy
        rule = policy.rule(identifier_type)
        normal = _normalised(identifier_type, value, rule, policy, source)
        if normal is None:
            return None
        counted_type = rule.same_as or identifier_type
        claim = Claim(counted_type, hash_identifier(counted_type, normal, self._secret))
        return _NormalisedIdentifier(policy.priority(counted_type), counted_type, normal, identifier_type, claim)

    def _claims(
        self, identifiers: tuple[tuple[str, str, bool], ...], source: str
    ) -> tuple[tuple[Claim, ...], list[dict[str, Any]]]:
        named: dict[_NormalisedIdentifier, bool] = {}
        for identifier_type, value, verified in identifiers:
            if verified or not self._policy.rule(identifier_type).verified_only:
                name = self.name(identifier_type, value, source)
                if name is not None:
                    named[name] = verified or named.get(name, False)
        names = sorted(named)
        clear = [{"type": name.type, "value": name.value, "verified": named[name]} for name in names]
        if len(names) < 2:
            return tuple(name.claim for name in names), clear
        return tuple({name.claim.identifier_hash: name.claim for name in reversed(names)}.values())[::-1], clear


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


def event_key(event_id: str) -> bytes:
    """Hash an event's id to the 16 bytes by which duplicates are found."""
    return blake2b(event_id.encode(), digest_size=16).digest()


def origin_key(topic: str, partition: int, offset: int) -> bytes:
    """Return 8 bytes of a record's place, which distinguish our own redelivery from a producer's duplicate.

    Half is a hash of the partition, half the end of the offset: two records of a partition share it after 2^32.
    """
    return _partition_key(topic, partition) + (offset & 0xFFFFFFFF).to_bytes(4, "big")


@lru_cache(maxsize=4096)
def _partition_key(topic: str, partition: int) -> bytes:
    return blake2b(b"%s/%d" % (topic.encode(), partition), digest_size=4).digest()


def candidate_profile(event_id: str, secret: bytes) -> bytes:
    """Return the 16 bytes of the id for a new profile that this event begins; a replay gives the same."""
    hasher = _keyed(secret, b"profile").copy()
    hasher.update(event_id.encode())
    return bytes(hasher.digest())


@lru_cache(maxsize=8)
def _keyed(secret: bytes, person: bytes = b"") -> Any:
    return blake2b(digest_size=16, key=_key(secret), person=person)


def _key(secret: bytes) -> bytes:
    if not secret:
        raise ValueError("the identity secret is empty: set THROUGHLINE_IDENTITY_SECRET")
    return secret[:64]  # BLAKE2b's longest key


def _normalised(
    identifier_type: str, value: str, rule: IdentifierRule, policy: IdentityPolicy, source: str
) -> str | None:
    if policy.blocks(rule, value):
        return None
    normal = _NORMALISERS[rule.normalise](value, policy.default_region)
    prefixes = policy.namespaces.get(source)
    return prefixes.get(identifier_type, "") + normal if normal and prefixes else normal


def _opaque(value: str, _region: str) -> str | None:
    return value.strip() or None


def _email(value: str, _region: str) -> str | None:
    # No more than this: what a dot or a plus sign before the @ means depends on the mailbox provider.
    address = value.strip().lower()
    if not address.isascii():
        address = unicodedata.normalize("NFC", address)
    return address if len(address) <= _MAX_EMAIL and _EMAIL.fullmatch(address) else None


@lru_cache(maxsize=65_536)
def _phone(value: str, region: str) -> str | None:
    written = value.strip()
    if _PLUS_AND_DIGITS.fullmatch(written) and _is_plain_e164(written):
        return written
    # 00 is dialled before a country code nearly everywhere; where it is not, no number begins with it.
    return _possible(written, region) or (_possible("+" + written[2:], region) if written[:2] == "00" else None)


def _possible(written: str, region: str) -> str | None:
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return None
    # An extension belongs to a switchboard that many share. "Possible" (its length) rather than "valid" (an assigned
    # range), because ranges change with every release of the library and a person's identifier hash must not.
    possible = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    if number.extension or not number.national_number or not possible:
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _is_plain_e164(written: str) -> bool:
    """Return whether the library would return `written` unchanged; calling it takes 25 µs."""
    for length in (1, 2, 3):
        country = _country(int(written[1 : 1 + length]))
        if country is not None:
            lengths, prefix = country
            national = written[1 + length :]
            return len(national) in lengths and national[0] != "0" and prefix.match(national) is None
    return False


@lru_cache(maxsize=1024)
def _country(calling_code: int) -> tuple[frozenset[int], re.Pattern[str]] | None:
    """Return the lengths and the national prefix of a country's numbers; None: no country has this calling code."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(calling_code)
    if not regions:
        return None
    metadata: Any = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(calling_code, regions[0])
    return frozenset(metadata.general_desc.possible_length), re.compile(metadata.national_prefix_for_parsing or r"(?!)")


def _whatsapp(value: str, region: str) -> str | None:
    # wa_id: a country code and digits. Gateways write `whatsapp:+44…` and `44…@s.whatsapp.net`.
    written = value.strip().removeprefix("whatsapp:").partition("@")[0].strip()
    international = _phone("+" + written, region) if written.isdigit() and not written.startswith("0") else None
    return international or _phone(written, region)


_NORMALISERS: dict[Normaliser, Callable[[str, str], str | None]] = {
    "opaque": _opaque,
    "email": _email,
    "phone": _phone,
    "whatsapp": _whatsapp,
}
