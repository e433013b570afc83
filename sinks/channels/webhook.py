"""Webhooks, by the Standard Webhooks convention (https://www.standardwebhooks.com), to allowed hosts only.

A request is a POST of JSON with `webhook-id` (the message's idempotency key, the same in every attempt),
`webhook-timestamp` (seconds since 1970) and `webhook-signature` (`v1,` and the Base64 of HMAC-SHA256 over
`id.timestamp.body`; one for each secret, so that secrets can be changed without a gap).

Protection against server-side request forgery: a URL in a definition must not reach addresses that only this machine
can reach. So a host has to be on the allow-list; its addresses must be public, or in an allowed network; the connection
goes to the very address that was checked (no DNS rebinding); there are no redirects and no proxies; and plain HTTP goes
to allowed networks only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from schemas.delivery.outbound import OutboundMessage, SendResult, WebhookTarget
from schemas.time import text_of_ms
from sinks.channels.http_calls import beginning, wait_ms

SECRET_PREFIX = "whsec_"  # noqa: S105 - how the convention marks a secret, not one
ANSWER_BYTES = 2_000
"""The part of an answer that is read, bytes."""

_RETRYABLE = frozenset({408, 425, 429})
_UNKNOWN_RESULT = frozenset({502, 504})  # a proxy answers: the system behind it may have received the request
_NAT64 = IPv6Network("64:ff9b::/96")

Lookup = Callable[[str, int], Awaitable[Sequence[ResolveResult]]]


class ForbiddenAddressError(OSError):
    """A host is not allowed, or leads to an address that is not."""


class Destinations:
    """The allow-list of webhooks.

    Args:
        hosts: Allowed host names, in any case.
        networks: Networks that are allowed although they are not public, such as `10.1.0.0/16`.
    """

    def __init__(self, hosts: Iterable[str], networks: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.strip().rstrip(".").lower() for host in hosts)
        self._networks = tuple(ip_network(network.strip()) for network in networks)

    def check(self, url: URL) -> None:
        """Refuse a URL that is not allowed, before its host is resolved.

        Raises:
            ForbiddenAddressError: Saying why.
        """
        host = (url.host or "").rstrip(".").lower()
        if host not in self._hosts:
            raise ForbiddenAddressError(f"{host or url} is not in THROUGHLINE_WEBHOOK_HOSTS")
        if url.scheme != "https" and not self._networks:
            raise ForbiddenAddressError(f"{url.scheme} is for allowed networks only: use https")
        try:
            literal = ip_address(host)
        except ValueError:
            return
        self.admit([str(literal)], host, secure=url.scheme == "https")

    def admit(self, addresses: Iterable[str], host: str, *, secure: bool) -> list[str]:
        """Return the addresses of a host if connections to all of them are allowed.

        Raises:
            ForbiddenAddressError: One of them is not allowed; then the others are not used either.
        """
        admitted = []
        for text in addresses:
            address = _embedded(ip_address(text.partition("%")[0]))
            known = any(address in network for network in self._networks)
            if not known and (not address.is_global or address.is_multicast):
                raise ForbiddenAddressError(f"{host} leads to {address}, which is not public")
            if not known and not secure:
                raise ForbiddenAddressError(f"{host} is in no allowed network: use https")
            admitted.append(text)
        return admitted


class _PinnedResolver(AbstractResolver):
    """Resolves a host to allowed addresses only; the connection goes to exactly these."""

    def __init__(self, destinations: Destinations, *, secure: bool, lookup: Lookup | None) -> None:
        self._destinations = destinations
        self._secure = secure
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        lookup = self._lookup or ThreadedResolver().resolve
        found = list(await lookup(host, port))
        self._destinations.admit([one["host"] for one in found], host, secure=self._secure)
        return found

    async def close(self) -> None:
        """Nothing is open."""


class WebhookAdapter:
    """Posts messages to one system.

    Args:
        target: The URL and its timeout.
        secrets: Signing secrets, `whsec_` and Base64, or any text; each signs.
        destinations: The allow-list.
        lookup: Resolves host names; the system's own by default.
        event_type: The `type` of all bodies; empty: by the message.
    """

    def __init__(
        self,
        target: WebhookTarget,
        secrets: Sequence[str],
        destinations: Destinations,
        *,
        lookup: Lookup | None = None,
        event_type: str = "",
    ) -> None:
        if not any(secrets):
            raise ValueError("webhooks are signed: set THROUGHLINE_WEBHOOK_SECRET")
        self._target = target
        self._event_type = event_type
        self._url = URL(target.url)
        self._keys = [_key(secret) for secret in secrets if secret]
        self._destinations = destinations
        self._resolver = _PinnedResolver(destinations, secure=self._url.scheme == "https", lookup=lookup)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        body = orjson.dumps(
            {
                "type": self._event_type or ("message.send" if message.rendered else "journey.webhook"),
                "timestamp": text_of_ms(now_ms),
                "data": message.data,
            }
        )
        timestamp = str(now_ms // 1000)
        headers = {
            "content-type": "application/json",
            "user-agent": "throughline",
            "idempotency-key": message.key,
            "webhook-id": message.key,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(signature(key, message.key, timestamp, body) for key in self._keys),
        }
        try:
            self._destinations.check(self._url)
            async with self._open().post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                answer = (await beginning(response.content, ANSWER_BYTES)).decode(errors="replace")
                return self._result(response.status, response.headers.get("retry-after", ""), answer, now_ms)
        except (ForbiddenAddressError, aiohttp.InvalidURL) as error:
            return SendResult("refused", str(error))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return _not_connected(error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._unknown(f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            seconds = self._target.timeout / 1000
            self._session = aiohttp.ClientSession(
                # No DNS cache, so that each attempt is checked; no cookies, no proxies from the environment.
                connector=aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False),
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=min(5.0, seconds)),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    def _result(self, status: int, retry_after: str, body: str, now_ms: int) -> SendResult:
        detail = f"HTTP {status}" + (f": {body.strip()[:150]}" if body.strip() else "")
        if 200 <= status < 300:
            return SendResult("sent", detail)
        if status in _UNKNOWN_RESULT:
            return self._unknown(detail)
        if status in _RETRYABLE or status >= 500:
            return SendResult("retry", detail, wait_ms(retry_after, now_ms))
        if 300 <= status < 400:
            return SendResult("refused", f"HTTP {status}: redirects are not followed")
        return SendResult("refused", detail)

    def _unknown(self, detail: str) -> SendResult:
        """Return the result of a request that may have arrived: it is retried only if the receiver drops repeats."""
        return SendResult("retry" if self._target.deduplicates else "unknown", detail)


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Sign a request: Standard Webhooks, symmetric, version 1."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _key(secret: str) -> bytes:
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"THROUGHLINE_WEBHOOK_SECRET: after {SECRET_PREFIX} comes Base64") from error


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address embedded in an IPv6 address, to which packets go; else the address itself."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)
    return address


def _not_connected(error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> SendResult:
    """Return the result of a failed connection: no such name, no listener, or an address that is not allowed."""
    cause = getattr(error, "os_error", None)
    if isinstance(cause, ForbiddenAddressError):
        return SendResult("refused", str(cause))
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return SendResult("refused", f"{type(error).__name__}: {error}")
    return SendResult("retry", f"{type(error).__name__}: {error}")
