"""The stage `export` of one destination: looks up what may be new, decides, sends, and keeps the ledger.

**At least once, with names.** An export has the same id in each attempt, by which the other side drops a repeat. Its
row of the ledger is written after the answer and before the record of Kafka is acknowledged: a process that dies
between the two sends it again under the same id, and the ledger has one row.

**Waiting.** While the other side takes nothing (it is down, asks for a pause, or the credentials are not valid), the
stage waits and decides anew: consent and refunds of hours ago count then. Nothing is lost, no other destination waits.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from processors.export.decisions import Decision, Person, decide
from processors.export.triggers import Wanted
from schemas.durations import HOUR_MS, MINUTE_MS, SECOND_MS
from schemas.export.destinations import Destination
from schemas.export.exports import Conversion, ExportAdapter, ExportAnswer, ExportEntry
from schemas.metrics import EXPORT_PAUSED, EXPORTS, NO_METER, Meter

log = logging.getLogger(__name__)

FIRST_PAUSE_MS, LONGEST_PAUSE_MS = SECOND_MS, 5 * MINUTE_MS
"""Pauses while the other side takes nothing; it may ask for a longer one."""
LONGEST_ASKED_MS = HOUR_MS
"""The longest pause that it may ask for: `Retry-After` may be a date, and its clock wrong."""
UNAUTHORISED_PAUSE_MS = MINUTE_MS
MOST_AT_ONCE = 500
"""Conversions that are looked up and decided on together."""


class Facts(Protocol):
    """Reads what is known of conversions; each call returns when the store has answered."""

    async def conversions(self, ids: Collection[str], goals: Collection[str]) -> list[Conversion]:
        """Return conversions by their ids."""

    async def conversions_of(self, people: Collection[str], goals: Collection[str], since_ms: int) -> list[str]:
        """Return the ids of people's conversions since a time."""

    async def people(self, destination: Destination, conversions: Sequence[Conversion]) -> Mapping[str, Person]:
        """Return the people of conversions as known now, by profile id; one who was erased has no document."""

    async def entries(self, destination: str, ids: Collection[str]) -> list[ExportEntry]:
        """Return the ledger's rows of conversions."""

    async def waiting(self, destination: str) -> list[str]:
        """Return the ids of conversions with an export that the other side was not ready for."""

    async def keep(self, entries: Sequence[ExportEntry]) -> None:
        """Write rows of the ledger; return when they are stored."""


class Export:
    """Exports to one destination.

    Args:
        destination: The destination.
        facts: Reads and keeps.
        adapter: Sends.
        clock: The time, milliseconds since 1970.
        pause: Waits so many milliseconds, and keeps the place in the consumer group meanwhile.
        adjusts: Whether the credentials allow adjustments.
        failpoint: Called at each failpoint with its name.
        meter: Counts.
    """

    def __init__(
        self,
        destination: Destination,
        facts: Facts,
        adapter: ExportAdapter,
        *,
        clock: Callable[[], int],
        pause: Callable[[int], Awaitable[None]],
        adjusts: bool = True,
        failpoint: Callable[[str], None] = lambda _: None,
        meter: Meter = NO_METER,
    ) -> None:
        self._destination, self._facts, self._adapter = destination, facts, adapter
        self._clock, self._pause, self._adjusts = clock, pause, adjusts
        self._failpoint, self._meter = failpoint, meter
        self._goals = frozenset(rule.goal for rule in destination.conversions)

    async def __call__(self, wanted: Wanted) -> None:
        """Export what is new of conversions and people; returns when all of it is in the ledger."""
        ids = set(wanted.conversions)
        if wanted.people:
            ids |= {*await self._facts.conversions_of(wanted.people, self._goals, self._since_ms())}
        ordered = sorted(ids)
        for start in range(0, len(ordered), MOST_AT_ONCE):
            await self._export(ordered[start : start + MOST_AT_ONCE])

    async def retry(self) -> None:
        """Export again what the other side was not ready for."""
        await self(Wanted(frozenset(await self._facts.waiting(self._destination.name))))

    def _since_ms(self) -> int:
        limits = self._destination.limits
        return self._clock() - max(limits.max_age_ms, limits.store_age_ms, limits.adjust_ms)

    async def _export(self, ids: Sequence[str]) -> None:
        pause_ms, tries = FIRST_PAUSE_MS, 0
        while True:
            answer = await self._turn(ids, tries)
            self._meter.set(EXPORT_PAUSED, float(answer is not None), self._destination.name)
            if answer is None:
                return
            tries += 1
            if answer.outcome == "unauthorised":
                wait_ms, what = UNAUTHORISED_PAUSE_MS, "is paused, its credentials are refused"
            else:
                wait_ms, what = max(pause_ms, min(answer.retry_after_ms, LONGEST_ASKED_MS)), "takes nothing now"
                pause_ms = min(2 * pause_ms, LONGEST_PAUSE_MS)
            log.warning("%s %s, next try in %d s: %s", self._destination.name, what, wait_ms // 1000, answer.detail)
            await self._pause(wait_ms)

    async def _turn(self, ids: Sequence[str], tries: int) -> ExportAnswer | None:
        """Decide and send once; the answer by which everything has to wait, or None: all is in the ledger."""
        if not ids:
            return None
        decisions = await self._decisions(ids)
        await self._keep(one.entry for one in decisions if one.item is None)
        waiting = [one for one in decisions if one.item is not None]
        for start in range(0, len(waiting), self._adapter.most):
            part = waiting[start : start + self._adapter.most]
            items = [one.item for one in part if one.item is not None]
            answers = await self._adapter.send(items, self._clock())
            self._failpoint("export:sent")
            settled = [
                _settled(one.entry._replace(attempt=one.entry.attempt + tries), answer)
                for one, answer in zip(part, answers, strict=True)
            ]
            await self._keep(one for one in settled if one is not None)
            if (held := next((one for one in answers if one.outcome in ("later", "unauthorised")), None)) is not None:
                return held
        return None

    async def _decisions(self, ids: Sequence[str]) -> list[Decision]:
        conversions = await self._facts.conversions(ids, self._goals)
        people = await self._facts.people(self._destination, conversions)
        entries: dict[tuple[str, str], list[ExportEntry]] = {}
        for entry in await self._facts.entries(self._destination.name, ids):
            entries.setdefault((entry.goal, entry.conversion_id), []).append(entry)
        now_ms = self._clock()
        return [
            decision
            for one in conversions
            for decision in decide(
                self._destination, one, entries.get((one.goal, one.conversion_id), []),
                people.get(one.profile_id, Person(None)), now_ms, adjusts=self._adjusts,
            )
        ]  # fmt: skip

    async def _keep(self, entries: Iterable[ExportEntry]) -> None:
        kept = list(entries)
        if kept:
            await self._facts.keep(kept)
            for one in kept:
                self._meter.add(
                    EXPORTS, 1, self._destination.name, one.reason if one.state == "withheld" else one.state
                )


def _settled(entry: ExportEntry, answer: ExportAnswer) -> ExportEntry | None:
    """Return the ledger's row after an answer; None: it is not decided yet."""
    match answer.outcome:
        case "sent":
            return entry._replace(answer=answer.detail)
        case "refused":
            return entry._replace(state="refused", reason="refused", answer=answer.detail)
        case "not_yet":
            return entry._replace(state="withheld", reason="not_yet", answer=answer.detail)
    return None
