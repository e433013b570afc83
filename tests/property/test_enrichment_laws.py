"""Laws of enrichment: whatever the event, it is enriched without an error and stays the event that it was."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from processors.enrichment.enrichment import Enrichment, LocationDatabase, Place
from schemas.events.touchpoint import EVENT_NAMES, read
from tests.support.builders import touchpoint
from tests.unit.enrichment.test_user_agents import BOTS, HOSTILE, PEOPLE, SHIPPED

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
user_agents = (
    st.sampled_from([*PEOPLE, *BOTS, *(one for one in HOSTILE if one.isprintable() and len(one) < 8000)]) | texts
)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
parts = st.dictionaries(st.sampled_from(["type", "name", "country", "city", "id"]), scalars, max_size=3)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "user_agent": user_agents, "ip": st.ip_addresses().map(str) | texts, "geo": parts, "device": parts, "os": parts,
        "page": st.fixed_dictionaries({}, optional={"url": texts}), "locale": texts,
    },
)  # fmt: skip
properties = st.dictionaries(
    st.sampled_from(["machine", "sg_machine_open", "client-info", "method", "bot", "is_bot"]),
    scalars | st.dictionaries(st.just("bot"), scalars, max_size=1),
    max_size=3,
)
names = (
    st.sampled_from(sorted({"Page Viewed", "Email Opened", "Email Link Clicked", "Unsubscribed", "Signed Up"})) | texts
)
EVERYWHERE = LocationDatabase(lambda _: Place("DE", "Berlin"), "Test 2026-11-01")
ENRICHMENTS = {policy: Enrichment(SHIPPED, EVERYWHERE, policy) for policy in ("full", "truncated", "none")}


def events() -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda name, context, said: _read(touchpoint(name or "x", context=context, properties=said)),
        names.filter(lambda name: name not in EVENT_NAMES or name.startswith(("Page", "Email", "Unsub"))),
        contexts,
        properties,
    ).filter(bool)


def _read(event: dict[str, Any]) -> dict[str, Any]:
    try:
        return read(event)
    except ValueError:
        return {}


@given(events(), st.sampled_from(sorted(ENRICHMENTS)))
def test_an_enriched_event_is_the_event_and_a_section(event: dict[str, Any], policy: str) -> None:
    before = deepcopy(event)

    ENRICHMENTS[policy](event)

    found = event.pop("enriched", {})
    for one in (before, event):
        if "context" in one:
            one["context"].pop("ip", None)
    assert before == event
    assert all(type(value) is str and value for value in orjson.loads(orjson.dumps(found)).values())


@given(events())
def test_enriching_again_changes_nothing(event: dict[str, Any]) -> None:
    once = deepcopy(event)
    ENRICHMENTS["full"](once)
    twice = deepcopy(once)
    ENRICHMENTS["full"](twice)

    assert once == twice


@given(events())
def test_addresses_are_cut_only_once_their_place_is_known(event: dict[str, Any]) -> None:
    whole, cut = deepcopy(event), deepcopy(event)
    ENRICHMENTS["full"](whole)
    ENRICHMENTS["none"](cut)

    assert whole.get("enriched") == cut.get("enriched")
