"""Publishes what came by links. A click redirects whether Kafka takes its event or not: the event waits meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Protocol

from deploy.collector.refusal import RefusedError
from deploy.collector.tally import Tally
from schemas.records import Outgoing

log = logging.getLogger(__name__)

MAX_WAITING = 50_000
"""Events that wait for Kafka, about 1 kB each; of more, the oldest are given up, and counted."""
MAX_RECENT = 20_000
"""Events that are remembered, so that an address that is called again and again in one second is one event."""
RETRY_S = 2.0
RECORDS_A_TURN = 500


class Publisher(Protocol):
    """Publishes records, or refuses the request."""

    @property
    def failing(self) -> bool:
        """Return whether Kafka has lately failed to confirm."""

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Publish records; raises `RefusedError`."""


class LinkRecords:
    """Publishes events of links at once, or as soon as Kafka confirms again.

    They wait in memory: what waits when the process is killed is lost, and the person is where the link leads.

    Args:
        publication: Publishes.
        tally: Counts what was given up.
    """

    def __init__(self, publication: Publisher, tally: Tally) -> None:
        self._publication = publication
        self._tally = tally
        self._waiting: deque[Outgoing] = deque()
        self._recent: OrderedDict[str, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Return how many events wait."""
        return len(self._waiting)

    async def publish(self, record: Outgoing, event_id: str) -> None:
        """Publish an event, or keep it for later; nothing is raised."""
        if event_id in self._recent:
            return
        self._recent[event_id] = None
        while len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)
        if not (self._waiting or self._publication.failing):  # else each click would wait for Kafka, to no avail
            try:
                await self._publication.publish([record])
            except RefusedError:
                pass
            else:
                return
        self._keep(record)

    async def retry(self) -> None:
        """Publish what waits, until something is refused again."""
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(len(self._waiting), RECORDS_A_TURN))]
            try:
                await self._publication.publish(some)
            except RefusedError:
                self._waiting.extendleft(reversed(some))
                return
            except asyncio.CancelledError:  # the process stops: the last try begins with them
                self._waiting.extendleft(reversed(some))
                raise
            log.info("%d events of links are published that had waited for Kafka", len(some))

    async def retry_for_ever(self) -> None:
        """Try again every few seconds."""
        while True:
            await asyncio.sleep(RETRY_S)
            await self.retry()

    def _keep(self, record: Outgoing) -> None:
        self._waiting.append(record)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._tally.add("(links)", "refused", detail="kafka_not_confirmed")
