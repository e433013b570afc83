"""The collector's routes: Segment's HTTP API, PostHog's, GA4's, and `/v1/touchpoints` for events in our own form.

Every event takes the four steps of `Collector._handle`: authenticate, read, translate, publish.
"""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from deploy.collector import ga4, pixel, posthog
from deploy.collector.authentication import SOURCE_NAME, Authenticator, WriteKeys
from deploy.collector.body import JSON_FORM, BodyForm, Reader, Request, header_text
from deploy.collector.cloud_events import json_text
from deploy.collector.hooks import HookReceiver
from deploy.collector.links import LinkReceiver, Preferences
from deploy.collector.profiles import HashIdentifier, People, ProfileReads
from deploy.collector.publication import Publication
from deploy.collector.refusal import RefusedError, http_refusal, json_answer, refusal_answer
from deploy.collector.slot_rules import SlotRules
from deploy.collector.slots import People as SlotPeople
from deploy.collector.slots import SlotAnswers, SlotContent
from deploy.collector.tally import Tally
from deploy.collector.till_sums import TillSums
from deploy.collector.translation import Events, batch_of, call_of, touchpoints_of, translate
from deploy.collector.visitor_tokens import VisitorTokens
from deploy.operations.hooks import Hook
from processors.delivery.link_tokens import LinkTokens
from processors.intake.collect import Collect, CollectResult
from processors.intake.segment_calls import VERBS
from processors.intake.tracking_plan import AGAINST_PLAN
from processors.intake.transform import TRANSFORMED
from schemas.delivery.links import PreferenceRules
from schemas.events.mending import MENDED
from schemas.intake.sources import Source
from schemas.metrics import COLLECTOR_ANSWERS, COLLECTOR_DURATION, COLLECTOR_IN_FLIGHT, NO_METER, Meter
from schemas.time import clock_ms
from schemas.topics import DEAD_LETTERS

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CLOUD_EVENTS_FORM = BodyForm(text=json_text)

_CORS = {
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Max-Age": "86400",
    "Vary": "Access-Control-Request-Headers",
}
_SDK_HEADERS = "authorization, content-type, content-encoding, x-retry-count, anonymousid, sentat"
_HEADER_NAMES = re.compile(r"[a-z0-9_-]{1,64}(?:\s?,\s?[a-z0-9_-]{1,64}){0,31}", re.IGNORECASE | re.ASCII)


class Slots(NamedTuple):
    """What requests of slots are answered with.

    Attributes:
        rules: Returns what decides; None: it is not read yet.
        people: Finds people and what they have seen.
        content: Makes what is shown.
    """

    rules: Callable[[], SlotRules | None]
    people: SlotPeople
    content: SlotContent


