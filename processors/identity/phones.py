"""Telephone numbers: how they are read, and which spellings are one number.

A number that comes with its country code means one telephone wherever it is written; for it a possible length is
enough, because the ranges that countries assign change with every release of the library, and a person's identifier
hash must not. A national number means something in one country only, so all depends on how that country is known:

- The operator names it for the source (`regions` of the identity policy): a possible length is enough.
- It is taken from the event, or it is the default region of a market or of all: a guess. The number counts only if it
  is valid there, which is an assigned range of the right length. Otherwise it joins nobody: digits that are merely
  possible in a guessed country belong to a stranger.

Invariant: what `read_phone` returns is read again, in any region, as itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import phonenumbers

from processors.identity.countries import region_of
from schemas.identity.policy import IdentityPolicy

_PLUS_AND_DIGITS = re.compile(r"\+[1-9][0-9]{6,14}")
_PLUS = re.compile(r"[+\uff0b]")
_LABEL = re.compile(r"^(?:tel|telephone|telefon|phone|mobile|mobil|mob|cell|callto|sms|тел)\s*[.:]*\s*(?=[+(\d])", re.I)
_WHATSAPP_ADDRESS = re.compile(r"(\d+)(?:[.:]\d+)*@(?:s\.whatsapp\.net|c\.us)", re.I)  # number.agent:device@server
_EVERY_LOCALE = "US"  # en-US is what browsers and telephones are sold with: it says nothing about a country
_LOCALE_REGION = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z]{4})?[-_]([A-Za-z]{2})(?![A-Za-z0-9])")
_NATIONAL = re.compile(r"(?:[\s()./-]*[0-9]){7,15}[\s()./-]*")
_COUNTRY_NAMES = ("country_code", "countryCode", "country")


class Regions(NamedTuple):
    """Where a number without a country code may be at home, ISO 3166.

    Attributes:
        stated: The region that the operator names for the source; empty: none.
        guessed: Regions to try when none is stated. The number must be valid in one of them alone.
        otherwise: The region to try where it is valid in none of them; empty: none.
    """

    stated: str = ""
    guessed: tuple[str, ...] = ()
    otherwise: str = ""


NO_REGION = Regions()


class _Spelling(NamedTuple):
    """A way to write the mobile numbers of one country, of which several are in use.

    Attributes:
        pattern: The spelling, as `+`, country code and digits.
        compared: What it is compared as.
        was_read: Releases without this table read the spelling, as a number of its own.
    """

    pattern: re.Pattern[str]
    compared: str
    was_read: bool


_SPELLINGS = {
    # Mexico: until 2019 a mobile was dialled with a 1 from abroad. WhatsApp still writes it.
    "+52": _Spelling(re.compile(r"^\+521([2-9]\d{9})$"), r"+52\1", was_read=False),
    # Brazil: until 2016 mobiles got a ninth digit, a 9. WhatsApp knows older accounts without it. Landlines begin with
    # 2 to 5; services (0800, 0300) have a 0 where an area code has none.
    "+55": _Spelling(re.compile(r"^\+55([1-9][1-9])([6-9]\d{7})$"), r"+55\g<1>9\2", was_read=True),
    # Argentina: from abroad a 9 marks a mobile, at home a 15 after the area code, which the library writes as the 9.
    # Landlines and mobiles share one numbering plan, so the ten digits alone tell them from each other.
    "+54": _Spelling(re.compile(r"^\+549([1-9]\d{9})$"), r"+54\1", was_read=True),
    # Benin (+229): since November 2024 every number begins with 01.
    "+22": _Spelling(re.compile(r"^\+229([2-9]\d{7})$"), r"+22901\1", was_read=False),
}
_MEXICAN_DIALLED = re.compile(r"^\+52(?:044|045|44|45|01)([2-9]\d{9})$")  # at home, until 2019; a first 0 may get lost
_NO_AREA_CODE = re.compile(r"\+549?15\d+")  # Argentina: the 15 of a mobile without its area code is many telephones


def compared_phone(number: str) -> str:
    """Return the form in which a number is compared: one for all spellings of one mobile.

    Args:
        number: `+`, country code and digits.
    """
    spelling = _SPELLINGS.get(number[:3])
    return number if spelling is None else spelling.pattern.sub(spelling.compared, number)


def former_phone(number: str) -> str | None:
    """Return the form in which releases before `compared_phone` compared a number; None where it is the same."""
    spelling = _SPELLINGS.get(number[:3])
    return number if spelling is not None and spelling.was_read and spelling.pattern.fullmatch(number) else None


def guessed_regions(event: Mapping[str, Any], policy: IdentityPolicy) -> Regions:
    """Return the regions in which a national number of an event may be at home.

    A country that the event names, in the address among its traits or in `context.geo`, is the only one: who is known
    to be elsewhere has no number of the default region. A country that cannot be read leaves none. The region of
    `context.locale` is a preference, so the default region is as likely: a number that both have identifies nobody.
    `en-US` says nothing.

    Without an address and a place, a store of the table of markets says the country. A number that is not valid in the
    country is tried in the default region of its market. An event that names no country has no market to go by, and
    the default market, in which everything unknown is, no region.

    Args:
        event: The event in its canonical form.
        policy: Its default region, and the regions of markets.
    """
    default_region = policy.default_region
    context = event.get("context")
    context = context if isinstance(context, dict) else {}
    traits = event.get("traits")
    address = traits.get("address") if isinstance(traits, dict) else None
    for place in (address, context.get("geo")):
        if country := _country_of(place):
            region = region_of(country)
            return _regions_of_market(region, policy) if region else NO_REGION
    if region := policy.store_countries.get(_store_of(event, context), ""):
        return _regions_of_market(region, policy)
    locale = context.get("locale")
    written = _LOCALE_REGION.match(locale) if isinstance(locale, str) else None
    region = region_of(written[1]) if written else ""
    known = region not in ("", _EVERY_LOCALE, default_region)
    return Regions(guessed=(region, default_region) if known else (default_region,))


def _regions_of_market(country: str, policy: IdentityPolicy) -> Regions:
    return Regions(guessed=(country,), otherwise=policy.market_regions.get(country, ""))


def _store_of(event: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    properties = event.get("properties")
    for part in (properties if isinstance(properties, dict) else {}, context):
        store = part.get("store_id")
        if store and isinstance(store, str | int) and not isinstance(store, bool):
            return str(store)
    return ""


def _country_of(place: object) -> str:
    """Return what an address or a place names as its country; empty if it names none."""
    named = [place.get(name) for name in _COUNTRY_NAMES] if isinstance(place, dict) else []
    return next((one.strip() for one in named if isinstance(one, str) and one.strip()), "")


def read_phone(value: str, regions: Regions = NO_REGION) -> str | None:
    """Read a telephone number in any spelling.

    Args:
        value: What was written.
        regions: Where it is at home if it has no country code; without any, only a number that has one is read.

    Returns:
        `+`, country code and digits as they may be dialled; None if it is no number of one person's telephone, or a
        national number whose country is not known well enough.
    """
    written = value.strip()
    if _PLUS_AND_DIGITS.fullmatch(written) and _is_plain_e164(written):
        return written
    number = _read(written)
    if number is None and regions.stated:
        return _read(written, regions.stated)
    if number is None:
        found = {_read(written, one, valid=True) for one in regions.guessed} - {None}
        if not found and regions.otherwise:
            return _read(written, regions.otherwise, valid=True)
        return found.pop() if len(found) == 1 else None
    return number


def is_national(value: str) -> bool:
    """Return whether a text is written like a telephone number without a country code."""
    return _NATIONAL.fullmatch(_LABEL.sub("", value.strip(), count=1)) is not None


@lru_cache(maxsize=65_536)
def _read(written: str, region: str | None = None, *, valid: bool = False) -> str | None:
    written = _LABEL.sub("", written, count=1)
    if any(map(str.isalpha, re.split(r"\d", written, maxsplit=1)[0])):
        return None  # such as `MX.4155552671`, a WhatsApp user id; the library would skip the letters
    if region is not None:
        number = _possible(written, region)
    elif written[:2] == "00":
        # 00 is dialled before a country code nearly everywhere; where it is not, no number begins with it.
        number = _possible("+" + written[2:], None)
    else:
        number = _possible(written, None) if _PLUS.search(written) else None
    if number is None or (valid and not _is_valid(number)):
        return None
    return number


def _possible(written: str, region: str | None) -> str | None:
    """Read a number by its length; without a region only one that comes with its country code."""
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not number.national_number:  # an extension belongs to a switchboard that many share
        return None
    digits = str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    if _has_possible_length(number):
        return None if _NO_AREA_CODE.fullmatch(digits) else digits
    if digits.startswith("+549") and len(digits) == len("+549AAANNNNNNN") + 2:  # the 9 and the 15 at once
        return _possible("+54" + digits[4:], None)
    digits = _MEXICAN_DIALLED.sub(r"+52\1", digits)
    return digits if digits[:3] in _SPELLINGS and _has_possible_length(_parsed(digits)) else None


def _is_valid(number: str) -> bool:
    """Return whether a number is of an assigned range in any region of its calling code, as Canada shares +1."""
    return bool(phonenumbers.is_valid_number(_parsed(number)))


def _parsed(number: str) -> phonenumbers.PhoneNumber:
    return phonenumbers.parse(compared_phone(number))


def _has_possible_length(number: phonenumbers.PhoneNumber) -> bool:
    return phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE


def _is_plain_e164(written: str) -> bool:
    """Return whether the library would give `written` back as it is; asking it takes 25 µs."""
    for length in (1, 2, 3):
        country = _country(int(written[1 : 1 + length]))
        if country is not None:
            lengths, prefix = country
            national = written[1 + length :]
            return len(national) in lengths and national[0] != "0" and prefix.match(national) is None
    return False


@lru_cache(maxsize=1024)
def _country(calling_code: int) -> tuple[frozenset[int], re.Pattern[str]] | None:
    """Lengths of a country's numbers, and what may stand before them there; None for no calling code."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(calling_code)
    if not regions:
        return None
    metadata: Any = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(calling_code, regions[0])
    return frozenset(metadata.general_desc.possible_length), re.compile(metadata.national_prefix_for_parsing or r"(?!)")


def read_whatsapp(value: str, regions: Regions = NO_REGION) -> str | None:
    """Read a WhatsApp id: a telephone number that comes with its country code but without `+`.

    Gateways also write `whatsapp:+44…` and `44…@s.whatsapp.net`. Other addresses of WhatsApp's servers, such as a
    group's or a hidden id's (`…@lid`), are digits too and no telephone number.
    """
    written = value.strip().removeprefix("whatsapp:").strip()
    if "@" in written:
        address = _WHATSAPP_ADDRESS.fullmatch(written)
        if address is None:
            return None
        written = address[1]
    international = read_phone("+" + written) if written.isdigit() and not written.startswith("0") else None
    return international or read_phone(written, regions)
