"""Events over HTTP, in batches as SDKs send them and one by one, beside the Kafka client that publishes the same."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil

from deploy.local.servers import Servers
from deploy.operations.provision import apply_topics
from deploy.operations.publish import publish
from tests.support.collector import collector
from tests.support.stack import corner

CONNECTIONS = 8
BATCH = 100
SENT_AT = "2026-11-28T09:00:01.000Z"
HEADERS = {"Authorization": aiohttp.BasicAuth("server-key").encode()}


def call(number: int) -> dict[str, Any]:
    """What analytics.js sends when somebody looks at a product."""
    return {
        "type": "track",
        "event": "Product Viewed",
        "messageId": f"bench-{number}",
        "anonymousId": f"b{number % 5_000}",
        "userId": None,
        "timestamp": "2026-11-28T09:00:00.000Z",
        "properties": {"product_id": f"p{number % 500}", "price": 24.95, "currency": "EUR", "quantity": 1},
        "context": {
            "page": {
                "url": f"https://shop.example/p/{number % 500}",
                "path": "/p",
                "referrer": "",
                "title": "A product",
            },
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
            "locale": "de-DE",
            "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
        },
    }


def touchpoint(number: int) -> dict[str, Any]:
    """The same, as a Kafka client sends it."""
    same = call(number)
    return {
        "event_id": f"kafka-{number}",
        "event": same["event"],
        "channel": "web",
        "occurred_at": same["timestamp"],
        "identifiers": {"anonymous_id": same["anonymousId"]},
        "properties": same["properties"],
        "context": same["context"],
    }


def collecting(servers: Servers, home: Path, count: int) -> dict[str, Any]:
    """Send `count` calls in batches and a tenth of them one by one; publish the same events with the Kafka client."""
    with corner(servers.settings) as settings:
        apply_topics(settings)
        client = publish([orjson.dumps(touchpoint(number)) for number in range(count)], settings)
        numbers = range(count)
        batches = [
            orjson.dumps({"batch": [call(number) for number in numbers[start : start + BATCH]], "sentAt": SENT_AT})
            for start in range(0, count, BATCH)
        ]
        singles = [orjson.dumps(call(number)) for number in range(count, count + count // 10)]
        with collector(settings, home) as service:
            process = psutil.Process(service.process.pid)
            asyncio.run(_send(f"{service.url}/v1/batch", batches[:5]))  # warm
            before = process.cpu_times()
            together_s, _ = asyncio.run(_send(f"{service.url}/v1/batch", batches))
            after = process.cpu_times()
            alone_s, waits = asyncio.run(_send(f"{service.url}/v1/track", singles))
            cpu_s = after.user + after.system - before.user - before.system
            cut = statistics.quantiles(waits, n=100)
            return {
                "events": count,
                "kafka_client_events_per_s": client.summary()["events_per_s"],
                "in_batches_events_per_s": round(count / together_s),
                "in_batches_cpu_us_per_event": round(cpu_s / count * 1e6, 1),
                "one_by_one_events_per_s": round(len(singles) / alone_s),
                "one_by_one_ms": {"p50": round(cut[49] * 1000, 1), "p99": round(cut[98] * 1000, 1)},
                "rss_mb": round(process.memory_info().rss / 1e6),
            }


async def _send(url: str, bodies: list[bytes]) -> tuple[float, list[float]]:
    """Post bodies over some connections at once; how long all took, and each, in seconds."""
    waits: list[float] = []
    left: Iterator[bytes] = iter(bodies)

    async def connection(session: aiohttp.ClientSession) -> None:
        for body in left:
            started = time.perf_counter()
            async with session.post(url, data=body) as answer:
                assert answer.status == 200, await answer.text()
            waits.append(time.perf_counter() - started)

    started = time.perf_counter()
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        await asyncio.gather(*(connection(session) for _ in range(CONNECTIONS)))
    return time.perf_counter() - started, waits
