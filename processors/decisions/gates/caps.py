"""Frequency caps: over rolling windows, and over the days, weeks and months of the person's calendar.

Section `caps` of a person's state is the log of counted messages: idempotency key → `[at, channel, tags, expires]`. A
message is reserved when it is decided (`expires` is the time at which the reservation ends without a report), committed
when it has arrived (`expires` is 0), and removed when it has failed. The state of a person changes by compare-and-set
only, so each of several messages considered at the same time sees the reservations of those before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from processors.decisions import calendar, labels
from processors.decisions.gates.candidate import Candidate, Check
from schemas.decisions.policy import CapRule, MessagePolicy
from schemas.durations import duration_text
from schemas.time import text_of_ms

State = dict[str, Any]

_AT, _CHANNEL, _TAGS, _EXPIRES = range(4)


class _Cap:
    """One cap of the policy, compiled."""

    __slots__ = ("_rule", "limit", "name", "text")

    def __init__(self, rule: CapRule) -> None:
        self._rule = rule
        self.limit = rule.limit
        period = duration_text(rule.within) if rule.within else f"a calendar {rule.calendar}"
        tagged = f" tagged {rule.tag}" if rule.tag else ""
        self.text = f"{labels.messages_label(rule.channel or '')}{tagged} allowed in {period}"
        self.name = f"{rule.channel or 'all channels'}{tagged}, {period}"

    def covers(self, channel: str, tags: Sequence[str]) -> bool:
        rule = self._rule
        return (rule.channel is None or rule.channel == channel) and (rule.tag is None or rule.tag in tags)

    def used(self, log: Iterable[list[Any]], now_ms: int, zone: ZoneInfo) -> list[int]:
        """Return the times of the messages that count now, ascending."""
        rule = self._rule
        since = now_ms - rule.within + 1 if rule.within else calendar.period_start(now_ms, rule.calendar or "day", zone)
        return sorted(sent[_AT] for sent in log if sent[_AT] >= since and self.covers(sent[_CHANNEL], sent[_TAGS]))

    def next_at(self, used: list[int], now_ms: int, zone: ZoneInfo) -> int | None:
        """Return when one more message is possible, if none is sent meanwhile; None: never."""
        if not self.limit:
            return None
        if self._rule.within:
            return used[-self.limit] + self._rule.within
        return calendar.next_period_start(now_ms, self._rule.calendar or "day", zone)


class Caps:
    """The gate `caps`: the caps of the policy over the log of one person."""

    def __init__(self, policy: MessagePolicy) -> None:
        self._caps = [_Cap(rule) for rule in policy.caps]
        self._postpone = policy.when_capped == "postpone"
        self._counts_transactional = policy.transactional.counted
        self._wait = policy.receipts.within
        self._release = policy.receipts.without == "release"
        self._remembered = policy.remembered_ms

    def check(self, candidate: Candidate) -> Check:
        """Suppress or postpone when a cap is used up. It reserves nothing: later gates may still stop the message."""
        log = self._counting(candidate.person.state, candidate.now_ms)
        gate_input: dict[str, Any] = {}
        full: tuple[int | float, _Cap, int] | None = None
        for cap in self._caps:
            if cap.covers(candidate.channel, candidate.message.tags):
                used = cap.used(log, candidate.now_ms, candidate.zone)
                gate_input[cap.name] = [len(used), cap.limit]
                if len(used) >= cap.limit:
                    next_at = cap.next_at(used, candidate.now_ms, candidate.zone)
                    then = float("inf") if next_at is None else next_at
                    if full is None or then > full[0]:
                        full = then, cap, len(used)
        if full is None:
            return Check(True, gate_input)
        then, cap, sent = full
        if not cap.limit:
            return Check(False, gate_input, f"no {cap.text}")
        possible = int(then)
        reason = f"{sent} of {cap.limit} {cap.text} {'was' if sent == 1 else 'were'} already sent"
        reason += f"; the next is possible after {calendar.readable_time(possible, candidate.now_ms, candidate.zone)}"
        gate_input["possible_at"] = text_of_ms(possible)
        return Check(False, gate_input, reason, possible if self._postpone else None)

    def counts(self, candidate: Candidate) -> bool:
        """Return whether a message counts for any cap."""
        if candidate.message.transactional and not self._counts_transactional:
            return False
        return any(cap.covers(candidate.channel, candidate.message.tags) for cap in self._caps)

    def reserve(self, candidate: Candidate) -> None:
        """Reserve a message that is being sent."""
        log = candidate.person.state.setdefault("caps", {})
        log[candidate.key] = [
            candidate.now_ms,
            candidate.channel,
            list(candidate.message.tags),
            candidate.now_ms + self._wait,
        ]

    def prune(self, state: State, now_ms: int) -> None:
        """End reservations without a report, and delete messages older than every window."""
        log = state.get("caps")
        if log is None:
            return
        for key, sent in list(log.items()):
            if sent[_AT] <= now_ms - self._remembered:
                del log[key]
            elif 0 < sent[_EXPIRES] <= now_ms:
                if self._release:
                    del log[key]
                else:
                    sent[_EXPIRES] = 0
        if not log:
            del state["caps"]

    def due(self, state: State) -> int | None:
        """Return when the next reservation ends; None where a message without a report counts as sent."""
        caps = state.get("caps") if self._release else None
        return min((sent[_EXPIRES] for sent in caps.values() if sent[_EXPIRES]), default=None) if caps else None

    def _counting(self, state: State, now_ms: int) -> list[list[Any]]:
        log = state.get("caps", {}).values()
        return [sent for sent in log if not sent[_EXPIRES] or sent[_EXPIRES] > now_ms or not self._release]


def commit(state: State, key: str, at_ms: int, channel: str, tags: list[str]) -> None:
    """Commit a message: it has arrived, even if its reservation had ended."""
    state.setdefault("caps", {})[key] = [at_ms, channel, tags, 0]


def release(state: State, key: str) -> None:
    """Remove a message: it has failed."""
    log = state.get("caps", {})
    if log.pop(key, None) and not log:
        del state["caps"]


def combine(mine: State, other: State) -> None:
    """Unite the logs of two people; of two entries of the same message, the one that counts longer stays."""
    theirs = other.get("caps")
    if not theirs:
        return
    log = mine.setdefault("caps", {})
    for key, sent in theirs.items():
        log[key] = max(log[key], sent, key=_duration_of_count) if key in log else sent


def _duration_of_count(sent: list[Any]) -> tuple[bool, list[Any]]:
    return sent[_EXPIRES] == 0, sent
