"""Step 2, read: the bounded body of a request, parsed as JSON for any Content-Type."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson
from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from deploy.collector.authentication import Authenticator, Credentials
from deploy.collector.inflation import Inflater, too_large
from deploy.collector.refusal import RefusedError
from schemas.enrichment.bots import NO_USER_AGENT
from schemas.intake.sources import Source

BODY_TIMEOUT_S = 20.0
ANONYMOUS = "anonymous"
"""The kind of sender whose write key is not in the head of the request."""
WEBHOOK = "webhook"
"""The kind of sender who proves itself by a signature of the body, which is read before."""
MAX_BUFFERED_BYTES = {"server": 64 << 20, "browser": 32 << 20, ANONYMOUS: 16 << 20, WEBHOOK: 16 << 20}
"""The most bytes of all bodies of one kind of sender while they are read. Requests without a key, or with a public one,
cannot use up the memory for servers' requests, nor SDKs that for webhooks, nor the other way round."""
CONCURRENT_PARSES = 4
"""Requests that are parsed and translated at once: parsed JSON takes many times the memory of its text."""
MAX_CONTAINERS, MAX_VALUES = 250_000, 1_000_000
"""The most objects and lists of a request, and the most commas: each takes far more memory parsed than as text."""
MAX_LENIENT_BYTES, MAX_LENIENT_BYTES_ANONYMOUS, MAX_LENIENT_VALUES = 1 << 20, 64 << 10, 50_000
"""The largest body that the lenient parser reads; it is many times slower than the usual parser."""


def key_in_body(body: object) -> object:
    """Return the write key of a body, as Segment's SDKs write it."""
    return body.get("writeKey") if isinstance(body, dict) else None


def _as_it_is(_: web.Request, raw: bytes, __: int) -> bytes:
    return raw


@dataclass(frozen=True, slots=True)
class BodyForm:
    """How one kind of client writes its requests.

    Attributes:
        key_parameter: The parameter of the query that may hold the write key.
        key: Returns the write key that a parsed body holds; any JSON value.
        text: Returns the JSON of a body; the last argument is the most bytes that it may have.
    """

    key_parameter: str = "writeKey"
    key: Callable[[Any], object] = key_in_body
    text: Callable[[web.Request, bytes, int], bytes] = _as_it_is


JSON_FORM = BodyForm()
"""A request of a Segment-compatible SDK."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose source is known and whose body is parsed.

    Attributes:
        body: Its body, parsed JSON.
        name: Its source's name.
        source: Its source.
        address: The client's network address; empty for a server.
        user_agent: The client's User-Agent header; empty for a server.
        http: The request itself, for its path, query and headers.
    """

    body: Any
    name: str
    source: Source
    address: str
    user_agent: str
    http: web.Request


