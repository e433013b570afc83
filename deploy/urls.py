"""Addresses of our own HTTP services in settings: where they listen, and how others call them."""

from __future__ import annotations

from urllib.parse import urlsplit


def listening_url(value: str) -> str:
    """Return the address if a service can listen there.

    Raises:
        ValueError: It has no host, no port, a path or another scheme.
    """
    try:
        parts = urlsplit(value)
        whole = parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("write it as http://127.0.0.1:8088, with its port; for TLS, put a proxy before it")
    return value


def public_url(value: str) -> str:
    """Return the address without a slash at its end; empty: there is none.

    Raises:
        ValueError: It has no host, a query or another scheme.
    """
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
    except ValueError:
        whole = False
    if value and not whole:
        raise ValueError("write it as https://events.shop.example, with a path if a proxy adds one")
    return value.rstrip("/")
