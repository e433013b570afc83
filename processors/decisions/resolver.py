"""The message resolver: one message of one person gives one decision and one ledger row with its reason.

The gates have a fixed order, and the first one that a message does not pass decides:

1. *transactional*: a message of a contract bypasses the gates that the policy names;
2. *consent*: to the purpose and the channel; no answer is a no;
3. *suppression*: suppression lists, permanent bounces, spam reports;
4. *holdout*: control groups; a person who is held out goes through the same gates, and where others get the message
   their row says `ghost`: the recipients are compared with the ghosts, not with the whole control group;
5. *channel*: one of those that reach the person;
6. *quiet_hours*, 7. *send_time*: the time of sending;
8. *caps*: frequency; reserved here, committed on delivery, released on failure;
9. *priority*: messages of higher priority go first;
10. *expiry*: the message has expired, or would before the time to which it is postponed.

A decision is a pure function of the person and the request, and changes the person's state in place. The store makes
it atomic: it writes a state by compare-and-set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from processors.decisions import ledger, receipts, sends
from processors.decisions.calendar import QuietCalendar
from processors.decisions.gates import caps
from processors.decisions.gates.candidate import Candidate, Check
from processors.decisions.gates.caps import Caps
from processors.decisions.gates.channel import ChannelChoice
from processors.decisions.gates.permission import Consent, Holdout, Suppression
from processors.decisions.gates.priority import Priority, expiry, expiry_of_wait
from processors.decisions.gates.timing import QuietGate, SendTimeGate
from processors.decisions.sends import COUNTED, LogEntry
from processors.profiles.time_zone import zone_of
from processors.segments.port import Segments
from schemas.decisions.decision import Decision, DecisionOutcome, Gate, HeldBack, MessageRequest
from schemas.decisions.policy import WILDCARD, MessagePolicy
from schemas.journeys.control import JourneyControl
from schemas.profiles.person import Person
from schemas.territory import ONE_TERRITORY, Territory
from schemas.time import text_of_ms

Event = dict[str, Any]
Row = dict[str, Any]
State = dict[str, Any]


class MessageResolver:
    """Decides each message that a journey requests."""

    def __init__(
        self,
        policy: MessagePolicy,
        *,
        segments: Segments,
        territory: Territory = ONE_TERRITORY,
    ) -> None:
        """Prepare a policy.

        Args:
            policy: The message policy.
            segments: Returns the segments of a person.
            territory: Of the deployment.
        """
        quiet = QuietCalendar(policy.quiet_hours)
        send_time = SendTimeGate(policy.send_time, quiet)
        self._policy = policy
        self._quiet = quiet
        self._segments = segments
        self._territory = territory
        self._caps = Caps(policy)
        self._handlers = receipts.Receipts(policy.channels, policy.send_time.visits, territory).handlers
        self._reads_segments = bool(
            policy.suppression.segments or any(rule.segments for rule in policy.channels.values())
        )
        self._bypassed: frozenset[str] = policy.transactional.bypass
        self._holdout = Holdout(policy.holdout)
        self._gates: tuple[tuple[Gate, Callable[[Candidate], Check]], ...] = (
            ("consent", Consent(policy.consent).check),
            ("suppression", Suppression(policy.suppression, policy.channels).check),
            ("holdout", self._holdout.check),
            ("channel", ChannelChoice(policy.channels, policy.choice, bounced=policy.suppression.bounced).check),
            ("quiet_hours", QuietGate(quiet, send_time).check),
            ("send_time", send_time.check),
            ("caps", self._caps.check),
            ("priority", Priority(policy.priority).check),
            ("expiry", expiry),
        )

    def decide(self, person: Person, request: MessageRequest, now_ms: int) -> Decision:
        """Decide about one message.

        Args:
            person: The person; sections `caps` and `sends` of the state are changed.
            request: The message. The same request at the same time, of the same person, gets the same answer.
            now_ms: Logical time.

        Returns:
            The decision; `postponed` comes with the time of the next attempt.
        """
        self.expire(person, now_ms)
        candidate = self._candidate(person, request, now_ms)
        if sends.entry(person.state, candidate.key):
            return _already_sent(candidate)
        gates, gate, check, held_out = self._pass_gates(candidate)
        if gate and check.until_ms is not None and check.until_ms >= candidate.expires_ms:
            check = expiry_of_wait(candidate, gate, check)
            gate = "expiry"
            gates.append(_gate_row(gate, check))
        outcome: DecisionOutcome = "ghost" if candidate.holdout else "sent"
        if gate:
            outcome = "suppressed" if check.until_ms is None else "postponed"
        decided_by, why = ("holdout", held_out) if outcome == "ghost" else (gate, check.reason)
        reason = ledger.reason_sentence(candidate, outcome, why)
        row = ledger.row(candidate, outcome, decided_by, reason, gates, check.until_ms)
        self._record(candidate, outcome, check.until_ms)
        return Decision(row, outcome, check.until_ms, ledger.action(candidate, row) if outcome == "sent" else None)

    def on_event(self, person: Person, event: Event, now_ms: int) -> list[Row]:
        """Handle receipts of messages, and learn at which hours and on which channels the person responds.

        Args:
            person: The person; sections `caps` and `sends` of the state are changed.
            event: A resolved touchpoint of theirs.
            now_ms: Logical time.

        Returns:
            Ledger rows of messages that have failed.
        """
        handler = self._handlers.get(event["event"])
        return handler(person, event, now_ms) if handler else []

    def regret(self, person: Person, key: str, reason: str, now_ms: int, event_id: str = "") -> Row | None:
        """Mark a message as sent in error, as a late event shows; see `processors.decisions.receipts.regret`."""
        return receipts.regret(person, key, reason, now_ms, event_id)

    def withdraw(self, person: Person, key: str) -> None:
        """Remove a postponed message whose run has ended from the pending messages."""
        sends.set_pending(person.state, key, None, 0)

    def withdrawn(self, person: Person, request: MessageRequest, reason: str, now_ms: int) -> Row:
        """Write the last row of a postponed message whose run has ended.

        Args:
            person: The person.
            request: The request of the next attempt.
            reason: Why the run has ended.
            now_ms: Logical time.
        """
        candidate = self._candidate(person, request, now_ms)
        if not (request.message.transactional and "holdout" in self._bypassed):
            self._holdout.check(candidate)
        check = Check(False, {"run_ended": reason}, f"its run ended while it waited ({reason.replace('_', ' ')})")
        said = ledger.reason_sentence(candidate, "suppressed", check.reason)
        return ledger.row(candidate, "suppressed", "withdrawn", said, [_gate_row("withdrawn", check)])

    def held_back(
        self, person: Person, request: MessageRequest, outcome: HeldBack, control: JourneyControl, now_ms: int
    ) -> Row:
        """Write the row of a message of a journey that is paused (`postponed`) or was stopped (`suppressed`).

        While a journey is paused a message has one such row, however often it is paused.

        Args:
            person: The person; their state is not changed.
            request: The message.
            outcome: What becomes of it.
            control: The state of the journey.
            now_ms: Logical time.
        """
        candidate = self._candidate(person, request, now_ms)
        gate: Gate = "paused" if outcome == "postponed" else "stopped"
        at_ms = control.since_ms if gate == "paused" else control.stopped_ms
        check = Check(False, {"since": text_of_ms(at_ms), "by": control.by}, f"its journey {_STATES[gate]}")
        said = ledger.reason_sentence(candidate, outcome, check.reason)
        row = ledger.row(candidate, outcome, gate, said, [_gate_row(gate, check)])
        return {**row, "decision_id": ledger.decision_id(candidate.key, gate)}

    def expire(self, person: Person, now_ms: int) -> None:
        """End reservations without a report, and delete entries older than every window."""
        self._caps.prune(person.state, now_ms)
        sends.prune(person.state, now_ms, self._policy.remembered_ms)

    def due(self, person: Person) -> int | None:
        """Return when `expire` next changes a decision; None: never without an event."""
        return self._caps.due(person.state)

    def combine(self, mine: State, other: State) -> None:
        """Join the sections `caps` and `sends` of another state into `mine`; counters add up.

        The result does not depend on the order of joins. `other` must not be used afterwards.
        """
        caps.combine(mine, other)
        sends.combine(mine, other)

    def after_open_hours(self, person: Person, channels: Sequence[str], at_ms: int, open_ms: int) -> int:
        """Return the time at which, since a time, so long outside the person's quiet hours has passed.

        Args:
            person: Whose clock.
            channels: Of the message; the first one's quiet hours count, without any those of all channels.
            at_ms: The time, milliseconds since 1970.
            open_ms: How long, milliseconds.
        """
        channel = channels[0] if channels else WILDCARD
        return self._quiet.after(channel, at_ms, open_ms, zone_of(person.document, self._territory))

    def _candidate(self, person: Person, request: MessageRequest, now_ms: int) -> Candidate:
        message, channels = request.message, self._policy.channels
        lifetime = message.expires_after_ms if message.expires_after_ms is not None else self._policy.expires_after
        expires_ms = request.requested_ms + lifetime
        return Candidate(
            person=person,
            request=request,
            key=ledger.idempotency_key(request.journey, request.journey_version, request.run_id, request.step),
            now_ms=now_ms,
            zone=zone_of(person.document, self._territory),
            expires_ms=expires_ms if request.expires_ms is None else min(expires_ms, request.expires_ms),
            channels=[name for name in message.channels or channels if name in channels],
            members=self._segments.members(person) if self._reads_segments else _NO_SEGMENTS,
        )

    def _pass_gates(self, candidate: Candidate) -> tuple[list[Row], Gate | None, Check, str]:
        """Pass the gates; return their rows, the deciding gate (None: all passed), its result, the holdout reason."""
        transactional = candidate.message.transactional
        bypassed = self._bypassed if transactional else _NO_SEGMENTS
        rows = [_gate_row("transactional", Check(True, {"transactional": transactional}))]
        held_out = ""
        for gate, check_of in self._gates:
            check = _BYPASSED if gate in bypassed else check_of(candidate)
            rows.append(_gate_row(gate, check))
            if gate == "holdout":
                held_out = check.reason
            elif not check.passed:
                return rows, gate, check, held_out
        return rows, None, _PASSED, held_out

    def _record(self, candidate: Candidate, outcome: DecisionOutcome, until_ms: int | None) -> None:
        """Record the decision in the person's state."""
        request, message, state = candidate.request, candidate.message, candidate.person.state
        # The message of a person who is held out is not pending: it is never sent.
        sends.set_pending(state, candidate.key, None if candidate.holdout else until_ms, message.priority)
        if outcome != "sent":
            return
        counted = self._caps.counts(candidate)
        if counted:
            self._caps.reserve(candidate)
        sent = LogEntry(
            at=candidate.now_ms,
            attempt=request.attempt,
            journey=request.journey,
            version=request.journey_version,
            run_id=request.run_id,
            step=request.step,
            template=message.template,
            channel=candidate.channel,
            purpose=message.purpose,
            tags=list(message.tags),
            campaign=message.campaign.get("name", ""),
            variant=request.variant,
            flags=COUNTED if counted else 0,
        )
        sends.record_send(state, candidate.key, sent)


_STATES = {"paused": "is paused", "stopped": "was stopped"}
_NO_SEGMENTS: frozenset[str] = frozenset()
_PASSED = Check(True, {})
_BYPASSED = Check(True, {"bypassed": "transactional"})


def _gate_row(gate: Gate, check: Check) -> Row:
    return {"gate": gate, "passed": check.passed, "input": check.input}


def _already_sent(candidate: Candidate) -> Decision:
    """Decide about a message that was sent already: at most one send for each idempotency key."""
    check = Check(False, {"already_sent": True}, "this very message has already gone out")
    reason = ledger.reason_sentence(candidate, "suppressed", check.reason)
    row = ledger.row(candidate, "suppressed", "delivery", reason, [_gate_row("delivery", check)])
    return Decision(
        {**row, "decision_id": ledger.decision_id(candidate.key, f"{candidate.request.attempt} again")}, "suppressed"
    )
