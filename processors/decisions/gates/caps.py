"""How often a person is written to: caps over rolling windows and over days, weeks and months of their calendar.

Section `caps` of a person's state is the log of what counts: idempotency key → `[at, channel, tags, expires]`. A
message is reserved when it is decided (`expires` tells how long a report is waited for), committed when it has arrived
(`expires` is 0), and taken out when it has failed. The state of a person changes only by compare-and-set, so however
many messages are considered at once, each of them sees the reservations of all before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from processors.decisions import calendar as clock
from processors.decisions import labels as words
from processors.decisions.gates.candidate import Case, Check
from schemas.decisions.policy import CapRule, MessagePolicy
from schemas.durations import duration_text
from schemas.time import text_of_ms

State = dict[str, Any]

_AT, _CHANNEL, _TAGS, _EXPIRES = range(4)


class _Cap:
    """One cap, ready to count."""

    __slots__ = ("_rule", "limit", "name", "text")

    def __init__(self, rule: CapRule) -> None:
        self._rule = rule
        self.limit = rule.limit
        period = duration_text(rule.within) if rule.within else f"a calendar {rule.calendar}"
        tagged = f" tagged {rule.tag}" if rule.tag else ""
        self.text = f"{words.many(rule.channel or '')}{tagged} allowed in {period}"
        self.name = f"{rule.channel or 'all channels'}{tagged}, {period}"

    def covers(self, channel: str, tags: Sequence[str]) -> bool:
        rule = self._rule
        return (rule.channel is None or rule.channel == channel) and (rule.tag is None or rule.tag in tags)

    def used(self, log: Iterable[list[Any]], now_ms: int, zone: ZoneInfo) -> list[int]:
        """The times of the messages that count now, ascending."""
        rule = self._rule
        since = now_ms - rule.within + 1 if rule.within else clock.this_period(now_ms, rule.calendar or "day", zone)
        return sorted(sent[_AT] for sent in log if sent[_AT] >= since and self.covers(sent[_CHANNEL], sent[_TAGS]))

    def next_at(self, used: list[int], now_ms: int, zone: ZoneInfo) -> int | None:
        """When one more is possible, if nothing else is sent meanwhile; None: never."""
        if not self.limit:
            return None
        if self._rule.within:
            return used[-self.limit] + self._rule.within
        return clock.next_period(now_ms, self._rule.calendar or "day", zone)


class Caps:
    """The caps of the policy, over the log of one person."""

    def __init__(self, policy: MessagePolicy) -> None:
        self._caps = [_Cap(rule) for rule in policy.caps]
        self._postpone = policy.when_capped == "postpone"
        self._counts_transactional = policy.transactional.counted
        self._wait = policy.receipts.within
        self._release = policy.receipts.without == "release"
        self._remembered = policy.remembered_ms

    def check(self, case: Case) -> Check:
        """Stop, or wait, when any cap is used up. Nothing is reserved yet: later gates may still stop the message."""
        log = self._counting(case.person.state, case.now_ms)
        given: dict[str, Any] = {}
        full: tuple[int | float, _Cap, int] | None = None
        for cap in self._caps:
            if cap.covers(case.channel, case.message.tags):
                used = cap.used(log, case.now_ms, case.zone)
                given[cap.name] = [len(used), cap.limit]
                if len(used) >= cap.limit:
                    next_at = cap.next_at(used, case.now_ms, case.zone)
                    then = float("inf") if next_at is None else next_at
                    if full is None or then > full[0]:
                        full = then, cap, len(used)
        if full is None:
            return Check(True, given)
        then, cap, sent = full
        if not cap.limit:
            return Check(False, given, f"no {cap.text}")
        possible = int(then)
        reason = f"{sent} of {cap.limit} {cap.text} {'was' if sent == 1 else 'were'} already sent"
        reason += f"; the next is possible after {clock.say(possible, case.now_ms, case.zone)}"
        given["possible_at"] = text_of_ms(possible)
        return Check(False, given, reason, possible if self._postpone else None)

    def counts(self, case: Case) -> bool:
        """Tell whether a message counts for any cap."""
        if case.message.transactional and not self._counts_transactional:
            return False
        return any(cap.covers(case.channel, case.message.tags) for cap in self._caps)

    def reserve(self, case: Case) -> None:
        """Count a message that is being sent."""
        log = case.person.state.setdefault("caps", {})
        log[case.key] = [case.now_ms, case.channel, list(case.message.tags), case.now_ms + self._wait]

    def prune(self, state: State, now_ms: int) -> None:
        """Settle what nobody has reported on, and forget what no window reaches any more."""
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
        """When the next reservation is given back; None where silence counts as sent, for then nothing changes."""
        caps = state.get("caps") if self._release else None
        return min((sent[_EXPIRES] for sent in caps.values() if sent[_EXPIRES]), default=None) if caps else None

    def _counting(self, state: State, now_ms: int) -> list[list[Any]]:
        log = state.get("caps", {}).values()
        return [sent for sent in log if not sent[_EXPIRES] or sent[_EXPIRES] > now_ms or not self._release]


def commit(state: State, key: str, at_ms: int, channel: str, tags: list[str]) -> None:
    """Count a message for good: it has arrived, even if it was given up before."""
    state.setdefault("caps", {})[key] = [at_ms, channel, tags, 0]


def release(state: State, key: str) -> None:
    """Count a message no longer: it has failed."""
    log = state.get("caps", {})
    if log.pop(key, None) and not log:
        del state["caps"]


def combine(mine: State, other: State) -> None:
    """Unite two logs, so that counts add; of two notes about the same message the one that counts longer stays."""
    theirs = other.get("caps")
    if not theirs:
        return
    log = mine.setdefault("caps", {})
    for key, sent in theirs.items():
        log[key] = max(log[key], sent, key=_firmness) if key in log else sent


def _firmness(sent: list[Any]) -> tuple[bool, list[Any]]:
    return sent[_EXPIRES] == 0, sent
