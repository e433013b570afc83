"""The worker `export`: what was learned leaves to advertising networks, webhooks and topics.

Each destination is a consumer group of its own with a task and a thread of its own, so that one that hangs delays no
other, and none delays a profile. It reads what the recorder has stored and the profile worker has applied, no further:
then the tables have the touches and the profile the consent that an event came after.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any

from confluent_kafka import KafkaException

from deploy.connections.clickhouse import clickhouse_client, clickhouse_sink
from deploy.connections.kafka import kafka_connection
from deploy.connections.redis import async_redis_client
from deploy.home import Home, home
from deploy.operations.cancellation import cancel_all
from deploy.operations.definition_files import DefinitionError, touch_rules
from deploy.operations.destinations import adapter_of, adjusts, destination_secrets, load_destinations
from deploy.operations.logs import logging_config
from deploy.operations.metrics import PrometheusMeter, serve
from deploy.operations.roles import EXPORT_TOPICS, export_group_id, group_id
from deploy.settings import Settings
from deploy.workers.export_facts import StoredFacts
from deploy.workers.failpoints import make_failpoint
from deploy.workers.retry import with_retry
from processors.export.stage import Export
from processors.export.triggers import wanted_of
from processors.recording.touch_rules import TouchRules
from schemas.export.destinations import Destination
from schemas.export.exports import ExportAdapter, ExportAnswer, ExportItem
from schemas.json_bytes import json_bytes
from schemas.metrics import EXPORT_LAG
from schemas.offsets import Partition
from schemas.records import Outgoing, Record
from schemas.time import clock_ms
from schemas.topics import RESOLVED_TOUCHPOINTS
from sinks.clickhouse.client import StoreDown
from sinks.kafka.follower import TopicFollower
from sinks.kafka.offsets import OffsetReader
from sinks.kafka.producer import KafkaPublisher, PublishFailedError
from sinks.redis.profiles import RedisProfileStore

log = logging.getLogger(__name__)

MOST_RECORDS = 2_000
POLL_S = 0.5
SHORT_S, AGAIN_S = 0.5, 5.0
"""Pauses: between two looks at what others have done; before a try after an error."""
RETRY_S = 3_600.0
"""Between two tries of what a network was not ready for."""
_STEP_S = 5.0
"""A member that waits shows the group so often that it lives."""


class TopicAdapter:
    """Writes exports to a topic of Kafka.

    Args:
        publisher: Writes.
        topic: The topic, without the deployment's prefix.
    """

    most = 500

    def __init__(self, publisher: KafkaPublisher, topic: str) -> None:
        self._publisher, self._topic = publisher, topic

    async def send(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        """Write exports; answers in their order."""
        records = [
            Outgoing(self._topic, str(one.body["conversion_id"]).encode(), json_bytes(one.body)) for one in items
        ]
        try:
            await self._publisher.send(records)
        except PublishFailedError as error:
            return [ExportAnswer("later", str(error))] * len(items)
        return [ExportAnswer("sent", f"topic {self._topic}")] * len(items)

    async def close(self) -> None:
        """Nothing is open that the end of the process does not close."""


class Handled:
    """Reads how far the recorder and the profile worker have come. Several threads may ask.

    Args:
        settings: Of the deployment.
    """

    def __init__(self, settings: Settings) -> None:
        prefix = settings.topic_prefix
        self._record, self._profile = group_id(prefix, "record"), group_id(prefix, "profile")
        self._offsets = OffsetReader(
            kafka_connection(settings), (self._record, self._profile), group_id(prefix, "export"), timeout_s=10
        )
        self._lock = Lock()

    def reached(self, ends: dict[Partition, int]) -> bool:
        """Return whether all records before these offsets are stored, and those of people applied to profiles."""
        people = [place for place in ends if place[0].endswith(RESOLVED_TOUCHPOINTS)]
        with self._lock:
            stored = self._offsets.committed(self._record, list(ends))
            applied = self._offsets.committed(self._profile, people)
        return all(stored.get(place, 0) >= end for place, end in ends.items()) and all(
            applied.get(place, 0) >= ends[place] for place in people
        )


class DestinationTask:
    """Follows the topics for one destination.

    Args:
        destination: The destination.
        settings: Of the deployment.
        rules: Which events reach which goals.
        handled: Reads how far the others have come.
        adapter: Sends; None: to its topic.
        profiles: The live profiles.
        can_adjust: Whether the credentials allow adjustments.
        meter: Counts.
    """

    def __init__(
        self,
        destination: Destination,
        settings: Settings,
        rules: TouchRules,
        handled: Handled,
        adapter: ExportAdapter | None,
        profiles: RedisProfileStore,
        can_adjust: bool,
        meter: PrometheusMeter,
    ) -> None:
        self.destination = destination
        self._settings, self._rules, self._handled, self._meter = settings, rules, handled, meter
        self._goals = frozenset(rule.goal for rule in destination.conversions)
        self._thread = ThreadPoolExecutor(1, f"export-{destination.name}")
        self._follower: TopicFollower | None = None
        if adapter is None:
            topic = destination.topic.topic if destination.topic is not None else ""
            adapter = TopicAdapter(KafkaPublisher(kafka_connection(settings), settings.topic_prefix), topic)
        self._adapter = adapter
        self._tables = with_retry(
            clickhouse_sink(settings), down=(StoreDown,), longest_pause_s=settings.store_retry_max_s, meter=meter
        )
        # On a thread of its own: the other may be reading from Kafka.
        facts = StoredFacts(
            destination, partial(clickhouse_client, settings), profiles, self._tables,
            ThreadPoolExecutor(1, f"facts-{destination.name}"),
        )  # fmt: skip
        self._stage = Export(
            destination, facts, adapter, clock=clock_ms, pause=self._pause, adjusts=can_adjust,
            failpoint=make_failpoint(settings.crash_at), meter=meter,
        )  # fmt: skip

    async def run(self) -> None:
        """Export for ever; an error is logged and tried again, so that it costs this destination alone."""
        retry_at = monotonic() + RETRY_S
        self._meter.set(EXPORT_LAG, 0, self.destination.name)
        try:
            self._follower = await self._in_thread(self._join)
            while True:
                records = await self._until_done(self._poll)
                await self._handle(records)
                if monotonic() > retry_at:
                    await self._until_done(self._stage.retry)
                    retry_at = monotonic() + RETRY_S
        finally:
            if self._follower is not None:
                await asyncio.shield(self._in_thread(self._follower.close))
            for one in (self._adapter, self._tables):
                with suppress(Exception):
                    await one.close()

    async def _handle(self, records: Sequence[Record]) -> None:
        if not records:
            self._meter.set(EXPORT_LAG, 0, self.destination.name)
            return
        self._note_lag(records)
        wanted = wanted_of(records, self._rules, self._goals)
        if wanted:
            ends: dict[Partition, int] = {}
            for one in records:
                ends[one.topic, one.partition] = max(ends.get((one.topic, one.partition), 0), one.offset + 1)

            async def once() -> None:
                while not await asyncio.to_thread(self._handled.reached, ends):
                    await self._pause(int(SHORT_S * 1000))
                    self._note_lag(records)
                await self._stage(wanted)

            await self._until_done(once)
        follower = self._follower
        assert follower is not None
        await self._in_thread(lambda: follower.commit(records))

    async def _until_done(self, act: Callable[[], Any]) -> Any:
        while True:
            try:
                return await act()
            except Exception:  # of any kind: the others go on
                log.exception("%s: tried again in %d s", self.destination.name, AGAIN_S)
                await self._pause(int(AGAIN_S * 1000))

    async def _poll(self) -> Sequence[Record]:
        follower = self._follower
        assert follower is not None
        records: Sequence[Record] = await self._in_thread(lambda: follower.poll(MOST_RECORDS, POLL_S))
        return records

    async def _pause(self, wait_ms: int) -> None:
        """Wait; the place in the consumer group is kept meanwhile."""
        until, follower = monotonic() + wait_ms / 1000, self._follower
        while (left_s := until - monotonic()) > 0:
            if follower is None:
                await asyncio.sleep(left_s)
            else:
                with suppress(KafkaException):
                    await self._in_thread(partial(follower.keep_place, 0.0))
                await asyncio.sleep(min(left_s, _STEP_S))

    def _join(self) -> TopicFollower:
        settings = self._settings
        return TopicFollower(
            kafka_connection(settings),
            export_group_id(settings.topic_prefix, self.destination.name),
            [settings.topic_prefix + name for name in EXPORT_TOPICS],
            start=self.destination.start,
            session_timeout_s=settings.session_timeout_s,
        )

    def _note_lag(self, records: Sequence[Record]) -> None:
        oldest = min(one.timestamp for one in records)
        self._meter.set(EXPORT_LAG, max(0, clock_ms() - oldest) / 1000, self.destination.name)

    async def _in_thread(self, act: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)


def run_export(settings: Settings) -> None:
    """Run the worker until SIGTERM or SIGINT.

    Raises:
        DefinitionError: A destination is not valid or lacks a secret, or none is enabled.
    """
    if settings.log_format == "json":
        from logging.config import dictConfig

        dictConfig(logging_config(settings, "export"))
    else:
        logging.basicConfig(level=settings.log_level, format="[%(asctime)s] %(levelname)s %(message)s")
    destinations = load_destinations(settings)
    secrets = destination_secrets(settings, destinations)
    enabled = [one for one in destinations if one.enabled]
    if not enabled:
        raise DefinitionError(f"no destination is enabled in {settings.definitions_dir / 'destinations'}")
    meter = PrometheusMeter()
    serve(meter, settings, "export")
    adapters = {one.name: adapter_of(one, secrets, settings) for one in enabled}
    asyncio.run(_run(settings, enabled, adapters, {one.name: adjusts(one, secrets) for one in enabled}, meter))
    sys.exit(0)


async def _run(
    settings: Settings,
    destinations: Sequence[Destination],
    adapters: dict[str, ExportAdapter | None],
    can_adjust: dict[str, bool],
    meter: PrometheusMeter,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    rules, handled = touch_rules(settings), Handled(settings)
    profiles = RedisProfileStore(async_redis_client(settings, timeout_s=30), settings.redis_namespace)
    tasks = []
    for one in destinations:
        task = DestinationTask(
            one, settings, rules, handled, adapters[one.name], profiles, can_adjust[one.name], meter
        )  # fmt: skip
        tasks.append(asyncio.create_task(_for_ever(task), name=one.name))
        log.info("%s: %s, to %s", one.name, ", ".join(rule.goal for rule in one.conversions), one.through)
    tasks.append(asyncio.create_task(_heartbeat()))
    await stop.wait()
    await cancel_all(tasks)


async def _for_ever(task: DestinationTask) -> None:
    while True:
        try:
            await task.run()
        except Exception:  # such as a broker that cannot be reached at the start
            log.exception("%s: started again in %d s", task.destination.name, AGAIN_S)
            await asyncio.sleep(AGAIN_S)


async def _heartbeat() -> None:
    path = Home(home()).heartbeat("export")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        path.touch()
        await asyncio.sleep(1)
