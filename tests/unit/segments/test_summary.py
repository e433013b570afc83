"""The summary of a person: what follows from profile, state and history."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from deploy.operations.engines import load_message_policy, load_segments
from deploy.operations.person_page import person_page
from deploy.settings import Settings
from processors.decisions.reach import obstacles
from processors.segments.summary import Summarizer, coupons, product_ids, product_names
from schemas.decisions.policy import MessagePolicy
from schemas.profiles.document import StoredProfile
from schemas.profiles.person import Person
from schemas.segments.definitions import SegmentDefinitions
from tests.support.builders import at
from tests.support.messages import ADDRESSES, NOON, person

SEGMENTS = SegmentDefinitions.model_validate(
    {"segments": [{"name": "customers", "description": "Bought.", "when": {"attribute": "orders.count", "gte": 1}}]}
)


def event(called: str, hours: int = 0, channel: str = "web", **properties: Any) -> dict[str, Any]:
    return {"event": called, "event_id": f"e{hours}", "channel": channel, "source": "shop",
            "occurred_at": at(hours=hours), "properties": properties}  # fmt: skip


HISTORY = [
    event("Product Viewed", 0, product_id="p1", name="Old lamp", category="Lighting", brand="Lumen"),
    event("Product Viewed", 5, product_id="p1", name="Lamp", category="Lighting", brand="Lumen"),
    event("Product Viewed", 5, product_id="p2", category="Chairs"),
    {**event("Product Viewed", 3, product_id="p9", category="Spam"), "enriched": {"bot": "crawler"}},
]


def test_interests_and_hour_come_from_history_although_no_segment_needs_them() -> None:
    found = Summarizer(SEGMENTS).summarize(Person("p", {"event_count": 4}, {}), HISTORY, NOON)

    assert {"categories": {"Lighting": 0.6667, "Chairs": 0.3333}, "brands": {"Lumen": 1.0}} == {
        name: found["affinity"][name] for name in ("categories", "brands")
    }
    assert 17 == found["preferred"]["hour"]


def test_a_person_of_whom_nothing_is_known_has_an_empty_summary() -> None:
    found = Summarizer(SEGMENTS).summarize(Person("p", {"event_count": 0}, {}), [], NOON)

    assert ("visitor", None, {}, {}, {}) == (
        found["lifecycle_stage"], found["rfm"], found["segments"], found["scores"], found["affinity"]["categories"]
    )  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "0.5"])
def test_a_score_that_is_no_number_is_not_shown(value: Any) -> None:
    state = {"scores": {"alive": [value, NOON], "expected_orders": [1.5, NOON]}}
    found = Summarizer(SEGMENTS).summarize(Person("p", {"event_count": 0}, state), [], NOON)

    assert {"expected_orders": {"value": 1.5, "at": "2026-11-03T12:00:00.000Z"}} == found["scores"]


def test_segments_that_are_defined_no_more_are_left_out() -> None:
    state = {"segments": {"in": {"customers": NOON, "deleted": NOON}}}
    found = Summarizer(SEGMENTS).summarize(Person("p", {"event_count": 0}, state), [], NOON)

    assert {"customers": "2026-11-03T12:00:00.000Z"} == found["segments"]


def test_a_person_who_was_merged_just_now_is_both() -> None:
    def stored(name: str, absorbed: tuple[StoredProfile, ...] = (), **state: Any) -> StoredProfile:
        document = {"profile_id": name, "event_count": 1, "stores": {f"store of {name}": 1}}
        return StoredProfile(name, 1, orjson.dumps(document), absorbed, orjson.dumps(state))

    loser = stored("b", scores={"alive": [0.5, NOON]})
    found = Summarizer(SEGMENTS).person(stored("a", (loser,)))

    assert (2, {"store of a", "store of b"}, {"scores": {"alive": [0.5, NOON]}}) == (
        found.document["event_count"], set(found.document["stores"]), found.state
    )  # fmt: skip


def test_a_product_has_its_latest_name() -> None:
    order = event("Order Completed", 2, products=[{"product_id": "p3", "name": "Oak"}, {"product_id": 4}, "odd"])

    events = [*reversed(HISTORY), order, event("Page Viewed", products={})]

    assert {"p1": "Lamp", "p3": "Oak"} == product_names(events)
    assert ["p1", "p2", "p3", "p9"] == product_ids(events)


def test_a_coupon_has_its_last_step() -> None:
    found = coupons(
        [
            event("Coupon Denied", 1, coupon_id="OLD", reason="expired"),
            event("Order Completed", 4, coupon="AUTUMN", order_id="o1"),
            event("Coupon Applied", 3, coupon_id="AUTUMN"),
            event("Coupon Entered", 5),
            event("Order Completed", 6, coupon=7),
        ]
    )

    assert [("AUTUMN", "ordered with", "o1"), ("OLD", "denied", "")] == [
        (one["coupon"], one["step"], one["order_id"]) for one in found
    ]


def test_reach_is_what_the_gates_of_messages_say() -> None:
    someone = person(agrees=("email", "sms"), addresses={**ADDRESSES, "phone": ""} | {"email": "a@b.example"})
    someone.document["addresses"]["email"]["a@b.example"][2:] = [2, True]
    del someone.document["addresses"]["phone"]

    found = obstacles(MessagePolicy(), someone, frozenset(), NOON)

    assert [
        "every known address bounces by e-mail",
        "there is no address to send it to (e-mail: messages to it bounce)",
    ] == (found["email"])
    assert ["there is no address to send it to (SMS: none is known)"] == found["sms"]
    assert ["the person has not agreed to marketing by WhatsApp"] == found["whatsapp"]
    assert [] == obstacles(MessagePolicy(), person(), frozenset(), NOON)["sms"]


def test_broken_definitions_do_not_hide_the_person(tmp_path: Any) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "wrong.yaml").write_text("segments: [{}]", "utf-8")
    stored = StoredProfile("a", 1, orjson.dumps({"profile_id": "a", "event_count": 1}))

    page = person_page(stored, HISTORY, Settings(definitions_dir=tmp_path), NOON, {"p2": "Oak chair"})

    assert {"p1": "Lamp", "p2": "Oak chair"} == page["summary"]["product_names"]
    assert ("a", "visitor") == (page["profile_id"], page["summary"]["lifecycle_stage"])
    assert "wrong.yaml:1" in page["summary"]["incomplete"][0]


def test_the_shipped_definitions_have_a_summary() -> None:
    settings = Settings()
    found = Summarizer(load_segments(settings)).summarize(person(), HISTORY, NOON)

    assert {"email", "sms"} <= obstacles(load_message_policy(settings), person(), frozenset(), NOON).keys()
    assert "prospect" == found["lifecycle_stage"]
