"""Runs the collector: wires it, listens, probes Kafka, and at a stop answers the requests that have begun."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from functools import partial

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from deploy.collector.answers import StoredAnswers
from deploy.collector.authentication import WriteKeys
from deploy.collector.listening import sites
from deploy.collector.open_files import AcceptErrors, raise_limit
from deploy.collector.people import LivePeople
from deploy.collector.profiles import identifier_hasher
from deploy.collector.protocol import JsonRunner
from deploy.collector.publication import Publication
from deploy.collector.routes import Collector, Slots
from deploy.collector.slot_rules import FollowedSlots
from deploy.collector.slot_stores import TIMEOUT_S, SlotPeople, slot_content
from deploy.collector.till_sums import TillSums
from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.kafka import kafka_connection
from deploy.connections.redis import async_redis_client
from deploy.home import Home, home
from deploy.operations.cancellation import cancel_all
from deploy.operations.definition_files import load
from deploy.operations.hooks import load_hooks
from deploy.operations.message_links import link_tokens
from deploy.operations.metrics import PrometheusMeter
from deploy.operations.metrics import serve as serve_metrics
from deploy.operations.sources import collect_for, load_sources
from deploy.settings import Settings
from schemas.delivery.outbound import DeliveryDefinitions
from schemas.metrics import COLLECTOR_WAITING, NO_METER, Meter
from schemas.topics import topics
from sinks.kafka.group_commit import GroupCommitPublisher
from sinks.kafka.producer import KafkaPublisher

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""The most bytes of keys and values that wait for Kafka."""
PUBLISH_TIMEOUT_S = 10.0
SHUTDOWN_TIMEOUT_S = 6.0
"""Seconds for the requests that have begun, after a signal to stop."""
PROBE_INTERVAL_S = 2.0
NOT_READY_AFTER_S = 10.0
"""Seconds of failed probes of Kafka after which the collector is not ready."""
TALLY_INTERVAL_S = 10.0


def build_collector(
    settings: Settings, publisher: KafkaPublisher, meter: Meter = NO_METER, followed: FollowedSlots | None = None
) -> Collector:
    """Wire a collector; nothing connects before it is used.

    Args:
        settings: Of the deployment.
        publisher: Writes to Kafka.
        meter: Measures.
        followed: The slots in force; None: those that nobody follows, so none.

    Raises:
        DefinitionError: The sources or their keys are not what they should be.
    """
    sources = load_sources(settings)
    keys = WriteKeys(settings.write_keys.get_secret_value(), sources)
    hooks = load_hooks(settings, sources)
    if not keys and not any(hook.secrets for hook in hooks.values()):
        log.warning("no source has a write key (THROUGHLINE_WRITE_KEYS), so no client can publish")
    people = LivePeople(settings)
    redis = async_redis_client(settings, timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S)
    return Collector(
        sources=sources,
        keys=keys,
        collect=collect_for(settings),
        publication=Publication(GroupCommitPublisher(publisher, MAX_WAITING_BYTES), settings.collector_confirm_s),
        till_sums=TillSums(partial(clickhouse_client, settings)),
        max_bytes=settings.collector_max_request_bytes,
        trusts_proxy=settings.collector_trusts_proxy,
        link_tokens=link_tokens(settings),
        preferences=StoredAnswers(settings, people),
        people=people,
        hash_identifier=identifier_hasher(settings),
        slots=Slots(
            lambda: followed.rules if followed else None, SlotPeople(redis, settings), slot_content(redis, settings)
        ),
        preference_rules=load(settings.delivery_file, DeliveryDefinitions).preferences,
        hooks=hooks,
        public_url=settings.collector_public_url,
        meter=meter,
    )


