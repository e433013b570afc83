"""Webhooks: `/v1/hooks/<source>` takes what a vendor sends in its own form, and proves its origin in the vendor's way.

Vendors repeat what is not answered with 2xx, and switch the address off after a while of that. So an answer says one of
two things: anything but 200 asks to send again (Kafka has not confirmed) or refuses a sender who has proved nothing;
200 says that the payload is settled: accepted, ignored since no rule is for it, or refused and kept as a dead letter.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from deploy.collector.authentication import SOURCE_NAME
from deploy.collector.body import MAX_LENIENT_BYTES_ANONYMOUS, WEBHOOK, Reader, header_text, parse
from deploy.collector.publication import Publication
from deploy.collector.refusal import RefusedError, json_answer
from deploy.collector.tally import Tally
from deploy.collector.translation import MAX_OUTGOING_BYTES
from deploy.operations.hooks import Hook
from processors.intake.collect import Collect, CollectResult
from processors.intake.mapping import MAX_FORM_FIELDS, Payload, form_fields
from processors.intake.segment_calls import Arrival
from processors.intake.webhook_signatures import SignedRequest
from schemas.outcomes import Reject

log = logging.getLogger(__name__)

RECORDS_PER_TURN = 50
"""Records that are mapped before other tasks of the event loop run."""
FETCH_TIMEOUT_S = 5.0
MAX_FETCHED_BYTES, MAX_CERTIFICATES = 65_536, 20
MAX_TOKENS = 100_000
"""Tokens of signatures that are remembered, by each collector; a signature is too old after some hours anyway."""

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_FORM = "application/x-www-form-urlencoded"


class HookReceiver:
    """Takes the webhooks of a deployment.

    Args:
        hooks: Its webhook sources, by name.
        reader: Reads bodies within bounds.
        collect: Turns records into touchpoints.
        publication: Publishes them.
        tally: Counts accepted, ignored and refused records.
        address: The address of the collector as vendors call it; empty: that of the request.
        trusts_proxy: Use `X-Forwarded-Proto` and `X-Forwarded-Host`.
    """

    def __init__(
        self, hooks: Mapping[str, Hook], reader: Reader, collect: Collect, publication: Publication,
        tally: Tally, *, address: str = "", trusts_proxy: bool = False,
    ) -> None:  # fmt: skip
        self._hooks = hooks
        self._reader = reader
        self._collect = collect
        self._publication = publication
        self._tally = tally
        self._address = address.rstrip("/")
        self._trusts_proxy = trusts_proxy
        self._certificates: OrderedDict[str, bytes] = OrderedDict()
        self._tokens: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._fetching = asyncio.Lock()

    async def receive(self, http: web.Request) -> web.Response:
        """Take a webhook, and answer it when Kafka has confirmed what came of it.

        Raises:
            RefusedError: It does not come from the vendor, or cannot be read, or Kafka has not confirmed.
        """
        hook = self._hook(http)
        async with self._reader.raw(http, WEBHOOK) as raw:
            async with self._reader.parsing:
                payload = _payload(http, raw)
            request = await self._signed_request(http, hook, raw, payload)
            if hook.scheme.is_ping is not None and hook.scheme.is_ping(request, hook.options):
                self._tally.add(hook.name, "ignored", detail="ping")
                return json_answer(200, {"success": True, "accepted": 0, "ignored": {"ping": 1}, "rejected": []})
            if problem := hook.scheme.problem(request, hook.options, hook.secrets):
                raise RefusedError(401, "signature", f"This is no webhook of the source {hook.name}: {problem}.")
            self._use_token(hook, payload, raw)
            await self._confirm_subscription(hook, payload)
            async with self._reader.parsing:
                collected = await self._map(hook, request)
        del payload, request
        await self._publication.publish(collected.outgoing)
        self._count(hook.name, collected)
        return _answer(hook, collected)

    async def challenge(self, http: web.Request) -> web.Response:
        """Answer the GET by which a vendor checks that the address is ours.

        Raises:
            RefusedError: The vendor of this source sends none, or it does not know the source's token.
        """
        hook = self._hook(http)
        if hook.scheme.challenge is None:
            raise RefusedError(405, "method", f"Webhooks of the source {hook.name} come by POST.")
        answer = hook.scheme.challenge(http.query, hook.secrets)
        if answer is None:
            raise RefusedError(401, "verify_token", "The verify token is not that of this source.")
        return web.Response(text=answer[:1_000], content_type="text/plain")

    def _hook(self, http: web.Request) -> Hook:
        hook = self._hooks.get(http.match_info["source"])
        if hook is None:
            raise RefusedError(404, "hook", "There is no webhook source of this name: see sources.yaml.")
        http[SOURCE_NAME] = hook.name
        if not hook.secrets:
            raise RefusedError(401, "secret", f"The source {hook.name} has no secret: set THROUGHLINE_HOOK_SECRETS.")
        return hook

    async def _signed_request(self, http: web.Request, hook: Hook, raw: bytes, payload: Any) -> SignedRequest:
        certificate = b""
        if hook.scheme.certificate_url is not None and (url := hook.scheme.certificate_url(payload, hook.secrets)):
            certificate = await self._certificate(url)
        return SignedRequest(
            url=self._called_address(http),
            headers={name.lower(): header_text(http.headers[name]) for name in http.headers},
            query={name: header_text(value) for name, value in http.query.items()},
            body=raw,
            payload=payload,
            received_at=datetime.now(UTC),
            certificate=certificate,
        )

    def _called_address(self, http: web.Request) -> str:
        """Return the address that the vendor has called, as far as it is known here."""
        if self._address:
            return f"{self._address}{header_text(http.raw_path)}"
        scheme, host = (
            header_text(http.headers.get(name, "")).partition(",")[0].strip() if self._trusts_proxy else ""
            for name in ("X-Forwarded-Proto", "X-Forwarded-Host")
        )
        return f"{scheme or http.scheme}://{host or header_text(http.host)}{header_text(http.raw_path)}"

    async def _map(self, hook: Hook, request: SignedRequest) -> CollectResult:
        payload = Payload(request.payload, request.received_at, request.headers, request.query)
        records = hook.mapping.records(payload)
        request_id, total, size = uuid4().hex, CollectResult(), 0
        if not records:
            total.ignored["it holds no record"] += 1
        if isinstance(records, Reject):
            arrival = Arrival(request.received_at, None, request_id)
            return self._collect.unmapped(hook.name, hook.source, hook.mapping, payload, records, arrival)
        for start in range(0, len(records), RECORDS_PER_TURN):
            some = records[start : start + RECORDS_PER_TURN]
            arrivals = [
                Arrival(request.received_at, None, f"{request_id}-{start + number}") for number in range(len(some))
            ]
            part = self._collect.records(hook.name, hook.source, hook.mapping, some, arrivals)
            total.add(part, start)
            size += sum(len(record.value) for record in part.outgoing)
            if size > MAX_OUTGOING_BYTES:
                raise RefusedError(413, "too_large", f"Its events have over {MAX_OUTGOING_BYTES:,} bytes together.")
            await asyncio.sleep(0)
        return total

    async def _certificate(self, url: str) -> bytes:
        """Fetch a certificate of an address that the scheme trusts, once; one that is known waits for no other."""
        if url not in self._certificates:
            async with self._fetching:
                if url not in self._certificates:
                    found = await fetched(url)
                    if not found.startswith(_CERTIFICATE):
                        return found
                    _keep(self._certificates, url, found, MAX_CERTIFICATES)
        return self._certificates[url]

    def _use_token(self, hook: Hook, payload: Any, raw: bytes) -> None:
        """Let a signature that covers a token alone count for one body: a retry is the same, a forgery is not.

        Raises:
            RefusedError: The token came with another body before.
        """
        if hook.scheme.token is not None:
            place, digest = (hook.name, hook.scheme.token(payload)), sha256(raw).digest()
            if self._tokens.get(place, digest) != digest:
                message = f"This is no webhook of the source {hook.name}: its token came with another body before."
                raise RefusedError(401, "signature", message)
            _keep(self._tokens, place, digest, MAX_TOKENS)

    async def _confirm_subscription(self, hook: Hook, payload: Any) -> None:
        if hook.scheme.confirmation_url is not None and (url := hook.scheme.confirmation_url(payload)):
            async with self._fetching:
                await fetched(url)
            log.info("the subscription of %s is confirmed", hook.name)

    def _count(self, name: str, collected: CollectResult) -> None:
        self._tally.add(name, "accepted", collected.accepted)
        for reason, count in collected.ignored.items():
            self._tally.add(name, "ignored", count, reason)
        for refusal in collected.refusals:
            self._tally.add(name, "refused", detail=refusal.rejected.reason.value)


def _keep(known: OrderedDict[Any, bytes], key: Any, value: bytes, most: int) -> None:
    known[key] = value
    while len(known) > most:
        known.popitem(last=False)


async def fetched(url: str) -> bytes:
    """Fetch a short document: no redirects, no proxies, within bounds of time and size.

    Raises:
        RefusedError: With a status that asks to send again.
    """
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=FETCH_TIMEOUT_S)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            reason = f"status {response.status}"
            if response.status == 200:
                found = bytearray()
                async for part in response.content.iter_any():
                    found += part
                    if len(found) > MAX_FETCHED_BYTES:
                        break
                else:
                    return bytes(found)
                reason = f"more than {MAX_FETCHED_BYTES:,} bytes"
    except (ClientError, TimeoutError, OSError) as error:
        reason = type(error).__name__
    log.warning("a certificate or a confirmation of a webhook cannot be fetched: %s", reason)
    raise RefusedError(503, "vendor_unreachable", "What proves this request cannot be fetched: send it again.", 5)


def _payload(http: web.Request, raw: bytes) -> Any:
    """Parse a body: a form by its Content-Type, else JSON."""
    if http.content_type != _FORM or raw.lstrip()[:1] in (b"{", b"["):  # what curl calls a form by default
        return parse(raw, MAX_LENIENT_BYTES_ANONYMOUS)
    try:
        return form_fields(raw)
    except ValueError:
        raise RefusedError(413, "too_many_parts", f"A form has at most {MAX_FORM_FIELDS:,} fields.") from None


def _answer(hook: Hook, collected: CollectResult) -> web.Response:
    if hook.scheme.answer is not None:
        text, content_type = hook.scheme.answer
        return web.Response(text=text, content_type=content_type)
    rejected = [refusal.as_json() for refusal in collected.refusals]
    return json_answer(
        200, {"success": True, "accepted": collected.accepted, "ignored": dict(collected.ignored), "rejected": rejected}
    )
