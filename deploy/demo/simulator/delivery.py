"""Delivery of events: delayed by networks, uploaded by tills at night, twice, out of order, and sometimes broken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Any

import orjson

from schemas.durations import DAY_MS, HOUR_MS, MINUTE_MS

DUPLICATES = 0.015
"""Share of events that are delivered twice, byte for byte: most within a minute, some hours or weeks later."""

# Source of all broken lines.
LEGACY = "legacy-exporter"

_CLOCK = [f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(86_400)]


class Outbox:
    """Writes events and holds them until their time of delivery.

    Memory holds one day of events and the late ones, not the whole simulation.

    Args:
        rng: The only source of random numbers.
        start: Day 0.
        run: Prefix of event ids, derived from seed and options.
        junk: Share of lines that are broken.
        last_ms: Duplicates are delivered no later than this time.
    """

    def __init__(self, rng: Random, start: date, run: str, junk: float, last_ms: int) -> None:
        self._rng = rng
        self._run = run
        self._junk = junk / (1 - junk)
        self._last_ms = last_ms
        self._start = start
        self._days: dict[int, str] = {}
        self._waiting: dict[int, list[tuple[int, int, bytes]]] = {}
        self._delivered = 0
        self.events = self.duplicates = self.broken = 0

    def stamp(self, ms: int, *, paris: bool = False) -> str:
        """Return milliseconds since the start as RFC 3339, in UTC or (tills) in the summer time of Paris."""
        if paris:
            ms += 2 * HOUR_MS
        day, rest = divmod(ms, DAY_MS)
        text = self._days.get(day)
        if text is None:
            text = self._days[day] = (self._start + timedelta(days=day)).isoformat()
        return f"{text}T{_CLOCK[rest // 1000]}.{rest % 1000:03d}{'+02:00' if paris else 'Z'}"

    def send(
        self,
        ms: int,
        event: str,
        channel: str,
        source: str,
        identifiers: list[dict[str, Any]],
        *,
        arrives: int = 0,
        properties: dict[str, Any] | None = None,
        campaign: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        traits: dict[str, Any] | None = None,
        consent: dict[str, Any] | None = None,
    ) -> None:
        """Send one event that happens at `ms`; `arrives` is its time of delivery, if not within seconds."""
        uniform = self._rng.random
        number = self.events
        self.events = number + 1
        touchpoint: dict[str, Any] = {
            "event_id": f"{self._run}-{number:08x}",
            "event": event,
            "channel": channel,
            "occurred_at": self.stamp(ms, paris=channel == "store"),
            "source": source,
            "identifiers": identifiers,
        }
        if campaign is not None:
            touchpoint["campaign"] = campaign
        if context is not None:
            touchpoint["context"] = context
        if properties is not None:
            touchpoint["properties"] = properties
        if traits is not None:
            touchpoint["traits"] = traits
        if consent is not None:
            touchpoint["consent"] = consent
        if not arrives:
            delay = 40 + int(uniform() * 1_500)
            if delay > 1_510:  # about 2 %: a slow radio link puts events out of order
                delay *= int(uniform() * 400)
            arrives = ms + delay
        line = orjson.dumps(touchpoint)
        self._hold(arrives, line)
        if uniform() < DUPLICATES:
            self._repeat(arrives, line)
        if uniform() < self._junk:
            self._break(arrives, touchpoint)

    def _hold(self, arrives: int, line: bytes) -> None:
        day = arrives // DAY_MS
        if day < self._delivered:  # that day was delivered already
            day = self._delivered
            arrives = max(arrives, day * DAY_MS)
        waiting = self._waiting.get(day)
        if waiting is None:
            waiting = self._waiting[day] = []
        waiting.append((arrives, len(waiting), line))

    def _repeat(self, arrives: int, line: bytes) -> None:
        draw, size = self._rng.random(), self._rng.random()
        if draw < 0.6:
            again = arrives + int(size * MINUTE_MS)
        elif draw < 0.85:
            again = arrives + int(size * 12 * HOUR_MS)
        else:
            again = arrives + int(size * 40 * DAY_MS)
        self.duplicates += 1
        self._hold(min(again, max(arrives, self._last_ms)), line)

    def _break(self, arrives: int, touchpoint: dict[str, Any]) -> None:
        """Deliver a broken copy under an id of its own; the valid event is delivered too."""
        self.broken += 1
        broken = dict(touchpoint, event_id=f"{touchpoint['event_id']}-x", source=LEGACY)
        kind = int(self._rng.random() * 10)
        if kind == 0:
            del broken["event_id"]
        elif kind == 1:
            broken["event_id"] = "x" * 120
        elif kind == 2:
            broken["event"] = ""
        elif kind == 3:
            broken["occurred_at"] = broken["occurred_at"].rstrip("Z").replace("+02:00", "")
        elif kind == 4:
            broken["occurred_at"] = "yesterday evening"
        elif kind == 5:
            broken["identifiers"] = "anonymous"
        elif kind == 6:
            broken["identifiers"] = [{"type": "email"}]
        elif kind == 7:
            broken["properties"] = ["not", "an", "object"]
        elif kind == 8:
            broken.update(event="Order Completed", properties={"order_id": "o-0", "revenue": "NaN", "currency": "EUR"})
        else:
            del broken["occurred_at"]
        self._hold(arrives, orjson.dumps(broken))

    def deliver(self, day: int | None) -> Iterator[bytes]:
        """Yield the lines of the days before `day` in order of delivery; None: all that are left."""
        for ready in sorted(key for key in self._waiting if day is None or key < day):
            self._delivered = ready + 1
            lines = self._waiting.pop(ready)
            lines.sort()
            for _, _, line in lines:
                yield line
