"""The gates `priority` and `expiry`: the order of a person's messages, and the end of a message's life time."""

from __future__ import annotations

from typing import Any

from processors.decisions import calendar
from processors.decisions.gates.candidate import Candidate, Check
from schemas.decisions.decision import Gate
from schemas.decisions.policy import PriorityRules
from schemas.durations import SECOND_MS
from schemas.time import text_of_ms

_SECTION: dict[str, Any] = {}


class Priority:
    """The gate `priority`: a message waits while a more important one of the same person is pending.

    It is decided again right after the other one, which then has used its share of the caps.
    """

    def __init__(self, rules: PriorityRules) -> None:
        self._window = rules.window

    def check(self, candidate: Candidate) -> Check:
        """Postpone the message if a pending one has a higher priority."""
        priority, ahead = candidate.message.priority, candidate.now_ms + self._window
        pending = candidate.person.state.get("sends", _SECTION).get("pending", _SECTION)
        gate_input: dict[str, Any] = {"priority": priority}
        waiting = [
            (until, key, theirs)
            for key, (until, theirs) in pending.items()
            # A pending message that was due before now and was not decided again has been given up.
            if theirs > priority and key != candidate.key and candidate.now_ms <= until <= ahead
        ]
        if not waiting:
            return Check(True, gate_input)
        until, key, theirs = max(waiting)
        gate_input["waiting"] = {"idempotency_key": key, "priority": theirs, "until": text_of_ms(until)}
        when = calendar.readable_time(until, candidate.now_ms, candidate.zone)
        reason = f"a more important message is about to go out at {when}; it waits for its turn"
        return Check(False, gate_input, reason, until + SECOND_MS)


def expiry(candidate: Candidate) -> Check:
    """Suppress a message that has expired."""
    gate_input = {"expires_at": text_of_ms(candidate.expires_ms)}
    if candidate.now_ms < candidate.expires_ms:
        return Check(True, gate_input)
    expires = calendar.readable_time(candidate.expires_ms, candidate.now_ms, candidate.zone)
    return Check(False, gate_input, f"it was worth sending only until {expires}")


def expiry_of_wait(candidate: Candidate, gate: Gate, waiting: Check) -> Check:
    """Suppress a message that would expire before another gate lets it pass."""
    gate_input = {
        "expires_at": text_of_ms(candidate.expires_ms),
        "gate": gate,
        "passes_at": text_of_ms(waiting.until_ms or 0),
    }
    expires = calendar.readable_time(candidate.expires_ms, candidate.now_ms, candidate.zone)
    return Check(False, gate_input, f"{waiting.reason}; but it is worth sending only until {expires}")
