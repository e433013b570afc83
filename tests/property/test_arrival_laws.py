"""Laws of classifying: no address breaks it, and the shop's own pages never bring a visitor."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.operations.definition_files import load
from deploy.settings import DEFINITIONS
from processors.recording.sites import parse
from processors.recording.touch_rules import RETURN, Touch, TouchRules
from schemas.recording.touches import TouchDefinitions

PARTS = (
    "http://", "//", "www.", "google", ".com", ".co.uk", "x.com/i/grok", "paypal", "?gclid=", "&amp;", ":443",
    "@", "[", "]", "..", "%", "#", "é", "。", "xn--", "\x00", "\ud800", "-", " ",
)  # fmt: skip
addresses = st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=8).map("".join)
laws = settings(max_examples=200, deadline=None)  # the first example reads the rules
labels = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)


@cache
def rules() -> TouchRules:
    return TouchRules(load(DEFINITIONS / "touches.yaml", TouchDefinitions))


def visit(url: str, referrer: str, **more: Any) -> dict[str, Any]:
    context = {"session_id": "s", "page": {"url": url, "referrer": referrer}}
    return {"event": "Page Viewed", "channel": "web", "context": context, **more}


@laws
@given(addresses, addresses, addresses)
def test_no_address_breaks_it_and_the_same_event_gives_the_same_answer(url: str, referrer: str, source: str) -> None:
    event = visit(url, referrer, campaign={"source": source}, properties={"network": source})

    assert rules().classify(event) == rules().classify(event)
    assert parse(url).host == parse(url).host.lower()


@laws
@given(st.lists(labels, max_size=3), st.lists(labels, max_size=3), labels, st.sampled_from(["example", "co.uk", "de"]))
def test_pages_of_one_registrable_domain_are_one_site(
    left: list[str], right: list[str], name: str, suffix: str
) -> None:
    here, there = (".".join([*sub, f"{name}-shop", suffix]) for sub in (left, right))

    found = rules().classify(visit(f"https://{here}/a", f"https://{there}/b"))

    assert found in (Touch("session", "Direct"), RETURN), "3ds.shop.example is the shop's own way to the bank"
