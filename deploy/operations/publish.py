"""Publishes JSON Lines to Kafka: each line to its channel's topic, idempotently, with every failure counted and named.

A line has to be an object with a known `channel`: then it has a topic. Whether it is a valid event is checked by the
stage `identify`, which makes a dead letter of an invalid one; with `strict` it is checked here and not sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from deploy.connections.faults import kafka_reason
from deploy.connections.kafka import kafka_connection
from processors.intake.routing import routing_key
from schemas.topics import touchpoint_topic

if TYPE_CHECKING:
    from deploy.settings import Settings

_LINES_PER_PROGRESS = 2_000
_MAX_PROBLEMS = 20

Progress = Callable[[int, int], None]
"""Takes the numbers of lines and bytes that have been handled."""


class NotPublishableError(ValueError):
    """A line that is not sent: it has no topic or, with `strict`, is no valid event."""


class KafkaNotReadyError(RuntimeError):
    """No broker, or no topics; the message says what to do."""


@dataclass(slots=True)
class PublishSummary:
    """The outcome of publishing lines.

    Attributes:
        published: Lines confirmed by the broker.
        refused: Lines that were not sent: not routable or, with `strict`, not valid.
        failed: Lines that the broker did not confirm.
        seconds: How long it took, up to the last confirmation.
        problems: The first refusals and failures as text, with line numbers where there is one.
    """

    published: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every line is in Kafka."""
        return not self.refused and not self.failed

    def summary(self) -> dict[str, Any]:
        """Write the numbers and problems for `--json`."""
        return {
            "published": self.published,
            "refused": self.refused,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "events_per_s": round(self.published / self.seconds) if self.seconds else 0,
            "problems": self.problems,
        }

    def problem(self, text: str) -> None:
        """Keep the text of the first problems; further ones are only counted."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(text)


class LineRouter:
    """Finds the topic and the key of a line.

    Args:
        channels: Channels that the deployment knows.
        topic_prefix: What the deployment puts before its topics' names.
        secret: Key of the hash that stands in the record key for an identifier: no raw address leaves the value.
    """

    def __init__(self, channels: Iterable[str], topic_prefix: str, secret: bytes) -> None:
        self._topics = {channel: topic_prefix + touchpoint_topic(channel) for channel in channels}
        self._secret = secret

    def route(self, line: bytes) -> tuple[str, bytes | None]:
        """Find the full name of a line's topic, and its record key.

        Raises:
            NotPublishableError: It has no topic; the message says why and what to do.
        """
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise NotPublishableError(f"not JSON: {error}") from None
        if type(event) is not dict:
            raise NotPublishableError(f"a touchpoint is a JSON object, this is a {type(event).__name__}")
        channel = event.get("channel")
        topic = self._topics.get(channel) if type(channel) is str else None
        if topic is None:
            if channel is None:
                raise NotPublishableError("channel: missing; it names the topic")
            raise NotPublishableError(
                f"channel: {channel!r} is not known; add it to THROUGHLINE_CHANNELS or correct the event"
            )
        return topic, routing_key(event, self._secret)


def contract_check(settings: Settings) -> Callable[[bytes], str | None]:
    """Return a function that returns why `identify` would reject a line; None: the line is a valid event.

    Raises:
        DefinitionError: The sources, a transform or the tracking plan are not valid.
    """
    from deploy.operations.plans import plan_in_force
    from deploy.operations.sources import load_sources
    from deploy.operations.transforms import transforms_in_force
    from processors.intake.decode import decode
    from schemas.outcomes import Reject

    channels = frozenset(settings.channels)
    plan, transforms = plan_in_force(settings), transforms_in_force(settings, load_sources(settings))

    def check(line: bytes) -> str | None:
        outcome = decode(line, channels=channels, max_bytes=settings.max_event_bytes, transform=transforms)
        if plan is not None and not isinstance(outcome, Reject):
            outcome = plan.apply(outcome) or outcome
        return outcome.message if isinstance(outcome, Reject) else None

    return check


class _Sender:
    """Hands lines to librdkafka and counts those that the broker does not confirm."""

    def __init__(self, settings: Settings, outcome: PublishSummary) -> None:
        from confluent_kafka import KafkaException, Producer

        from sinks.kafka.producer import producer_config

        self._outcome = outcome
        self._bootstrap = settings.kafka_bootstrap
        self._refusal = KafkaException
        self.sent = self._unsent = 0
        extra: dict[str, Any] = {"linger.ms": 10, "queue.buffering.max.messages": 100_000, "log_level": 0}
        # Only errors are reported back: one callback into Python for each success would halve the speed.
        extra["delivery.report.only.error"] = True
        self._producer = Producer(producer_config(kafka_connection(settings), **extra))
        self._check(settings)

    def _check(self, settings: Settings) -> None:
        """Check broker and topics first: librdkafka would wait half a minute for one that does not exist."""
        try:
            found = self._producer.list_topics(timeout=5).topics
        except self._refusal as error:
            reason = kafka_reason(settings, error)
            advice = "start it with `throughline up` or set THROUGHLINE_KAFKA_BOOTSTRAP"
            raise KafkaNotReadyError(
                reason
                if "THROUGHLINE_" in reason
                else f"Kafka does not answer at {self._bootstrap} ({reason}): {advice}"
            ) from None
        missing = [
            channel for channel in settings.channels if settings.topic_prefix + touchpoint_topic(channel) not in found
        ]
        if missing:
            raise KafkaNotReadyError(f"no topic for {', '.join(missing)}: run `throughline topics apply`")

    def _report(self, error: Any, message: Any) -> None:
        if error is not None:
            self._outcome.failed += 1
            self._outcome.problem(f"not confirmed by {message.topic()}: {error}")

    def send(self, number: int, line: bytes, topic: str, key: bytes | None) -> None:
        """Queue one line; wait while the queue is full."""
        while True:
            try:
                self._producer.produce(topic, line, key, on_delivery=self._report)
            except BufferError:
                self.wait(0.05)
            except self._refusal as error:  # larger than the client may send, mostly
                self._unsent += 1
                self._outcome.problem(f"line {number}: {error.args[0].str()}")
                return
            else:
                self.sent += 1
                return

    def wait(self, seconds: float) -> None:
        """Handle delivery reports for this long."""
        self._producer.poll(seconds)

    def finish(self) -> None:
        """Wait for the broker and settle the counts."""
        from sinks.kafka.producer import DELIVERY_TIMEOUT_S

        left = self._producer.flush(DELIVERY_TIMEOUT_S + 5)
        if left:
            self._outcome.failed += left
            self._outcome.problem(f"{left} events not confirmed: no answer from {self._bootstrap}")
        self._outcome.published = self.sent - self._outcome.failed
        self._outcome.failed += self._unsent


def publish(
    lines: Iterable[bytes],
    settings: Settings,
    *,
    strict: bool = False,
    rate: float | None = None,
    progress: Progress | None = None,
) -> PublishSummary:
    """Publish lines and wait until the broker has confirmed every one.

    Args:
        lines: One event each; an empty line counts as a line and is skipped.
        settings: Where Kafka is and what the deployment knows.
        strict: Do not send a line that the stage `identify` would make a dead letter of.
        rate: At most so many events a second.
        progress: Called regularly with the numbers of handled lines and bytes.

    Returns:
        The counts. A line that is refused or not confirmed is never silent.

    Raises:
        KafkaNotReadyError: No broker answers, or its topics are missing. Nothing has been sent.
    """
    outcome = PublishSummary()
    router = LineRouter(settings.channels, settings.topic_prefix, settings.identity_secret.get_secret_value().encode())
    check = contract_check(settings) if strict else None
    sender = _Sender(settings, outcome)
    started = time.perf_counter()
    handled = size = 0
    for handled, raw in enumerate(lines, start=1):
        size += len(raw)
        line = raw.strip()
        if not line:
            continue
        try:
            topic, key = router.route(line)
            if check is not None and (reason := check(line)) is not None:
                raise NotPublishableError(reason)
        except NotPublishableError as error:
            outcome.refused += 1
            outcome.problem(f"line {handled}: {error}")
            continue
        sender.send(handled, line, topic, key)
        if not handled % _LINES_PER_PROGRESS:
            sender.wait(0)
            if progress is not None:
                progress(handled, size)
        if rate:
            ahead = sender.sent / rate - (time.perf_counter() - started)
            if ahead > 0.01:
                sender.wait(ahead)
    sender.finish()
    outcome.seconds = time.perf_counter() - started
    if progress is not None:
        progress(handled, size)
    return outcome
