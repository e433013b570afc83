"""Webhooks over real HTTP and on a real broker: answered with 200 once Kafka has them, and only if they are genuine."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from deploy.local.ports import free_port
from deploy.operations.dead_letters import Replayer
from deploy.settings import Settings
from schemas.dead_letters import DeadLetter, encode
from sinks.clickhouse.dead_letters import StoredDeadLetter
from tests.support.collector import Answer, Ids, RunningCollector, collector
from tests.support.topic_reader import everything
from tests.support.webhooks import base64_hmac, payload

pytestmark = pytest.mark.integration

SECRETS = "shopify=shop-secret,shopify=next-secret,woocommerce=woo-secret,square=square-key,stripe=whsec_1"
ADDRESS = "https://events.shop.example"


@pytest.fixture(scope="module")
def hooks(place: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with collector(
        place, tmp_path_factory.mktemp("hooks"), hook_secrets=SECRETS, collector_public_url=ADDRESS
    ) as running:
        yield running


def send(hooks: RunningCollector, body: Any, topic: str, secret: str = "shop-secret", **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    signed = {"X-Shopify-Hmac-Sha256": base64_hmac(secret, raw), "X-Shopify-Topic": topic} | headers
    return hooks.request("POST", "/v1/hooks/shopify", raw, {"Content-Type": "application/json", **signed})


def published(settings: Settings, mark: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(value)
        for topic, _, _, value in everything(settings)
        if "touchpoints." in topic and mark.encode() in value
    ]


def test_a_webhook_is_in_kafka_once_it_is_answered_and_a_second_delivery_has_its_id(
    place: Settings, hooks: RunningCollector, ids: Ids
) -> None:
    order = payload("shopify", "orders_create", id=ids())
    first, second = send(hooks, order, "orders/create"), send(hooks, order, "orders/create", "next-secret")

    assert (200, {"success": True, "accepted": 1, "ignored": {}, "rejected": []}) == (first.status, first.body)
    assert 200 == second.status
    found = published(place, order["id"])
    assert [("order:" + order["id"], "shopify", "398.00")] * 2 == [
        (one["event_id"], one["source"], one["properties"]["total"]) for one in found
    ]


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"X-Shopify-Hmac-Sha256": ""}, "the signature is missing"),
        ({"X-Shopify-Hmac-Sha256": "AAAA"}, "the signature does not fit"),
    ],
)
def test_a_request_that_proves_nothing_is_refused_and_leaves_nothing(
    place: Settings, hooks: RunningCollector, ids: Ids, headers: dict[str, str], problem: str
) -> None:
    order = payload("shopify", "orders_create", id=ids())
    answer = send(hooks, order, "orders/create", **headers)

    assert (401, "signature") == (answer.status, answer.body["code"])
    assert problem in answer.body["message"]
    assert [] == [value for _, _, _, value in everything(place) if order["id"].encode() in value]


def test_a_source_that_is_none_or_has_no_secret_takes_nothing(
    hooks: RunningCollector, service: RunningCollector
) -> None:
    unknown = hooks.request("POST", "/v1/hooks/nobody", b"{}", {})
    without = service.request("POST", "/v1/hooks/shopify", b"{}", {})
    read = hooks.get("/v1/hooks/shopify")

    assert (404, "hook") == (unknown.status, unknown.body["code"])
    assert (401, "secret") == (without.status, without.body["code"])
    assert (405, "method") == (read.status, read.body["code"])


def test_a_topic_that_nobody_wants_is_answered_with_200_and_counted(
    place: Settings, hooks: RunningCollector, ids: Ids
) -> None:
    order = payload("shopify", "orders_create", id=ids())
    answer = send(hooks, order, "fulfillments/create")

    assert (200, {"no rule applies": 1}) == (answer.status, answer.body["ignored"])
    assert [] == [value for _, _, _, value in everything(place) if order["id"].encode() in value]


def test_what_is_refused_is_answered_with_200_named_and_replayed_through_its_mapping(
    place: Settings, hooks: RunningCollector, ids: Ids
) -> None:
    mark = ids()
    order = payload("shopify", "orders_create", id=mark, total_price="much")
    answer = send(hooks, order, "orders/create")

    assert 200 == answer.status
    [refused] = answer.body["rejected"]
    assert ("invalid_field", "properties.total", f"order:{mark}") == (
        refused["code"], refused["field"], refused["messageId"],
    )  # fmt: skip
    assert "`total_price`" in refused["message"]
    [letter] = [
        DeadLetter.model_validate_json(value)
        for topic, _, _, value in everything(place, "dead-letters")
        if mark.encode() in DeadLetter.model_validate_json(value).value
    ]
    kept = orjson.loads(letter.value)
    assert ("shopify", {"x-shopify-topic": "orders/create"}) == (kept["source"], kept["scope"]["_headers"])
    kept["record"]["total_price"] = "398.00"  # as if the mapping had been mended
    fields = {**letter.model_dump(), "stored_at": datetime.now(UTC)}
    assert "invalid_field" in str(Replayer(place).records(StoredDeadLetter(**fields)))
    mended = Replayer(place).records(StoredDeadLetter(**{**fields, "value_base64": encode(orjson.dumps(kept))}))
    assert isinstance(mended, list), mended
    [record] = mended
    event = orjson.loads(record.value)
    assert (f"order:{mark}", "shopify", "398.00") == (event["event_id"], event["source"], event["properties"]["total"])


def test_a_body_that_is_no_json_is_refused_whoever_signed_it(hooks: RunningCollector) -> None:
    answer = send(hooks, b"{", "orders/create")

    assert (400, "not_json") == (answer.status, answer.body["code"])


def test_the_ping_of_woocommerce_which_is_not_signed_is_answered_and_nothing_else_unsigned_is(
    hooks: RunningCollector,
) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    ping = hooks.request("POST", "/v1/hooks/woocommerce", b"webhook_id=15", form)
    more = hooks.request("POST", "/v1/hooks/woocommerce", b"webhook_id=15&status=processing", form)

    assert (200, {"ping": 1}, 0) == (ping.status, ping.body["ignored"], ping.body["accepted"])
    assert 401 == more.status


def test_a_signature_that_covers_the_address_is_checked_with_the_address_that_vendors_call(
    place: Settings, hooks: RunningCollector, ids: Ids
) -> None:
    body = payload("square", "payment_updated")
    body["data"]["object"]["payment"]["id"] = mark = ids()
    raw = orjson.dumps(body)
    answers = [
        hooks.request(
            "POST",
            "/v1/hooks/square",
            raw,
            {"X-Square-HmacSha256-Signature": base64_hmac("square-key", address.encode() + b"/v1/hooks/square" + raw)},
        )
        for address in (ADDRESS, hooks.url)
    ]

    assert [200, 401] == [answer.status for answer in answers]
    assert ["payment:" + mark] == [event["event_id"] for event in published(place, mark)]


def test_a_signature_of_the_past_is_refused(hooks: RunningCollector) -> None:
    raw, then = orjson.dumps(payload("stripe", "customer_updated")), int(time.time()) - 400
    signed = hmac.new(b"whsec_1", f"{then}.".encode() + raw, hashlib.sha256).hexdigest()
    answer = hooks.request("POST", "/v1/hooks/stripe", raw, {"Stripe-Signature": f"t={then},v1={signed}"})

    assert 401 == answer.status
    assert "older than 300 s" in answer.body["message"]


def test_a_webhook_that_kafka_does_not_confirm_is_to_be_sent_again(
    place: Settings, tmp_path_factory: pytest.TempPathFactory, ids: Ids
) -> None:
    nowhere = place.model_copy(update={"kafka_bootstrap": f"127.0.0.1:{free_port()}"})
    service = RunningCollector(
        nowhere, tmp_path_factory.mktemp("nowhere"), hook_secrets=SECRETS, collector_confirm_s="1"
    )
    try:
        service.process.launch()
        deadline = time.monotonic() + 30
        while not _answers(service) and time.monotonic() < deadline:
            time.sleep(0.1)
        answer = send(service, payload("shopify", "orders_create", id=ids()), "orders/create")
    finally:
        service.process.stop(10)

    assert (503, "kafka_not_confirmed") == (answer.status, answer.body["code"])


def test_pages_send_to_the_public_address(hooks: RunningCollector) -> None:
    answer = hooks.get("/v1/projects/web-key/settings", Host="127.0.0.1:8088")

    destination = answer.body["integrations"]["Segment.io"]
    assert ("https", "events.shop.example/v1") == (destination["protocol"], destination["apiHost"])


def _answers(service: RunningCollector) -> bool:
    try:
        return service.get("/health").status == 200
    except OSError:
        return False
