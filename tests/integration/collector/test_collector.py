"""The collector over real HTTP and on a real broker: a confirmed event is in Kafka, any other has a reason."""

from __future__ import annotations

import gzip
import http.client
import io
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiokafka
import orjson
import psutil
import pytest
from aiokafka import TopicPartition

from deploy.home import Home
from deploy.settings import Settings
from deploy.workers.transport import FetchedRecord
from processors.intake.validation_mark import ValidationMark
from schemas.dead_letters import DeadLetter
from tests.support.builders import touchpoint
from tests.support.collector import Ids, RunningCollector, collector, stored, track
from tests.support.topic_reader import everything

pytestmark = pytest.mark.integration

PAGE = {"Origin": "https://shop.example"}


def dead_letters(settings: Settings, mark: str) -> list[DeadLetter]:
    """The dead letters whose original bytes have this in them."""
    letters = [DeadLetter.model_validate_json(value) for _, _, _, value in everything(settings, "dead-letters")]
    return [letter for letter in letters if mark.encode() in letter.value]


def test_a_call_that_is_answered_with_200_is_in_kafka(place: Settings, service: RunningCollector, ids: Ids) -> None:
    one = ids()
    answer = service.post("/v1/track", track(one, type="ignored", context={"channel": "web"}))

    assert (200, {"success": True, "accepted": 1, "rejected": []}) == (answer.status, answer.body)
    [(topic, key, event)] = [
        (topic, key, orjson.loads(value)) for topic, _, key, value in everything(place) if one.encode() in value
    ]
    assert ("touchpoints.web", "server", "u1") == (topic, event["source"], event["identifiers"][0]["value"])
    assert (True, False) == (key is not None, b"u1" in (key or b""))


def test_of_a_batch_with_a_bad_event_the_others_are_accepted_and_the_bad_one_is_named_and_kept(
    place: Settings, service: RunningCollector, ids: Ids
) -> None:
    first, bad, last = ids(), ids(), ids()
    batch = {"batch": [track(first), track(bad, userId=None), track(last)], "context": {"locale": "de"}}
    lenient, strict = service.post("/v1/batch", batch), service.post("/v1/batch?strict=1", batch)

    assert (200, 2, True) == (lenient.status, lenient.body["accepted"], lenient.body["success"])
    assert (400, 2, False) == (strict.status, strict.body["accepted"], strict.body["success"])
    [refused] = lenient.body["rejected"]
    assert (1, bad, "missing_field", "userId") == tuple(
        refused[name] for name in ("index", "messageId", "code", "field")
    )
    found = stored(place, first, bad, last)
    assert [first, first, last, last] == [event["event_id"] for event in found]
    assert {"de"} == {event["context"]["locale"] for event in found}
    assert ["collect", "collect"] == [letter.stage for letter in dead_letters(place, bad)]


async def test_the_records_of_events_are_marked_as_validated_and_those_of_dead_letters_are_not(
    place: Settings, service: RunningCollector, ids: Ids
) -> None:
    good, bad = ids(), ids()
    assert 200 == service.post("/v1/batch", {"batch": [track(good), track(bad, userId=None)]}).status
    records = await read_as_a_worker(place, "touchpoints.api", "dead-letters")
    [event] = [one for one in records if one.value is not None and good.encode() in one.value]
    mark = ValidationMark(place.identity_secret.get_secret_value().encode())

    assert mark.verify(event.value or b"", event.headers)
    assert {()} == {one.headers for one in records if one.topic.endswith("dead-letters")}


