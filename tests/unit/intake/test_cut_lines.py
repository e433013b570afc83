"""An order that is too large keeps its head: its last products are cut, and how many is said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from processors.intake.collect import Collect, CollectResult
from processors.intake.decode import decode
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import Reason
from schemas.intake.sources import Source
from schemas.outcomes import Reject
from tests.support.builders import touchpoint

MAX_BYTES = 20_000
SHOP = Source(channel="web")
ARRIVAL = Arrival(datetime(2026, 11, 22, 10, tzinfo=UTC), None, "request-0")
CALL = {"type": "track", "event": "Order Completed", "userId": "c-7", "messageId": "m-1"}


def properties(lines: int, chars: int = 500, **more: Any) -> dict[str, Any]:
    products = [{"product_id": f"p{n}", "name": "ä" * (chars // 2), "price": "1.00"} for n in range(lines)]
    return {"order_id": "B-1", "revenue": "120.00", "currency": "EUR", "products": products, **more}


def order(lines: int, chars: int = 500, **more: Any) -> dict[str, Any]:
    return touchpoint("Order Completed", properties=properties(lines, chars, **more))


def from_kafka(event: object, indent: int = 0) -> Any:
    value = orjson.dumps(event, option=orjson.OPT_INDENT_2 if indent else None)
    return decode(value, channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=MAX_BYTES)


def collect() -> Collect:
    return Collect(
        channels=frozenset(TOUCHPOINT_CHANNELS), max_event_bytes=MAX_BYTES, key=lambda event: b"k", topic_prefix="",
        mark=ValidationMark(b"secret"),
    )  # fmt: skip


def from_http(event: dict[str, Any]) -> CollectResult:
    return collect().touchpoints("shop", SHOP, [event], [ARRIVAL])


def cut(event: dict[str, Any]) -> int:
    return sum(note["count"] for note in event.get("context", {}).get("mended", ()) if note["rule"] == "lines_cut")


@pytest.mark.parametrize("lines", [40, 100, 499, 500, 501, 1_500])
def test_the_head_and_the_first_lines_of_a_large_order_are_kept(lines: int) -> None:
    event = from_kafka(order(lines))
    kept = event["properties"]["products"]

    assert ("B-1", "120.00") == (event["properties"]["order_id"], event["properties"]["revenue"])
    assert [f"p{n}" for n in range(len(kept))] == [line["product_id"] for line in kept]
    assert (30 <= len(kept) < 40, lines) == (True, len(kept) + cut(event))
    assert 1 == len(event["context"]["mended"])
    assert len(orjson.dumps({**event, "context": None})) <= MAX_BYTES


def test_the_collector_cuts_likewise_and_the_workers_trust_what_it_publishes() -> None:
    for collected in (
        from_http(order(100)),
        collect().calls("shop", SHOP, [({**CALL, "properties": properties(100)}, "track")], [ARRIVAL]),
    ):
        (record,) = collected.outgoing
        event = decode(record.value, channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=MAX_BYTES)

        assert (1, "touchpoints.web") == (collected.accepted, record.topic)
        assert not isinstance(event, Reject)
        assert 100 == len(event["properties"]["products"]) + cut(event)


@pytest.mark.parametrize("lines", [1, 20, 35])
def test_an_order_that_fits_keeps_all_lines(lines: int) -> None:
    event = from_kafka(order(lines))

    assert (lines, 0) == (len(event["properties"]["products"]), cut(event))


def test_blanks_between_values_cost_no_line() -> None:
    event = order(300, 2)

    assert len(orjson.dumps(event)) < MAX_BYTES < len(orjson.dumps(event, option=orjson.OPT_INDENT_2))
    assert 300 == len(from_kafka(event, indent=2)["properties"]["products"])


@pytest.mark.parametrize(
    "event",
    [
        touchpoint("Order Completed", properties={"order_id": "o", "note": ["x" * 5_000] * 5}),
        order(3, 8_000, note=["x" * 5_000] * 5),
        order(3, 500, note=["x" * 6_500] * 3),
        touchpoint("Custom", traits={"products": ["x" * 500] * 100}),
        {**order(100), "context": ["de"]},
        ["x" * 500] * 100,
    ],
    ids=["no lines", "a large head", "no room for one line", "lines elsewhere", "no context", "a list"],
)
def test_what_is_too_large_by_other_things_is_refused(event: Any) -> None:
    refused = from_kafka(event)

    assert isinstance(refused, Reject)
    assert Reason.TOO_LARGE == refused.reason


def test_what_breaks_another_rule_is_refused_for_that() -> None:
    refused = from_kafka(order(100, revenue="much"))

    assert isinstance(refused, Reject)
    assert "properties.revenue" == refused.field


def test_a_large_order_with_a_bottomless_detail_is_refused() -> None:
    deep = b'"deep":' + b"[" * 300 + b"]" * 300 + b',"order_id"'
    value = orjson.dumps(order(100)).replace(b'"order_id"', deep)
    refused = decode(value, channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=MAX_BYTES)

    assert isinstance(refused, Reject)
    assert Reason.TOO_LARGE == refused.reason
