"""Plain Faust: an agent over `stream.take`, which acknowledges a batch after the body; asynchronous clients.

It tries again by itself: Faust acknowledges a batch although its agent raised, so that a failed write would lose it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import clickhouse_connect
import faust
import redis.asyncio
from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import RedisError

from tests.benchmarks.peers import job

app = faust.App(
    job.GROUP,
    broker=f"kafka://{job.BOOTSTRAP}",
    store="memory://",
    value_serializer="raw",
    key_serializer="raw",
    consumer_auto_offset_reset="earliest",
    broker_session_timeout=float(job.SESSION_TIMEOUT_S),
    broker_request_timeout=120.0,
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
)
client = redis.asyncio.Redis.from_url(job.REDIS_URL)
script = client.register_script(job.RESOLVE)


async def resolve(events: Sequence[job.Event]) -> list[list[Any]]:
    """Resolve events and fold them into their profiles, in one round trip; returns their rows."""
    async with client.pipeline(transaction=False) as pipeline:
        for event in events:
            await script(args=job.arguments(event), client=pipeline)
        return [job.row(event, person) for event, person in zip(events, await pipeline.execute(), strict=True)]


@app.agent(app.topic(job.TOPIC, value_serializer="raw", key_serializer="raw"))
async def people(stream: Any) -> None:
    """Write batch after batch."""
    clickhouse = await clickhouse_connect.get_async_client(dsn=job.CLICKHOUSE_URL, database=job.DATABASE)
    async for values in stream.take(job.BATCH, within=1.0):
        events = [event for value in values if (event := job.parse(value))]
        while events:
            try:
                await clickhouse.insert(job.TABLE, await resolve(events), column_names=job.COLUMNS)
                break
            except (RedisError, ClickHouseError):
                app.logger.exception("tried again in a second")
                await asyncio.sleep(1)


if __name__ == "__main__":
    app.conf.datadir = Path(sys.argv[1])
    app.conf.datadir.mkdir(parents=True, exist_ok=True)
    faust.Worker(app, loglevel="WARN", redirect_stdouts=False, quiet=True).execute_from_commandline()
