"""Runs the collector: puts it together, listens, watches Kafka, and ends without dropping what has begun."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from contextlib import suppress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from deploy.collector.authentication import WriteKeys
from deploy.collector.routes import Collector
from deploy.home import Home
from deploy.operations.sources import collect_for, load_sources
from deploy.settings import Settings, home
from schemas.topics import topics
from sinks.kafka.group_commit import GatheringPublisher
from sinks.kafka.producer import KafkaPublisher

log = logging.getLogger(__name__)

WAITING_BYTES = 64 * 1024 * 1024
PUBLISH_WITHIN_S = 10.0
FINISH_WITHIN_S = 6.0
PROBE_S = 2.0
NOT_READY_AFTER_S = 10.0
TALLY_S = 10.0


def build_collector(settings: Settings, publisher: KafkaPublisher) -> Collector:
    """Put a collector together; nothing connects before it is used.

    Raises:
        DefinitionError: The sources or their keys are not what they should be.
    """
    sources = load_sources(settings)
    keys = WriteKeys(settings.write_keys.get_secret_value(), sources)
    if not keys:
        log.warning("no source has a write key (THROUGHLINE_WRITE_KEYS), so nobody can publish")
    return Collector(
        sources=sources,
        keys=keys,
        collect=collect_for(settings),
        publisher=GatheringPublisher(publisher, WAITING_BYTES),
        most_bytes=settings.collector_max_request_bytes,
        confirm_within_s=settings.collector_confirm_s,
        trusts_proxy=settings.collector_trusts_proxy,
    )


async def serve(settings: Settings) -> None:
    """Run a collector until SIGTERM or SIGINT; then finish what has begun.

    Raises:
        DefinitionError: As `build_collector`.
        OSError: The address cannot be listened on.
    """
    logging.getLogger("aiohttp.server").addFilter(_says_no_request)
    publish_s = max(PUBLISH_WITHIN_S, settings.collector_confirm_s)
    publisher = KafkaPublisher(settings.kafka_bootstrap, settings.topic_prefix, timeout_s=publish_s)
    collector = build_collector(settings, publisher)
    address = urlsplit(settings.collector_url)
    # What follows a request that was refused half-way is read on for a moment, or the client would not see the answer.
    runner = web.AppRunner(
        collector.app(), access_log=None, keepalive_timeout=30, lingering_time=2, shutdown_timeout=1
    )  # fmt: skip
    await runner.setup()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        site = web.TCPSite(runner, address.hostname, address.port, backlog=1024)
        await site.start()
        log.info("the collector listens on %s", settings.collector_url)
        watching = [
            asyncio.create_task(_watch(collector, publisher, settings)),
            asyncio.create_task(_report(collector.tally)),
        ]
        await stop.wait()
        for task in watching:
            task.cancel()
        collector.ready, collector.stopping = False, True
        await site.stop()  # nobody new; aiohttp's own end would not read on what is half sent
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_WITHIN_S):
                await collector.idle.wait()
    finally:
        await runner.cleanup()


def _says_no_request(record: logging.LogRecord) -> bool:
    """Keep out what aiohttp logs of a request that cannot be read: whole lines of it, write keys among them."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


async def _watch(collector: Collector, publisher: KafkaPublisher, settings: Settings) -> None:
    """Keep `ready` true, and the file that health checks look at fresh, while Kafka answers and has all topics."""
    heartbeat = Home(home()).heartbeat("collector")
    heartbeat.parent.mkdir(parents=True, exist_ok=True)
    names = [topic.name for topic in topics(settings.channels)]
    loop = asyncio.get_running_loop()
    answered, before = loop.time() - NOT_READY_AFTER_S, None
    while True:
        problem = await asyncio.to_thread(_problem, publisher, names)
        if not problem:
            answered = loop.time()
            with suppress(OSError):
                heartbeat.touch()
        if problem != before:
            log.log(logging.WARNING if problem else logging.INFO, "%s", problem or "Kafka answers and has all topics")
            before = problem
        collector.ready = loop.time() - answered < NOT_READY_AFTER_S
        await asyncio.sleep(PROBE_S)


def _problem(publisher: KafkaPublisher, names: list[str]) -> str:
    try:
        missing = publisher.missing(names)
    except Exception as error:  # noqa: BLE001 - of whatever kind: it does not answer
        return f"Kafka does not answer: {error}"
    if not missing:
        return ""
    return f"{len(missing)} topics are missing, {missing[0]} among them: run `throughline topics apply`"


async def _report(tally: Counter[str]) -> None:
    """Log now and then what came in, and what was refused why."""
    while True:
        await asyncio.sleep(TALLY_S)
        if tally:
            log.info("in %g s: %s", TALLY_S, ", ".join(f"{what} {count:,}" for what, count in sorted(tally.items())))
            tally.clear()
