"""Step 4, publish: return when Kafka has confirmed every record of a request, or refuse the request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic

from deploy.collector.refusal import RefusedError
from schemas.records import Outgoing, RecordsTooLargeError
from sinks.kafka.group_commit import GroupCommitPublisher, OverloadedError
from sinks.kafka.producer import PublishFailedError

log = logging.getLogger(__name__)

FAILING_S = 5.0
"""Seconds for which a failure makes the collector not ready, unless records are confirmed earlier."""
UNHEALTHY_S = 30.0
"""Seconds for which a failure stops the heartbeat of health checks, likewise: a check fails where failures go on, not
by one alone."""


class Publication:
    """Publishes the records of requests.

    Args:
        publisher: Writes to Kafka.
        confirm_within_s: Longest wait for Kafka, in seconds.
    """

    def __init__(self, publisher: GroupCommitPublisher, confirm_within_s: float) -> None:
        self._publisher = publisher
        self._confirm_within_s = confirm_within_s
        self._failed_at: float | None = None
        self._cause = ""

    @property
    def failing(self) -> bool:
        """Return whether Kafka has lately failed to confirm."""
        return self._failed_within(FAILING_S)

    @property
    def unhealthy(self) -> bool:
        """Return whether Kafka has failed to confirm in the last half minute, and has confirmed nothing since."""
        return self._failed_within(UNHEALTHY_S)

    def _failed_within(self, seconds: float) -> bool:
        return self._failed_at is not None and monotonic() - self._failed_at < seconds

    @property
    def waiting_bytes(self) -> int:
        """Return the bytes of the records that Kafka has not confirmed yet."""
        return self._publisher.waiting_bytes

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Publish records.

        Raises:
            RefusedError: With a status that asks to send again: Kafka has not confirmed all of them, or too many wait.
                With 413, which does not: one is larger than Kafka accepts.
        """
        try:
            async with asyncio.timeout(self._confirm_within_s):
                await self._publisher.send(records)
        except OverloadedError:
            raise RefusedError(429, "overloaded", "More events wait than can be held: send them again.", 1) from None
        except RecordsTooLargeError:
            raise RefusedError(
                413, "too_large", "Kafka takes no record as large as one of these events; the others are stored."
            ) from None
        except (TimeoutError, PublishFailedError) as error:
            reason = str(error) or "no answer in time"  # an error without a text is true all the same
            cause = reason.rpartition("not confirmed: ")[2]  # without the number of records
            if cause != self._cause:  # once for all requests that wait
                log.warning("Kafka does not confirm: %s", reason)
            self._failed_at, self._cause = monotonic(), cause
            raise RefusedError(
                503, "kafka_not_confirmed", "Kafka has not confirmed the events: send them again.", 2
            ) from None
        if records and self._failed_at is not None:
            log.info("Kafka confirms again")
            self._failed_at, self._cause = None, ""
