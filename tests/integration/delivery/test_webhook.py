"""Webhooks against a real HTTP server: signatures, retries, and addresses that are refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult
from yarl import URL

from schemas.delivery.outbound import OutboundMessage, SendResult, WebhookTarget
from schemas.delivery.templates import Rendered
from sinks.channels.webhook import Destinations, ForbiddenAddressError, WebhookAdapter, signature

pytestmark = pytest.mark.integration

NOW = int(datetime(2026, 11, 22, 10, 15, 30, 123_000, tzinfo=UTC).timestamp() * 1000)
KEY = base64.b64encode(b"an old secret of 24 byte").decode()
MESSAGE = OutboundMessage(
    "message-1", "sms", {"type": "phone", "value": "+4930123"}, Rendered("en", text="Hi"), "", {"text": "Hi ü"}
)


@dataclass
class Receiver:
    """A system that is told things."""

    port: int = 0
    answer: Callable[[], web.StreamResponse] = lambda: web.Response(status=204)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()

    async def take(request: web.Request) -> web.StreamResponse:
        found.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        answer = found.answer()
        if answer.status == 599:
            assert request.transport is not None
            request.transport.abort()
        return answer

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


async def told(
    url: str,
    *,
    hosts: tuple[str, ...] = ("127.0.0.1",),
    networks: tuple[str, ...] = ("127.0.0.0/8",),
    lookup: Any = None,
    secrets: tuple[str, ...] = (f"whsec_{KEY}",),
    **target: Any,
) -> SendResult:
    wanted = WebhookTarget.model_validate({"url": url, "timeout": "2s", **target})
    adapter = WebhookAdapter(wanted, secrets, Destinations(hosts, networks), lookup=lookup)
    try:
        return await adapter.send(MESSAGE, NOW)
    finally:
        await adapter.close()


async def test_a_receiver_can_verify_id_time_and_body(receiver: Receiver) -> None:
    outcome = await told(receiver.url(), secrets=(f"whsec_{KEY}", "the next one"))

    ((headers, body),) = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = [
        "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        for secret in (b"an old secret of 24 byte", b"the next one")
    ]
    assert "sent" == outcome.status
    assert expected == headers["webhook-signature"].split(" ")
    assert ("message-1", "message-1", str(NOW // 1000)) == (
        headers["webhook-id"],
        headers["idempotency-key"],
        headers["webhook-timestamp"],
    )
    assert {"type": "message.send", "timestamp": "2026-11-22T10:15:30.123Z", "data": {"text": "Hi ü"}} == json.loads(
        body
    )


def test_another_body_has_another_signature() -> None:
    assert signature(b"k", "1", "2", b"{}") != signature(b"k", "1", "2", b"{ }")


@pytest.mark.parametrize(
    ("status", "headers", "deduplicates", "expected"),
    [
        pytest.param(200, {}, False, ("sent", 0), id="accepted"),
        pytest.param(429, {"Retry-After": "7"}, False, ("retry", 7000), id="too many, come back in 7 s"),
        pytest.param(
            503, {"Retry-After": "Sun, 22 Nov 2026 10:16:30 GMT"}, False, ("retry", 59_877), id="down, until a time"
        ),
        pytest.param(500, {"Retry-After": "soon"}, False, ("retry", 0), id="an error of theirs"),
        pytest.param(504, {}, False, ("unknown", 0), id="a proxy lost it, so it may have arrived"),
        pytest.param(504, {}, True, ("retry", 0), id="a proxy lost it, and a repeat does no harm"),
        pytest.param(400, {}, False, ("refused", 0), id="they do not want it"),
        pytest.param(410, {}, False, ("refused", 0), id="gone"),
        pytest.param(302, {"Location": "http://127.0.0.1/"}, False, ("refused", 0), id="no redirects"),
        pytest.param(599, {}, False, ("unknown", 0), id="connection lost after the request"),
        pytest.param(599, {}, True, ("retry", 0), id="connection lost, and a repeat does no harm"),
    ],
)
async def test_an_answer_gives_its_send_result(
    receiver: Receiver, status: int, headers: dict[str, str], deduplicates: bool, expected: tuple[str, int]
) -> None:
    receiver.answer = lambda: web.Response(status=status, headers=headers, text="said")

    outcome = await told(receiver.url(), deduplicates=deduplicates)

    assert expected == (outcome.status, outcome.retry_after_ms)
    assert 1 == len(receiver.got)


async def test_an_unreachable_receiver_is_retried() -> None:
    assert "retry" == (await told("http://127.0.0.1:9/")).status


async def _inside(host: str, port: int) -> list[ResolveResult]:
    return [_resolved(host, port, "127.0.0.1")]


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(hostname=host, host=address, port=port, family=2, proto=0, flags=0)


INSIDE = [
    "127.0.0.1", "localhost", "localhost.", "LOCALHOST", "2130706433", "0177.0.0.1", "0x7f.0.0.1", "127.1", "0.0.0.0",
    "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::]", "169.254.169.254",
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[fe80::1]", "[fd00::1]", "224.0.0.1", "192.0.2.1",
    "rebinding.example",
]  # fmt: skip


@pytest.mark.parametrize("host", INSIDE)
async def test_no_host_name_leads_to_an_internal_address(host: str) -> None:
    connections: list[int] = []

    def canary(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        writer.close()

    server = await asyncio.start_server(canary, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    allowed = URL(f"https://{host}:1/").host or ""
    lookup = _inside if host == "rebinding.example" else None
    async with server:
        outcome = await told(f"https://{host}:{port}/", hosts=(allowed,), networks=(), lookup=lookup)

    # A spelling that this system cannot read at all is no way in either.
    assert outcome.status == "refused" or "DNSError" in outcome.detail, outcome
    assert [] == connections


async def test_the_address_that_was_checked_is_the_one_connected_to(receiver: Receiver) -> None:
    asked: list[str] = []

    async def changing(host: str, port: int) -> list[ResolveResult]:
        asked.append(host)
        return [_resolved(host, port, "127.0.0.1" if len(asked) == 1 else "10.0.0.1")]

    outcome = await told(receiver.url(host="shop.example"), hosts=("shop.example",), lookup=changing)

    assert ("sent", ["shop.example"]) == (outcome.status, asked)


@pytest.mark.parametrize(
    ("addresses", "networks", "secure", "allowed"),
    [
        pytest.param(["93.184.215.14"], (), True, True, id="public, over TLS"),
        pytest.param(["93.184.215.14"], (), False, False, id="public, in clear"),
        pytest.param(["93.184.215.14", "10.0.0.1"], (), True, False, id="one of two is inside"),
        pytest.param(["10.1.2.3"], ("10.1.0.0/16",), False, True, id="an allowed network"),
        pytest.param(["10.2.2.3"], ("10.1.0.0/16",), True, False, id="another network"),
        pytest.param(["2606:2800:21f:cb07:6820:80da:af6b:8b2c"], (), True, True, id="public IPv6"),
    ],
)
def test_which_addresses_are_admitted(
    addresses: list[str], networks: tuple[str, ...], secure: bool, allowed: bool
) -> None:
    destinations = Destinations(("shop.example",), networks)

    if allowed:
        assert addresses == destinations.admit(addresses, "shop.example", secure=secure)
    else:
        with pytest.raises(ForbiddenAddressError):
            destinations.admit(addresses, "shop.example", secure=secure)


@pytest.mark.parametrize("url", ["https://evil.example/", "https://shop.example.evil.example/", "http://shop.example/"])
def test_a_host_that_is_not_listed_is_not_even_resolved(url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        Destinations(("shop.example",)).check(URL(url))


def test_without_a_secret_there_are_no_webhooks() -> None:
    with pytest.raises(ValueError, match="THROUGHLINE_WEBHOOK_SECRET"):
        WebhookAdapter(WebhookTarget(url="https://shop.example/"), [""], Destinations(()))
