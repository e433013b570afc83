"""Clients of ClickHouse: address, TLS, user and password from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from deploy.settings import Settings
    from sinks.clickhouse.client import ClickHouseSink


def clickhouse_client(settings: Settings, database: str | None = "", *, timeout_s: int = 300) -> Any:
    """Open a client for queries.

    Args:
        settings: Of the deployment.
        database: The client's default database; empty: the deployment's; None: the user's.
        timeout_s: Longest wait for an answer, seconds.

    Raises:
        StoreDown: No server answers there, or it refuses this user.
    """
    from sinks.clickhouse.client import connect

    name = settings.clickhouse_database if database == "" else database
    return connect(_url(settings), name, timeout_s=timeout_s, ca_file=settings.clickhouse_ssl_ca_location)


def analyst_client(settings: Settings, *, timeout_s: int = 300) -> Any:
    """Open a client for questions, as the user `analyst`, which reads within limits and changes nothing.

    Args:
        settings: Of the deployment; its own user is not used.
        timeout_s: Longest wait for an answer, seconds.

    Raises:
        StoreDown: No server answers there, or it refuses this user.
    """
    from sinks.clickhouse.client import connect

    parts = urlsplit(settings.clickhouse_url)
    user = quote(settings.clickhouse_analyst_user, safe="")
    password = quote(settings.clickhouse_analyst_password.get_secret_value(), safe="")
    url = urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))
    return connect(url, settings.clickhouse_database, timeout_s=timeout_s, ca_file=settings.clickhouse_ssl_ca_location)


def clickhouse_sink(settings: Settings) -> ClickHouseSink:
    """Return a sink of inserts into the deployment's database; it connects when it is used."""
    from sinks.clickhouse.client import ClickHouseSink

    return ClickHouseSink(_url(settings), settings.clickhouse_database, ca_file=settings.clickhouse_ssl_ca_location)


def _url(settings: Settings) -> str:
    """Return the address with user and password, wherever they are set."""
    parts = urlsplit(settings.clickhouse_url)
    user = parts.username or quote(settings.clickhouse_user, safe="")
    password = parts.password or quote(settings.clickhouse_password.get_secret_value(), safe="")
    if not (user or password):
        return settings.clickhouse_url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))
