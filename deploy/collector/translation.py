"""Step 3, translate: the events of a body become records, in chunks, so that small requests need not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from deploy.collector.body import Request
from deploy.collector.cloud_events import cloud_events_of
from deploy.collector.refusal import RefusedError
from processors.intake.collect import Collect, CollectResult
from processors.intake.json_text import json_of
from processors.intake.segment_calls import Arrival, CallAndVerb

MAX_EVENTS = 5_000
EVENTS_PER_TURN = 100
"""Events that are translated before other tasks of the event loop run."""
MAX_COMMON_BYTES = 32_768
"""The most bytes of the common parts of a batch, as JSON: they are copied into each call."""
MAX_OUTGOING_BYTES = 32 * 1024 * 1024
"""The most bytes of all records of a request, touchpoints and dead letters."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of a Segment-compatible SDK.

    Attributes:
        items: The calls, as they came.
        verb: The kind of all calls; None: each call names its own.
        common: `context` and `timestamp` of the batch, for calls that lack them.
        sent_at: When the batch was sent, by the client's clock.
        single: The request is one call, not a batch.
    """

    items: Sequence[Any]
    verb: str | None = None
    common: Mapping[str, Any] = field(default_factory=dict)
    sent_at: object = None
    single: bool = False

    def collect(
        self, collect: Collect, request: Request, items: Sequence[Any], arrivals: Sequence[Arrival]
    ) -> CollectResult:
        """Turn some of the items into records."""
        calls = [_with_common_parts(call, self.common) for call in items]
        verbs = [self.verb or (call.get("type") if isinstance(call, dict) else None) for call in calls]
        return collect.calls(request.name, request.source, list(zip(calls, verbs, strict=True)), arrivals)


@dataclass(frozen=True, slots=True)
class Touchpoints:
    """Events in the form of a channel's topic.

    Attributes:
        items: The events, as they came.
        single: The request is one event, not a list.
        sent_at: Always None: such an event has its own time.
    """

    items: Sequence[Any]
    single: bool = False
    sent_at: object = None

    def collect(
        self, collect: Collect, request: Request, items: Sequence[Any], arrivals: Sequence[Arrival]
    ) -> CollectResult:
        """Turn some of the items into records."""
        return collect.touchpoints(request.name, request.source, items, arrivals)


@dataclass(frozen=True, slots=True)
class ForeignEvents:
    """Events of another product's clients, each of which becomes one call or several.

    Attributes:
        items: The events, as they came.
        calls_of: Translates one of them.
        field_names: The client's field for each field of a call that is named differently.
        sent_at: When the request was sent, by the client's clock.
        single: Always False: such clients read no answers.
    """

    items: Sequence[Any]
    calls_of: Callable[[Any, Arrival], list[CallAndVerb]]
    field_names: dict[str, str] = field(default_factory=dict)
    sent_at: object = None
    single: bool = False

    def collect(
        self, collect: Collect, request: Request, items: Sequence[Any], arrivals: Sequence[Arrival]
    ) -> CollectResult:
        """Turn some of the items into records."""
        return collect.foreign_events(request.name, request.source, items, arrivals, self.calls_of, self.field_names)


@dataclass(frozen=True, slots=True)
class CloudEvents:
    """CloudEvents whose data is a touchpoint; with the attributes of `Touchpoints`."""

    items: Sequence[Any]
    single: bool = False
    sent_at: object = None

    def collect(
        self, collect: Collect, request: Request, items: Sequence[Any], arrivals: Sequence[Arrival]
    ) -> CollectResult:
        """Turn some of the items into records."""
        return collect.cloud_events(request.name, request.source, items, arrivals)


Events = Calls | Touchpoints | CloudEvents | ForeignEvents


def call_of(request: Request, verb: str) -> Calls:
    """Return the body as one call."""
    return Calls([request.body], verb, single=True)


def batch_of(request: Request) -> Calls:
    """Return the body as a batch of calls.

    Raises:
        RefusedError: There is no list of calls, or what they have in common is too large.
    """
    body = request.body
    batch = body.get("batch") if isinstance(body, dict) else None
    if not isinstance(batch, list):
        raise RefusedError(400, "batch_missing", 'The body should be an object with a list: {"batch": [...]}.')
    common = {part: body[part] for part in ("context", "timestamp") if body.get(part) is not None}
    common_json = json_of(common)
    if common_json is None or len(common_json) > MAX_COMMON_BYTES:
        raise RefusedError(
            413, "context_too_large", f"What all calls have in common has at most {MAX_COMMON_BYTES:,} bytes."
        )
    return Calls(batch, common=common, sent_at=body.get("sentAt"))


def touchpoints_of(request: Request) -> Touchpoints | CloudEvents:
    """Return the body as touchpoints: one, a list of them, or `{"batch": [...]}`; or as CloudEvents.

    Raises:
        RefusedError: The write key is a browser's, or a batch of CloudEvents is no list.
    """
    if request.source.kind == "browser":
        raise RefusedError(403, "server_key", "Events of our own form need the write key of a server.")
    if (cloud_events := cloud_events_of(request)) is not None:
        return CloudEvents(*cloud_events)
    body = request.body
    events = body["batch"] if isinstance(body, dict) and "batch" in body else body
    return Touchpoints(events) if isinstance(events, list) else Touchpoints([events], single=True)


async def translate(request: Request, events: Events, collect: Collect) -> CollectResult:
    """Return the records of a request: touchpoints, and dead letters of refused events.

    Raises:
        RefusedError: There are too many events, or their records are too large together.
    """
    items = events.items
    if len(items) > MAX_EVENTS:
        raise RefusedError(
            413, "too_many_events", f"The batch has {len(items):,} events: send at most {MAX_EVENTS:,} at once."
        )
    received, request_id = datetime.now(UTC), uuid4().hex
    total, size = CollectResult(), 0
    for start in range(0, len(items), EVENTS_PER_TURN):
        some = items[start : start + EVENTS_PER_TURN]
        arrivals = [
            Arrival(received, events.sent_at, f"{request_id}-{start + number}", request.address, request.user_agent)
            for number in range(len(some))
        ]
        part = events.collect(collect, request, some, arrivals)
        total.add(part, start)
        size += sum(len(record.value) for record in part.outgoing)
        if size > MAX_OUTGOING_BYTES:
            raise RefusedError(
                413, "too_large", f"The events have over {MAX_OUTGOING_BYTES:,} bytes together: send fewer at once."
            )
        await asyncio.sleep(0)
    return total


def _with_common_parts(call: object, batch: Mapping[str, Any]) -> object:
    """Add the common parts of a batch to a call; the call's own fields take precedence."""
    if not isinstance(call, dict):
        return call
    common, own = batch.get("context"), call.get("context")
    if isinstance(common, dict) and (own is None or isinstance(own, dict)):
        call = {**call, "context": {**common, **(own or {})}}
    if call.get("timestamp") is None and call.get("originalTimestamp") is None and batch.get("timestamp") is not None:
        call = {**call, "timestamp": batch["timestamp"]}
    return call
