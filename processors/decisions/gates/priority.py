"""Which message goes first, and when it is too late for any: priority and expiry."""

from __future__ import annotations

from typing import Any

from processors.decisions import calendar as clock
from processors.decisions.gates.candidate import Case, Check
from schemas.decisions.decision import Gate
from schemas.decisions.policy import PriorityRules
from schemas.durations import SECOND_MS
from schemas.time import text_of_ms

_SECTION: dict[str, Any] = {}


class Priority:
    """A message waits while a more important one for the same person is about to go out.

    It takes its turn right after the other one, which then has used its share of the caps.
    """

    def __init__(self, rules: PriorityRules) -> None:
        self._window = rules.window

    def check(self, case: Case) -> Check:
        """Look at what waits for this person."""
        priority, ahead = case.message.priority, case.now_ms + self._window
        pending = case.person.state.get("sends", _SECTION).get("pending", _SECTION)
        given: dict[str, Any] = {"priority": priority}
        waiting = [
            (until, key, theirs)
            for key, (until, theirs) in pending.items()
            # One that was due before now and was not asked again has been given up.
            if theirs > priority and key != case.key and case.now_ms <= until <= ahead
        ]
        if not waiting:
            return Check(True, given)
        until, key, theirs = max(waiting)
        given["waiting"] = {"idempotency_key": key, "priority": theirs, "until": text_of_ms(until)}
        when = clock.say(until, case.now_ms, case.zone)
        reason = f"a more important message is about to go out at {when}; it waits for its turn"
        return Check(False, given, reason, until + SECOND_MS)


def expiry(case: Case) -> Check:
    """Stop a message that has become pointless."""
    given = {"expires_at": text_of_ms(case.expires_ms)}
    if case.now_ms < case.expires_ms:
        return Check(True, given)
    return Check(False, given, f"it was worth sending only until {clock.say(case.expires_ms, case.now_ms, case.zone)}")


def expiry_of_wait(case: Case, gate: Gate, waiting: Check) -> Check:
    """Stop a message that another gate would let pass only when it has become pointless."""
    given = {"expires_at": text_of_ms(case.expires_ms), "gate": gate, "passes_at": text_of_ms(waiting.until_ms or 0)}
    expires = clock.say(case.expires_ms, case.now_ms, case.zone)
    return Check(False, given, f"{waiting.reason}; but it is worth sending only until {expires}")
