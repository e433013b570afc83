"""Calls of providers' HTTP APIs: one request a call, and what its failure means for a message.

A message that may have been accepted is not sent again: a request whose answer never came is in doubt, unless the
connection was not made. A provider that says "later" (429, 503) has not accepted it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
import orjson

from schemas.delivery.outbound import SendResult
from schemas.time import ms_of_time

ANSWER_BYTES = 20_000
"""The part of an answer that is read, bytes."""
TIMEOUT_S = 20.0
_LATER = frozenset({408, 425, 429, 503})
_SECRET = re.compile(r"(bot)\d+:[\w-]+|([?&](?:access_token|key)=)[^&\s]+")


class Answer(NamedTuple):
    """A provider's answer.

    Attributes:
        status: Of HTTP.
        body: Its JSON; empty: it is none.
        text: The beginning of its text.
        retry_after_ms: The pause that it asks for, milliseconds.
    """

    status: int
    body: dict[str, Any]
    text: str
    retry_after_ms: int

    @property
    def detail(self) -> str:
        """Return the answer as a receipt says it."""
        return f"HTTP {self.status}" + (f": {self.text[:150].strip()}" if self.text.strip() else "")

    def result(self) -> SendResult:
        """Return what the status alone says: an adapter looks at the provider's own codes before."""
        if 200 <= self.status < 300:
            return SendResult("sent", self.detail)
        if self.status in _LATER:
            return SendResult("retry", self.detail, self.retry_after_ms)
        # A failure on the provider's side may have come after the message was taken.
        return SendResult("unknown" if self.status >= 500 else "refused", self.detail)


class ProviderApi:
    """Calls one provider.

    Args:
        base_url: Where its API is.
        timeout_s: Longest wait for an answer, seconds.
        answer_bytes: The part of an answer that is read.
    """

    def __init__(self, base_url: str, timeout_s: float = TIMEOUT_S, answer_bytes: int = ANSWER_BYTES) -> None:
        self._base_url, self._answer_bytes = base_url.rstrip("/"), answer_bytes
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(5.0, timeout_s))
        self._session: aiohttp.ClientSession | None = None

    async def post(self, path: str, body: bytes, headers: dict[str, str], now_ms: int) -> Answer | SendResult:
        """Post once; a result instead of an answer: there was none.

        Args:
            path: After the base URL.
            body: The body.
            headers: With `Content-Type`.
            now_ms: The time.
        """
        try:
            async with self._open().post(
                self._base_url + path,
                data=body,
                headers={"User-Agent": "throughline", **headers},
                allow_redirects=False,
            ) as response:
                raw = await beginning(response.content, self._answer_bytes)
                wait = response.headers.get("Retry-After", "")
                return Answer(response.status, _object(raw), raw.decode(errors="replace"), wait_ms(wait, now_ms))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return SendResult("retry", _without_secrets(error))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return SendResult("unknown", _without_secrets(error))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._session


def wait_ms(retry_after: str, now_ms: int) -> int:
    """Read `Retry-After`: seconds or a date; 0 when it is neither."""
    if retry_after.strip().isdecimal():
        return int(retry_after.strip()[:9]) * 1000
    try:
        return max(0, ms_of_time(parsedate_to_datetime(retry_after)) - now_ms)
    except (ValueError, OverflowError):
        return 0


async def beginning(body: aiohttp.StreamReader, most: int) -> bytes:
    """Read the beginning of an answer's body: all of it that comes, up to `most` bytes.

    It comes in pieces and may break off; what became of the message is known by then, from the status.
    """
    raw = bytearray()
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        async for piece in body.iter_any():
            raw += piece
            if len(raw) >= most:
                break
    return bytes(raw[:most])


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _without_secrets(error: BaseException) -> str:
    """Return an error's text; some providers have their key in the address."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}…", f"{type(error).__name__}: {error}")[:200]
