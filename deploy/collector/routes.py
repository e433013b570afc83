"""The collector's routes: those of Segment's HTTP API, and `/v1/touchpoints` for events in our own form."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any
from uuid import uuid4

import orjson
from aiohttp import web

from deploy.collector.authentication import WriteKeys
from deploy.collector.body import SOURCE, Reader, RefusedError, Request, text
from processors.intake.collect import Collect, Collected, written
from processors.intake.segment_calls import VERBS, Arrival
from schemas.intake.sources import Source
from sinks.kafka.group_commit import GatheringPublisher, OverloadedError
from sinks.kafka.producer import PublishFailedError

log = logging.getLogger(__name__)

MOST_EVENTS = 5_000
FAILING_S = 5.0
"""So long after a failure it is not ready, unless something was confirmed since."""
AT_ONCE = 100
"""Events that are read before other requests get their turn."""
MOST_COMMON_BYTES = 32_768
"""What a batch says for all of its calls is in each of them."""
MOST_BYTES_OUT = 32 * 1024 * 1024
"""What the events of a request may have together once they are touchpoints, or dead letters."""

_CORS = {
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    # AnonymousId is RudderStack's
    "Access-Control-Allow-Headers": "authorization, content-type, content-encoding, x-retry-count, anonymousid",
    "Access-Control-Max-Age": "86400",
}
_Some = Callable[[Sequence[Any], Sequence[Arrival]], Collected]


class Collector:
    """Answers requests.

    Args:
        sources: By name.
        keys: Of the sources.
        collect: Turns events into records.
        publisher: Takes them.
        most_bytes: The largest request, in bytes, once it is inflated.
        trusts_proxy: Believe `X-Forwarded-For` and `X-Forwarded-Proto`.
        confirm_within_s: How long to wait for Kafka.

    Attributes:
        ready: Whether Kafka has answered lately; whoever watches it says so.
        stopping: Whether each connection is to end with its next answer; whoever stops it says so.
        idle: Set while no request waits for its answer.
        tally: What was accepted and refused; whoever reports it empties it.
    """

    def __init__(
        self, *, sources: Mapping[str, Source], keys: WriteKeys, collect: Collect, publisher: GatheringPublisher,
        most_bytes: int, confirm_within_s: float, trusts_proxy: bool = False,
    ) -> None:  # fmt: skip
        self.ready = self.stopping = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._in_hand = 0
        self._failed_at: float | None = None
        self.tally: Counter[str] = Counter()
        self._sources = sources
        self._keys = keys
        self._collect = collect
        self._publisher = publisher
        self._reader = Reader(sources, keys, most_bytes, trusts_proxy=trusts_proxy)
        self._trusts_proxy = trusts_proxy
        self._confirm_within_s = confirm_within_s

    def app(self) -> web.Application:
        """Put the routes together."""
        app = web.Application(middlewares=[self._answer])
        for path in ("batch", "b", "import"):
            app.router.add_post(f"/v1/{path}", self._batch)
        for verb in VERBS:
            for path in (verb, verb[0]):
                app.router.add_post(f"/v1/{path}", partial(self._call, verb))
        app.router.add_post("/v1/touchpoints", self._touchpoints)
        app.router.add_post("/v1/validate", self._validate)
        app.router.add_get("/v1/projects/{key}/settings", self._sdk_settings)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._readiness)
        return app

    @web.middleware
    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Say every refusal the same way, and let pages read the answer."""
        response: web.StreamResponse
        self._in_hand += 1
        self.idle.clear()
        try:
            preflight = request.method == "OPTIONS"  # a browser asks before it sends; whatever the path
            response = web.Response(status=204, headers=_CORS) if preflight else await handler(request)
        except RefusedError as refused:
            self.tally[f"{request.get(SOURCE, '(nobody)')} refused: {refused.code}"] += 1
            response = _refusal(refused.status, refused.code, refused.message)
            if refused.retry_after_s:
                response.headers["Retry-After"] = str(refused.retry_after_s)
        except web.HTTPException as error:  # no such path, another method
            code = error.reason.lower().replace(" ", "_")
            response = _refusal(error.status, code, f"{request.method} {request.path}: {error.reason}.")
        except Exception as error:  # noqa: BLE001 - a bug of ours, which the next try may not meet
            where = traceback.extract_tb(error.__traceback__)[-1]  # not what it says: that may be somebody's words
            log.error("%s at %s:%d", type(error).__name__, where.filename, where.lineno or 0)
            response = _refusal(500, "bug", "The collector could not answer this: it is our mistake.")
        finally:
            self._in_hand -= 1
            if not self._in_hand:
                self.idle.set()
        if self.stopping:
            response.force_close()
        response.headers["Server"] = "throughline"
        origin = request.headers.get("Origin")
        if origin and any(source.allows(origin) for source in self._sources.values()):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
            response.headers["Vary"] = "Origin"
        return response

    async def _batch(self, http: web.Request) -> web.Response:
        """Take a batch of calls."""
        return await self._take(http, *await self._read_batch(http))

    async def _validate(self, http: web.Request) -> web.Response:
        """Judge a batch of calls and store nothing."""
        _, collected = await self._read_batch(http)
        return _told(collected, strict=True)

    async def _call(self, verb: str, http: web.Request) -> web.Response:
        """Take one call."""
        return await self._take(http, *await self._read_call(http, verb), alone=True)

    async def _touchpoints(self, http: web.Request) -> web.Response:
        """Take one event in our own form, a list of them, or `{"batch": [...]}`."""
        name, collected, alone = await self._read_touchpoints(http)
        return await self._take(http, name, collected, alone=alone)

    async def _read_batch(self, http: web.Request) -> tuple[str, Collected]:
        async with self._reader.read(http) as request:
            return request.name, await self._calls(request)

    async def _read_call(self, http: web.Request, verb: str) -> tuple[str, Collected]:
        async with self._reader.read(http) as request:
            collect = partial(self._collect.calls, request.name, request.source)
            return request.name, await self._collected(request, [(request.said, verb)], collect)

    async def _read_touchpoints(self, http: web.Request) -> tuple[str, Collected, bool]:
        async with self._reader.read(http) as request:
            if request.source.kind == "browser":
                raise RefusedError(403, "server_key", "Events of our own form need the write key of a server.")
            said = request.said
            events = said["batch"] if isinstance(said, dict) and "batch" in said else said
            several = events if isinstance(events, list) else [events]
            collect = partial(self._collect.touchpoints, request.name, request.source)
            return request.name, await self._collected(request, several, collect), several is not events

    async def _calls(self, request: Request) -> Collected:
        said = request.said
        batch = said.get("batch") if isinstance(said, dict) else None
        if not isinstance(batch, list):
            raise RefusedError(400, "batch_missing", 'The body should be an object with a list: {"batch": [...]}.')
        common = {part: said[part] for part in ("context", "timestamp") if said.get(part) is not None}
        shared = written(common)
        if shared is None or len(shared) > MOST_COMMON_BYTES:
            raise RefusedError(
                413, "context_too_large", f"What all calls have in common has at most {MOST_COMMON_BYTES:,} bytes."
            )

        def collect(some: Sequence[Any], arrivals: Sequence[Arrival]) -> Collected:
            calls = [_with_common_parts(call, common) for call in some]
            verbs = [call.get("type") if isinstance(call, dict) else None for call in calls]
            return self._collect.calls(request.name, request.source, list(zip(calls, verbs, strict=True)), arrivals)

        return await self._collected(request, batch, collect, said.get("sentAt"))

    async def _collected(
        self, request: Request, events: Sequence[Any], collect: _Some, sent_at: object = None
    ) -> Collected:
        """Collect some events at a time: a large batch does not keep small requests waiting."""
        if len(events) > MOST_EVENTS:
            raise RefusedError(
                413, "too_many_events", f"The batch has {len(events):,} events: send at most {MOST_EVENTS:,} at once."
            )
        received, request_id = datetime.now(UTC), uuid4().hex
        total, size = Collected(), 0
        for start in range(0, len(events), AT_ONCE):
            some = events[start : start + AT_ONCE]
            part = collect(
                some,
                [
                    Arrival(received, sent_at, f"{request_id}-{start + number}", request.address, request.user_agent)
                    for number in range(len(some))
                ],
            )
            total.add(part, start)
            size += sum(len(record.value) for record in part.outgoing)
            if size > MOST_BYTES_OUT:
                raise RefusedError(
                    413, "too_large", f"The events have over {MOST_BYTES_OUT:,} bytes together: send fewer at once."
                )
            await asyncio.sleep(0)
        return total

    async def _take(self, http: web.Request, name: str, collected: Collected, *, alone: bool = False) -> web.Response:
        """Answer when Kafka has all of it."""
        try:
            async with asyncio.timeout(self._confirm_within_s):
                await self._publisher.send(collected.outgoing)
        except OverloadedError:
            raise RefusedError(429, "overloaded", "More events wait than can be held: send them again.", 1) from None
        except (TimeoutError, PublishFailedError) as error:
            if self._failed_at is None:  # once, not for everybody who waits
                log.warning("Kafka does not confirm: %s", error or "no answer in time")
            self._failed_at = monotonic()
            raise RefusedError(
                503, "kafka_not_confirmed", "Kafka has not confirmed the events: send them again.", 2
            ) from None
        if collected.outgoing and self._failed_at is not None:
            log.info("Kafka confirms again")
            self._failed_at = None
        self.tally[f"{name} accepted"] += collected.accepted
        if http.headers.get("X-Retry-Count"):
            self.tally[f"{name} tried again (requests)"] += 1
        for refusal in collected.refusals:
            self.tally[f"{name} refused: {refusal.rejected.reason.value}"] += 1
        if alone and collected.refusals:
            return _json(400, {"success": False, **collected.refusals[0].as_json()})
        return _told(collected, strict=http.query.get("strict") in ("1", "true"))

    async def _sdk_settings(self, http: web.Request) -> web.Response:
        """Say what analytics.js asks for before anything else: where to send."""
        key = http.match_info["key"]
        if self._keys.source(key) is None:
            raise RefusedError(404, "write_key", "No source has this write key.")
        forwarded = http.headers.get("X-Forwarded-Proto", "") if self._trusts_proxy else ""
        where = {"apiKey": key, "apiHost": f"{text(http.host)}/v1", "protocol": text(forwarded) or http.scheme}
        return _json(200, {"integrations": {"Segment.io": where}, "plan": {}, "edgeFunction": {}})

    async def _health(self, _: web.Request) -> web.Response:
        return _json(200, {"alive": True})

    async def _readiness(self, _: web.Request) -> web.Response:
        failing = self._failed_at is not None and monotonic() - self._failed_at < FAILING_S
        ready = self.ready and not failing
        return _json(200 if ready else 503, {"ready": ready, "waiting_bytes": self._publisher.waiting_bytes})


def _with_common_parts(call: object, batch: Mapping[str, Any]) -> object:
    """Add what a batch says for all of its calls; a call's own words win."""
    if not isinstance(call, dict):
        return call
    common, own = batch.get("context"), call.get("context")
    if isinstance(common, dict) and (own is None or isinstance(own, dict)):
        call = {**call, "context": {**common, **(own or {})}}
    if call.get("timestamp") is None and call.get("originalTimestamp") is None and batch.get("timestamp") is not None:
        call = {**call, "timestamp": batch["timestamp"]}
    return call


def _told(collected: Collected, *, strict: bool) -> web.Response:
    status = 400 if strict and collected.refusals else 200
    rejected = [refusal.as_json() for refusal in collected.refusals]
    return _json(status, {"success": status == 200, "accepted": collected.accepted, "rejected": rejected})


def _refusal(status: int, code: str, message: str) -> web.Response:
    return _json(status, {"success": False, "code": code, "message": message})


def _json(status: int, answer: Mapping[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(answer), content_type="application/json")
