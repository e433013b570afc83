"""Clients of Redis or Valkey, one server or a cluster: address, TLS, ACL user and password from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sinks.redis.address import redis_address

if TYPE_CHECKING:
    import redis
    import redis.asyncio

    from deploy.settings import Settings


def redis_client(
    settings: Settings, *, timeout_s: float, connect_timeout_s: float = 5.0, **options: Any
) -> redis.Redis:
    """Return a client that connects when it is used, that of a cluster at once, and ends with `with`.

    Args:
        settings: Of the deployment.
        timeout_s: Longest wait for an answer, seconds.
        connect_timeout_s: Longest wait for a connection, seconds.
        options: Further arguments of the client.

    Raises:
        redis.exceptions.ConnectionError: No node of a cluster answers.
    """
    import redis

    arguments = _arguments(settings, timeout_s, connect_timeout_s) | options
    if (address := redis_address(settings.redis_url)).is_cluster:
        from sinks.redis.cluster import ClusterClient

        return cast("redis.Redis", ClusterClient(address.hosts, **arguments))
    return redis.Redis.from_url(settings.redis_url, **arguments)


def async_redis_client(
    settings: Settings, *, timeout_s: float, connect_timeout_s: float = 5.0, **options: Any
) -> redis.asyncio.Redis:
    """Return a client for coroutines, which connects when it is used; else as `redis_client`."""
    import redis.asyncio

    arguments = _arguments(settings, timeout_s, connect_timeout_s) | options
    if (address := redis_address(settings.redis_url)).is_cluster:
        from sinks.redis.cluster import AsyncClusterClient

        return cast("redis.asyncio.Redis", AsyncClusterClient(address.hosts, **arguments))
    return redis.asyncio.Redis.from_url(settings.redis_url, **arguments)


def _arguments(settings: Settings, timeout_s: float, connect_timeout_s: float) -> dict[str, Any]:
    address = redis_address(settings.redis_url)
    found: dict[str, Any] = {
        "username": settings.redis_username,
        "password": settings.redis_password.get_secret_value(),
    }
    if address.has_tls:
        found |= {
            "ssl_ca_certs": settings.redis_ssl_ca_location,
            "ssl_certfile": settings.redis_ssl_certificate_location,
            "ssl_keyfile": settings.redis_ssl_key_location,
        }
    if address.is_cluster:
        found["ssl"] = address.has_tls
        found["username"] = found["username"] or address.username
        found["password"] = found["password"] or address.password
    timeouts = {"socket_timeout": timeout_s, "socket_connect_timeout": connect_timeout_s}
    return {name: value for name, value in found.items() if value} | timeouts
