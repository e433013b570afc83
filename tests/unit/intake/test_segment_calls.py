"""Calls of Segment-compatible SDKs become touchpoints, and a rejection names the field as the call does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.intake.decode import decode
from processors.intake.segment_calls import VERBS, Arrival, Translated, field_of_call, translate
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import Reason
from schemas.intake.sources import Source
from schemas.outcomes import Reject

RECEIVED = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
ARRIVAL = Arrival(RECEIVED, None, "request-0")
SERVER = Source(channel="web")
WEB = Source(channel="web", kind="browser", origins=("*",))


def event(call: dict[str, Any], verb: str = "track", source: Source = SERVER, arrival: Arrival = ARRIVAL) -> Any:
    """Translate and read, as the pipeline does."""
    found = translate({"userId": "u1", **call}, verb, "shop", source, arrival)
    assert not isinstance(found, Reject)
    read = decode(orjson.dumps(found.event), channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)
    assert not isinstance(read, Reject), read
    return read


def refusal(call: dict[str, Any], verb: object = "track", source: Source = SERVER) -> tuple[str, str]:
    """The field that is at fault, as the call spells it, and the message."""
    found = translate(call, verb, "shop", source, ARRIVAL)
    if isinstance(found, Reject):
        return found.field, found.message
    read = decode(orjson.dumps(found.event), channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)
    assert isinstance(read, Reject)
    return field_of_call(read.field, found.field_names), read.message


def identifiers(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["type"], one["value"]) for one in found["identifiers"]]


def test_a_track_call_keeps_its_name_its_properties_and_its_id() -> None:
    found = event(
        {
            "event": "Order Completed",
            "messageId": "m-1",
            "properties": {"order_id": "A-1", "revenue": 25.5, "currency": "EUR"},
        }
    )

    assert ("m-1", "Order Completed", "web", "shop") == tuple(
        found[name] for name in ("event_id", "event", "channel", "source")
    )
    assert ("A-1", "25.5") == (found["properties"]["order_id"], found["properties"]["revenue"])


@pytest.mark.parametrize(
    ("verb", "call", "name", "properties"),
    [
        ("page", {"name": "Home", "properties": {"path": "/"}}, "Page Viewed", {"name": "Home", "path": "/"}),
        ("page", {"name": None, "category": None, "properties": None}, "Page Viewed", {}),
        ("screen", {"name": "Cart", "category": "Shop"}, "Screen Viewed", {"name": "Cart", "category": "Shop"}),
        ("group", {"groupId": "g", "traits": {"x": 1}}, "Group Joined", {"group_id": "g", "traits": {"x": 1}}),
        ("alias", {"previousId": "old"}, "Alias Created", {}),
    ],
)  # fmt: skip
def test_each_of_the_other_calls_has_an_event_name(
    verb: str, call: dict[str, Any], name: str, properties: dict[str, Any]
) -> None:
    found = event(call, verb)

    assert (name, properties) == (found["event"], found.get("properties", {}))


@pytest.mark.parametrize(
    "call",
    [
        {"traits": {"email": "a@shop.example", "first_name": "Ada"}},
        {"context": {"traits": {"email": "a@shop.example", "first_name": "Ada"}}},  # RudderStack
    ],
)
def test_identify_has_traits_and_the_addresses_among_them_are_identifiers(call: dict[str, Any]) -> None:
    found = event(call, "identify")

    assert ("Identify", "Ada") == (found["event"], found["traits"]["first_name"])
    assert [("user_id", "u1"), ("email", "a@shop.example")] == identifiers(found)


def test_an_address_among_a_groups_traits_is_no_identifier() -> None:
    found = event({"groupId": "g1", "traits": {"email": "office@firm.example"}}, "group")

    assert [("user_id", "u1")] == identifiers(found)


def test_every_field_that_identifies_a_person_is_read_and_equal_values_once() -> None:
    found = event(
        {
            "userId": 7,
            "anonymousId": "a1",
            "traits": {"email": "a@shop.example"},
            "context": {
                "traits": {"email": "a@shop.example", "phone": "+4915112345678"},
                "device": {"id": "d1", "token": "t1", "type": "ios"},
                "externalIds": [{"type": "loyalty_id", "id": "L-1"}, {"type": "Odd Type", "id": "x"}, "junk"],
            },
        },
        "identify",
    )

    assert [
        ("user_id", "7"), ("email", "a@shop.example"), ("phone", "+4915112345678"), ("push_token", "t1"),
        ("device_id", "d1"), ("anonymous_id", "a1"), ("loyalty_id", "L-1"),
    ] == identifiers(found)  # fmt: skip


def test_a_browsers_call_has_the_identifiers_of_a_browser_and_those_that_its_source_joins_by() -> None:
    call = {
        "anonymousId": "a1",
        "traits": {"email": "victim@shop.example"},
        "context": {"device": {"token": "t1"}, "externalIds": [{"type": "crm_id", "id": "7"}]},
    }
    page, checked = (
        event(call, "identify", Source(channel="web", kind="browser", join_by=join_by)) for join_by in ((), ("email",))
    )

    assert [("user_id", "u1"), ("push_token", "t1"), ("anonymous_id", "a1")] == identifiers(page)
    assert ("email", "victim@shop.example") in identifiers(checked)
    assert "victim@shop.example" == page["traits"]["email"]


def test_the_types_that_a_source_verifies_are_verified() -> None:
    found = event({"traits": {"email": "a@shop.example"}}, "identify", Source(channel="api", verified=("email",)))

    assert [False, True] == [one.get("verified", False) for one in found["identifiers"]]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ({"event": "Email Opened", "context": {"channel": "email"}}, "context.channel"),
        ({"event": "Price Changed", "properties": {"product_id": "p", "price": 1}}, "event"),
    ],
)
def test_a_browsers_call_is_refused_for_another_channel_and_for_an_event_about_products(
    call: dict[str, Any], field: str
) -> None:
    found, message = refusal({"userId": "u", **call}, source=WEB)

    assert (field, True) == (found, "use a server's key" in message)
    assert event(call)


@pytest.mark.parametrize("source", [SERVER, WEB])
@pytest.mark.parametrize("stated", ["server", "browser", "mobile", "webb", "Web", "ios", "", None, 5, ["web"], {}])
def test_a_context_channel_that_is_none_of_the_deployments_stays_in_the_context(stated: object, source: Source) -> None:
    found = event({"event": "E", "context": {"channel": stated}}, source=source)

    assert ("web", stated) == (found["channel"], found.get("context", {}).get("channel"))


def test_a_channel_of_the_deployment_overrides_that_of_a_servers_source_and_is_refused_to_a_browsers() -> None:
    call = {"userId": "u", "event": "E", "context": {"channel": "kiosk"}}
    translated = [translate(call, "track", "shop", source, ARRIVAL, {"web", "kiosk"}) for source in (SERVER, WEB)]
    unknown = translate(call, "track", "shop", WEB, ARRIVAL, {"web"})

    assert isinstance(translated[0], Translated)
    assert ("kiosk", {}) == (translated[0].event["channel"], translated[0].event["context"])
    assert isinstance(translated[1], Reject)
    assert isinstance(unknown, Translated)
    assert "web" == unknown.event["channel"]


@pytest.mark.parametrize(
    ("message_id", "event_id"), [(5, "5"), ("  ", "request-0"), ("", "request-0"), (None, "request-0"), (" a ", " a ")]
)
def test_a_message_id_may_be_a_number_and_a_blank_one_is_none(message_id: object, event_id: str) -> None:
    assert event_id == event({"event": "E", "messageId": message_id})["event_id"]


@pytest.mark.parametrize("message_id", [True, 1.5, [], {}])
def test_a_message_id_of_another_type_is_refused(message_id: object) -> None:
    assert "messageId" == refusal({"userId": "u", "event": "E", "messageId": message_id})[0]


@pytest.mark.parametrize("verb", ["Track", "TRACK", " track "])
def test_the_case_of_a_calls_type_does_not_matter(verb: str) -> None:
    assert "E" == event({"event": "E"}, verb)["event"]
    assert "type" == refusal({"userId": "u", "event": "E"}, verb + "s")[0]


def test_blank_identifiers_are_none() -> None:
    assert "userId" == refusal({"userId": "   ", "anonymousId": "\t", "event": "E"})[0]
    assert [("anonymous_id", "a")] == identifiers(event({"userId": " ", "anonymousId": "a", "event": "E"}))
    assert [("user_id", "u1")] == identifiers(event({"traits": {"email": False, "phone": ""}}, "identify"))
    assert "traits.email" == refusal({"userId": "u", "traits": {"email": True}}, "identify")[0]


def test_an_alias_to_oneself_adds_no_identifier() -> None:
    assert [("user_id", "u1")] == identifiers(event({"previousId": "u1"}, "alias"))


def test_the_previous_id_of_an_alias_is_an_anonymous_id_and_never_a_second_user_id() -> None:
    assert [("user_id", "u1"), ("anonymous_id", "old")] == identifiers(event({"previousId": "old"}, "alias"))


def test_an_alias_of_the_visitor_who_just_logged_in_links_the_anonymous_id() -> None:
    assert [("user_id", "u1"), ("anonymous_id", "a1")] == identifiers(event({"anonymousId": "a1"}, "alias"))


@pytest.mark.parametrize("name", ["price changed", " Price  Changed", "STOCK CHANGED"])
def test_another_spelling_of_an_event_about_products_is_refused_to_a_browser_too(name: str) -> None:
    assert "event" == refusal({"event": name, "userId": "u"}, "track", WEB)[0]


@pytest.mark.parametrize("clock_off_s", [0, -157_680_000, 157_680_000, 90])
def test_a_wrong_clock_is_corrected_by_the_time_at_which_the_batch_was_sent(clock_off_s: int) -> None:
    def on_the_device(seconds: int) -> str:
        return datetime.fromtimestamp(RECEIVED.timestamp() + clock_off_s + seconds, UTC).isoformat()

    found = event(
        {"event": "E", "timestamp": on_the_device(-3_600)}, arrival=ARRIVAL._replace(sent_at=on_the_device(0))
    )

    assert "2026-11-22T09:00:00.000Z" == found["occurred_at"]
    assert (on_the_device(-3_600) if clock_off_s else None) == found.get("context", {}).get("original_timestamp")


@pytest.mark.parametrize(
    ("timestamp", "sent_at", "occurred_at"),
    [
        ("2026-11-22T09:00:00Z", "1970-01-01T00:00:00Z", "2026-11-22T10:00:00.000Z"),
        ("2026-11-22T09:00:00Z", "2100-01-01T00:00:00Z", "2026-11-22T10:00:00.000Z"),
        ("2031-11-22T09:00:00Z", None, "2026-11-22T10:00:00.000Z"),
    ],
)
def test_a_corrected_time_is_never_after_arrival_nor_before_1970(
    timestamp: str, sent_at: str | None, occurred_at: str
) -> None:
    found = event({"event": "E", "timestamp": timestamp}, arrival=ARRIVAL._replace(sent_at=sent_at))

    assert occurred_at == found["occurred_at"]


@pytest.mark.parametrize("sent_at", [None, "yesterday", 5, {}])
@pytest.mark.parametrize(
    ("times", "occurred_at"),
    [
        ({"timestamp": "2026-11-20T09:00:00+01:00"}, "2026-11-20T08:00:00.000Z"),
        ({"originalTimestamp": "2026-11-20T08:00:00Z"}, "2026-11-20T08:00:00.000Z"),
        ({}, "2026-11-22T10:00:00.000Z"),
    ],
)
def test_without_a_sent_at_the_calls_own_time_counts(sent_at: object, times: dict[str, str], occurred_at: str) -> None:
    assert occurred_at == event({"event": "E", **times}, arrival=ARRIVAL._replace(sent_at=sent_at))["occurred_at"]


def test_a_call_without_an_id_or_a_time_gets_those_of_its_arrival() -> None:
    found = event({"event": "E", "messageId": None})

    assert ("request-0", "2026-11-22T10:00:00.000Z") == (found["event_id"], found["occurred_at"])


def test_context_is_kept_under_the_touchpoints_names() -> None:
    found = event(
        {
            "event": "E",
            "context": {
                "userAgent": "Mozilla/5.0", "sessionId": 1764000000, "locale": "de-DE", "library": {"name": "x"},
                "page": {"url": "https://shop.example/?gclid=1", "referrer": None}, "channel": "app",
            },
            "integrations": {"All": True}, "_metadata": {}, "channel": "server",
        }
    )  # fmt: skip

    assert "app" == found["channel"]
    assert {
        "user_agent": "Mozilla/5.0", "session_id": "1764000000", "locale": "de-DE", "library": {"name": "x"},
        "page": {"url": "https://shop.example/?gclid=1"},
    } == found["context"]  # fmt: skip


@pytest.mark.parametrize(
    ("context", "campaign"),
    [
        ({"campaign": {"source": "google", "name": "sale"}}, {"source": "google", "name": "sale"}),
        (
            {"page": {"url": "https://s.example/?utm_source=a%20b&utm_campaign=x&utm_source=c#utm_medium=no"}},
            {"source": "a b", "name": "x"},
        ),
        ({"page": {"search": "?utm_medium=email", "url": "https://s.example/?utm_medium=other"}}, {"medium": "email"}),
        ({"campaign": {"source": "google"}, "page": {"search": "?utm_source=other"}}, {"source": "google"}),
        ({"page": {"url": "http://[::1/?x=1"}}, None),
        ({"page": {"url": "https://s.example/?utm_content=" + "x" * 600}}, {"content": "x" * 500}),
    ],
)
def test_the_campaign_is_that_of_the_call_or_else_of_the_pages_address(
    context: dict[str, Any], campaign: dict[str, str] | None
) -> None:
    assert campaign == event({"event": "E", "context": context}).get("campaign")


def test_address_and_user_agent_are_those_of_the_connection_if_the_call_has_none() -> None:
    arrival = ARRIVAL._replace(address="203.0.113.9", user_agent="curl/8")

    assert {"ip": "203.0.113.9", "user_agent": "curl/8"} == event({"event": "E"}, arrival=arrival)["context"]
    assert "198.51.100.1" == event({"event": "E", "context": {"ip": "198.51.100.1"}}, arrival=arrival)["context"]["ip"]


def test_amounts_without_a_currency_are_in_that_of_their_source() -> None:
    source = Source(channel="web", currency="EUR")

    def currency(**properties: object) -> object:
        return event({"event": "Bought", "properties": properties}, source=source)["properties"].get("currency")

    assert ["EUR", "EUR", "USD", None] == [
        currency(revenue=2), currency(revenue_minor=250), currency(revenue=2, currency="USD"), currency(size=4)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("preferences", "consent"),
    [
        ({"ads": True, "stats": True, "other": False}, {"marketing": True, "analytics": True}),
        ({"ads": False, "stats": True}, {"marketing": False, "analytics": True}),
        ({"ads": "yes"}, {"marketing": False, "analytics": False}),
        ({}, {"marketing": False, "analytics": False}),
        (None, None),
    ],
)
def test_consent_is_read_from_the_banners_categories_that_the_source_maps(preferences: Any, consent: Any) -> None:
    source = Source(channel="web", consent={"ads": "marketing", "stats": "analytics"})
    context = {"consent": {"categoryPreferences": preferences}}

    assert consent == event({"event": "E", "context": context}, source=source).get("consent")
    assert None is event({"event": "E", "context": context}).get("consent")


@pytest.mark.parametrize(
    ("call", "verb", "field", "text"),
    [
        ({"event": "E"}, "track", "userId", "userId and anonymousId are missing"),
        ({"event": "E", "userId": None, "anonymousId": ""}, "track", "userId", "missing"),
        ({"userId": "u"}, "track", "event", "event is missing"),
        ({"userId": "u", "event": "E"}, None, "type", "type is missing"),
        ({"userId": "u", "event": "E"}, "delete", "type", "send one of track, identify"),
        ({"userId": ["u"], "event": "E"}, "track", "userId", "a list"),
        ({"anonymousId": {"x": 1}, "event": "E"}, "track", "anonymousId", "an object"),
        ({"userId": "u", "traits": {"email": 1.5}}, "identify", "traits.email", "not shown"),
        ({"userId": "u", "event": "E", "messageId": "x" * 101}, "track", "messageId", "100"),
        ({"userId": "u", "event": "E", "context": "web"}, "track", "context", "an object"),
        ({"userId": "u", "event": "E", "context": {"userAgent": 5}}, "track", "context.userAgent", "a text"),
        ({"userId": "u", "traits": {"plan": {"a": [[]] * 20}, "x_id": "y" * 9_000}}, "identify", "traits.x_id", "8192"),
        ({"userId": "u", "context": {"traits": {"x_id": "y" * 9_000}}}, "identify", "context.traits.x_id", "8192"),
        ({"userId": "u", "groupId": "y" * 9_000}, "group", "groupId", "8192"),
        ({"userId": "u", "traits": {"name": "Firm"}}, "group", "groupId", "is missing"),
        ({"userId": "u", "groupId": " "}, "group", "groupId", "is missing"),
        ({"previousId": "old"}, "alias", "userId", "is missing"),
        ({"userId": "u"}, "alias", "previousId", "is missing"),
        ({"userId": "u", "previousId": "", "anonymousId": "\t"}, "alias", "previousId", "is missing"),
        ({"userId": 2**64 + 1.0, "event": "E"}, "track", "userId", "it should be a text"),
        ({"userId": "u", "properties": {"x_id": "y" * 9_000}}, "page", "properties.x_id", "8192"),
        (
            {"event": "E", "context": {"externalIds": [{"type": "x", "id": n} for n in range(60)]}},
            "track", "context.externalIds", "are too many: a call has at most 50 identifiers in all; send fewer.",
        ),
        ({"userId": "u", "event": "E", "context": {"campaign": {"id": []}}}, "track", "context.campaign.id", "text"),
        ({"userId": "u", "event": "E", "properties": {"revenue": "much"}}, "track", "properties.revenue", "decimal"),
    ],
)  # fmt: skip
def test_a_rejection_names_the_calls_field(call: dict[str, Any], verb: object, field: str, text: str) -> None:
    found, message = refusal(call, verb)

    assert (field, True) == (found, text in message), message


def test_an_event_about_a_product_needs_no_person() -> None:
    found = event({"userId": None, "event": "Price Changed", "properties": {"product_id": "p", "price": "9.90"}})

    assert [] == found["identifiers"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab_", max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "event", "userId", "anonymousId", "messageId", "timestamp", "sentAt", "context", "properties", "traits", "name",
    "groupId", "previousId", "originalTimestamp",
)  # fmt: skip
CONTEXT = ("page", "campaign", "device", "traits", "externalIds", "userAgent", "sessionId", "consent", "channel", "ip")


@given(
    call=st.dictionaries(st.sampled_from(NAMES), json_values),
    context=st.none() | st.dictionaries(st.sampled_from(CONTEXT), json_values),
    verb=st.sampled_from(VERBS),
    sent_at=json_values,
)
def test_any_call_is_translated_or_rejected_by_field(
    call: dict[str, Any], context: dict[str, Any] | None, verb: str, sent_at: object
) -> None:
    if context is not None:
        call = {**call, "context": context}
    source = Source(channel="web", currency="EUR", consent={"a": "marketing"})
    found = translate(call, verb, "shop", source, ARRIVAL._replace(sent_at=sent_at))

    if isinstance(found, Reject):
        assert found.field in ("userId", "groupId", "previousId")
        assert found.message
        return
    read = decode(orjson.dumps(found.event), channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536)
    if isinstance(read, Reject) and read.reason != Reason.MISSING_FIELD:
        assert has_field(call, field_of_call(read.field, found.field_names)), (read, call)


def has_field(call: Any, field: str) -> bool:
    """Tell whether a call has a field."""
    found = call
    for part in field.split("."):
        if isinstance(found, list) and part.isdigit():
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            return False
    return True
