"""Audience lists for advertising networks: each network's columns, and SHA-256 of addresses in its own normal form.

* Google Ads, Customer Match: https://support.google.com/google-ads/answer/7659867
* Meta, customer list custom audiences: https://developers.facebook.com/docs/marketing-api/audiences/guides/custom-audiences
* TikTok, customer file audiences: https://ads.tiktok.com/help/article/customer-file

A person is listed only with a yes to marketing and without an objection to advertising (a no to the channel `ads`, or
to the purpose `ads` or `advertising`). No answer is a no.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

Network = Literal["google", "meta", "tiktok"]

_OBJECTIONS = ("ads", "advertising")
_GOOGLE_DOMAINS = ("gmail.com", "googlemail.com")


class ListFormat(NamedTuple):
    """The format of a network's list.

    Attributes:
        columns: The names of the columns for e-mail and telephone.
        email, phone: Return the normal form that is hashed; empty if the address is not usable.
    """

    columns: tuple[str, str]
    email: Callable[[str], str]
    phone: Callable[[str], str]


def may_be_targeted(document: dict[str, Any]) -> bool:
    """Return whether a person may be listed for an advertising network."""
    consent = document.get("consent", {})
    purposes, channels = consent.get("purposes", {}), consent.get("channels", {})
    refused = any(name in part and not part[name][0] for part in (purposes, channels) for name in _OBJECTIONS)
    marketing = purposes.get("marketing")
    return marketing is not None and bool(marketing[0]) and not refused


def agreed_since(document: dict[str, Any], since_ms: int) -> bool:
    """Return whether a person consented to marketing since a time, and so may be missing on a list made before."""
    answer = document.get("consent", {}).get("purposes", {}).get("marketing")
    return answer is not None and bool(answer[0]) and answer[1] >= since_ms


def withdrew_since(document: dict[str, Any], since_ms: int) -> bool:
    """Return whether a person objected since a time, and so may be on a list made before."""
    consent = document.get("consent", {})
    answers = [
        part[name]
        for part in (consent.get("purposes", {}), consent.get("channels", {}))
        for name in ("marketing", *_OBJECTIONS)
        if name in part
    ]
    return any(not answer[0] and answer[1] >= since_ms for answer in answers)


def rows(document: dict[str, Any], network: Network) -> list[tuple[str, str]]:
    """Return (e-mail address, telephone number) rows of a person, hashed; the shorter column ends in empty texts."""
    form, found = LIST_FORMATS[network], document.get("addresses", {})
    emails, phones = (
        sorted({normal for value in found.get(kind, {}) if (normal := read(value))})
        for kind, read in (("email", form.email), ("phone", form.phone))
    )
    return [(sha256_text(email), sha256_text(phone)) for email, phone in zip_longest(emails, phones, fillvalue="")]


def sha256_text(normal: str) -> str:
    """Return the SHA-256 in lower-case hexadecimal; of the empty text the empty text."""
    return sha256(normal.encode()).hexdigest() if normal else ""


def _email(value: str) -> str:
    text = "".join(value.split()).lower()
    return text if text.count("@") == 1 else ""


def _google_email(value: str) -> str:
    """Google removes dots, and what follows a plus sign, from addresses of its own domains."""
    name, _, domain = _email(value).partition("@")
    if domain in _GOOGLE_DOMAINS:
        name = name.partition("+")[0].replace(".", "")
    return f"{name}@{domain}" if name and domain else ""


def _with_plus(value: str) -> str:
    digits = _digits(value)
    return f"+{digits}" if digits else ""


def _digits(value: str) -> str:
    """Return country code and number; a number without a country code is not usable."""
    digits = "".join(character for character in value if character in "0123456789")
    return digits if value.strip().startswith("+") and digits else ""


LIST_FORMATS: dict[Network, ListFormat] = {
    "google": ListFormat(("Email", "Phone"), _google_email, _with_plus),
    "meta": ListFormat(("email", "phone"), _email, _digits),
    "tiktok": ListFormat(("Email_SHA256", "Phone_SHA256"), _email, _with_plus),
}
