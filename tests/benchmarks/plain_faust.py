"""The baseline of `make bench`: the same three stages the plain Faust way, one event at a time.

`async for`, a script call an event, `topic.send` an event, and `stream.take` for ClickHouse, as Faust's guide shows.
The decisions, the stores and the servers are the product's own, so the difference is how events travel.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import faust
import orjson
import redis.asyncio

from deploy.home import home
from deploy.operations.definition_files import identity_policy, touch_rules
from deploy.operations.roles import group_id
from deploy.settings import Settings, settings
from processors.identity.stage import Identify
from processors.profiles.stage import update
from processors.recording import rows
from processors.stream.routing import route
from schemas.topics import DEAD_LETTERS, DROPPED_TOUCHPOINTS, RESOLVED_TOUCHPOINTS, touchpoint_topic
from sinks.clickhouse.client import ClickHouseSink
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.profiles import RedisProfileStore


def build(role: str, chosen: Settings) -> faust.App:
    """Make the app of one role."""
    app = faust.App(
        group_id(chosen.topic_prefix, role),
        broker=f"kafka://{chosen.kafka_bootstrap}",
        store="memory://",
        datadir=home() / "faust" / f"plain-{role}",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=float(chosen.session_timeout_s),
        broker_request_timeout=120.0,
        value_serializer="raw",
        key_serializer="raw",
    )
    {"identify": _identify, "profile": _profile, "record": _record}[role](app, chosen)
    return app


def _topic(app: faust.App, chosen: Settings, *names: str) -> Any:
    return app.topic(*(chosen.topic_prefix + name for name in names), value_serializer="raw", key_serializer="raw")


def _identify(app: faust.App, chosen: Settings) -> None:
    policy = identity_policy(chosen)
    stage = Identify(
        RedisIdentityStore(redis.asyncio.Redis.from_url(chosen.redis_url), chosen.redis_namespace, policy),
        policy=policy,
        secret=chosen.identity_secret.get_secret_value().encode(),
        channels=frozenset(chosen.channels),
        max_event_bytes=chosen.max_event_bytes,
    )
    out = {name: _topic(app, chosen, name) for name in (RESOLVED_TOUCHPOINTS, DROPPED_TOUCHPOINTS, DEAD_LETTERS)}

    @app.agent(_topic(app, chosen, *(touchpoint_topic(channel) for channel in chosen.channels)))
    async def identify(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            record = SimpleNamespace(
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                timestamp=int(message.timestamp * 1000),
                key=message.key,
                value=message.value,
                headers=(),
            )
            for topic, key, value, _ in route("identify", [record], await stage([record])):
                await out[topic].send(key=key, value=value)


def _profile(app: faust.App, chosen: Settings) -> None:
    store = RedisProfileStore(redis.asyncio.Redis.from_url(chosen.redis_url), chosen.redis_namespace)

    @app.agent(_topic(app, chosen, RESOLVED_TOUCHPOINTS))
    async def profile(stream: Any) -> None:
        async for value in stream:
            await update(store, [orjson.loads(value)])


def _record(app: faust.App, chosen: Settings) -> None:
    sink = ClickHouseSink(chosen.clickhouse_url, chosen.clickhouse_database)
    rules = touch_rules(chosen)
    builders = {
        RESOLVED_TOUCHPOINTS: lambda event: rows.touchpoint_rows(event, rules),
        DROPPED_TOUCHPOINTS: rows.dropped_rows,
        DEAD_LETTERS: rows.dead_letter_rows,
    }

    def recorder(source: str, build_rows: Any) -> None:
        @app.agent(_topic(app, chosen, source), name=f"record_{source}")
        async def record(stream: Any) -> None:
            # ClickHouse refuses one insert an event (too many parts): batches, as Faust's guide does it.
            async for values in stream.take(1000, within=1.0):
                by_table: dict[str, list[bytes]] = {}
                for value in values:
                    for table, row in build_rows(orjson.loads(value)):
                        by_table.setdefault(table, []).append(row)
                for table, found in by_table.items():
                    await sink.insert_all(table, found, "")

    for source, build_rows in builders.items():
        recorder(source, build_rows)


if __name__ == "__main__":
    app = build(sys.argv[1], settings())
    app.conf.datadir.mkdir(parents=True, exist_ok=True)
    faust.Worker(app, loglevel="WARN", redirect_stdouts=False, quiet=True).execute_from_commandline()
