"""The gates `quiet_hours` and `send_time`: no message in quiet hours, and the person's best hour."""

from __future__ import annotations

from typing import Any

from processors.decisions import calendar, labels
from processors.decisions.gates.candidate import Candidate, Check
from schemas.decisions.policy import SendTimeRules
from schemas.time import text_of_ms, time_of_ms

_SECTION: dict[str, Any] = {}


class QuietGate:
    """The gate `quiet_hours`: no message is sent in the channel's quiet hours."""

    def __init__(self, quiet: calendar.QuietCalendar, send_time: SendTimeGate) -> None:
        self._quiet = quiet
        self._send_time = send_time

    def check(self, candidate: Candidate) -> Check:
        """Postpone to the end of the quiet hours; for a message with `best_within`, to the best hour after it."""
        span = self._quiet.span(candidate.channel)
        gate_input = {"hours": span, "time_zone": str(candidate.zone), "local": _hour_and_minute(candidate)}
        until = self._quiet.until(candidate.channel, candidate.now_ms, candidate.zone)
        if until is None:
            return Check(True, gate_input)
        until = max(until, self._send_time.best_from(candidate, until) or 0)
        when = calendar.readable_time(until, candidate.now_ms, candidate.zone)
        medium = labels.channel_label(candidate.channel)
        return Check(
            False, gate_input, f"it is quiet time for {medium} ({span}) where the person is; next at {when}", until
        )


class SendTimeGate:
    """The gate `send_time`: a message with `best_within` waits for the hour at which its person most likely clicks."""

    def __init__(self, rules: SendTimeRules, quiet: calendar.QuietCalendar) -> None:
        self._quiet = quiet
        whole = sum(rules.rhythm)
        self._prior = tuple(weight / whole * rules.strength for weight in rules.rhythm)

    def check(self, candidate: Candidate) -> Check:
        """Postpone to the best hour that remains of `best_within`."""
        within = candidate.message.best_within_ms
        if within is None:
            return Check(True, {})
        best = self.best_from(candidate, candidate.now_ms)
        gate_input = {"best_within_ms": within, "best": text_of_ms(best) if best is not None else None}
        if best is None or best <= candidate.now_ms:
            return Check(True, gate_input)
        when = calendar.readable_time(best, candidate.now_ms, candidate.zone)
        return Check(False, gate_input, f"the person answers best at another hour; waits for {when}", best)

    def best_from(self, candidate: Candidate, start_ms: int) -> int | None:
        """Return the start of the best hour from a time on; None: the message has no `best_within`, or it is over.

        Of equally good hours the first is returned; the hour that contains `start_ms` starts at `start_ms`.
        """
        within = candidate.message.best_within_ms
        if within is None:
            return None
        end = min(candidate.request.requested_ms + within, candidate.expires_ms - 1)
        counts = candidate.person.state.get("sends", _SECTION).get("hours", _SECTION)
        best, best_score, at = None, 0.0, start_ms
        while at <= end:
            hour = time_of_ms(at, candidate.zone).hour
            score = self._prior[hour] + counts.get(str(hour), 0)
            if score > best_score and self._quiet.until(candidate.channel, at, candidate.zone) is None:
                best, best_score = at, score
            at = calendar.next_hour(at, candidate.zone)
        return best


def _hour_and_minute(candidate: Candidate) -> str:
    now = time_of_ms(candidate.now_ms, candidate.zone)
    return f"{now.hour:02d}:{now.minute:02d}"