class Collector:
    """Answers requests.

    Args:
        sources: The defined sources, by name.
        keys: Their write keys.
        collect: Turns events into records.
        publication: Publishes the records.
        till_sums: Reads the counts of business days.
        max_bytes: The largest request, in bytes, once it is inflated.
        trusts_proxy: Use `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
        hooks: The webhook sources, by name.
        public_url: The address of the collector as pages and vendors call it; empty: that of each request.
        meter: Measures requests.
        link_tokens: Reads the tokens of links in messages.
        preferences: Reads what people have answered.
        preference_rules: What they are asked about.
        people: Reads profiles.
        hash_identifier: Hashes an identifier that a request names.
        slots: What answers requests of slots.

    Attributes:
        links: Answers links in messages.
        ready: Whether Kafka has answered lately; set by `server.py`, which asks it.
        stopping: Whether each connection is closed after its next answer; set by `server.py` when it stops.
        idle: Set while no request waits for its answer.
        tally: Counts of what was accepted and refused, since `server.py` has reported and emptied it.
    """

    def __init__(
        self, *, sources: Mapping[str, Source], keys: WriteKeys, collect: Collect, publication: Publication,
        till_sums: TillSums, max_bytes: int, trusts_proxy: bool = False,
        link_tokens: LinkTokens, preferences: Preferences, preference_rules: PreferenceRules, people: People,
        hash_identifier: HashIdentifier, slots: Slots,
        hooks: Mapping[str, Hook] = MappingProxyType({}), public_url: str = "", meter: Meter = NO_METER,
    ) -> None:  # fmt: skip
        self.ready = self.stopping = False
        self.idle = asyncio.Event()
        self.idle.set()
        self.tally = Tally()
        self._unanswered, self._meter = 0, meter
        self._sources = sources
        self._keys = keys
        self._collect = collect
        self._publication = publication
        self._till_sums = till_sums
        self._authenticator = Authenticator(keys, sources)
        self._reader = Reader(self._authenticator, max_bytes, trusts_proxy=trusts_proxy)
        self._trusts_proxy = trusts_proxy
        self._public_url = public_url
        self._hooks = HookReceiver(
            hooks, self._reader, collect, publication, self.tally, address=public_url, trusts_proxy=trusts_proxy
        )

        self._profile_reads = ProfileReads(self._authenticator, people, hash_identifier, self.tally)
        self.links = LinkReceiver(
            link_tokens, publication, self._reader, self.tally, preferences, preference_rules, public_url
        )
        self._slots = SlotAnswers(
            self._authenticator, self._reader, VisitorTokens(keys, sources), rules=slots.rules, people=slots.people,
            content=slots.content, hash_identifier=hash_identifier, publish=self.links.records.publish,
            tally=self.tally, clock=clock_ms, meter=meter,
        )  # fmt: skip

    @property
    def unhealthy(self) -> bool:
        """Return whether Kafka has lately confirmed nothing of what was sent."""
        return self._publication.unhealthy

    @property
    def waiting_bytes(self) -> int:
        """Return the bytes of the records that Kafka has not confirmed yet."""
        return self._publication.waiting_bytes

    def app(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self._respond])
        for path in ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"):
            _add(app.router.add_post, path, partial(self._handle, batch_of))
        for verb in VERBS:
            for name in (verb, verb[0]):
                _add(app.router.add_post, f"/v1/{name}", partial(self._handle, partial(call_of, verb=verb)))
            by_image = partial(self._handle, partial(call_of, verb=verb), form=pixel.FORM, answer=pixel.answer)
            _add(partial(app.router.add_get, allow_head=False), f"{pixel.PATH}/{verb}", by_image)
        _add(app.router.add_post, "/v1/touchpoints", partial(self._handle, touchpoints_of, form=CLOUD_EVENTS_FORM))
        _add(app.router.add_post, "/v1/validate", self._validate)
        self._add_other_protocols(app.router)
        app.router.add_get("/v1/projects/{key}/settings", self._sdk_settings)
        _add(app.router.add_get, "/sourceConfig", self._rudderstack_settings)
        _add(app.router.add_get, "/v1/till-sums", self._till_sum)
        _add(app.router.add_post, "/v1/hooks/{source}", self._hooks.receive)
        _add(partial(app.router.add_get, allow_head=False), "/v1/hooks/{source}", self._hooks.challenge)
        self.links.add_routes(app.router)
        app.router.add_get("/v1/profiles/{identifier:.+}", self._profile_reads.read, allow_head=False)
        _add(app.router.add_post, "/v1/decide", self._slots.decide)
        _add(app.router.add_get, "/health", self._health)
        _add(app.router.add_get, "/ready", self._readiness)
        return app

    def _add_other_protocols(self, router: web.UrlDispatcher) -> None:
        """Add the paths of clients that speak neither Segment's API nor ours."""
        for path in posthog.PATHS:
            _add(
                router.add_post,
                path,
                partial(self._handle, posthog.events_of, form=posthog.FORM, answer=posthog.answer),
            )
        for path in posthog.CONFIG_PATHS:
            _add(router.add_post, path, posthog.flags)
        router.add_get("/array/{key}/config", posthog.config)
        router.add_get("/array/{key}/config.js", posthog.config_script)
        handle_ga4 = partial(self._handle, ga4.events_of, form=ga4.FORM, answer=ga4.answer)
        _add(router.add_post, ga4.PATH, handle_ga4)
        _add(router.add_post, ga4.DEBUG_PATH, self._validate_ga4)

    async def _handle(
        self, events_of: Callable[[Request], Events], http: web.Request, form: BodyForm = JSON_FORM,
        answer: Callable[[CollectResult], web.Response] | None = None,
    ) -> web.Response:  # fmt: skip
        """Take a request with events, and answer it when Kafka has confirmed them.

        Args:
            events_of: Finds the events of the request.
            http: The request.
            form: How its client writes requests.
            answer: Makes the answer; None: accepted and refused events are named.
        """
        credentials = self._authenticator.head(http, form.key_parameter)
        async with self._reader.read(http, credentials, form) as request:
            events = events_of(request)
            collected = await translate(request, events, self._collect)
        name, single = request.name, events.single
        del request, events  # the parsed body takes memory, and publishing may take seconds
        await self._publication.publish(collected.outgoing)
        self._count(http, name, collected)
        if answer is not None:
            return answer(collected)
        if single and collected.refusals:
            return json_answer(400, {"success": False, **collected.refusals[0].as_json()})
        return _answer(collected, strict=http.query.get("strict") in ("1", "true"))

    async def _validate(self, http: web.Request) -> web.Response:
        """Answer which calls of a batch would be accepted and refused, and what was changed; publish nothing."""
        credentials = self._authenticator.head(http)
        async with self._reader.read(http, credentials) as request:
            collected = await translate(request, batch_of(request), self._collect)
        touchpoints = (orjson.loads(one.value) for one in collected.outgoing if one.topic != DEAD_LETTERS)
        notes = [note for event in touchpoints if (note := _note(event))]
        return _answer(collected, strict=True, notes=notes)

    async def _validate_ga4(self, http: web.Request) -> web.Response:
        """Answer what is wrong with the events of a Measurement Protocol's request; publish nothing."""
        credentials = self._authenticator.head(http, ga4.FORM.key_parameter)
        async with self._reader.read(http, credentials, ga4.FORM) as request:
            collected = await translate(request, ga4.events_of(request), self._collect)
        return ga4.debug_answer(collected)

    @web.middleware
    async def _respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every refusal into an answer of one form, and let the pages of all sources read the answer."""
        response: web.StreamResponse
        started = perf_counter()
        self._unanswered += 1
        self._meter.set(COLLECTOR_IN_FLIGHT, self._unanswered)
        self.idle.clear()
        try:
            preflight = request.method == "OPTIONS"  # a browser asks before it sends; whatever the path
            response = _preflight_answer(request) if preflight else await handler(request)
        except RefusedError as refused:
            self.tally.add(request.get(SOURCE_NAME, "(unknown source)"), "refused", detail=refused.code)
            response = refusal_answer(refused.status, refused.code, refused.message, refused.retry_after_s)
        except web.HTTPException as error:  # no such path, another method
            response = http_refusal(request, error)
        except Exception as error:  # noqa: BLE001 - a bug of ours, which the next try may not meet
            place = traceback.extract_tb(error.__traceback__)[-1]  # not the error's text: it may quote an event
            log.error("%s at %s:%d", type(error).__name__, place.filename, place.lineno or 0)
            response = refusal_answer(500, "bug", "The collector could not answer this: it is our mistake.")
        finally:
            self._unanswered -= 1
            self._meter.set(COLLECTOR_IN_FLIGHT, self._unanswered)
            if not self._unanswered:
                self.idle.set()
        route = _route(request)
        self._meter.add(COLLECTOR_ANSWERS, 1, route, str(response.status))
        self._meter.observe(COLLECTOR_DURATION, perf_counter() - started, route)
        if self.stopping:
            response.force_close()
        response.headers["Server"] = "throughline"
        origin = request.headers.get("Origin")
        if origin and any(source.allows(origin) for source in self._sources.values()):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
            response.headers["Vary"] = ", ".join(filter(None, (response.headers.get("Vary"), "Origin")))
        return response

    def _count(self, http: web.Request, name: str, collected: CollectResult) -> None:
        self.tally.add(name, "accepted", collected.accepted)
        if http.headers.get("X-Retry-Count"):
            self.tally.add(name, "tried again")
        for refusal in collected.refusals:
            self.tally.add(name, "refused", detail=refusal.rejected.reason.value)

    async def _sdk_settings(self, http: web.Request) -> web.Response:
        """Answer the first request of analytics.js: the settings, with the address for events."""
        key = http.match_info["key"]
        if self._keys.source(key) is None:
            raise RefusedError(404, "write_key", "No source has this write key.")
        protocol, _, address = (self._public_url or self._address_asked(http)).partition("://")
        destination = {"apiKey": key, "apiHost": f"{address}/v1", "protocol": protocol}
        # Without `metrics`, the SDKs report every call to a server of Segment's.
        metrics = {"sampleRate": 0}
        integrations = {"Segment.io": destination}
        answer = json_answer(200, {"integrations": integrations, "plan": {}, "edgeFunction": {}, "metrics": metrics})
        answer.headers["Cache-Control"] = "no-store"  # it depends on the host that the page has asked
        return answer

    def _address_asked(self, http: web.Request) -> str:
        """Return the address that a page has asked, as far as the request, or the proxy before us, says it."""
        scheme, host = (
            header_text(http.headers.get(name, "")).partition(",")[0].strip() if self._trusts_proxy else ""
            for name in ("X-Forwarded-Proto", "X-Forwarded-Host")
        )
        return f"{scheme or http.scheme}://{host or header_text(http.host)}"

    async def _rudderstack_settings(self, http: web.Request) -> web.Response:
        """Answer what RudderStack's SDKs ask before anything else: the source is on and reports to nobody else."""
        key, sender = self._authenticator.head(http)
        if sender is None:
            raise RefusedError(401, "write_key", "The write key is missing: send it as writeKey, or by HTTP Basic.")
        off = {"enabled": False}
        source = {
            "id": sender.name,
            "name": sender.name,
            "writeKey": key,
            "enabled": True,
            "workspaceId": "throughline",
            "config": {"statsCollection": {"errors": off, "metrics": off}},
            "destinations": [],
            "updatedAt": "1970-01-01T00:00:00.000Z",
        }
        return json_answer(200, {"source": source, "updatedAt": source["updatedAt"]})

    async def _till_sum(self, http: web.Request) -> web.Response:
        """Answer how a business day of a till is counted here, and whether the till has declared the same."""
        sender = self._authenticator.head(http).sender
        if sender is None:
            raise RefusedError(401, "write_key", "The write key is missing: send it as the user name of HTTP Basic.")
        if sender.source.kind == "browser":
            raise RefusedError(403, "server_key", "A till's sums need the write key of a server.")
        return json_answer(200, await self._till_sums.read(sender.name, http.query))

    async def _health(self, _: web.Request) -> web.Response:
        return json_answer(200, {"alive": True})

    async def _readiness(self, _: web.Request) -> web.Response:
        ready = self.ready and not self._publication.failing
        return json_answer(200 if ready else 503, {"ready": ready, "waiting_bytes": self._publication.waiting_bytes})


