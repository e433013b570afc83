"""Links while Kafka is down: a click leads on, an unsubscription is asked for again, and nothing is lost meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from deploy.collector import link_records
from deploy.collector.authentication import Authenticator, WriteKeys
from deploy.collector.body import Reader
from deploy.collector.link_records import LinkRecords
from deploy.collector.links import LinkReceiver
from deploy.collector.page_texts import channel_name, texts_for
from deploy.collector.refusal import RefusedError
from deploy.collector.tally import Tally
from processors.delivery.link_tokens import LinkTokens
from schemas.delivery.links import LinkKind, MessageLink, PreferenceRules
from schemas.records import Outgoing

TOKENS = LinkTokens(["a key of sixteen characters"])
LINK = MessageLink("click", "m1", "email", "email", b"\1" * 16, 1_795_342_530, "de", target="https://shop.example/sofa")
FIREFOX = {"User-Agent": "Mozilla/5.0 (X11)"}


class Kafka:
    """Takes records, unless it is down."""

    def __init__(self) -> None:
        self.failing = self.down = False
        self.tries = 0
        self.taken: list[Outgoing] = []

    async def publish(self, records: Sequence[Outgoing]) -> None:
        self.tries += 1
        if self.down:
            raise RefusedError(503, "kafka_not_confirmed", "Send it again.", 2)
        self.taken += records


class People:
    """One person, with an e-mail address and a phone."""

    async def answers(self, link: MessageLink) -> tuple[dict[str, bool], dict[str, bool]]:
        return {"email": True, "sms": False}, {}


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> Any:
    """As the collector's own."""
    try:
        return await handler(request)
    except RefusedError as refused:
        return web.Response(status=refused.status)


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def receiver(kafka: Kafka) -> LinkReceiver:
    reader = Reader(Authenticator(WriteKeys("", {}), {}), 65_536, trusts_proxy=True)
    rules = PreferenceRules.model_validate({"topics": {"promotion": {"en": "Offers", "de": "Angebote"}}})
    publication: Any = kafka
    return LinkReceiver(TOKENS, publication, reader, Tally(), People(), rules)


@pytest.fixture
async def client(receiver: LinkReceiver) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application(middlewares=[_refusals])
    receiver.add_routes(app.router)
    async with TestClient(TestServer(app)) as found:
        yield found


def path(kind: LinkKind, **fields: Any) -> str:
    token = TOKENS.sign(LINK._replace(kind=kind, **fields))
    return {
        "click": f"/c/{token}",
        "open": f"/o/{token}.gif",
        "unsubscribe": f"/u/{token}",
        "preferences": f"/p/{token}",
    }[kind]


async def test_a_click_leads_on_while_kafka_is_down_and_is_published_afterwards(
    client: TestClient[Any, Any], kafka: Kafka, receiver: LinkReceiver
) -> None:
    kafka.down = True
    for _ in range(2):  # the same second, or the next
        answer = await client.get(path("click"), headers=FIREFOX, allow_redirects=False)
        assert (302, LINK.target) == (answer.status, answer.headers["Location"])
    waiting = receiver.records.waiting
    await receiver.records.retry()
    assert ([], waiting) == (kafka.taken, receiver.records.waiting)

    kafka.down = False
    await receiver.records.retry()

    assert (waiting, 0) == (len(kafka.taken), receiver.records.waiting)
    assert waiting in (1, 2)


async def test_only_the_first_click_waits_for_a_kafka_that_does_not_answer(kafka: Kafka) -> None:
    kafka.down, records = True, LinkRecords(kafka, Tally())

    for name in ("a", "b", "c"):
        await records.publish(Outgoing("t", b"k", name.encode()), name)

    assert (1, 3) == (kafka.tries, records.waiting)


