"""Clients of PostHog and of GA4's Measurement Protocol send to the collector as they are; their events are stored."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from deploy.settings import Settings
from tests.support.collector import Ids, RunningCollector, stored
from tests.support.topic_reader import everything

pytestmark = pytest.mark.integration

RECORDED = json.loads((Path(__file__).parents[2] / "support/recorded/posthog.json").read_text())
PAGE = {"Origin": "https://shop.example"}
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("request_of_sdk", RECORDED, ids=lambda one: f"{one['sdk']} {one['path']}")
def test_what_posthogs_sdks_send_is_stored_and_answered_as_they_expect(
    service: RunningCollector, place: Settings, request_of_sdk: dict[str, Any]
) -> None:
    body = base64.b64decode(request_of_sdk["body_base64"])
    origin = {} if "node" in request_of_sdk["sdk"] else PAGE
    answer = service.post(request_of_sdk["path"], body, "", **origin, **request_of_sdk["headers"])

    assert (200, {"status": 1}) == (answer.status, answer.body)


def test_the_story_that_posthog_js_tells_is_of_one_visitor_who_becomes_an_account(
    service: RunningCollector, place: Settings
) -> None:
    for one in RECORDED:
        assert 200 == service.post(one["path"], base64.b64decode(one["body_base64"]), "", **one["headers"]).status
    found: dict[str, Any] = {}
    for topic, _, _, value in everything(place):
        if topic.endswith("touchpoints.web"):
            event = json.loads(value)
            found.setdefault(event["event"], event)

    assert {"Page Viewed", "Identify", "Product Viewed", "Alias Created", "Group Joined", "Order Completed",
            "Late", "After Reset", "$pageleave"} <= found.keys()  # fmt: skip
    view, identify, order = (found[name] for name in ("Page Viewed", "Identify", "Order Completed"))
    ids = [{one["type"]: one["value"] for one in event["identifiers"]} for event in (view, identify, order)]
    assert "user_id" not in ids[0]
    assert ("u1", ids[0]["anonymous_id"]) == (ids[1]["user_id"], ids[1]["anonymous_id"])
    assert {"user_id": "u1"} == ids[2]
    assert {"source": "google", "medium": "cpc", "name": "autumn"} == view["campaign"]
    assert "42.5" == order["properties"]["revenue"]


def test_posthogs_python_sdk_sends_everything_that_it_can(service: RunningCollector, place: Settings, ids: Ids) -> None:
    from posthog import Posthog

    person, failures = ids(), []
    client = Posthog(
        "server-key", host=service.url, gzip=True, on_error=lambda error, _: failures.append(error), flush_interval=0.1
    )
    client.capture(
        "Order Completed", distinct_id=person, properties={"order_id": person, "total": 3, "currency": "EUR"}
    )
    client.set(distinct_id=person, properties={"plan": "gold"})
    client.alias(previous_id=f"{person}-visitor", distinct_id=person)
    client.group_identify("company", person, {"name": "Acme"})
    client.capture("Seen without a person")
    client.shutdown()
    mine = [
        event
        for event in (json.loads(value) for topic, _, _, value in everything(place) if topic.endswith(".api"))
        if person in json.dumps(event) or event["event"] == "Seen without a person"
    ]

    assert [] == failures
    assert ["Alias Created", "Group Updated", "Identify", "Order Completed", "Seen without a person"] == sorted(
        event["event"] for event in mine
    )


def test_older_forms_of_a_request_are_read_and_broken_ones_are_named(
    service: RunningCollector, place: Settings, ids: Ids
) -> None:
    def event(event_id: str) -> dict[str, Any]:
        return {"event": "Seen", "uuid": event_id, "properties": {"distinct_id": "d", "token": "web-key"}}

    first, second, third, fourth = (ids() for _ in range(4))
    as_base64 = "data=" + quote(base64.b64encode(json.dumps([event(second)]).encode()).decode())
    answers = [
        service.post("/e/?ip=1&_=1795341600000&ver=1.20", gzip.compress(json.dumps([event(first)]).encode()), ""),
        service.post("/e/?compression=base64", as_base64.encode(), "", **{"Content-Type": FORM}),
        service.post("/capture/", {"api_key": "web-key", **event(third)}, ""),
        service.post("/i/v0/e/", {**event(fourth), "event": None}, ""),
    ]
    broken = [
        service.post("/e/", gzip.compress(b"{}")[:12], ""),
        service.post("/e/?compression=lz64", b"data=%E2%98%83", "", **{"Content-Type": FORM}),
        service.post("/batch/", {"api_key": "web-key", "batch": {}}, ""),
        service.post("/batch/", {"api_key": "nobody", "batch": []}, ""),
        service.post("/batch/", {"batch": [event("x")]}, ""),
    ]

    assert [200] * 4 == [one.status for one in answers]
    assert ["event"] == [one["field"] for one in answers[3].body["rejected"]]
    assert [first, second, third] == [one["event_id"] for one in stored(place, first, second, third)]
    unreadable, unauthorized = (400, "unreadable"), (401, "write_key")
    assert [(400, "cut_off"), unreadable, (400, "batch_missing"), unauthorized, unauthorized] == [
        (one.status, one.body["code"]) for one in broken
    ]


def test_history_is_dated_by_its_own_timestamps_whenever_it_is_sent(
    service: RunningCollector, place: Settings, ids: Ids
) -> None:
    old, corrected = ids(), ids()

    def batch(event_id: str, **more: Any) -> dict[str, Any]:
        event = {"event": "Seen", "uuid": event_id, "distinct_id": "u1", "timestamp": "2024-02-29T10:00:00Z"}
        return {"api_key": "server-key", "batch": [event], "sent_at": "2026-11-22T10:00:00Z", **more}

    for body in (batch(old, historical_migration=True), batch(corrected)):
        assert 200 == service.post("/batch/", body, "").status
    history, recent = stored(place, old, corrected)

    assert "2024-02-29T10:00:00.000Z" == history["occurred_at"]
    assert recent["context"]["time_doubtful"]


def test_a_packed_body_is_not_unpacked_beyond_the_limit_of_a_request(service: RunningCollector) -> None:
    bomb = gzip.compress(b'{"api_key": "web-key", "batch": [' + b" " * 50_000_000 + b"]}")

    assert (413, "too_large") == ((answer := service.post("/e/", bomb, "")).status, answer.body["code"])


def test_a_form_of_very_many_fields_is_refused_before_it_is_parsed(service: RunningCollector) -> None:
    answer = service.post("/e", b"data=x" + b"&a=1" * 1_200_000, "", **{"Content-Type": FORM})

    assert (413, "too_many_parts") == (answer.status, answer.body["code"])


def test_what_posthog_js_asks_for_besides_is_answered_with_everything_off(service: RunningCollector) -> None:
    flags = service.post("/flags/?v=2", {"token": "web-key", "distinct_id": "d"}, "", **PAGE)
    config = service.get("/array/web-key/config?ip=0", **PAGE)

    assert (200, {}, False) == (flags.status, flags.body["flags"], flags.body["errorsWhileComputingFlags"])
    assert (200, False, False) == (config.status, config.body["sessionRecording"], config.body["hasFeatureFlags"])
    assert PAGE["Origin"] == config.headers["Access-Control-Allow-Origin"]


def test_a_measurement_protocol_request_is_stored_and_answered_without_content(
    service: RunningCollector, place: Settings, ids: Ids
) -> None:
    order = ids()
    body = {"client_id": "1.2", "events": [
        {"name": "purchase", "params": {"transaction_id": order, "value": 3, "currency": "EUR"}},
        {"name": "refund", "params": {"value": 3, "currency": "EUR"}},
    ]}  # fmt: skip
    path = "/mp/collect?measurement_id=G-1&api_secret="
    answers = [service.post(path + key, body, "") for key in ("server-key", "nobody")]
    broken = service.post(path + "server-key", ["login"], "")
    found = [json.loads(value) for _, _, _, value in everything(place)]
    letters = [json.loads(value) for _, _, _, value in everything(place, "dead-letters")]

    assert [(204, None), (401, "write_key")] == [(one.status, one.body and one.body["code"]) for one in answers]
    assert (400, "not_an_object") == (broken.status, broken.body["code"])
    assert 1 == sum(one.get("properties", {}).get("order_id") == order for one in found)
    assert 1 == sum(one["field"] == "properties.order_id" for one in letters)


def test_the_debug_path_of_the_measurement_protocol_says_what_is_wrong_and_stores_nothing(
    service: RunningCollector, place: Settings, ids: Ids
) -> None:
    order = ids()
    bad = {"name": "purchase", "params": {"transaction_id": order, "value": "much", "currency": "EUR"}}
    path = "/debug/mp/collect?measurement_id=G-1&api_secret=server-key"
    answers = [
        service.post(path, {"client_id": "1.2", "events": events}, "")
        for events in ([{"name": "login"}], [{"name": "login"}, bad], [{"name": "refund"}])
    ]

    assert [] == answers[0].body["validationMessages"]
    (wrong,), (missing,) = (one.body["validationMessages"] for one in answers[1:])
    assert ("events[1].params.value", "VALUE_INVALID") == (wrong["fieldPath"], wrong["validationCode"])
    assert "params.value is 'much'" in wrong["description"]
    assert ("events[0].params.transaction_id", "VALUE_REQUIRED") == (missing["fieldPath"], missing["validationCode"])
    assert not any(order.encode() in value for _, _, _, value in everything(place))


CLOUD_EVENT = {"specversion": "1.0", "source": "https://shop.example/till", "type": "com.example.order.completed"}


def test_cloud_events_are_taken_one_by_one_as_a_batch_and_in_the_binary_mode(
    service: RunningCollector, place: Settings, ids: Ids
) -> None:
    structured, first, second, binary, plain = (ids() for _ in range(5))

    def event(event_id: str) -> dict[str, Any]:
        return {
            **CLOUD_EVENT,
            "id": event_id,
            "time": "2026-11-20T10:00:00Z",
            "data": {"properties": {"order_id": "A"}},
        }

    batch = [event(first), {**event("x"), "specversion": "0.3"}, event(second)]
    headers = {f"ce-{name}": value for name, value in CLOUD_EVENT.items()}
    answers = [
        service.post("/v1/touchpoints", event(structured), **{"Content-Type": "application/cloudevents+json"}),
        service.post("/v1/touchpoints", batch, **{"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}),
        service.post("/v1/touchpoints", {"properties": {"order_id": "A"}},
                     **{**headers, "Content-Type": "application/json", "ce-id": binary, "ce-shop": "K%C3%B6ln"}),
        service.post("/v1/touchpoints", b"", **{**headers, "Content-Type": "application/json", "ce-id": plain}),
    ]  # fmt: skip
    found = stored(place, structured, first, second, binary, plain)

    assert [(200, 1), (200, 2), (200, 1), (400, 0)] == [(one.status, one.body.get("accepted", 0)) for one in answers]
    assert [(1, "specversion")] == [(one["index"], one["field"]) for one in answers[1].body["rejected"]]
    assert "properties" == answers[3].body["field"]  # an event without data can be read, and this one needs some
    assert [structured, first, second, binary] == [one["event_id"] for one in found]
    assert {("Order Completed", "server", "api")} == {(one["event"], one["source"], one["channel"]) for one in found}
    assert CLOUD_EVENT["source"] == found[0]["context"]["cloud_event"]["source"]
    assert "Köln" == found[3]["context"]["cloud_event"]["shop"]


@pytest.mark.parametrize(
    ("content", "headers", "key", "status", "code"),
    [
        ({**CLOUD_EVENT}, {"Content-Type": "application/cloudevents+json"}, "server-key", 400, "missing_field"),
        ({**CLOUD_EVENT, "id": "1"}, {"Content-Type": "application/cloudevents+json"}, "web-key", 403, "server_key"),
        (b"<a/>", {"Content-Type": "application/cloudevents+xml"}, "server-key", 400, "invalid_field"),
        (b"<a/>", {"ce-specversion": "1.0", "Content-Type": "text/xml"}, "server-key", 400, "invalid_field"),
        ({}, {"Content-Type": "application/cloudevents-batch+json"}, "server-key", 400, "batch_missing"),
    ],
)
def test_a_cloud_event_that_cannot_be_read_is_refused_and_gives_a_page_no_rights(
    service: RunningCollector, content: Any, headers: dict[str, str], key: str, status: int, code: str
) -> None:
    answer = service.post("/v1/touchpoints", content, key, **headers)

    assert (status, code) == (answer.status, answer.body["code"])


def packed(call: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps(call).encode()).decode()


def test_an_image_in_a_mail_is_a_call(place: Settings, service: RunningCollector, ids: Ids) -> None:
    opened = {"writeKey": "web-key", "userId": "u1", "event": "Email Opened", "properties": {"message_id": "m1"}}
    first, second, third, fourth = ids(), ids(), ids(), ids()
    answers = [
        service.get(f"/v1/pixel/track?data={quote(packed({**opened, 'messageId': first}))}"),
        service.get(f"/v1/pixel/track/?data={packed({**opened, 'messageId': second}).rstrip('=')}"),
        service.get(f"/v1/pixel/track?data={quote(json.dumps({**opened, 'messageId': third}))}"),
        service.get(
            f"/v1/pixel/track?userId=u1&event=Email%20Opened&properties.message_id=m1&messageId={fourth}&writeKey=web-key"
        ),
    ]

    assert {(200, "image/gif", "no-store")} == {
        (one.status, one.headers["Content-Type"], one.headers["Cache-Control"]) for one in answers
    }
    found = stored(place, first, second, third, fourth)
    assert [("Email Opened", "m1")] * 4 == [(one["event"], one["properties"]["message_id"]) for one in found]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("data=%20not%20base64!", 400),
        ("data=bm8ganNvbg", 400),
        ("event=Opened&userId=u1", 401),
        ("writeKey=unknown&event=Opened&userId=u1", 401),
        ("writeKey=web-key&properties=a&properties.b=c", 400),
        ("writeKey=web-key&event=Opened", 200),
    ],
    ids=["no Base64", "no JSON", "no key", "a key of nobody", "a contradiction", "of nobody: a dead letter"],
)
def test_an_image_whose_address_holds_no_call_says_why(service: RunningCollector, query: str, status: int) -> None:
    assert status == service.get(f"/v1/pixel/track?{query}").status