async def read_as_a_worker(settings: Settings, *topics: str) -> list[FetchedRecord]:
    """All records of topics of one partition, as the workers' transport makes them."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topic_prefix + topic, 0) for topic in topics]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[FetchedRecord] = []
        while len(records) < sum(ends.values()):
            for found in (await consumer.getmany(timeout_ms=200)).values():
                records += found
        return records
    finally:
        await consumer.stop()


def test_one_bad_call_is_an_error_that_names_the_field(service: RunningCollector) -> None:
    answer = service.post("/v1/identify", {"userId": "u", "traits": "Ada"})

    assert (400, "traits", "invalid_field") == (answer.status, answer.body["field"], answer.body["code"])
    assert "traits is" in answer.body["message"]


def test_touchpoints_are_accepted_alone_in_a_list_or_in_a_batch(
    place: Settings, service: RunningCollector, ids: Ids
) -> None:
    names = [ids() for _ in range(5)]
    events = [touchpoint(event_id=name) for name in names]
    answers = [
        service.post("/v1/touchpoints", events[0]),
        service.post("/v1/touchpoints", events[1:3]),
        service.post("/v1/touchpoints", {"batch": events[3:]}),
        service.post("/v1/touchpoints", {**events[0], "occurred_at": "today"}),
    ]

    assert [(200, 1), (200, 2), (200, 2), (400, None)] == [(one.status, one.body.get("accepted")) for one in answers]
    assert "occurred_at" == answers[-1].body["field"]
    assert names == [event["event_id"] for event in stored(place, *names)]


def test_validate_answers_and_stores_nothing(place: Settings, service: RunningCollector, ids: Ids) -> None:
    one, other = ids(), ids()
    good = service.post("/v1/validate", {"batch": [track(one)]})
    bad = service.post("/v1/validate", {"batch": [track(other, userId=None)]})

    odd = service.post("/v1/validate", {"batch": [track(other, context={"os": "iOS"})]})

    assert ((200, 1), (400, 0)) == ((good.status, good.body["accepted"]), (bad.status, bad.body["accepted"]))
    assert ([], [[{"field": "context.os", "rule": "set_aside", "count": 1}]]) == (
        good.body["notes"], [note["mended"] for note in odd.body["notes"]],
    )  # fmt: skip
    assert ([], []) == (stored(place, one), dead_letters(place, other))


def test_neither_content_type_nor_encoding_matters(place: Settings, service: RunningCollector, ids: Ids) -> None:
    names, statuses = [], []
    for kind in ("application/json", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded"):
        for encoding in ("", "gzip", "x-gzip"):
            names.append(ids())
            body = orjson.dumps({"batch": [track(names[-1])]})
            headers = {"Content-Type": kind, **({"Content-Encoding": encoding} if encoding else {})}
            statuses.append(service.post("/v1/batch", gzip.compress(body) if encoding else body, **headers).status)

    assert [200] * 9 == statuses
    assert names == [event["event_id"] for event in stored(place, *names)]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/batch", b"", 400, "not_json"),
        ("/v1/batch", b'{"batch": [}', 400, "not_json"),
        ("/v1/batch", b"\xff\xfe", 400, "not_json"),
        ("/v1/batch", [], 400, "batch_missing"),
        ("/v1/batch", {"batch": {}}, 400, "batch_missing"),
        ("/v1/batch", {"batch": [1] * 5_001}, 413, "too_many_events"),
        ("/v1/nonsense", {}, 404, "not_found"),
        ("/ready", {}, 405, "method_not_allowed"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_as_a_whole(
    service: RunningCollector, path: str, body: Any, status: int, code: str
) -> None:
    answer = service.post(path, body)

    assert (status, code, False) == (answer.status, answer.body["code"], answer.body["success"])
    assert answer.body["message"]


@pytest.mark.parametrize(
    ("body", "code"), [(b"no gzip at all", "unreadable"), (gzip.compress(b'{"batch": []}', mtime=0)[:-12], "cut_off")]
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(
    service: RunningCollector, body: bytes, code: str
) -> None:
    answer = service.post("/v1/batch", body, **{"Content-Encoding": "gzip"})

    assert (400, code) == (answer.status, answer.body["code"])
    assert 200 == service.post("/v1/batch", {"batch": []}).status


@pytest.mark.parametrize(
    ("key", "stated", "query", "status"),
    [
        ("server-key", None, "", 200),
        ("", "server-key", "", 200),
        ("", None, "?writeKey=server-key", 200),
        ("server-key", "server-key", "", 200),
        ("server-key", "web-key", "", 401),
        ("other", None, "", 401),
        ("", None, "", 401),
        ("", 5, "", 401),
    ],
)
def test_the_write_key_of_the_head_the_query_or_the_body_is_the_sources(
    service: RunningCollector, key: str, stated: Any, query: str, status: int
) -> None:
    answer = service.post(f"/v1/batch{query}", {"batch": [], "writeKey": stated}, key)

    assert status == answer.status
    assert {200: None, 401: "write_key"}[status] == answer.body.get("code")


def test_a_page_may_ask_for_settings_send_and_read_the_answer(
    place: Settings, service: RunningCollector, ids: Ids
) -> None:
    one = ids()
    preflight = service.request("OPTIONS", "/v1/t", None, {**PAGE, "Access-Control-Request-Method": "POST"})
    sdk_settings = service.get("/v1/projects/web-key/settings", **PAGE)
    sent = service.post("/v1/t", {**track(one), "writeKey": "web-key"}, "", **PAGE, **{"User-Agent": "Firefox"})
    stolen = service.post("/v1/t", track(ids()), "server-key", **PAGE)

    assert [204, 200, 200, 403] == [answer.status for answer in (preflight, sdk_settings, sent, stolen)]
    assert {PAGE["Origin"]} == {
        answer.headers["Access-Control-Allow-Origin"] for answer in (preflight, sdk_settings, sent, stolen)
    }
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert service.url.removeprefix("http://") + "/v1" == sdk_settings.body["integrations"]["Segment.io"]["apiHost"]
    [event] = stored(place, one)
    assert {"ip": "127.0.0.1", "user_agent": "Firefox"} == event["context"]
    assert 404 == service.get("/v1/projects/unknown/settings").status
    assert 200 == service.get("/v1/projects/web-key/settings", Host="x\xff").status


def test_an_address_is_stored_for_a_browsers_call_only_and_a_proxys_header_only_with_the_setting(
    place: Settings, tmp_path: Path, ids: Ids
) -> None:
    page, server = ids(), ids()
    forwarded = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}
    with collector(place, tmp_path, collector_trusts_proxy="true") as service:
        service.post("/v1/track", track(page), "web-key", **forwarded)
        service.post("/v1/track", track(server), "server-key", **forwarded)

    assert ["203.0.113.9", None] == [event.get("context", {}).get("ip") for event in stored(place, page, server)]


def test_a_request_without_end_is_refused_at_the_limit_and_costs_no_memory(service: RunningCollector) -> None:
    process = psutil.Process(service.process.pid)
    before = process.memory_info().rss
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as bomb:
        for _ in range(200):
            bomb.write(b" " * 1_048_576)
    answer = service.post("/v1/batch", packed.getvalue(), **{"Content-Encoding": "gzip"})
    assert (413, "too_large") == (answer.status, answer.body["code"])

    host = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(host.hostname), host.port, timeout=20)
    connection.putrequest("POST", "/v1/batch?writeKey=server-key")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    with suppress(OSError):  # it need not listen to the end
        for _ in range(20):
            connection.send(b"100000\r\n" + b" " * 1_048_576 + b"\r\n")
    response = connection.getresponse()  # before the request has ended
    assert (413, "too_large") == (response.status, orjson.loads(response.read())["code"])
    connection.close()

    assert process.memory_info().rss - before < 60e6
    assert 200 == service.post("/v1/batch", {"batch": [track("x")]}).status


def test_clients_that_send_nothing_delay_no_other_client(service: RunningCollector) -> None:
    silent = [service.connect() for _ in range(200)]
    for number, connection in enumerate(silent):
        connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\n"[: 5 + number % 30])
    started = time.monotonic()
    answer = service.post("/v1/batch", {"batch": [track("x")]})
    took_s = time.monotonic() - started
    for connection in silent:
        connection.close()

    assert 200 == answer.status
    assert took_s < 10  # it would be 20 s and more, if it waited for one of them


def test_at_the_limit_of_open_files_the_log_has_a_line_and_later_clients_are_answered(
    place: Settings, tmp_path: Path
) -> None:
    with collector(place, tmp_path) as own:
        process = psutil.Process(own.process.pid)
        limit = process.num_fds() + 20
        process.rlimit(psutil.RLIMIT_NOFILE, (limit, process.rlimit(psutil.RLIMIT_NOFILE)[1]))
        idle = [own.connect() for _ in range(60)]
        time.sleep(3)
        for connection in idle:
            connection.close()
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError):
                if own.post("/v1/batch", {"batch": [track("x")]}).status == 200:
                    break
            assert time.monotonic() < deadline

    log = (tmp_path / "logs" / "collector.log").read_text()
    assert (1, 0) == (log.count("no new connection is accepted"), log.count("Traceback"))


def test_a_request_that_is_half_sent_at_sigterm_is_answered(place: Settings, tmp_path: Path, ids: Ids) -> None:
    one = ids()
    body = orjson.dumps(track(one, writeKey="server-key"))
    with collector(place, tmp_path) as own, own.connect() as connection:
        head = f"POST /v1/track HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode())
        assert b"100 Continue" in connection.recv(1_000)  # it reads
        connection.sendall(body[:20])
        own.process.terminate()
        while True:
            try:
                own.connect().close()
            except OSError:
                break  # it listens no more
        connection.sendall(body[20:])
        assert (True, 0) == (b"200 OK" in connection.recv(1_000), own.process.wait(15))

    assert [one] == [event["event_id"] for event in stored(place, one)]


def test_half_sent_bodies_of_closed_connections_block_no_other_client(service: RunningCollector) -> None:
    silent = [service.connect() for _ in range(20)]
    for connection in silent:
        connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + b" " * 1_000_000)
    answers = [service.post("/v1/batch", {"batch": [track("x")]}).status for _ in range(5)]
    for connection in silent:
        connection.close()

    assert [200] * 5 == answers
    deadline = time.monotonic() + 60
    while (
        service.post("/v1/batch", {"batch": [], "writeKey": "server-key"}, "").status == 503
    ):  # until they are noticed
        assert time.monotonic() < deadline


def test_many_equal_bad_calls_are_as_many_dead_letters(place: Settings, service: RunningCollector, ids: Ids) -> None:
    mark = ids()
    answer = service.post("/v1/batch", {"batch": [{"type": "track", "event": mark}] * 300})
    letters = dead_letters(place, mark)

    assert (300, 300) == (len(answer.body["rejected"]), len({letter.offset for letter in letters}))
    assert list(range(300)) == [one["index"] for one in answer.body["rejected"]]


def test_the_common_parts_of_a_batch_are_bounded(service: RunningCollector) -> None:
    answer = service.post("/v1/batch", {"batch": [{}] * 5_000, "context": {str(n): 0 for n in range(5_000)}})
    odd = service.post("/v1/batch", b'{"batch":[%b],"context":{"x":NaN}}' % orjson.dumps(track("x")))
    assert (200, 1, []) == (odd.status, odd.body["accepted"], odd.body["rejected"])  # the NaN is set aside
    heavy = service.post("/v1/batch", {"batch": [track("x")] * 5_000, "context": {"x": "y" * 8_000}})

    assert [(413, "context_too_large"), (413, "too_large")] == [
        (one.status, one.body["code"]) for one in (answer, heavy)
    ]


def test_a_browsers_key_gives_no_foreign_email_no_touchpoints_and_no_other_channel(
    place: Settings, service: RunningCollector, ids: Ids
) -> None:
    one, other = ids(), ids()
    identify = {"anonymousId": "a1", "messageId": one, "traits": {"email": "victim@shop.example"}}
    answers = [
        service.post("/v1/i", identify, "web-key"),
        service.post("/v1/touchpoints", touchpoint(), "web-key"),
        service.post("/v1/t", track(other, context={"channel": "app"}), "web-key"),
    ]

    assert [200, 403, 400] == [answer.status for answer in answers]
    [event] = stored(place, one, other)
    assert ["anonymous_id"] == [identifier["type"] for identifier in event["identifiers"]]


def test_a_user_agent_of_any_bytes_is_accepted(place: Settings, service: RunningCollector, ids: Ids) -> None:
    one = ids()
    assert 200 == service.post("/v1/t", track(one), "web-key", **{"User-Agent": "Moz \xff\xe9"}).status

    assert ["Moz ??"] == [event["context"]["user_agent"] for event in stored(place, one)]


def test_a_wrong_setting_of_write_keys_ends_the_collector_and_the_message_shows_no_key(
    place: Settings, tmp_path: Path
) -> None:
    service = RunningCollector(place, tmp_path, write_keys="shop=very-secret")
    service.process.launch()
    assert 1 == service.process.wait(30)

    log_lines = service.process.last_log_lines()
    assert "part 1 should be source=key, with one of the sources web, app, server" in log_lines
    assert "very-secret" not in log_lines


def test_no_write_key_and_no_address_is_in_the_log_or_in_a_dead_letter(
    place: Settings, tmp_path: Path, ids: Ids
) -> None:
    mark = ids()
    with collector(place, tmp_path) as own:
        own.post("/v1/identify", {"userId": "u", "traits": {"email": ["ada@shop.example"]}})
        own.post("/v1/track?writeKey=query-key", {"event": "E"}, "")
        refused = {"batch": [{"event": mark, "type": "track", "writeKey": "server-key"}], "writeKey": "server-key"}
        assert 1 == len(own.post("/v1/batch", refused, "").body["rejected"])
        assert 200 == own.post("/v1/touchpoints", {**touchpoint(), "writeKey": "server-key"}, "").status
        assert 200 == own.post("/v1/touchpoints", [{"event": mark, "writeKey": "server-key"}]).status
        for raw in (
            b"POST /v1/batch?writeKey=query-key&x=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Basic server-key\x00\r\n\r\n",
        ):
            with own.connect() as connection:
                connection.sendall(raw)
                assert b" 400 " in connection.recv(1_000)

    log = (tmp_path / "logs" / "collector.log").read_text()
    assert "the collector listens" in log
    assert [] == [canary for canary in ("server-key", "query-key", "ada@") if canary in log]
    assert [] == [letter for letter in dead_letters(place, mark) if b"server-key" in letter.value]


def test_an_sdk_reports_a_wrong_write_key_to_its_application(service: RunningCollector) -> None:
    from segment.analytics.client import Client

    failures: list[Any] = []
    client = Client("no-such-key", host=service.url, on_error=lambda error, _: failures.append(error))
    client.track("u", "E")
    client.flush()
    client.join()

    assert [(401, "write_key")] == [(error.status, error.code) for error in failures]


def test_an_order_of_five_hundred_lines_of_twenty_keys_comes_whole(
    place: Settings, service: RunningCollector, ids: Ids
) -> None:
    one = ids()
    line = {"price": "9.90", "quantity": 2, **{f"key_{key}": "a usual value" for key in range(17)}}
    products = [{"product_id": f"p{number}", **line} for number in range(500)]
    order = {"order_id": one, "revenue": "9900.00", "currency": "EUR", "products": products}
    answer = service.post("/v1/track", track(one, event="Order Completed", properties=order))

    assert (200, []) == (answer.status, answer.body["rejected"])
    [event] = stored(place, one)
    assert products == event["properties"]["products"]
    assert len(orjson.dumps(event)) > 200_000


def test_requests_are_measured_by_route_and_status_whatever_their_path(
    place: Settings, tmp_path: Path, ids: Ids
) -> None:
    with collector(place, tmp_path) as service:
        service.post("/v1/track", track(ids()))
        service.post("//v1/track", track(ids()))
        service.post("/v1/track", b"{")
        service.get("/ann@shop.example")
        address = Home(tmp_path).metrics("collector").read_text("utf-8")
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()

    assert 'throughline_collector_answers_total{route="/v1/track",status="200"} 2.0' in text
    assert 'throughline_collector_answers_total{route="/v1/track",status="400"} 1.0' in text
    assert 'throughline_collector_answers_total{route="other",status="404"} 1.0' in text
    assert 'throughline_collector_request_duration_seconds_count{route="/v1/track"} 3.0' in text
    assert "throughline_collector_requests_in_flight 0.0" in text
    assert "ann" not in text
