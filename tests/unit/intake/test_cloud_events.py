"""CloudEvents become touchpoints: attributes complete the head and contradict it in the open."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.intake.cloud_events import Circumstances, event_of_type, source_of_uri, touchpoint_of
from processors.intake.collect import Collect
from processors.intake.record_forms import decode_record
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import ValidationMark
from processors.stream.routing import route
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import DeadLetter, Reason
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from schemas.records import UnloggedRecord
from schemas.time import ms_of_text, parse_time

ARRIVED = "2026-11-22T10:00:00.000Z"
HEAD = {"specversion": "1.0", "id": "ce-1", "source": "https://shop.example/till/",
        "type": "com.example.order.completed.v1",        "time": "2026-11-22T08:00:00+01:00"}  # fmt: skip
ORDER = {"identifiers": {"user_id": "u1"}, "properties": {"order_id": "A-1", "revenue": "3", "currency": "EUR"}}
Found = dict[str, Any] | Reject


def record(value: object, headers: tuple[tuple[str, bytes | None], ...] = (), topic: str = "touchpoints.store") -> Any:
    raw = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    return UnloggedRecord(topic, 0, 7, ms_of_text(ARRIVED), b"", raw, headers)  # type: ignore[arg-type]


def decoded(*record_parts: Any, **more: Any) -> Any:
    return decode_record(
        record(*record_parts, **more), ValidationMark(b"s"), channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=65_536
    )


def structured(**more: Any) -> Any:
    """Decode a record in the structured mode."""
    event = {name: value for name, value in {**HEAD, "data": ORDER, **more}.items() if value is not ...}
    return decoded(event, (("content-type", b"application/cloudevents+json; charset=utf-8"),))


def test_attributes_are_the_head_and_data_the_rest() -> None:
    found = structured(subject="crm_id:C-7", traceparent="00-1", channel="web")

    assert ("ce-1", "Order Completed", "shop.example/till", "2026-11-22T07:00:00.000Z", "web") == tuple(
        found[name] for name in ("event_id", "event", "source", "occurred_at", "channel")
    )
    assert {("user_id", "u1"), ("crm_id", "C-7")} == {(one["type"], one["value"]) for one in found["identifiers"]}
    kept = {"source": HEAD["source"], "type": HEAD["type"], "subject": "crm_id:C-7", "traceparent": "00-1"}
    assert {"cloud_event": kept} == found["context"]


def test_the_binary_mode_is_the_same_event() -> None:
    headers = tuple((f"ce_{name}", text.encode()) for name, text in HEAD.items())
    found = decoded(ORDER, (*headers, ("content-type", b"application/json")))

    assert structured() == found


def test_a_structured_event_whose_header_was_lost_is_read_all_the_same() -> None:
    assert structured() == decoded({**HEAD, "data": ORDER})


def test_the_channel_is_that_of_the_topic_if_none_is_named() -> None:
    assert "store" == structured()["channel"]
    assert "web" == structured(data={**ORDER, "channel": "web"})["channel"]


def test_a_whole_touchpoint_as_data_agrees_with_its_attributes() -> None:
    whole = {**ORDER, "event_id": "ce-1", "event": "Order Completed", "source": "shop.example/till",
             "occurred_at": "2026-11-22T07:00:00Z", "channel": "store"}  # fmt: skip

    assert structured() == structured(data=whole)
    assert structured() == structured(data={**whole, "source": HEAD["source"], "event": HEAD["type"]})


@pytest.mark.parametrize(
    ("more", "field", "words"),
    [
        ({"data": {**ORDER, "event_id": "x"}}, "id", ["'ce-1'", "data.event_id is 'x'"]),
        ({"data": {**ORDER, "event": "Order Refunded"}}, "type", ["com.example", "data.event is 'Order Refunded'"]),
        ({"data": {**ORDER, "source": "pos"}}, "source", ["https://shop.example/till/", "data.source is 'pos'"]),
        ({"data": {**ORDER, "occurred_at": ARRIVED}}, "time", ["08:00:00+01:00", "data.occurred_at is '2026-11-22T10"]),
        ({"data": {**ORDER, "channel": "web"}, "channel": "app"}, "channel", ["'app'", "data.channel is 'web'"]),
        ({"subject": "user_id:u2"}, "subject", ["data.identifiers.user_id", "two different values of user_id"]),
        ({"subject": "email:a@b.example",
          "data": {**ORDER, "identifiers": [{"type": "email", "value": "c@d.example"}]}},
         "subject", ["two different values of email"]),
    ],
)  # fmt: skip
def test_a_contradiction_is_an_error_that_names_both(more: dict[str, Any], field: str, words: list[str]) -> None:
    found = structured(**more)

    assert (Reason.INVALID_FIELD, field) == (found.reason, found.field)
    assert [] == [one for one in (*words, "contradict") if one not in found.message]
    assert "@" not in found.message


@pytest.mark.parametrize(
    ("more", "reason", "field", "words"),
    [
        ({"specversion": "0.3"}, Reason.INVALID_FIELD, "specversion", "'0.3': send CloudEvents 1.0"),
        ({"id": ...}, Reason.MISSING_FIELD, "id", "id is missing"),
        ({"id": ""}, Reason.INVALID_FIELD, "id", "id should be a text that is not empty"),
        ({"source": 7}, Reason.INVALID_FIELD, "source", "source should be a text"),
        ({"type": ...}, Reason.MISSING_FIELD, "type", "type is missing"),
        ({"time": "yesterday"}, Reason.INVALID_FIELD, "time", "time is 'yesterday'"),
        ({"event_id": "x"}, Reason.INVALID_FIELD, "event_id", "event_id is no attribute of a CloudEvent"),
        ({"data": [ORDER]}, Reason.NOT_AN_OBJECT, "data", "data is a list"),
        ({"data_base64": "e30="}, Reason.INVALID_FIELD, "data_base64", "data_base64 and data are both given"),
        ({"data": ..., "data_base64": "{}"}, Reason.INVALID_FIELD, "data_base64", "data_base64 is not Base64"),
        ({"data": ..., "data_base64": "e3s="}, Reason.NOT_JSON, "data_base64", "data_base64 is not JSON"),
        ({"datacontenttype": "text/xml"}, Reason.INVALID_FIELD, "datacontenttype", "'text/xml': send data as JSON"),
        ({"data": {**ORDER, "order": 1}}, Reason.INVALID_FIELD, "data.order", "data.order is not a field"),
        ({"data": {"properties": {"order_id": "A", "revenue": "much", "currency": "EUR"}}}, Reason.INVALID_FIELD,
         "data.properties.revenue", "data.properties.revenue is 'much'"),
        ({"id": "x" * 101}, Reason.INVALID_FIELD, "id", "id is "),
        ({"source": "https://" + "x" * 101}, Reason.INVALID_FIELD, "source", "source is "),
        ({"channel": "moon"}, Reason.UNKNOWN_CHANNEL, "channel", "channel is 'moon'"),
    ],
)  # fmt: skip
def test_an_error_names_the_attribute_and_its_rule(
    more: dict[str, Any], reason: Reason, field: str, words: str
) -> None:
    found = structured(**more)

    assert (reason, field) == (found.reason, found.field)
    assert words in found.message


@pytest.mark.parametrize("content_type", ["application/json", "text/json; charset=utf-8", "application/vnd.shop+json"])
def test_data_may_be_of_any_type_that_is_json(content_type: str) -> None:
    assert "Order Completed" == structured(datacontenttype=content_type)["event"]


def test_data_may_be_base64_and_an_event_may_have_none() -> None:
    encoded = base64.b64encode(orjson.dumps(ORDER)).decode()

    assert structured() == structured(data=..., data_base64=encoded)
    assert "com.example.opened" == structured(data=..., type="com.example.opened")["event"]


def test_an_event_without_a_time_is_dated_by_its_arrival_and_says_so() -> None:
    found = structured(time=...)

    assert (ARRIVED, True) == (found["occurred_at"], found["context"]["time_doubtful"])
    assert "time_doubtful" not in structured()["context"]


@pytest.mark.parametrize("subject", ["42", "order:42", "customers/42", "user_id:", 42])
def test_a_subject_that_is_no_identifier_names_no_person(subject: object) -> None:
    found = structured(subject=subject, data={"properties": ORDER["properties"]})

    assert [] == found["identifiers"]
    assert subject == found["context"]["cloud_event"]["subject"]


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("com.example.order.completed", "Order Completed"),
        ("com.example.OrderCompleted.v2.1", "Order Completed"),
        ("com.example.shop.product_added_to_wishlist", "Product Added to Wishlist"),
        ("Order Completed", "Order Completed"),
        ("order-completed/1", "Order Completed"),
        ("com.example.reorder.completed", "com.example.reorder.completed"),
        ("completed", "completed"),
        ("v1", "v1"),
    ],
)
def test_a_type_is_the_event_that_its_last_parts_spell(name: str, event: str) -> None:
    assert event == event_of_type(name)


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://shop.example/till/?a=1#b", "shop.example/till"),
        ("urn:shop-eu", "shop-eu"),
        ("/shop-eu", "shop-eu"),
        ("shop-eu", "shop-eu"),
        ("urn:uuid:6e8bc430", "uuid:6e8bc430"),
        ("/", "/"),
    ],
)
def test_a_source_is_its_uri_without_scheme_slashes_and_query(uri: str, source: str) -> None:
    assert source == source_of_uri(uri)


@pytest.mark.parametrize(
    ("value", "headers", "field"),
    [
        (b"<xml/>", (("content-type", b"application/cloudevents+xml"),), "content-type"),
        (b"{", (("content-type", b"application/cloudevents+json"),), ""),
        (b"{", (("ce_specversion", b"1.0"), ("ce_id", b"1")), "data"),
        (b"\x0a\x00", (("ce_specversion", b"1.0"), ("content-type", b"application/protobuf")), "datacontenttype"),
        (b"{}", (("ce_specversion", b"1.0"), ("ce_type", b"t"), ("ce_source", b"/s")), "id"),
    ],
)
def test_a_record_that_is_no_readable_cloud_event_is_refused_by_what_is_wrong(
    value: bytes, headers: Any, field: str
) -> None:
    assert field == decoded(value, headers).field


@pytest.mark.parametrize("headers", [(("content-type", b"application/json"),), (("ce_id", b"1"),), (("x", None),)])
def test_a_touchpoint_with_headers_of_its_own_stays_one(headers: Any) -> None:
    whole = {**ORDER, "event_id": "1", "event": "Order Completed", "channel": "web", "occurred_at": ARRIVED}

    assert "1" == decoded(whole, headers)["event_id"]


def test_the_dead_letter_of_a_binary_event_keeps_its_attributes_and_is_read_again() -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_type", b"opened"), ("ce_source", b"/s"))
    rejected = decoded({"colour": "red"}, headers)
    (letter,) = route("identify", [record({"colour": "red"}, headers)], [rejected])
    kept = DeadLetter.model_validate_json(letter.value).value
    repaired = orjson.dumps({**orjson.loads(kept), "data": {}})

    assert {"specversion": "1.0", "id": "1", "type": "opened", "source": "/s", "data": {"colour": "red"}} == (
        orjson.loads(kept)
    )
    assert rejected == decoded(kept)
    assert ("1", "opened") == tuple(decoded(repaired)[name] for name in ("event_id", "event"))


@pytest.mark.parametrize(("kind", "published"), [("server", 1), ("browser", 0)])
def test_the_letter_of_a_refused_request_is_replayed_as_a_cloud_event_for_a_server_alone(
    kind: Any, published: int
) -> None:
    collect = Collect(
        channels=frozenset(TOUCHPOINT_CHANNELS), max_event_bytes=65_536, key=lambda _: b"", topic_prefix="",
        mark=ValidationMark(b"secret"),
    )  # fmt: skip
    arrival = Arrival(parse_time(ARRIVED), None, "request-0")
    refused = collect.cloud_events(
        "till", Source(channel="store"), [{**HEAD, "specversion": "2", "data": ORDER}], [arrival]
    )
    letter = orjson.loads(DeadLetter.model_validate_json(refused.outgoing[0].value).value)
    letter["call"]["specversion"] = "1.0"
    again = collect.replay(orjson.dumps(letter), {"till": Source(channel="store", kind=kind)}, arrival)

    assert ["specversion"] == [one.rejected.field for one in refused.refusals]
    assert (published, 1 - published) == (again.accepted, len(again.refusals))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
DATA_FIELDS = st.sampled_from(["identifiers", "context", "occurred_at", "event_id", "channel", "properties"])


@settings(max_examples=100)
@given(
    st.fixed_dictionaries(
        {**{name: st.just(HEAD[name]) for name in ("specversion", "id", "type", "source")}},
        optional={
            "data": st.dictionaries(DATA_FIELDS, JSON) | JSON,
            **dict.fromkeys(("time", "subject", "channel", "datacontenttype", "data_base64"), JSON),
        },
    )
    | JSON
)
def test_whatever_a_cloud_event_holds_it_is_completed_or_refused(event: Any) -> None:
    found = touchpoint_of(event, Circumstances(ARRIVED, "web"))

    assert isinstance(found, Reject) or found.event["event_id"] == "ce-1"