async def test_of_too_many_events_the_oldest_are_given_up(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_records, "MAX_WAITING", 2)
    kafka.down, tally = True, Tally()
    records = LinkRecords(kafka, tally)
    for name in ("a", "b", "c", "c"):
        await records.publish(Outgoing("t", b"k", name.encode()), name)

    kafka.down = False
    await records.retry()

    assert ([b"b", b"c"], 1) == (
        [one.value for one in kafka.taken],
        tally.counts["(links)", "refused", "kafka_not_confirmed"],
    )


async def test_a_mail_provider_is_asked_to_unsubscribe_again_and_a_person_is_told(
    client: TestClient[Any, Any], kafka: Kafka
) -> None:
    kafka.down = True

    answer = await client.post(path("unsubscribe"))
    assert (503, True) == (answer.status, "gleich noch einmal" in await answer.text())
    assert 503 == (await client.post(path("unsubscribe"), data={"List-Unsubscribe": "One-Click"})).status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_to_open_an_address_changes_nothing_about_a_person(
    client: TestClient[Any, Any], kafka: Kafka, method: str
) -> None:
    for kind in ("unsubscribe", "preferences"):
        answer = await client.request(method, path(kind), headers=FIREFOX)
        assert 200 == answer.status
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]

    assert [] == kafka.taken


@pytest.mark.parametrize(
    ("headers", "is_program"),
    [
        pytest.param(FIREFOX, False, id="a browser"),
        pytest.param({"User-Agent": "python-requests/2.32"}, True, id="a library"),
        pytest.param({"User-Agent": ""}, True, id="nothing said"),
        pytest.param({**FIREFOX, "Sec-Purpose": "prefetch;prerender"}, True, id="fetched ahead"),
    ],
)
async def test_a_click_that_no_person_made_says_so(
    client: TestClient[Any, Any], kafka: Kafka, headers: dict[str, str], is_program: bool
) -> None:
    answer = await client.get(path("click"), headers=headers, allow_redirects=False)

    assert 302 == answer.status
    assert is_program == (b'"machine":true' in kafka.taken[0].value)


async def test_the_address_of_a_person_behind_a_proxy_is_theirs(client: TestClient[Any, Any], kafka: Kafka) -> None:
    await client.get(path("open"), headers={**FIREFOX, "X-Forwarded-For": "192.0.2.1, 192.0.2.7"})

    assert b'"ip":"192.0.2.7"' in kafka.taken[0].value


async def test_a_token_that_is_none_redirects_nowhere(client: TestClient[Any, Any], kafka: Kafka) -> None:
    spoilt = path("click")[:-3] + "AAA"

    answer = await client.get(spoilt, headers={"Accept-Language": "de-AT,de;q=0.9"}, allow_redirects=False)
    text = await answer.text()

    assert (404, True) == (answer.status, "nicht vollständig" in text)
    assert 404 == (await client.post(path("click").replace("/c/", "/u/"))).status
    assert 200 == (await client.get("/o/none.gif")).status
    assert [] == kafka.taken


async def test_a_form_states_the_boxes_that_it_has_shown_and_no_others(
    client: TestClient[Any, Any], kafka: Kafka
) -> None:
    form = [
        ("asked", "channel.email"), ("asked", "channel.sms"), ("channel.sms", "yes"), ("asked", "channel.telegram"),
        ("asked", "topic.promotion"), ("asked", "topic.unknown"), ("topic.promotion", "no"), ("asked", "traits.vip"),
    ]  # fmt: skip
    answer = await client.post(
        path("preferences"), data="&".join(f"{name}={value}" for name, value in form),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip

    assert 200 == answer.status
    (record,) = kafka.taken
    assert (
        b'"consent":{"channels":{"email":false,"sms":true},"topics":{"promotion":false},"marketing":true}'
        in record.value
    )


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "it", "nl"])
def test_a_page_has_all_its_texts(language: str) -> None:
    texts = texts_for(f"{language}-XX")

    assert language == texts.language
    assert all(texts)
    assert "{channel}" in texts.ask
    assert "{channel}" in texts.unsubscribed
    assert channel_name(texts, "email") != "email"
    assert "WhatsApp" == channel_name(texts, "whatsapp")
