"""How fast this machine runs Faust at all: a loop that reads events, parses them and counts. Nothing else.

Machines differ by a factor of three, and so does a shared one from hour to hour; how many times this loop the whole
pipeline runs differs less (from minute to minute still by a third: repeat it). The pipeline was asked for 12,000 events
a second where this loop did 10,600: 1.13 times.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import faust
import orjson
from confluent_kafka import Producer

from deploy.connections.kafka import kafka_connection
from deploy.local.servers import Servers
from schemas.topics import Topic
from sinks.kafka.producer import create_topics, producer_config
from tests.benchmarks.race import lines
from tests.support.stack import corner

PARTITIONS = 8


def bare_loop(servers: Servers, home: Path, count: int) -> dict[str, Any]:
    """Publish `count` events, then let stock Faust read and count them."""
    with corner(servers.settings) as settings:
        topic = f"{settings.topic_prefix}loop"
        names = [Topic("loop", key="the event's number", retention_ms=-1)]
        create_topics(
            kafka_connection(settings), names, prefix=settings.topic_prefix, partitions=PARTITIONS, replicas=1
        )
        producer = Producer(producer_config(kafka_connection(settings), **{"linger.ms": 50}))
        for number, line in enumerate(lines(count)):
            producer.produce(topic, line, str(number).encode())
            if number % 1000 == 0:
                producer.poll(0)
        producer.flush(60)
        home.mkdir(parents=True, exist_ok=True)
        answer = home / "loop.json"
        loop = [sys.executable, "-m", "tests.benchmarks.faust_loop"]
        subprocess.run(
            [*loop, settings.kafka_bootstrap, topic, str(count), str(answer)], check=True, timeout=300,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        found: dict[str, Any] = orjson.loads(answer.read_bytes())
        return found


def main(bootstrap: str, topic: str, count: int, answer: Path) -> None:
    """Count `count` events of a topic, write how long it took, end the process."""
    app = faust.App(
        "bare-loop", broker=f"kafka://{bootstrap}", store="memory://", datadir=answer.parent / "faust",
        web_enabled=False, topic_allow_declare=False, topic_disable_leader=True, consumer_auto_offset_reset="earliest",
        value_serializer="raw", key_serializer="raw",
    )  # fmt: skip

    @app.agent(app.topic(topic, value_serializer="raw", key_serializer="raw"))
    async def loop(stream: Any) -> None:
        seen, started, before = 0, 0.0, 0.0
        async for value in stream:
            if not seen:
                started, before = time.monotonic(), time.process_time()
            with suppress(ValueError):  # one in a hundred is junk
                orjson.loads(value)
            seen += 1
            if seen == count:
                seconds, cpu = time.monotonic() - started, time.process_time() - before
                rates = {"events_per_s": round(count / seconds), "cpu_us_per_event": round(cpu / count * 1e6, 1)}
                answer.write_bytes(orjson.dumps({"events": count, "seconds": round(seconds, 2), **rates}))
                os._exit(0)

    app.conf.datadir.mkdir(parents=True, exist_ok=True)
    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