def _add(add: Callable[[str, Handler], object], path: str, handler: Handler) -> None:
    """Add a path, and its forms in SDKs whose host is written with a slash at the end."""
    for form in (path, f"{path}/", f"/{path}"):
        add(form, handler)


def _route(request: web.Request) -> str:
    """Return the pattern of the path that was asked, such as `/v1/hooks/{source}`; `other`: there is no such path."""
    resource = request.match_info.route.resource
    return f"/{resource.canonical.strip('/')}" if resource is not None else "other"


def _preflight_answer(request: web.Request) -> web.Response:
    """Allow a browser to send what it asks for; only the pages of known origins learn of it.

    Each version of an SDK sends headers of its own, and no header gives a request more rights: the write key counts.
    """
    asked = request.headers.get("Access-Control-Request-Headers", "")
    allowed = asked if _HEADER_NAMES.fullmatch(asked) else _SDK_HEADERS
    return web.Response(status=204, headers={**_CORS, "Access-Control-Allow-Headers": allowed})


def _note(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return what was mended, transformed or found against the plan in an accepted event; None: nothing."""
    context = event.get("context", {})
    found = {name: context[name] for name in (MENDED, TRANSFORMED, AGAINST_PLAN) if name in context}
    return {"messageId": event["event_id"], "event": event["event"], **found} if found else None


def _answer(collected: CollectResult, *, strict: bool, notes: Sequence[dict[str, Any]] | None = None) -> web.Response:
    """Return the answer with accepted and refused events; with `strict`, any refusal gives the status 400.

    Args:
        collected: What became of the request.
        strict: A refusal makes the request one that failed.
        notes: What was changed in accepted events; None: the answer has no notes.
    """
    status = 400 if strict and collected.refusals else 200
    rejected = [refusal.as_json() for refusal in collected.refusals]
    answer = {"success": status == 200, "accepted": collected.accepted, "rejected": rejected}
    return json_answer(status, answer if notes is None else {**answer, "notes": notes})
