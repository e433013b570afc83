"""Events of PostHog's SDKs become touchpoints, with the people, visits and campaigns that the SDKs mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.intake.collect import Collect, CollectResult
from processors.intake.posthog_calls import FIELD_NAMES, calls_of_event
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import Reason
from schemas.intake.sources import Source

RECEIVED = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
SERVER = Source(channel="web")
WEB = Source(channel="web", kind="browser", origins=("*",))
COLLECT = Collect(
    channels=frozenset(TOUCHPOINT_CHANNELS), max_event_bytes=65_536, key=lambda _: b"", topic_prefix="",
    mark=ValidationMark(b"secret"),
)  # fmt: skip
TAGGED = "https://shop.example/p/1?utm_source=google&utm_medium=cpc&utm_campaign=autumn"
KEPT_CAMPAIGN = {"utm_source": "google", "utm_medium": "cpc", "utm_campaign": "autumn", "gclid": "abc"}


def collected(*events: Any, source: Source = SERVER, sent_at: object = None) -> CollectResult:
    arrivals = [Arrival(RECEIVED, sent_at, f"request-{number}") for number in range(len(events))]
    return COLLECT.foreign_events("shop", source, events, arrivals, calls_of_event, FIELD_NAMES)


def touchpoints(*events: Any, source: Source = SERVER, sent_at: object = None) -> list[dict[str, Any]]:
    found = collected(*events, source=source, sent_at=sent_at)
    assert [] == found.refusals
    return [orjson.loads(one.value) for one in found.outgoing]


def identifiers(event: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["type"], one["value"]) for one in event["identifiers"]]


def event(name: str = "Seen", distinct_id: object = "u1", **properties: Any) -> dict[str, Any]:
    return {"event": name, "uuid": "id-1", "distinct_id": distinct_id, "properties": properties}


def test_a_capture_of_a_server_is_an_event_of_an_account() -> None:
    (found,) = touchpoints(
        {
            **event("Order Completed", order_id="A-1", revenue=42.5, currency="EUR"),
            "timestamp": "2026-11-20T10:00:00.000Z",
        }
    )

    assert ("id-1", "Order Completed", "2026-11-20T10:00:00.000Z") == (
        found["event_id"],
        found["event"],
        found["occurred_at"],
    )
    assert [("user_id", "u1")] == identifiers(found)
    assert {"order_id": "A-1", "revenue": "42.5", "currency": "EUR"} == found["properties"]


@pytest.mark.parametrize(
    ("properties", "kind"),
    [
        ({}, "user_id"),
        ({"$is_server": True}, "user_id"),
        ({"$process_person_profile": False}, "anonymous_id"),
        ({"$process_person_profile": True}, "user_id"),
        ({"$is_identified": False, "$device_id": "d"}, "anonymous_id"),
        ({"$is_identified": True, "$device_id": "d"}, "user_id"),
        ({"$device_id": "u1"}, "anonymous_id"),  # versions of posthog-js that do not say `$is_identified`
        ({"$device_id": "d"}, "anonymous_id"),
        ({"$device_id": "d", "$user_id": "u1"}, "user_id"),
    ],
)
def test_a_distinct_id_is_that_of_an_account_or_of_a_visitor_as_the_sdk_says(
    properties: dict[str, Any], kind: str
) -> None:
    (found,) = touchpoints(event(**properties))

    assert (kind, "u1") in identifiers(found)
    assert "user_id" == kind or "user_id" not in dict(identifiers(found))


def test_the_next_person_on_a_device_is_not_joined_with_the_one_who_has_signed_out() -> None:
    signed_in, after_reset = touchpoints(
        event("Seen", "u1", **{"$device_id": "d", "$user_id": "u1", "$is_identified": True}),
        {**event("Seen", "visitor-8", **{"$device_id": "d", "$is_identified": False}), "uuid": "id-2"},
    )

    assert set(identifiers(signed_in)).isdisjoint(identifiers(after_reset))
    assert "d" == after_reset["context"]["posthog"]["device_id"]


def test_identify_joins_the_visitor_with_the_account_and_sets_traits() -> None:
    told = {**event("$identify", **{"$anon_distinct_id": "visitor-7"}), "$set": {"email": "ada@shop.example", "a": 1}}
    (found,) = touchpoints({**told, "$set_once": {"first_seen": "2026-01-01", "$initial_gclid": None}})

    assert [("user_id", "u1"), ("email", "ada@shop.example"), ("anonymous_id", "visitor-7")] == identifiers(found)
    assert {"email": "ada@shop.example", "a": 1} == found["traits"]
    assert {"first_seen": "2026-01-01"} == found["context"]["posthog"]["set_once"]


def test_traits_that_any_event_sets_are_an_identify_of_its_own_with_a_derived_id() -> None:
    told = event("Order Completed", order_id="A-1", **{"$set": {"plan": "gold"}})
    order, identify = touchpoints(told)

    assert ("id-1", "Order Completed", "id-1-set", "Identify", {"plan": "gold"}) == (
        order["event_id"], order["event"], identify["event_id"], identify["event"], identify["traits"],
    )  # fmt: skip
    assert {"order_id": "A-1"} == order["properties"]


def test_an_empty_set_makes_no_second_event() -> None:
    assert 1 == len(touchpoints(event("Seen", **{"$set": {}, "$set_once": {}})))


def test_an_alias_joins_a_visitor_never_a_second_account() -> None:
    (found,) = touchpoints(event("$create_alias", alias="visitor-7", distinct_id="u1"))

    assert [("user_id", "u1"), ("anonymous_id", "visitor-7")] == identifiers(found)
    assert "Alias Created" == found["event"]


def test_a_group_of_a_person_and_a_group_alone() -> None:
    group = {"$group_type": "company", "$group_key": "acme", "$group_set": {"name": "Acme"}}
    of_person, alone = touchpoints(event("$groupidentify", **group), event("$groupidentify", "$company_acme", **group))

    assert ("Group Joined", [("user_id", "u1")]) == (of_person["event"], identifiers(of_person))
    assert ("Group Updated", []) == (alone["event"], identifiers(alone))
    assert {"group_id": "acme", "traits": {"group_type": "company", "name": "Acme"}} == alone["properties"]


def test_posthog_python_makes_up_an_id_where_it_names_no_person_in_a_group() -> None:
    made_up = "0c8ac6b1-73ff-4b3c-9a79-6d3ad3c9c0a1"
    group = {"$group_type": "company", "$group_key": "acme", "$group_set": {"name": "Acme"}}
    by_python, by_node = touchpoints(
        event("$groupidentify", made_up, **group, **{"$lib": "posthog-python"}),
        event("$groupidentify", made_up, **group, **{"$lib": "posthog-node"}),
    )

    assert [] == identifiers(by_python)
    assert [("user_id", made_up)] == identifiers(by_node)


def test_a_page_view_is_one_with_its_page_visit_and_campaign() -> None:
    told = event("$pageview", "d", title="Shop", **KEPT_CAMPAIGN, **{
        "$current_url": TAGGED, "$pathname": "/p/1", "$referrer": "https://www.google.com/", "$session_id": "s-1",
        "$device_id": "d", "$raw_user_agent": "Mozilla/5.0", "$timezone": "Europe/Paris", "$browser_language": "fr",
    })  # fmt: skip
    (found,) = touchpoints(told)

    assert "Page Viewed" == found["event"]
    page = {"url": TAGGED, "path": "/p/1", "referrer": "https://www.google.com/", "title": "Shop",
            "search": "?" + TAGGED.partition("?")[2]}  # fmt: skip
    assert (page, page) == (found["properties"], found["context"]["page"])
    assert {"source": "google", "medium": "cpc", "name": "autumn"} == found["campaign"]
    context = found["context"]
    assert ("s-1", "Mozilla/5.0", "Europe/Paris", "fr") == (
        context["session_id"], context["user_agent"], context["timezone"], context["locale"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("address", "entry", "campaign"),
    [
        ("https://shop.example/", {}, None),  # weeks later and untagged: posthog-js still has the old parameters
        ("https://shop.example/cart", {"$session_entry_utm_source": "letter"}, {"source": "letter"}),
        (None, {}, {"source": "google", "medium": "cpc", "name": "autumn"}),  # a server or an app states it itself
    ],
)
def test_the_campaign_of_an_earlier_visit_is_not_that_of_this_one(
    address: str | None, entry: dict[str, str], campaign: object
) -> None:
    (found,) = touchpoints(event("Seen", **KEPT_CAMPAIGN, **entry, **({"$current_url": address} if address else {})))

    assert campaign == found.get("campaign")
    assert (address is None) == ("gclid" in found.get("properties", {}))


def test_direct_is_no_referrer_and_a_screen_has_its_name() -> None:
    page, screen = touchpoints(
        event("$pageview", **{"$current_url": "https://shop.example/", "$referrer": "$direct"}),
        event("$screen", **{"$screen_name": "Cart"}),
    )

    assert {"url": "https://shop.example/"} == page["properties"]
    assert ("Screen Viewed", "Cart") == (screen["event"], screen["properties"]["name"])


@pytest.mark.parametrize(
    ("times", "sent_at", "expected"),
    [
        ({"timestamp": "2026-11-22T08:00:00Z"}, "2026-11-22T09:00:00Z", "2026-11-22T09:00:00.000Z"),
        ({"timestamp": "2026-11-22T09:59:00Z"}, "1795341600000", "2026-11-22T09:59:00.000Z"),
        ({"offset": 90_000}, None, "2026-11-22T09:58:30.000Z"),
        ({}, None, "2026-11-22T10:00:00.000Z"),
    ],
    ids=["a clock an hour behind", "sent_at of the query, milliseconds", "offset", "no time"],
)
def test_an_event_is_dated_by_the_error_of_its_clients_clock(
    times: dict[str, Any], sent_at: object, expected: str
) -> None:
    (found,) = touchpoints({**event(), **times}, sent_at=sent_at)

    assert expected == found["occurred_at"]


def test_a_page_has_no_more_rights_than_by_any_other_protocol() -> None:
    found = collected(
        event("Price Changed", product_id="P", price=1, currency="EUR"),
        event("$identify", **{"$set": {"email": "victim@shop.example"}}),
        source=WEB,
    )

    assert [(0, "event")] == [(one.place, one.rejected.field) for one in found.refusals]
    (identify,) = [orjson.loads(one.value) for one in found.outgoing if one.topic == "touchpoints.web"]
    assert [("user_id", "u1")] == identifiers(identify)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"event": "Seen", "properties": {}}, "distinct_id"),
        (event(None), "event"),  # type: ignore[arg-type]
        (event("Seen", "$posthog_cookieless"), "distinct_id"),
        (event("Order Completed", order_id="A", revenue="much", currency="EUR"), "properties.revenue"),
        ({**event(), "uuid": {"a": 1}}, "uuid"),
        (["Seen"], ""),
    ],
)
def test_a_refusal_names_the_field_as_posthog_does_and_costs_no_other_event(wrong: Any, field: str) -> None:
    found = collected(event("$pageview"), wrong, event("Seen"))

    assert [(1, field)] == [(one.place, one.rejected.field) for one in found.refusals]
    assert 2 == found.accepted


def test_a_bug_of_a_translator_costs_its_event_alone() -> None:
    def calls_of(told: Any, arrival: Arrival) -> Any:
        return calls_of_event({**told, "uuid": 1 / told["divisor"]} if "divisor" in told else told, arrival)

    events = [event("First"), {"event": "Broken", "divisor": 0}, event("Last")]
    arrivals = [Arrival(RECEIVED, None, str(number)) for number in range(3)]
    found = COLLECT.foreign_events("shop", SERVER, events, arrivals, calls_of, FIELD_NAMES)

    assert (2, [(1, Reason.BUG)]) == (
        found.accepted, [(one.place, one.rejected.reason) for one in found.refusals],
    )  # fmt: skip
    assert ["touchpoints.web", "touchpoints.web", "dead-letters"] == [one.topic for one in found.outgoing]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from(
    ["$pageview", "$screen", "$identify", "$set", "$create_alias", "$groupidentify", "Seen", "$autocapture"]
)
FIELDS = st.sampled_from(
    ["$set", "$set_once", "$device_id", "$current_url", "$referrer", "$group_set", "$group_key", "alias", "distinct_id",
     "utm_source", "$groups", "token", "$ip", "$session_id"]
)  # fmt: skip


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {"event": NAMES | JSON, "properties": st.dictionaries(FIELDS, JSON) | JSON},
        optional=dict.fromkeys(("distinct_id", "uuid", "timestamp", "offset", "$set", "sent_at"), JSON),
    )
)
def test_whatever_an_event_holds_it_is_translated_or_refused(wrong: Any) -> None:
    found = collected(wrong)

    assert found.accepted + len(found.refusals) == len(calls_of_event(wrong, Arrival(RECEIVED, None, "a")))
    assert not any(one.rejected.reason is Reason.BUG for one in found.refusals)
