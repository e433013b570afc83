"""A large order in any form of a record is cut as one in JSON is: its head stays, and what was cut is noted."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import orjson
import pytest

from processors.intake.cut_lines import MAX_READ_BYTES
from processors.intake.frames import Frames
from processors.intake.record_forms import decode_record
from processors.intake.validation_mark import ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.dead_letters import Reason
from schemas.intake.registered_schema import RegisteredSchema
from schemas.outcomes import Reject
from schemas.records import Headers, UnloggedRecord
from tests.support.builders import touchpoint

MAX_BYTES = 20_000
HEAD = {"specversion": "1.0", "id": "ce-1", "source": "shop", "type": "Order Completed", "time": "2026-11-22T09:00:00Z"}
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)
BINARY: Headers = tuple((f"ce_{name}", text.encode()) for name, text in HEAD.items())
SCHEMA: dict[str, Any] = {
    "type": "record", "name": "Touchpoint", "fields": [
        *({"name": name, "type": "string"} for name in ("event_id", "event", "channel", "occurred_at")),
        {"name": "properties", "type": {"type": "record", "name": "Properties", "fields": [
            *({"name": name, "type": "string"} for name in ("order_id", "revenue", "currency")),
            {"name": "products", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
                {"name": "product_id", "type": "string"}, {"name": "name", "type": "string"}]}}},
        ]}},
    ],
}  # fmt: skip


def order(lines: int = 200, chars: int = 400) -> dict[str, Any]:
    products = [{"product_id": f"p{n}", "name": "n" * chars} for n in range(lines)]
    properties = {"order_id": "B-1", "revenue": "120.00", "currency": "EUR", "products": products}
    return touchpoint("Order Completed", "web", properties=properties)


def avro(event: dict[str, Any]) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(SCHEMA), event)
    return b"\0\0\0\0\5" + stream.getvalue()


FRAMES = Frames()
FRAMES.learn([5], {5: RegisteredSchema("AVRO", orjson.dumps(SCHEMA).decode())})


def decoded(value: bytes, headers: Headers = ()) -> Any:
    record = UnloggedRecord("touchpoints.web", 0, 7, 1_795_000_000_000, b"", value, headers)
    return decode_record(
        record, ValidationMark(b"s"), channels=frozenset(TOUCHPOINT_CHANNELS), max_bytes=MAX_BYTES, frames=FRAMES
    )


def records(event: dict[str, Any]) -> list[Any]:
    data = {name: event[name] for name in ("identifiers", "properties") if name in event}
    return [
        pytest.param(orjson.dumps({**HEAD, "data": data}), STRUCTURED, id="structured CloudEvent"),
        pytest.param(orjson.dumps({**HEAD, "data": data}), (), id="CloudEvent without its header"),
        pytest.param(orjson.dumps(data), BINARY, id="binary CloudEvent"),
        pytest.param(avro(event), (), id="Avro"),
        pytest.param(avro(event), (("trace", b"1"),), id="Avro with a header"),
        pytest.param(b"\0\0\0\0\6" + orjson.dumps(event), (), id="JSON Schema"),
        pytest.param(orjson.dumps(event), (), id="JSON"),
    ]


@pytest.mark.parametrize(("value", "headers"), records(order()))
def test_the_head_of_a_large_order_is_kept_and_its_last_lines_are_cut(value: bytes, headers: Headers) -> None:
    assert len(value) > MAX_BYTES
    event = decoded(value, headers)
    assert not isinstance(event, Reject), event
    kept = event["properties"]["products"]

    assert ("B-1", "120.00") == (event["properties"]["order_id"], event["properties"]["revenue"])
    assert 30 < len(kept) < 60
    assert [{"field": "properties.products", "rule": "lines_cut", "count": 200 - len(kept)}] == event["context"][
        "mended"
    ]


@pytest.mark.parametrize(("value", "headers"), records(order(lines=1, chars=MAX_READ_BYTES)))
def test_what_no_broker_takes_as_shipped_is_refused_by_its_size_unread(value: bytes, headers: Headers) -> None:
    refused = decoded(value, headers)

    assert Reason.TOO_LARGE is refused.reason
    assert f"at most {MAX_BYTES} are accepted; shorten its texts." in refused.message
