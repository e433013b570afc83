"""Reads `THROUGHLINE_REDIS_URL`: one server of Redis or Valkey, or some nodes of a cluster."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator

_PORT = 6379
_OF_CLUSTERS = {"redis+cluster": False, "rediss+cluster": True}
"""Scheme → whether with TLS."""
_OF_ONE_SERVER = ("redis://", "rediss://", "unix://")
_FORM = "write redis://host:port, or redis+cluster://host:port,host:port; in a password %2F for /, %23 for #, %3F for ?"

MEANING_OF_URL = "URL of Redis or Valkey; rediss://… with TLS; of a cluster redis+cluster://host:port,host:port."


class RedisAddress(NamedTuple):
    """What a URL says.

    Attributes:
        is_cluster: Whether it is a cluster; then clients find its other nodes by those that are named.
        has_tls: Whether clients speak TLS.
        hosts: Host and port of each server that is named.
        username, password: Empty: it names none.
    """

    is_cluster: bool
    has_tls: bool
    hosts: tuple[tuple[str, int], ...]
    username: str
    password: str


def redis_address(url: str) -> RedisAddress:
    """Read the URL: `redis://` or `rediss://` of one server, `redis+cluster://host:port,host:port` of a cluster.

    Raises:
        ValueError: It is none of them; the message has nothing of the URL, in which a password may be.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(_FORM) from None  # it may quote the URL
    user, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    if (with_tls := _OF_CLUSTERS.get(parts.scheme)) is None:
        found = _one_server(url, parts)
        return RedisAddress(False, parts.scheme == "rediss", found, unquote(username), unquote(password))
    if parts.path not in ("", "/", "/0") or parts.query or parts.fragment:
        raise ValueError("a cluster has database 0 alone, and its URL no options: redis+cluster://host:port,host:port")
    named = tuple(_host_and_port(one.strip()) for one in hosts.split(",") if one.strip())
    if not named:
        raise ValueError("name at least one node: redis+cluster://host:port,host:port")
    return RedisAddress(True, with_tls, named, unquote(username), unquote(password))


def checked_redis_url(url: str) -> str:
    """Return the URL.

    Raises:
        ValueError: It is none.
    """
    redis_address(url)
    return url


RedisUrl = Annotated[str, AfterValidator(checked_redis_url)]
"""The type of the setting."""


def _one_server(url: str, parts: SplitResult) -> tuple[tuple[str, int], ...]:
    with suppress(ValueError):  # of the port, and it quotes it: in a URL that is cut off early, a part of a password
        if url.startswith(_OF_ONE_SERVER) and (parts.hostname or parts.scheme == "unix" or not parts.netloc):
            return ((parts.hostname, parts.port or _PORT),) if parts.hostname else ()
    raise ValueError(_FORM)


def _host_and_port(written: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{written}")
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        host, port = None, 0
    if not host:
        raise ValueError("write each node as host:port, those of IPv6 as [::1]:6379")
    return host, port
