"""Calls of SDKs as the collector judges them: what is stored of each, and what was mended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from processors.intake.collect import Collect, CollectResult
from processors.intake.segment_calls import Arrival
from processors.intake.validation_mark import ValidationMark
from schemas.channels import TOUCHPOINT_CHANNELS
from schemas.intake.sources import Source

SERVER = Source(channel="web")
ARRIVAL = Arrival(datetime(2026, 11, 22, 10, tzinfo=UTC), None, "request-0")
MARK = ValidationMark(b"secret")
COLLECT = Collect(
    channels=frozenset(TOUCHPOINT_CHANNELS), max_event_bytes=65_536, key=lambda _: b"k", topic_prefix="", mark=MARK
)


def collected(call: dict[str, Any], verb: str = "track", source: Source = SERVER) -> CollectResult:
    """The records and refusals of one call, which has ids of its own unless the call gives others."""
    return COLLECT.calls("shop", source, [({"userId": "u", "messageId": "m", **call}, verb)], [ARRIVAL])


def stored(call: dict[str, Any], verb: str = "track", source: Source = SERVER) -> dict[str, Any]:
    """The event of a call that is accepted."""
    found = collected(call, verb, source)
    assert [] == [one.rejected.message for one in found.refusals]
    [record] = found.outgoing
    assert MARK.verify(record.value, record.headers)
    event: dict[str, Any] = orjson.loads(record.value)
    return event


def refused_fields(call: dict[str, Any], verb: str = "track", source: Source = SERVER) -> list[str]:
    """The fields of a call that are refused; none if it is accepted."""
    return [one.rejected.field for one in collected(call, verb, source).refusals]


def notes(event: dict[str, Any]) -> list[tuple[str, str, int]]:
    """What was mended in an event: field, rule, in how many places."""
    return [(one["field"], one["rule"], one["count"]) for one in event.get("context", {}).get("mended", [])]