async def serve(settings: Settings) -> None:
    """Run a collector until SIGTERM or SIGINT; then answer the requests that have begun.

    Raises:
        DefinitionError: As `build_collector`.
        OSError: The address, or a socket that was passed, cannot be listened on.
    """
    logging.getLogger("aiohttp.server").addFilter(_hide_request_bytes)
    publish_s = max(PUBLISH_TIMEOUT_S, settings.collector_confirm_s)
    publisher = KafkaPublisher(kafka_connection(settings), settings.topic_prefix, timeout_s=publish_s)
    meter = PrometheusMeter()
    followed = FollowedSlots(settings, async_redis_client(settings, timeout_s=2, connect_timeout_s=2))
    collector = build_collector(settings, publisher, meter, followed)
    # The rest of a request that was refused half-way is read for a moment, or the client would not see the answer.
    runner = JsonRunner(
        collector.app(), access_log=None, keepalive_timeout=30, lingering_time=2, shutdown_timeout=1,
        auto_decompress=False,
    )  # fmt: skip
    await runner.setup()
    serve_metrics(meter, settings, "collector")
    asyncio.get_running_loop().set_exception_handler(AcceptErrors(raise_limit()))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        listening = sites(runner, settings.collector_url)
        for site in listening:
            await site.start()
        log.info("the collector listens on %s", ", ".join(site.name for site in listening))
        background = [
            asyncio.create_task(_probe_kafka(collector, publisher, settings)),
            asyncio.create_task(_report_for_ever(collector, meter)),
            asyncio.create_task(collector.links.records.retry_for_ever()),
            asyncio.create_task(followed.follow_for_ever()),
        ]
        await stop.wait()
        await cancel_all(background)  # what `retry` had in hand waits again
        collector.ready, collector.stopping = False, True
        for site in listening:
            await site.stop()  # no new connection; aiohttp's own shutdown would not read half-sent bodies to their end
        with suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_S):
                await collector.idle.wait()
                await collector.links.records.retry()
        if came := collector.tally.report(meter):
            log.info("until the end: %s", came)
    finally:
        await runner.cleanup()


def _hide_request_bytes(record: logging.LogRecord) -> bool:
    """Drop aiohttp's log records of requests that cannot be parsed: they quote lines that may hold write keys."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


async def _probe_kafka(collector: Collector, publisher: KafkaPublisher, settings: Settings) -> None:
    """Probe Kafka: while it answers and has all topics, set `ready` and touch the heartbeat file."""
    heartbeat = Home(home()).heartbeat("collector")
    heartbeat.parent.mkdir(parents=True, exist_ok=True)
    names = [topic.name for topic in topics(settings.channels)]
    loop = asyncio.get_running_loop()
    answered_at, last_problem = loop.time() - NOT_READY_AFTER_S, None
    while True:
        problem = await asyncio.to_thread(_problem, publisher, names)
        if not problem:
            answered_at = loop.time()
            if not collector.unhealthy:
                with suppress(OSError):
                    heartbeat.touch()
        if problem != last_problem:
            log.log(logging.WARNING if problem else logging.INFO, "%s", problem or "Kafka answers and has all topics")
            last_problem = problem
        collector.ready = loop.time() - answered_at < NOT_READY_AFTER_S
        await asyncio.sleep(PROBE_INTERVAL_S)


def _problem(publisher: KafkaPublisher, names: list[str]) -> str:
    """Return the reason why Kafka cannot take events; empty: it can."""
    try:
        missing = publisher.missing(names)
    except Exception as error:  # noqa: BLE001 - whatever the error, Kafka does not answer
        return f"Kafka does not answer: {error}"
    if not missing:
        return ""
    return f"{len(missing)} topics are missing, {missing[0]} among them: run `throughline topics apply`"


async def _report_for_ever(collector: Collector, meter: Meter) -> None:
    """Log and count every few seconds what each source has sent, and the codes of what was refused."""
    while True:
        await asyncio.sleep(TALLY_INTERVAL_S)
        meter.set(COLLECTOR_WAITING, collector.waiting_bytes)
        if came := collector.tally.report(meter):
            log.info("in %g s: %s", TALLY_INTERVAL_S, came)
