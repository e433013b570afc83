"""Reads a request: its body within bounds, whatever its Content-Type says, and the source whose write key it has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson
from aiohttp import BasicAuth, ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from deploy.collector.authentication import WriteKeys
from schemas.intake.sources import Source

BODY_WITHIN_S = 20.0
NOBODY = "nobody"
IN_HAND_BYTES = {"server": 64 << 20, "browser": 32 << 20, NOBODY: 16 << 20}
"""What bodies in hand may have together, by who sends them as far as a request's head says: whoever has no key, or one
that everybody can read, keeps no server waiting."""
PARSED_AT_ONCE = 4
MOST_PARTS, MOST_VALUES = 250_000, 1_000_000
"""Objects and lists of a request, and commas: each takes far more memory than it is written with."""
SLOWLY_BYTES, SLOWLY_BYTES_OF_NOBODY, MOST_VALUES_SLOWLY = 1 << 20, 64 << 10, 50_000
SOURCE = web.RequestKey("source", str)
"""The source of a request, once it is known."""


class RefusedError(Exception):
    """A whole request is refused.

    Attributes:
        status: The HTTP status.
        code: For programs.
        message: For people: what is wrong and what to do.
        retry_after_s: When to try again; 0: the same request will never do.
    """

    def __init__(self, status: int, code: str, message: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read.

    Attributes:
        said: Its body, parsed JSON.
        name: Its source's name.
        source: Its source.
        address: The client's network address, if it is to be noted.
        user_agent: What the client calls itself, if that is to be noted.
    """

    said: Any
    name: str
    source: Source
    address: str
    user_agent: str


class Reader:
    """Reads requests.

    Args:
        sources: By name.
        keys: Of the sources.
        most_bytes: The largest body, in bytes, once it is inflated.
        trusts_proxy: Believe `X-Forwarded-For`.
    """

    def __init__(self, sources: Mapping[str, Source], keys: WriteKeys, most_bytes: int, *, trusts_proxy: bool) -> None:
        self._sources = sources
        self._keys = keys
        self._most_bytes = most_bytes
        self._trusts_proxy = trusts_proxy
        self._in_hand = dict.fromkeys(IN_HAND_BYTES, 0)
        self._places = asyncio.Semaphore(PARSED_AT_ONCE)

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[Request]:
        """Read a request; what it says takes memory until the context ends, so few are inside at once.

        Raises:
            RefusedError: It is too large, too slow, no JSON, nobody's, or from a page that may not send.
        """
        key = _user_name(request.headers.get("Authorization", "")) or request.query.get("writeKey", "")
        known = self._keys.source(key) if key else None
        if key and known is None:
            raise _nobodys("is not known")  # before the body takes any memory
        sender = self._sources[known].kind if known else NOBODY
        parts: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(BODY_WITHIN_S):
                    async for part in self._parts(request, sender):
                        parts.append(part)
                        self._in_hand[sender] += len(part)
            except TimeoutError:
                raise RefusedError(408, "too_slow", f"The body did not come within {BODY_WITHIN_S:g} s.") from None
            except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError):
                raise RefusedError(
                    400, "unreadable", "The body cannot be read: is it what its Content-Encoding says?"
                ) from None
            except ConnectionError:  # it has gone, and hears nothing of this
                raise RefusedError(400, "unreadable", "The body broke off.") from None
            async with self._places:
                yield self._understood(request, key, b"".join(parts))
        finally:
            self._in_hand[sender] -= sum(map(len, parts))

    def _understood(self, request: web.Request, key: str, raw: bytes) -> Request:
        said = parse(raw, SLOWLY_BYTES if key else SLOWLY_BYTES_OF_NOBODY)
        name = request[SOURCE] = self._whose(key, said)
        source = self._sources[name]
        origin = request.headers.get("Origin")
        if origin and not source.allows(origin):
            raise RefusedError(
                403, "origin", f"The source {name} takes nothing from pages of this origin: add it to its origins."
            )
        if source.kind == "server":
            return Request(said, name, source, "", "")
        return Request(said, name, source, self._address(request), text(request.headers.get("User-Agent", ""))[:500])

    async def _parts(self, request: web.Request, sender: str) -> AsyncIterator[bytes]:
        """Read and inflate the body, no further than it may be long, and than bodies of its kind together may be."""
        size = request.content_length or 0  # still deflated
        if size <= self._most_bytes:
            size = 0
            async for part in request.content.iter_any():
                size += len(part)
                if size > self._most_bytes:
                    break
                if self._in_hand[sender] + len(part) > IN_HAND_BYTES[sender]:
                    raise RefusedError(503, "overloaded", "Too much is being read at once: send it again.", 1)
                yield part
        if size > self._most_bytes:
            raise RefusedError(
                413, "too_large", f"A request has at most {self._most_bytes:,} bytes: send fewer events at once."
            )

    def _whose(self, key: str, said: object) -> str:
        """Find the source by the write key: in the Authorization header or the query, or in the body."""
        stated = said.get("writeKey") if isinstance(said, dict) else None
        body = stated if isinstance(stated, str) else ""
        if not (key or body):
            raise _nobodys("is missing")
        if key and body and key != body:
            raise _nobodys("of the request and that of its body differ")
        name = self._keys.source(key or body)
        if name is None:
            raise _nobodys("is not known")
        return name

    def _address(self, request: web.Request) -> str:
        forwarded = request.headers.get("X-Forwarded-For", "") if self._trusts_proxy else ""
        return text(forwarded).rpartition(",")[2].strip()[:100] or request.remote or ""


def parse(raw: bytes, slowly_bytes: int) -> Any:
    """Parse JSON; what only some of its values break is left for whoever looks at them.

    Several languages write NaN, and cut texts inside an emoji. One such event is no reason to refuse its neighbours, so
    what JSON has no words for is read, too: as something that cannot be written again. That takes long.

    Args:
        raw: The text.
        slowly_bytes: The longest text that is worth it.

    Raises:
        RefusedError: It is no JSON, or has more parts than a request of so many events has.
    """
    if raw.count(b"{") + raw.count(b"[") > MOST_PARTS or raw.count(b",") > MOST_VALUES:
        raise RefusedError(
            413,
            "too_many_parts",
            f"A request has at most {MOST_PARTS:,} objects and lists, and {MOST_VALUES:,} values.",
        )
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        refused = RefusedError(
            400, "not_json", f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        )
    if len(raw) > slowly_bytes or raw.count(b",") > MOST_VALUES_SLOWLY:
        raise refused
    try:
        return json.loads(raw.decode(), parse_constant=_Unsayable, parse_float=_finite)
    except (ValueError, RecursionError):
        raise refused from None


class _Unsayable:
    """A value that no JSON is written with."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text[:100]

    def __str__(self) -> str:
        return self._text


def _finite(text: str) -> object:
    number = float(text)
    return number if isfinite(number) else _Unsayable(text)


def _nobodys(problem: str) -> RefusedError:
    return RefusedError(
        401, "write_key", f"The write key {problem}: send it as the user name of HTTP Basic, or as writeKey."
    )


def text(header: str) -> str:
    """A header as text: what was no UTF-8 becomes a question mark."""
    return header.encode("utf-8", "replace").decode()


def _user_name(header: str) -> str:
    """The user name of HTTP Basic; a password is not looked at, and another scheme says nothing."""
    try:
        return BasicAuth.decode(header, encoding="utf-8").login if header else ""
    except ValueError:
        return ""
