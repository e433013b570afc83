"""Reads a request: its body within bounds, whatever its Content-Type says, and the source whose write key it has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import BasicAuth, ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from deploy.collector.write_keys import WriteKeys
from schemas.sources import Source

BODY_WITHIN_S = 20.0
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

    async def read(self, request: web.Request) -> Request:
        """Read a request.

        Raises:
            RefusedError: It is too large, too slow, no JSON, nobody's, or from a page that may not send.
        """
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                raw = await self._body(request)
        except TimeoutError:
            raise RefusedError(408, "too_slow", f"The body did not come within {BODY_WITHIN_S:g} s.") from None
        except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError):
            raise RefusedError(
                400, "unreadable", "The body cannot be read: is it what its Content-Encoding says?"
            ) from None
        try:
            said = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise RefusedError(
                400, "not_json", f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
            ) from None
        name = request[SOURCE] = self._whose(request, said)
        source = self._sources[name]
        origin = request.headers.get("Origin")
        if origin and not source.allows(origin):
            raise RefusedError(
                403, "origin", f"The source {name} takes nothing from pages of this origin: add it to its origins."
            )
        if source.kind == "server":
            return Request(said, name, source, "", "")
        return Request(said, name, source, self._address(request), request.headers.get("User-Agent", "")[:500])

    async def _body(self, request: web.Request) -> bytes:
        """Read and inflate the body, no further than it may be long."""
        parts: list[bytes] = []
        size = request.content_length or 0  # still deflated
        if size <= self._most_bytes:
            size = 0
            async for part in request.content.iter_any():
                size += len(part)
                if size > self._most_bytes:
                    break
                parts.append(part)
        if size > self._most_bytes:
            raise RefusedError(
                413, "too_large", f"A request has at most {self._most_bytes:,} bytes: send fewer events at once."
            )
        return b"".join(parts)

    def _whose(self, request: web.Request, said: object) -> str:
        """Find the source by the write key: in the Authorization header, the body, or the query."""
        header = _user_name(request.headers.get("Authorization", ""))
        stated = said.get("writeKey") if isinstance(said, dict) else None
        body = stated if isinstance(stated, str) else ""
        key = header or body or request.query.get("writeKey", "")
        if not key:
            problem = "is missing"
        elif header and body and header != body:
            problem = "of the Authorization header and that of the body differ"
        elif (name := self._keys.source(key)) is not None:
            return name
        else:
            problem = "is not known"
        raise RefusedError(
            401, "write_key", f"The write key {problem}: send it as the user name of HTTP Basic, or as writeKey."
        )

    def _address(self, request: web.Request) -> str:
        forwarded = request.headers.get("X-Forwarded-For", "") if self._trusts_proxy else ""
        return forwarded.rpartition(",")[2].strip()[:100] or request.remote or ""


def _user_name(header: str) -> str:
    """The user name of HTTP Basic; a password is not looked at, and another scheme says nothing."""
    try:
        return BasicAuth.decode(header, encoding="utf-8").login if header else ""
    except ValueError:
        return ""
