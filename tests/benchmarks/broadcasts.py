"""What a broadcast costs the worker of profiles: CPU time a person, people a second, and its memory.

People are put into Redis by a process of its own, and the list into ClickHouse. Then one worker without Kafka reads the
list page by page, lets everybody enter, and sends when their hour has come: the stages, stores and scripts are those of
the real worker; what it publishes is counted and dropped, as the relay would take it away.

The list of a million is read too. `make bench ARGS="--only broadcast"` runs it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import orjson
import psutil
from redis.asyncio import Redis

from deploy.connections.clickhouse import clickhouse_client
from deploy.local.servers import Servers
from deploy.operations.provision import migrate
from deploy.settings import Settings
from deploy.workers.broadcast_members import ListedMembers
from processors.decisions.engine import DecisionEngine
from processors.profiles.broadcasts import END, PEOPLE_A_PAGE, SHARDS_A_PAGE, BroadcastEntries
from processors.profiles.stage import ConstantRules, DecisionRules, ProfileUpdate
from schemas.decisions.policy import HoldoutRules, MessagePolicy
from schemas.durations import HOUR_MS
from schemas.journeys.broadcasts import Broadcast
from schemas.journeys.control import JourneyControl
from schemas.segments.definitions import SegmentDefinitions
from schemas.shards import SHARDS
from schemas.time import text_of_ms, time_of_ms
from sinks.redis.broadcasts import RedisBroadcasts
from sinks.redis.outbox import RedisProfileOutbox
from sinks.redis.profiles import RedisProfileStore
from tests.support.databases import create_database
from tests.support.pipeline import environment
from tests.support.stack import corner

START_MS = 1_800_000_000_000
SEGMENTS = SegmentDefinitions.model_validate(
    {"segments": [{"name": "known", "description": "K.", "when": {"performed": "Identify"}}]}
)
NEWS = Broadcast.model_validate(
    {
        "name": "news",
        "description": "News.",
        "segment": "known",
        "send": {"at": text_of_ms(START_MS + HOUR_MS)[:19], "zone": "UTC"},
        "message": "hello",
        "channels": ["email", "app_push"],
        "choose": "next_best",
        "split": {"variants": [{"name": "short"}, {"name": "story", "template": "story"}]},
    }
)
POLICY = MessagePolicy(holdout=HoldoutRules(share=0.05), quiet_hours={})
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo")
_A_BATCH = 500


def rules(people: int) -> ConstantRules:
    """The broadcast as it was started."""
    journey = NEWS.as_journey()
    control = JourneyControl("running", START_MS, version=journey.version, started_ms=START_MS, audience=people)
    engine = DecisionEngine(SEGMENTS, [journey], POLICY).under({"news": control})
    return ConstantRules(DecisionRules(engine, None, broadcaster=engine))


async def fill(settings: Settings) -> int:
    """Let the people of the list sign up, by one event each; returns how many they are."""
    number = 0
    async with Redis.from_url(settings.redis_url) as redis:
        stage = ProfileUpdate(RedisProfileStore(redis, settings.redis_namespace), rules=rules(1))
        outbox = RedisProfileOutbox(redis, settings.redis_namespace)
        client = clickhouse_client(settings)
        with client.query_row_block_stream("SELECT toString(profile_id) FROM broadcast_members") as blocks:
            for block in blocks:
                for start in range(0, len(block), _A_BATCH):
                    people = [profile_id for (profile_id,) in block[start : start + _A_BATCH]]
                    await stage([_identified(number + place, one) for place, one in enumerate(people)])
                    number += len(people)
                    await _drop(outbox)
        client.close()
    return number


def _identified(number: int, profile_id: str) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "event": "Identify",
        "channel": "web",
        "source": "bench",
        "occurred_at": text_of_ms(START_MS - HOUR_MS),
        "received_at": text_of_ms(START_MS - HOUR_MS),
        "profile_id": profile_id,
        "anchor": None,
        "origin": {},
        "identifiers": [{"type": "email", "value": f"p{number}@shop.example"}],
        "consent": {"marketing": True, "channels": {"email": True, "app_push": True}},
        "traits": {"timezone": ZONES[number % 3], "first_name": "Ann"},
    }


async def send(settings: Settings, people: int, server: psutil.Process | None) -> dict[str, Any]:
    """Let everybody enter and send to them; returns the figures of both."""
    async with Redis.from_url(settings.redis_url) as redis:
        store = RedisProfileStore(redis, settings.redis_namespace)
        outbox = RedisProfileOutbox(redis, settings.redis_namespace)
        stage = ProfileUpdate(store, rules=rules(people))
        entries = BroadcastEntries(
            stage, ListedMembers(settings, RedisBroadcasts(redis, settings.redis_namespace)), outbox
        )
        topics: dict[str, int] = {}

        async def enter() -> None:
            while await entries.turn(range(SHARDS), START_MS + 1000):
                await _drop(outbox, topics)

        async def fire() -> None:
            until = START_MS + 2 * HOUR_MS
            while due := await store.due(until, _A_BATCH):
                assert not await stage.fire(due, until)
                await _drop(outbox, topics)

        found = {"entered": await _measured(enter, people, server), "sent": await _measured(fire, people, server)}
        return {
            "people": people,
            **found,
            "messages": topics.get("actions", 0),
            "decisions": topics.get("decisions", 0),
            "peak_mb": _peak_mb(),
        }


async def _measured(task: Any, people: int, server: psutil.Process | None) -> dict[str, float]:
    began, cpu, of_server = time.monotonic(), time.process_time(), _cpu(server)
    await task()
    seconds = time.monotonic() - began
    return {
        "people_per_s": round(people / seconds),
        "cpu_us_per_person": round((time.process_time() - cpu) * 1e6 / people, 1),
        "redis_cpu_us_per_person": round((_cpu(server) - of_server) * 1e6 / people, 1),
    }


def _cpu(server: psutil.Process | None) -> float:
    return sum(server.cpu_times()[:2]) if server else 0.0


async def _drop(outbox: RedisProfileOutbox, topics: dict[str, int] | None = None) -> None:
    """Take records out of the outbox, as the relay does once Kafka has them."""
    while waiting := await outbox.pending(5000):
        if topics is not None:
            for _, record in waiting:
                topics[record.topic] = topics.get(record.topic, 0) + 1
        await outbox.acknowledge([place for place, _ in waiting], "")


def list_people(settings: Settings, people: int) -> None:
    """Write a list of people who do not exist yet, as the start of a broadcast writes that of a segment."""
    client = clickhouse_client(settings)
    client.command(
        "INSERT INTO broadcast_members (broadcast, listed_at, shard, place, profile_id) SELECT 'news',"
        f" {{at:DateTime64(3)}}, toUInt8(CRC32(toString(id)) % {SHARDS}), cityHash64(id), id"
        f" FROM (SELECT generateUUIDv4() AS id FROM numbers({people}))",
        {"at": time_of_ms(START_MS)},
    )
    client.close()


async def read(settings: Settings, people: int) -> dict[str, Any]:
    """Read the list page by page and do nothing with it."""
    async with Redis.from_url(settings.redis_url) as redis:
        members = ListedMembers(settings, RedisBroadcasts(redis, settings.redis_namespace))
        places: dict[int, int | None] = dict.fromkeys(range(SHARDS))
        found = 0

        async def pages() -> None:
            nonlocal found
            while places:
                page = await members.page("news", START_MS, dict(islice(places.items(), SHARDS_A_PAGE)), PEOPLE_A_PAGE)
                found += len(page.people)
                await members.passed("news", page.places)
                for shard, place in page.places.items():
                    if place == END:
                        del places[shard]
                    else:
                        places[shard] = place

        measured = await _measured(pages, people, None)
    return {"people": found, **measured, "peak_mb": _peak_mb()}


def _peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def broadcast(servers: Servers, people: int, listed: int) -> dict[str, Any]:
    """Measure a broadcast to some people, and the reading of a longer list.

    Args:
        servers: The local stack.
        people: Who get the broadcast.
        listed: How long the longer list is.
    """
    with corner(servers.settings) as settings:
        create_database(settings.clickhouse_url, settings.clickhouse_database)
        migrate(settings)
        found = {}
        for name, count in (("sending", people), ("reading", listed)):
            client = clickhouse_client(settings)
            client.command("TRUNCATE TABLE broadcast_members")
            client.close()
            list_people(settings, count)
            for task in ("fill", "send") if name == "sending" else ("read",):
                command = [sys.executable, "-m", __name__, task, str(count), str(servers["redis"].pid)]
                surroundings = {**os.environ, **environment(settings)}
                done = subprocess.run(command, env=surroundings, check=True, stdout=subprocess.PIPE)
            found[name] = orjson.loads(done.stdout)
        return found


def told(result: Mapping[str, Any]) -> Iterator[str]:
    """Put it into words, as far as it was measured."""
    if found := result.get("broadcast"):
        sending, reading = found["sending"], found["reading"]
        yield f"broadcast to {sending['people']:,}: entering {sending['entered']}, sending {sending['sent']}"
        yield f"of them {sending['messages']:,} got a message, the worker took {sending['peak_mb']} MB at most"
        yield f"reading a list of {reading['people']:,} takes {reading['cpu_us_per_person']} us of CPU a person"


def main() -> None:
    """Do one part in a process of its own, so that its memory is its own."""
    task, people, pid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    settings = Settings()
    if task == "fill":
        found: Any = asyncio.run(fill(settings))
    elif task == "read":
        found = asyncio.run(read(settings, people))
    else:
        found = asyncio.run(send(settings, people, psutil.Process(pid)))
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    main()