class Reader:
    """Reads requests.

    Args:
        authenticator: Finds the source of a request whose write key is in its body.
        max_bytes: The largest body, in bytes, once it is inflated.
        trusts_proxy: Use `X-Forwarded-For`.

    Attributes:
        parsing: Held while a body is parsed and translated.
    """

    def __init__(self, authenticator: Authenticator, max_bytes: int, *, trusts_proxy: bool) -> None:
        self._authenticator = authenticator
        self._max_bytes = max_bytes
        self._trusts_proxy = trusts_proxy
        self._buffered_bytes = dict.fromkeys(MAX_BUFFERED_BYTES, 0)
        self.parsing = asyncio.Semaphore(CONCURRENT_PARSES)

    @asynccontextmanager
    async def read(
        self, request: web.Request, credentials: Credentials, form: BodyForm = JSON_FORM
    ) -> AsyncIterator[Request]:
        """Read a request. Its body is in memory until the context ends, so few requests are inside at once.

        Raises:
            RefusedError: It is too large, too slow or no JSON, or has no source.
        """
        kind = credentials.sender.source.kind if credentials.sender else ANONYMOUS
        async with self.raw(request, kind) as raw, self.parsing:
            yield self._request(request, credentials, raw, form)

    @asynccontextmanager
    async def raw(self, request: web.Request, kind: str = ANONYMOUS) -> AsyncIterator[bytes]:
        """Read the bytes of a request, inflated. They are in memory until the context ends.

        Args:
            request: The request.
            kind: The kind of sender, whose limit of memory counts.

        Raises:
            RefusedError: It is too large or too slow.
        """
        parts: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    async for part in self._inflated_chunks(request, kind):
                        parts.append(part)
                        self._buffered_bytes[kind] += len(part)
            except TimeoutError:
                raise RefusedError(408, "too_slow", f"The body did not come within {BODY_TIMEOUT_S:g} s.") from None
            except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError):
                raise RefusedError(400, "unreadable", "The body cannot be read: its chunks are no HTTP.") from None
            except ConnectionError:  # the client has gone and gets no answer
                raise RefusedError(400, "unreadable", "The body broke off.") from None
            yield b"".join(parts)
        finally:
            self._buffered_bytes[kind] -= sum(map(len, parts))

    def _request(self, request: web.Request, credentials: Credentials, raw: bytes, form: BodyForm) -> Request:
        text = form.text(request, raw, self._max_bytes)
        body = parse(text, MAX_LENIENT_BYTES if credentials.key else MAX_LENIENT_BYTES_ANONYMOUS)
        name, source = self._authenticator.body(request, credentials, form.key(body))
        if source.kind == "server":
            return Request(body, name, source, "", "", request)
        user_agent = header_text(request.headers.get("User-Agent", ""))[:500] or NO_USER_AGENT
        return Request(body, name, source, self.client_address(request), user_agent, request)

    async def _inflated_chunks(self, request: web.Request, kind: str) -> AsyncIterator[bytes]:
        """Yield the inflated body in chunks, up to its limit and to that of all bodies of its kind of sender."""
        if (request.content_length or 0) > self._max_bytes:  # already while it is packed
            raise too_large(self._max_bytes)
        inflater, size = Inflater(request.headers.get("Content-Encoding", "")), 0
        async for part in request.content.iter_any():
            for piece in inflater.pieces(part):
                size += len(piece)
                if size > self._max_bytes:
                    raise too_large(self._max_bytes)
                if self._buffered_bytes[kind] + len(piece) > MAX_BUFFERED_BYTES[kind]:
                    raise RefusedError(503, "overloaded", "Too much is being read at once: send it again.", 1)
                yield piece
        inflater.finish()

    def client_address(self, request: web.Request) -> str:
        """Return the network address of a client, as far as the connection, or the proxy before us, says it."""
        forwarded = request.headers.get("X-Forwarded-For", "") if self._trusts_proxy else ""
        return header_text(forwarded).rpartition(",")[2].strip()[:100] or request.remote or ""


def parse(raw: bytes, max_lenient_bytes: int) -> Any:
    """Parse JSON, also with NaN, Infinity and half surrogate pairs, which libraries of several languages write.

    One event with such a value must not cost its batch. So a text that is not JSON is parsed again by Python's own
    parser; encoding that event as JSON then fails, and it alone is refused.

    Args:
        raw: The text.
        max_lenient_bytes: The longest text that is parsed again.

    Raises:
        RefusedError: It is no JSON, or has more objects and values than a request may have.
    """
    if raw.count(b"{") + raw.count(b"[") > MAX_CONTAINERS or raw.count(b",") > MAX_VALUES:
        raise RefusedError(
            413,
            "too_many_parts",
            f"A request has at most {MAX_CONTAINERS:,} objects and lists, and {MAX_VALUES:,} values.",
        )
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        refused = RefusedError(
            400, "not_json", f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        )
    if len(raw) > max_lenient_bytes or raw.count(b",") > MAX_LENIENT_VALUES:
        raise refused
    try:
        return json.loads(raw.decode(), parse_constant=_NotJson, parse_float=_finite)
    except (ValueError, RecursionError):
        raise refused from None


class _NotJson:
    """A number that JSON cannot hold, such as NaN; `str` returns the client's text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text[:100]

    def __str__(self) -> str:
        return self._text


def _finite(text: str) -> object:
    number = float(text)
    return number if isfinite(number) else _NotJson(text)


def header_text(header: str) -> str:
    """Read a header as text: a byte that is no UTF-8 becomes a question mark."""
    return header.encode("utf-8", "replace").decode()
