"""What segments and journeys cost, and how late timers are.

- `timers`: many timers due within a minute, on the real workers with everything shipped in force. A timer is late by
  the time from when it was due to when what it decided is in Kafka.
- `cost`: the end-to-end race on events that happen now, with all shipped segments and journeys, and without any.
  Whoever is asked agrees to messages, so that they are really sent. `rest_s` is how long the last of them takes after
  the race.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, TopicPartition

from deploy.local.servers import Servers
from deploy.settings import DEFINITIONS, Settings
from schemas.topics import DECISIONS
from tests.benchmarks.race import lines, race, warm_up
from tests.support.builders import touchpoint
from tests.support.pipeline import Pipeline
from tests.support.stack import corner

LEAD_S = 30
"""From publishing to the first timer: everybody must have entered by then."""
WITHIN_S = 60
ROUNDS = 2
"""What else the machine does slows a race down and never speeds it up."""
REMINDER = """\
name: timed
description: Writes at the time that the event names.
entry: {event: Appointment Made}
own_events: [Appointment Made]
steps:
  - until: {date: event.starts_at}
  - {id: now, message: welcome, channel: email, purpose: transactional}
"""
AGREES = {"marketing": True, "channels": dict.fromkeys(("email", "sms", "web_push", "app_push", "whatsapp"), True)}


def timers(servers: Servers, home: Path, count: int) -> dict[str, Any]:
    """How late timers are that come due evenly within a minute, milliseconds."""
    folder = home / "with a reminder"
    shutil.copytree(DEFINITIONS, folder)
    (folder / "journeys" / "timed.yaml").write_text(REMINDER, "utf-8")
    with corner(servers.settings) as found:
        settings = found.model_copy(update={"definitions_dir": folder})
        with Pipeline(settings, home) as pipeline:
            warm_up(pipeline)
            first = datetime.now(UTC) + timedelta(seconds=LEAD_S)
            pipeline.publish_lines(map(orjson.dumps, _appointments(first, count)))
            time.sleep(max(0.0, (first - datetime.now(UTC)).total_seconds() + WITHIN_S))
            pipeline.drain(60)
            late = _lateness(settings)
            cut = statistics.quantiles(late, n=100)
            return {
                "timers": len(late),
                "within_s": WITHIN_S,
                "late_ms": {"p50": round(cut[49]), "p99": round(cut[98]), "max": round(max(late))},
            }


def _appointments(first: datetime, count: int) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC).isoformat()
    for number in range(count):
        at = first + timedelta(seconds=number * WITHIN_S / count)
        yield touchpoint(
            "Appointment Made", identifiers={"email": f"p{number}@shop.example"}, occurred_at=now, consent=AGREES,
            event_id=f"t{number}", properties={"starts_at": at.isoformat(timespec="milliseconds")},
        )  # fmt: skip


def _lateness(settings: Settings) -> list[int]:
    """Milliseconds from when each message was due to when its decision was in Kafka."""
    reader = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "late", "enable.partition.eof": True})
    reader.assign([TopicPartition(settings.topic_prefix + DECISIONS, one, 0) for one in range(settings.partitions)])
    found: dict[str, int] = {}
    unfinished = settings.partitions
    while unfinished:
        message = reader.poll(10)
        if message is None:
            raise TimeoutError("the decisions cannot be read")
        if (error := message.error()) is None:
            row = orjson.loads(message.value())
            due = round(datetime.fromisoformat(row["decided_at"]).timestamp() * 1000)
            found.setdefault(row["decision_id"], message.timestamp()[1] - due)
        elif error.code() == KafkaError._PARTITION_EOF:
            unfinished -= 1
        else:
            raise RuntimeError(error.str())
    reader.close()
    return list(found.values())


def cost(servers: Servers, home: Path, count: int) -> dict[str, Any]:
    """The end-to-end race with nothing defined and with all that is shipped, in turn; the best round of each counts."""
    nothing = home / "nothing"
    nothing.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, definitions in (("none", nothing), ("shipped", DEFINITIONS)):
            measured = _raced(servers, home, count, definitions)
            if name not in found or measured["events_per_s"] > found[name]["events_per_s"]:
                found[name] = measured
    found["share"] = round(found["shipped"]["events_per_s"] / found["none"]["events_per_s"], 2)
    found["cpu_share"] = round(_cpu_us(found["none"]) / _cpu_us(found["shipped"]), 2)
    return found


def _cpu_us(measured: dict[str, Any]) -> float:
    """CPU of all processes for one event: other work on the machine changes it far less than the time."""
    return float(sum(measured["cpu_us_per_event"].values()))


def _raced(servers: Servers, home: Path, count: int, definitions: Path) -> dict[str, Any]:
    with corner(servers.settings) as found:
        settings = found.model_copy(update={"definitions_dir": definitions, "session_timeout_s": 60})
        with Pipeline(settings, home) as pipeline:
            warm_up(pipeline)
            measured = race(pipeline, servers, happening_now(lines(count)), pipeline.workers)
            raced = time.monotonic()
            pipeline.drain(300)
            measured["rest_s"] = round(time.monotonic() - raced, 1)
            for table in ("decisions", "journey_events", "segment_changes"):
                measured[table] = pipeline.value(f"SELECT count() FROM {table} FINAL")
            measured["difference"] = pipeline.value("SELECT sum(difference) FROM v_accounting")
            return measured


def happening_now(events: Iterable[bytes]) -> Iterator[bytes]:
    """Let events of the simulated retailer happen within the last day, for older ones let nobody into a journey.

    Sixty days become twelve hours. Whoever is asked for consent gives it; what is not an event stays as it is.
    """
    begin = datetime.now(UTC) - timedelta(hours=13)
    first: datetime | None = None
    for line in events:
        try:
            event = orjson.loads(line)
            at = datetime.fromisoformat(event["occurred_at"])
            first = first or at
            event["occurred_at"] = (begin + (at - first) / 120).isoformat()
        except (ValueError, KeyError, TypeError):
            yield line
            continue
        if "consent" in event:
            event["consent"] = AGREES
        yield orjson.dumps(event)


def told(result: dict[str, Any]) -> Iterator[str]:
    """Put both parts into words, as far as they were measured."""
    if found := result.get("journeys"):
        for name in ("none", "shipped"):
            yield f"segments and journeys, {name}: {found[name]}"
        yield f"with all that is shipped, {found['share']:.0%} of the events a second without"
        yield f"and by the CPU that an event takes, {found['cpu_share']:.0%}"
    if found := result.get("timers"):
        yield f"{found['timers']:,} timers within {found['within_s']} s, ms late: {found['late_ms']}"
