"""What a network can recognise a person by: hashed addresses in its own normal form, and the click id of a touch.

* Meta: https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters
* Google: https://developers.google.com/data-manager/api/devguides/concepts/formatting
* TikTok: https://business-api.tiktok.com/portal/docs (Events API 2.0, user)
* Microsoft: https://learn.microsoft.com/en-us/advertising/guides/uet-conversion-api-integration
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from processors.segments.audiences import LIST_FORMATS, sha256_text
from schemas.export.destinations import Destination, Through
from schemas.export.exports import Click

MOST_ADDRESSES = 3
"""Addresses of one kind that are sent of a person: those seen last."""
CLOCK_MS = 300_000
"""A click may be so much later than what it brought: clocks of pages and shops differ."""

_Normal = Callable[[str], str]


class MatchKeys(NamedTuple):
    """What identifies a person to a network.

    Attributes:
        emails, phones: SHA-256 in lower-case hexadecimal.
        clicks: The latest click by name, the latest of all first.
    """

    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    clicks: tuple[Click, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return what there is, such as `("email", "gclid")`."""
        kinds = (("email", self.emails), ("phone", self.phones))
        return (*(name for name, found in kinds if found), *(click.name for click in self.clicks))


def match_keys(
    destination: Destination, document: Mapping[str, Any], clicks: Sequence[Click], converted_ms: int
) -> MatchKeys:
    """Return what a network can recognise a person by.

    Args:
        destination: Of the network.
        document: The person's profile as it is now.
        clicks: Clicks of the person, in any order.
        converted_ms: When the conversion happened; later clicks did not lead to it.
    """
    email, phone = _NORMAL_FORMS[destination.through]
    known, first_ms = destination.limits.clicks, converted_ms - destination.lookback
    latest: dict[str, Click] = {}
    for click in sorted(clicks, key=lambda one: one.at_ms):
        if (not known or click.name in known) and first_ms <= click.at_ms <= converted_ms + CLOCK_MS:
            latest[click.name] = click
    order = {name: place for place, name in enumerate(known)}
    found = sorted(latest.values(), key=lambda one: (-one.at_ms, order.get(one.name, 0), one.name))
    addresses = document.get("addresses", {})
    return MatchKeys(
        _hashed(addresses.get("email", {}), email), _hashed(addresses.get("phone", {}), phone), tuple(found)
    )


def _hashed(addresses: Mapping[str, Any], normal: _Normal) -> tuple[str, ...]:
    newest = sorted(addresses, key=lambda value: (-addresses[value][0], value))
    hashes = dict.fromkeys(sha256_text(text) for value in newest if (text := normal(value)))
    return tuple(hashes)[:MOST_ADDRESSES]


def _microsoft_email(value: str) -> str:
    """Microsoft takes addresses without dots before the @, and without what follows a plus sign, of all domains."""
    name, _, domain = LIST_FORMATS["meta"].email(value).partition("@")
    name = name.partition("+")[0].replace(".", "")
    return f"{name}@{domain}" if name and domain else ""


_META, _GOOGLE, _TIKTOK = (LIST_FORMATS[name] for name in ("meta", "google", "tiktok"))
_NORMAL_FORMS: Mapping[Through, tuple[_Normal, _Normal]] = {
    "meta": (_META.email, _META.phone),
    "google": (_GOOGLE.email, _GOOGLE.phone),
    "tiktok": (_TIKTOK.email, _TIKTOK.phone),
    "microsoft": (_microsoft_email, _GOOGLE.phone),
    "webhook": (_META.email, _GOOGLE.phone),
    "topic": (_META.email, _GOOGLE.phone),
}
