"""Audience lists for advertising networks: who may be listed, and the normal form of addresses."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from processors.segments.audiences import LIST_FORMATS, Network, may_be_targeted, rows, withdrew_since


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def person(**consent: Any) -> dict[str, Any]:
    return {
        "consent": consent,
        "addresses": {
            "email": {" An.Na+x@GMail.com": [1, True, 0, False]},
            "phone": {"+33 1 99 00 00 01": [1, False, 0, False]},
        },
    }


EXPECTED: dict[Network, tuple[str, str]] = {
    "google": ("anna@gmail.com", "+33199000001"),
    "meta": ("an.na+x@gmail.com", "33199000001"),
    "tiktok": ("an.na+x@gmail.com", "+33199000001"),
}


@pytest.mark.parametrize("network", EXPECTED)
def test_each_network_gets_its_own_normal_form_hashed(network: Network) -> None:
    email, phone = EXPECTED[network]

    assert [(sha(email), sha(phone))] == rows(person(), network)


def test_every_network_has_its_own_columns() -> None:
    assert {
        "google": ("Email", "Phone"),
        "meta": ("email", "phone"),
        "tiktok": ("Email_SHA256", "Phone_SHA256"),
    } == {network: form.columns for network, form in LIST_FORMATS.items()}


def test_an_invalid_address_is_left_out_and_a_missing_one_is_empty() -> None:
    document = {"addresses": {"email": {"nobody": [1, False, 0, False]}, "phone": {"0199000001": [1, False, 0, False]}}}

    assert [] == rows(document, "meta")
    assert [(sha("a@b.example"), "")] == rows({"addresses": {"email": {"a@b.example": [1, False, 0, False]}}}, "meta")


CONSENTS: dict[str, tuple[dict[str, Any], bool]] = {
    "no answer": ({}, False),
    "a yes to a channel alone": ({"channels": {"email": [True, 1, True]}}, False),
    "a yes to marketing": ({"purposes": {"marketing": [True, 1]}}, True),
    "a no to marketing": ({"purposes": {"marketing": [False, 1]}}, False),
    "a no to advertising": ({"purposes": {"marketing": [True, 1], "advertising": [False, 1]}}, False),
    "a no to the channel": ({"purposes": {"marketing": [True, 1]}, "channels": {"ads": [False, 1, True]}}, False),
}


@pytest.mark.parametrize(("consent", "allowed"), CONSENTS.values(), ids=CONSENTS)
def test_a_person_without_consent_is_not_listed(consent: dict[str, Any], allowed: bool) -> None:
    assert allowed is may_be_targeted(person(**consent))


@pytest.mark.parametrize(("at", "withdrew"), [(99, False), (100, True)])
def test_consent_withdrawn_since_the_last_list_is_noticed(at: int, withdrew: bool) -> None:
    assert withdrew is withdrew_since(person(purposes={"marketing": [False, at]}), 100)
