"""Clients of Redis or Valkey: address, TLS, ACL user and password from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis
    import redis.asyncio

    from deploy.settings import Settings


def redis_client(
    settings: Settings, *, timeout_s: float, connect_timeout_s: float = 5.0, **options: Any
) -> redis.Redis:
    """Return a client that connects when it is used, and ends with `with`.

    Args:
        settings: Of the deployment.
        timeout_s: Longest wait for an answer, seconds.
        connect_timeout_s: Longest wait for a connection, seconds.
        options: Further arguments of the client.
    """
    import redis

    return redis.Redis.from_url(settings.redis_url, **_arguments(settings, timeout_s, connect_timeout_s), **options)


def async_redis_client(
    settings: Settings, *, timeout_s: float, connect_timeout_s: float = 5.0, **options: Any
) -> redis.asyncio.Redis:
    """Return a client for coroutines; else as `redis_client`."""
    import redis.asyncio

    arguments = _arguments(settings, timeout_s, connect_timeout_s)
    return redis.asyncio.Redis.from_url(settings.redis_url, **arguments, **options)


def _arguments(settings: Settings, timeout_s: float, connect_timeout_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "username": settings.redis_username,
        "password": settings.redis_password.get_secret_value(),
    }
    if settings.redis_url.startswith("rediss:"):
        found |= {
            "ssl_ca_certs": settings.redis_ssl_ca_location,
            "ssl_certfile": settings.redis_ssl_certificate_location,
            "ssl_keyfile": settings.redis_ssl_key_location,
        }
    timeouts = {"socket_timeout": timeout_s, "socket_connect_timeout": connect_timeout_s}
    return {name: value for name, value in found.items() if value} | timeouts
