"""The system page: processes, lag, topics, sizes of the stores, settings without secrets, the doctor, the audit log."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from deploy.connections.redis import redis_client
from deploy.console.application import Console
from deploy.console.overview import lags, workers
from deploy.console.panels import NotedClient
from deploy.console.rendering import Viewer
from deploy.operations.doctor import examine, public_settings
from deploy.settings import Settings
from schemas.time import clock_ms
from sinks.clickhouse.audit_log import read_acts
from sinks.redis import measures
from sinks.redis.cluster import servers_of
from sinks.redis.durability import durable_keys
from sinks.redis.outbox import identity_outbox, profile_outboxes, waiting_in_shards

_SLOW_LIFE_S = 60.0
_SIZES = """
SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes
FROM system.parts
WHERE database = currentDatabase() AND active
GROUP BY table
ORDER BY bytes DESC, table
LIMIT 40
"""


def routes(console: Console) -> list[web.RouteDef]:
    """Return the routes of this module."""

    async def system(request: web.Request, viewer: Viewer) -> web.StreamResponse:
        get, settings = console.panels.get, console.settings
        lag, alive, sizes, redis, checks, acts = await asyncio.gather(
            get("lag", lambda _: lags(settings)),
            get("workers", lambda _: workers(settings)),
            get("sizes", lambda client: client.rows(_SIZES), life_s=_SLOW_LIFE_S),
            get("redis", lambda _: redis_figures(settings)),
            get("doctor", lambda _: examine(settings), life_s=_SLOW_LIFE_S),
            get("acts of all", lambda client: _acts(client)),
        )
        return console.renderer.page(
            "system.html",
            viewer,
            "/system",
            lag=lag,
            alive=alive,
            sizes=sizes,
            redis=redis,
            checks=checks,
            acts=acts,
            values=public_settings(settings),
        )

    return [web.get("/system", console.guarded("view-numbers", system))]


def redis_figures(settings: Settings) -> dict[str, Any]:
    """Return version, memory and numbers of what waits in Redis."""
    namespace, now_ms = settings.redis_namespace, clock_ms()
    with redis_client(settings, timeout_s=5) as client:
        infos: list[Any] = [server.info() for server, _ in servers_of(client, durable_keys(namespace))]
        outboxes = [identity_outbox(namespace).stream, *profile_outboxes(namespace)]
        return {
            "version": infos[0].get("valkey_version") or infos[0].get("redis_version"),
            "memory_bytes": sum(one.get("used_memory", 0) for one in infos),
            "keys": sum(one["keys"] for info in infos for name, one in info.items() if name.startswith("db")),
            "outbox": measures.waiting_records(client, outboxes, now_ms).entries,
            "timers": waiting_in_shards(client, namespace, "ZCARD", "timers"),
            "messages": measures.waiting_messages(client, namespace),
        }


def _acts(client: NotedClient) -> Any:
    return read_acts(client, limit=100)
