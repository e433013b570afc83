"""Webhooks of message providers over real HTTP and on a real broker: only genuine ones leave something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from deploy.collector import hooks as collector_hooks
from deploy.collector.refusal import RefusedError
from deploy.collector.server import build_collector
from deploy.connections.kafka import kafka_connection
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from sinks.kafka.producer import KafkaPublisher
from tests.support import hook_signatures
from tests.support.collector import Answer, Ids, RunningCollector, collector
from tests.support.hook_signatures import SECRETS, SIGN, TOPIC, SignedHook
from tests.support.stack import Addresses, corner
from tests.support.topic_reader import everything
from tests.support.webhooks import payload

pytestmark = pytest.mark.integration

PUBLIC = "https://events.shop.example"
CASES = {
    "sendgrid": "engagement",
    "mailgun": "failed_permanent",
    "postmark": "bounce",
    "twilio": "inbound_stop",
    "whatsapp": "sent_and_delivered",
}


@pytest.fixture(scope="module")
def place(servers: Addresses) -> Iterator[Settings]:
    """A deployment of the channels of messages."""
    with corner(servers) as settings:
        channels = ("web", "app", "api", "email", "sms", "whatsapp")
        small = settings.model_copy(update={"channels": channels, "partitions": 1})
        apply_topics(small)
        yield small


@pytest.fixture(scope="module")
def hooks(place: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with collector(
        place, tmp_path_factory.mktemp("hooks"), hook_secrets=SECRETS, collector_public_url=PUBLIC
    ) as running:
        yield running


def send(hooks: RunningCollector, vendor: str, request: SignedHook, query: str = "") -> Answer:
    return hooks.request("POST", f"/v1/hooks/{vendor}{query}", request.body, request.headers)


def marked(vendor: str, name: str, mark: str) -> Any:
    """A payload whose ids no other test has."""
    text = orjson.dumps(payload(vendor, name)).decode()
    for known in ("ZXZlbnQt", "CPgfbmQMTCKtHW6uIWtuV", "883953f4-6105", "SM9e07", "SM8bfd1a", "wamid."):
        text = text.replace(known, f"{known}{mark}")
    return orjson.loads(text.replace("4323372036854775807", f'"{mark}"'))


def published(settings: Settings, mark: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(value)
        for topic, _, _, value in everything(settings)
        if "touchpoints." in topic and mark.encode() in value
    ]


def sign(vendor: str, content: Any, query: str = "") -> SignedHook:
    return SIGN[vendor](content, f"{PUBLIC}/v1/hooks/{vendor}{query}")


@pytest.mark.parametrize("vendor", CASES)
def test_a_genuine_webhook_is_in_kafka_and_a_second_delivery_changes_nothing(
    place: Settings, hooks: RunningCollector, ids: Ids, vendor: str
) -> None:
    mark = ids().replace("-", "")
    content = marked(vendor, CASES[vendor], mark)
    first, second = (send(hooks, vendor, sign(vendor, content)) for _ in range(2))

    assert (200, 200) == (first.status, second.status)
    found = published(place, mark)
    events = [(one["event_id"], one["event"], one["source"], one["channel"]) for one in found]
    half = len(events) // 2
    assert half > 0
    assert events[:half] == events[half:]
    assert {vendor} == {source for _, _, source, _ in events}
    assert {{"twilio": "sms", "whatsapp": "whatsapp"}.get(vendor, "email")} == {channel for *_, channel in events}


@pytest.mark.parametrize("vendor", CASES)
@pytest.mark.parametrize("forged", ["missing", "wrong"])
def test_a_request_of_somebody_else_leaves_nothing(
    place: Settings, hooks: RunningCollector, ids: Ids, vendor: str, forged: str
) -> None:
    mark = ids().replace("-", "")
    request = sign(vendor, marked(vendor, CASES[vendor], mark))
    if vendor == "mailgun":
        body = orjson.loads(request.body)
        body["signature"]["signature"] = "0" * 64
        changed = SignedHook(orjson.dumps(body if forged == "wrong" else {**body, "signature": {}}), request.headers)
    elif vendor == "postmark":
        wrong = {"Authorization": "Basic " + hook_signatures.base64_text(b"postmark:guess")}
        changed = SignedHook(request.body, {"Content-Type": "application/json", **(wrong if forged == "wrong" else {})})
    elif forged == "missing":
        changed = SignedHook(request.body, {name: request.headers[name] for name in ("Content-Type",)})
    else:
        changed = SignedHook(request.body + b" ", request.headers)

    answer = send(hooks, vendor, changed)

    assert (401, "signature") == (answer.status, answer.body["code"])
    assert f"the signature {'is missing' if forged == 'missing' else 'does not fit'}" in answer.body["message"]
    assert [] == [value for _, _, _, value in everything(place) if mark.encode() in value]


def test_one_bad_event_of_a_batch_is_a_dead_letter_and_the_others_are_in_kafka(
    place: Settings, hooks: RunningCollector, ids: Ids
) -> None:
    mark = ids().replace("-", "")
    batch = marked("sendgrid", "deliveries", mark)
    batch[2] |= {"timestamp": "soon"}
    answer = send(hooks, "sendgrid", sign("sendgrid", batch))

    assert (200, 4, {"SendGrid tries again": 1}) == (answer.status, answer.body["accepted"], answer.body["ignored"])
    assert ["occurred_at"] == [one["field"] for one in answer.body["rejected"]]
    assert 4 == len(published(place, mark))


def test_a_token_of_mailgun_counts_for_one_body(place: Settings, hooks: RunningCollector, ids: Ids) -> None:
    mark = ids().replace("-", "")
    request = sign("mailgun", marked("mailgun", "delivered", mark))
    body = orjson.loads(request.body)
    forged = {**body, "event-data": {**body["event-data"], "event": "complained", "recipient": "bob@mail.example"}}

    statuses = [send(hooks, "mailgun", request).status for _ in range(2)]
    answer = send(hooks, "mailgun", SignedHook(orjson.dumps(forged), request.headers))

    assert [200, 200] == statuses
    assert (401, "signature") == (answer.status, answer.body["code"])
    assert {"Email Delivered"} == {one["event"] for one in published(place, mark)}


def test_twilio_signs_the_address_that_it_has_called_and_gets_an_empty_answer(
    place: Settings, hooks: RunningCollector, ids: Ids
) -> None:
    mark = ids().replace("-", "")
    content, query = marked("twilio", "status_delivered", mark), f"?message_id=own-{mark}&journey_id=cart"
    answer = send(hooks, "twilio", sign("twilio", content, query), query)
    elsewhere = send(hooks, "twilio", sign("twilio", content, query), "?message_id=another")

    assert (200, "<Response/>", 401) == (answer.status, answer.body, elsewhere.status)
    [event] = published(place, mark)
    assert (f"own-{mark}", "cart") == (event["properties"]["message_id"], event["properties"]["journey_id"])


def test_meta_checks_the_address_by_a_challenge(hooks: RunningCollector) -> None:
    query = "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    right, wrong = (hooks.get(f"/v1/hooks/whatsapp{query}{token}") for token in ("mine", "theirs"))

    assert (200, "1158201444") == (right.status, right.body)
    assert (401, "verify_token") == (wrong.status, wrong.body["code"])


class Amazon:
    """What the collector fetches from Amazon SNS.

    Attributes:
        certificate: What it gets.
        asked: The addresses, in order.
    """

    def __init__(self) -> None:
        self.certificate = hook_signatures.sns_certificate()
        self.asked: list[str] = []

    async def fetched(self, url: str) -> bytes:
        """Answer as Amazon does."""
        self.asked.append(url)
        return self.certificate


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Amazon:
    found = Amazon()
    monkeypatch.setattr(collector_hooks, "fetched", found.fetched)
    return found


@pytest.fixture
async def ses(place: Settings, amazon: Amazon) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """A collector in this process, which asks no server of Amazon."""
    settings = place.model_copy(update={"hook_secrets": SecretStr(SECRETS)})
    publisher = KafkaPublisher(kafka_connection(settings), settings.topic_prefix)
    async with TestClient(TestServer(build_collector(settings, publisher).app())) as client:
        yield client
    await asyncio.to_thread(publisher.close)


async def post(ses: TestClient[web.Request, web.Application], request: SignedHook) -> tuple[int, dict[str, Any]]:
    async with ses.post("/v1/hooks/ses", data=request.body, headers=request.headers) as answer:
        return answer.status, await answer.json()


async def test_a_report_on_three_receivers_is_three_events_and_the_certificate_is_fetched_once(
    place: Settings, ses: TestClient[web.Request, web.Application], amazon: Amazon, ids: Ids
) -> None:
    mark = ids().replace("-", "")
    report = payload("ses", "delivery_of_three")
    report["Message"] = report["Message"].replace("ses-1", f"ses-{mark}")

    answers = [await post(ses, hook_signatures.sns(report)) for _ in range(2)]

    assert [(200, 3), (200, 3)] == [(status, body["accepted"]) for status, body in answers]
    assert [report["SigningCertURL"]] == amazon.asked
    assert [f"ses-{mark}"] * 6 == [one["properties"]["message_id"] for one in published(place, f"ses-{mark}")]


async def test_a_subscription_is_confirmed_once_it_has_proved_its_topic(
    ses: TestClient[web.Request, web.Application], amazon: Amazon
) -> None:
    confirmation = {
        "Type": "SubscriptionConfirmation", "MessageId": "165545c9", "Token": "2336412f37", "TopicArn": TOPIC,
        "Message": "You have chosen to subscribe to the topic.", "Timestamp": "2026-11-28T12:00:00.000Z",
        "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37",
        "SigningCertURL": payload("ses", "bounce")["SigningCertURL"],
    }  # fmt: skip
    inside = {**confirmation, "SubscribeURL": "http://169.254.169.254/latest/meta-data"}
    forged = hook_signatures.sns(confirmation)._replace(
        body=hook_signatures.sns(confirmation).body.replace(b"2336412f37", b"2336412f38")
    )

    good, bad, elsewhere = [await post(ses, one) for one in (
        hook_signatures.sns(confirmation), forged, hook_signatures.sns(inside))]  # fmt: skip

    assert (200, 0, []) == (good[0], good[1]["accepted"], good[1]["rejected"])
    assert (401, 200) == (bad[0], elsewhere[0])
    assert [confirmation["SigningCertURL"], confirmation["SubscribeURL"]] == amazon.asked


@pytest.mark.parametrize(
    "changes",
    [
        {"TopicArn": "arn:aws:sns:eu-central-1:666666666666:mine"},
        {"SigningCertURL": "https://evil.example/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://sns.eu-central-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem"},
    ],
    ids=["a topic of somebody else", "a certificate of somebody else", "a host that only looks like Amazon's"],
)
async def test_nobody_else_makes_the_collector_fetch(
    ses: TestClient[web.Request, web.Application], amazon: Amazon, changes: dict[str, str]
) -> None:
    status, answer = await post(ses, hook_signatures.sns({**payload("ses", "bounce"), **changes}))

    assert (401, "signature", []) == (status, answer["code"], amazon.asked)


async def test_a_known_certificate_does_not_wait_for_one_that_somebody_else_makes_it_fetch(
    ses: TestClient[web.Request, web.Application], amazon: Amazon, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = hook_signatures.sns(payload("ses", "bounce"))
    unknown = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0.pem"
    assert 200 == (await post(ses, known))[0]
    release = asyncio.Event()

    async def hangs(url: str) -> bytes:
        await release.wait()
        return amazon.certificate

    monkeypatch.setattr(collector_hooks, "fetched", hangs)
    slow = asyncio.create_task(post(ses, hook_signatures.sns({**payload("ses", "bounce"), "SigningCertURL": unknown})))
    await asyncio.sleep(0.2)

    assert 200 == (await asyncio.wait_for(post(ses, known), 15))[0]
    assert not slow.done()
    release.set()
    assert 200 == (await slow)[0]


async def test_what_is_no_certificate_is_not_kept(
    ses: TestClient[web.Request, web.Application], amazon: Amazon
) -> None:
    right, amazon.certificate = amazon.certificate, b"<html>"
    first, _ = await post(ses, hook_signatures.sns(payload("ses", "bounce")))
    amazon.certificate = right
    second, _ = await post(ses, hook_signatures.sns(payload("ses", "bounce")))

    assert (401, 200) == (first, second)


async def test_what_is_fetched_is_bounded_and_comes_from_where_it_was_asked() -> None:
    async def slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in (b"-----BEGIN ", b"CERTIFICATE-----"):
            await response.write(part)
            await asyncio.sleep(0.05)
        return response

    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPFound("/slowly")

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000)

    app = web.Application()
    app.add_routes([web.get(f"/{one.__name__}", one) for one in (slowly, elsewhere, large)])
    async with TestServer(app) as server:
        assert b"-----BEGIN CERTIFICATE-----" == await collector_hooks.fetched(str(server.make_url("/slowly")))
        for path in ("/elsewhere", "/large", "/missing"):
            with pytest.raises(RefusedError) as refused:
                await collector_hooks.fetched(str(server.make_url(path)))
            assert 503 == refused.value.status
