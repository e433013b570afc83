"""Webhooks over real HTTP and on a real broker: answered with 200 once Kafka has them, and only if they are genuine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from deploy.operations.dead_letters import Replayer
from deploy.settings import Settings
from schemas.dead_letters import DeadLetter, encode
from sinks.clickhouse.dead_letters import StoredDeadLetter
from tests.support.collector import Answer, Ids, RunningCollector, collector
from tests.support.topic_reader import everything
from tests.support.webhooks import base64_hmac, payload

pytestmark = pytest.mark.integration

SECRETS = "shopify=shop-secret,shopify=next-secret"


@pytest.fixture(scope="module")
def hooks(place: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    with collector(place, tmp_path_factory.mktemp("hooks"), hook_secrets=SECRETS) as running:
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
