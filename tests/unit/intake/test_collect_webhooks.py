"""Records of webhooks at the collector: the rights of their source, refusals, dead letters and their replay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import yaml

from deploy.operations.sources import collect_for
from deploy.settings import Settings
from processors.intake.collect import CollectResult
from processors.intake.mapping import CompiledMapping, Payload, form_fields
from processors.intake.segment_calls import Arrival
from schemas.intake.mappings import Mapping
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from tests.support.webhooks import letters

RECEIVED = datetime(2026, 11, 28, 12, tzinfo=UTC)
SHOP = """\
source: shop
common: {identifiers: {email: email}, channel: {get: where}}
events:
  - when: _headers.topic == 'order'
    event: Order Completed
    event_id: ["'order'", id]
    properties: {order_id: id, total: total, coupon: coupon, quantity: {get: _body.size, as: quantity}}
  - event: Identify
    event_id: ["'person'", id]
    traits: {vip: vip}
"""
ORDER = {"id": "W-1", "email": "ada@shop.example", "where": "web", "total": "12.50", "vip": True}
HEADERS = {"topic": "order", "authorization": "secret"}


def mapped(text: str = SHOP) -> CompiledMapping:
    return CompiledMapping(Mapping.model_validate(yaml.safe_load(text)))


def collect(body: Any, source: Source | None = None, mapping: CompiledMapping | None = None) -> CollectResult:
    used, one = mapping or mapped(), source or Source(channel="api")
    records = used.records(Payload(body, RECEIVED, HEADERS))
    judge = collect_for(Settings())
    if isinstance(records, Reject):
        return judge.unmapped(
            "shop", one, used, Payload(body, RECEIVED, HEADERS), records, Arrival(RECEIVED, None, "r")
        )
    arrivals = [Arrival(RECEIVED, None, f"r-{number}") for number in range(len(records))]
    return judge.records("shop", one, used, records, arrivals)


def touchpoints(collected: CollectResult) -> list[dict[str, Any]]:
    return [orjson.loads(one.value) for one in collected.outgoing if one.topic.startswith("touchpoints.")]


def replayed(collected: CollectResult, mapping: CompiledMapping | None) -> CollectResult:
    """What comes of the only dead letter, a day later."""
    [letter] = letters(collected)
    arrival = Arrival(RECEIVED + timedelta(days=1), None, "dead-letter-1")
    sources = {"shop": Source(channel="api")}
    return collect_for(Settings()).replay(letter.value, sources, arrival, {"shop": mapping} if mapping else {})


def test_the_events_of_a_record_have_the_source_and_what_it_vouches_for() -> None:
    source = Source(channel="api", verified=frozenset({"email"}), currency="EUR")
    order, person = touchpoints(collect(ORDER, source))

    assert ("shop", "web", "EUR") == (order["source"], order["channel"], order["properties"]["currency"])
    assert [True, True] == [one["identifiers"][0]["verified"] for one in (order, person)]
    assert "properties" not in person


@pytest.mark.parametrize("where", ["a channel of Shopify's", None, ""])
def test_a_channel_that_the_deployment_lacks_is_that_of_the_source(where: str | None) -> None:
    assert ["api", "api"] == [one["channel"] for one in touchpoints(collect({**ORDER, "where": where}))]


def test_of_several_records_one_that_is_refused_costs_no_other_and_is_one_letter() -> None:
    bad = {**ORDER, "total": "much", "email": "\0"}
    collected = collect([ORDER, bad, {**ORDER, "id": "W-3"}])

    assert ["order:W-1", "person:W-1", "order:W-3", "person:W-3"] == [one["event_id"] for one in touchpoints(collected)]
    assert [(1, "order:W-1"), (1, "person:W-1")] == [(one.place, one.event_id) for one in collected.refusals]
    assert 1 == len(letters(collected))


def test_a_refused_field_is_named_with_its_expression() -> None:
    [refusal] = collect({**ORDER, "total": "much"}).refusals

    assert "properties.total" == refusal.rejected.field
    assert refusal.rejected.message.startswith("properties.total is 'much'")
    assert refusal.rejected.message.endswith("The mapping reads it as `total`.")


def test_an_odd_detail_costs_no_order() -> None:
    [order, _] = touchpoints(collect({**ORDER, "coupon": ["A", "B"]}))

    assert ("12.50", '["A","B"]') == (order["properties"]["total"], order["context"]["set_aside"]["properties.coupon"])


def test_a_letter_keeps_the_record_and_of_the_request_only_what_the_mapping_reads() -> None:
    [letter] = letters(collect({**ORDER, "total": "much"}))

    assert {
        "record": {**ORDER, "total": "much"},
        "scope": {"_headers": {"topic": "order"}, "_query": {}, "_received_at": "2026-11-28T12:00:00.000Z",
                  "_body": {**ORDER, "total": "much"}},
        "source": "shop",
    } == orjson.loads(letter.value)  # fmt: skip
    assert ("collect", "touchpoints.api", -1) == (letter.stage, letter.topic, letter.partition)


def test_a_replay_maps_the_record_again_at_the_time_of_its_arrival() -> None:
    broken = mapped(SHOP.replace("total: total", "total: email"))
    collected = collect(ORDER, mapping=broken)
    again, still = replayed(collected, mapped()), replayed(collected, broken)

    assert [("order:W-1", "2026-11-28T12:00:00.000Z"), ("person:W-1", "2026-11-28T12:00:00.000Z")] == [
        (one["event_id"], one["occurred_at"]) for one in touchpoints(again)
    ]
    assert ([], ["properties.total"]) == (still.outgoing, [one.rejected.field for one in still.refusals])


def test_a_payload_that_cannot_be_split_is_a_letter_that_is_split_when_it_is_replayed() -> None:
    each = "each: parse_json(orders)\n"
    collected = collect({"orders": "{"}, mapping=mapped(SHOP + each))
    again = replayed(collected, mapped(SHOP + "each: \"[{id: 'W-9', total: '1'}]\"\n"))

    assert [(0, "each")] == [(one.place, one.rejected.field) for one in collected.refusals]
    assert ["order:W-9", "person:W-9"] == [one["event_id"] for one in touchpoints(again)]
    assert ["each"] == [one.rejected.field for one in replayed(collected, mapped(SHOP + each)).refusals]


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        (None, "Its source has no webhooks any more."),
        (
            mapped("source: shop\nevents: [{when: never, event: A, event_id: id}]"),
            "Its mapping has no rule for it any more.",
        ),
    ],
)
def test_a_letter_that_nothing_maps_any_more_stays(mapping: CompiledMapping | None, problem: str) -> None:
    again = replayed(collect({**ORDER, "total": "much"}), mapping)

    assert ([], [problem]) == (again.outgoing, [one.rejected.message for one in again.refusals])


def test_a_bug_in_a_mapping_costs_its_record_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mapping, apply = mapped(), CompiledMapping.apply

    def failing(self: CompiledMapping, record: Any) -> Any:
        if record.value["id"] == "bad":
            raise KeyError("secret")
        return apply(self, record)

    monkeypatch.setattr(CompiledMapping, "apply", failing)
    collected = collect([{**ORDER, "id": "bad"}, ORDER], mapping=mapping)

    assert (["bug"], 2, 1) == (
        [one.rejected.reason.value for one in collected.refusals], collected.accepted, len(letters(collected)),
    )  # fmt: skip
    assert "secret" not in collected.refusals[0].rejected.message


def test_an_event_is_too_large_alone() -> None:
    huge = {**ORDER, "id": "W-2", "vip": ["x" * 8_000] * (Settings().max_event_bytes // 8_000 + 1)}
    collected = collect([huge, ORDER])

    assert ["too_large"] == [one.rejected.reason.value for one in collected.refusals]
    assert 3 == collected.accepted


def test_a_form_is_a_record() -> None:
    assert {"a": "1", "b": ["x", "y", ""], "c d": "é"} == form_fields(b"a=1&b=x&b=y&b=&c+d=%C3%A9")


def test_a_form_of_too_many_fields_is_refused() -> None:
    with pytest.raises(ValueError):
        form_fields(b"&".join(b"a=%d" % number for number in range(1_001)))
