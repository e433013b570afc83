"""Whatever comes as a webhook, a shipped mapping gives events, refusals or a reason why not, and never an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.settings import DEFINITIONS
from processors.intake.mapping import MAX_EVENT_ID_CHARS
from tests.support.webhooks import PAYLOADS, collected, letters, shipped

VENDORS = sorted(path.stem for path in (DEFINITIONS / "hooks").glob("*.yaml"))
TOPICS = (
    "orders/create",
    "orders/updated",
    "refunds/create",
    "customers/update",
    "order.updated",
    "customer.created",
    "x",
)
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=5),
    st.just("9" * 400), st.just([]), st.just({}), st.just([None]), st.just([[]]), st.just({"": {"amount": "x"}}),
)  # fmt: skip
ANY = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in places(value[key], (*path, key)))]


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value at a place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


def check(vendor: str, body: Any, topic: str) -> None:
    headers = {"X-Shopify-Topic": topic, "X-WC-Webhook-Topic": topic}
    found = collected(vendor, body, headers)
    events = [orjson.loads(one.value) for one in found.outgoing if one.topic.startswith("touchpoints.")]
    assert len(events) == found.accepted
    assert len(letters(found)) <= len({refusal.place for refusal in found.refusals})
    assert [] == [refusal.rejected for refusal in found.refusals if refusal.rejected.reason == "bug"]
    assert all(event["source"] == vendor and len(event["event_id"]) <= MAX_EVENT_ID_CHARS for event in events)


@pytest.mark.parametrize("vendor", VENDORS)
@given(body=ANY, topic=st.sampled_from(TOPICS))
@settings(max_examples=40, deadline=None)
def test_any_json_is_mapped_refused_or_ignored(vendor: str, body: Any, topic: str) -> None:
    check(vendor, body, topic)


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}")
@given(data=st.data(), new=ANY, topic=st.sampled_from(TOPICS))
@settings(max_examples=15, deadline=None)
def test_a_documented_payload_with_an_odd_value_anywhere_is_too(path: Path, data: Any, new: Any, topic: str) -> None:
    body = orjson.loads(path.read_bytes())
    place = data.draw(st.sampled_from(places(body)))

    check(path.parent.name, with_value(body, place, new), topic)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_deeply_nested_value_is_no_error(vendor: str) -> None:
    deep: Any = "x"
    for _ in range(500):
        deep = {"data": deep, "object": deep} if deep == "x" else {"data": deep}

    check(vendor, deep, "orders/create")
    assert shipped(vendor).definition.events
