"""The resolver: one message, one person, one decision, one row that says why.

The gates stand in a fixed order, and the first one that does not let a message pass decides:

1. *transactional*: what a contract asks for passes the gates that the policy names;
2. *consent*: to the purpose and the channel; no answer is a no;
3. *suppression*: people and channels that are closed for good;
4. *holdout*: control groups; a person who is held out goes through the same gates, and where others get the message
   their row says `ghost`: that, and not the whole group, is what those who got it are compared with;
5. *channel*: among those that reach the person;
6. *quiet_hours*, 7. *send_time*: when;
8. *caps*: how often; reserved here, committed on delivery, released on failure;
9. *priority*: what is more important goes first;
10. *expiry*: it may be too late, now or at the time it would have to wait for.

A decision is a pure function of the person and the request, and changes the person's state in place. It becomes atomic
by the store, which writes a state only if nobody else has meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processors.decisions import calendar as clock
from processors.decisions import ledger, receipts, sends
from processors.decisions.calendar import Quiet
from processors.decisions.gates import caps
from processors.decisions.gates.candidate import Case, Check, Segments
from processors.decisions.gates.caps import Caps
from processors.decisions.gates.channel import ChannelChoice
from processors.decisions.gates.permission import Consent, Holdout, Suppression
from processors.decisions.gates.priority import Priority, expiry, expiry_of_wait
from processors.decisions.gates.timing import QuietGate, SendTimeGate
from processors.decisions.sends import COUNTED, LogEntry
from schemas.decisions.decision import Decision, Gate, MessageRequest, Outcome
from schemas.decisions.policy import MessagePolicy
from schemas.profiles.person import Person

Event = dict[str, Any]
Row = dict[str, Any]
State = dict[str, Any]


class Resolver:
    """Decides what becomes of each message that a journey wants to send."""

    def __init__(self, policy: MessagePolicy, *, segments: Segments, timezone: str = "UTC") -> None:
        """Prepare a policy.

        Args:
            policy: Who may be written to, where, when and how often.
            segments: Tells the segments of a person.
            timezone: IANA name of the zone of people who have not shown one.

        Raises:
            ValueError: There is no such time zone.
        """
        zone = clock.zone_named(timezone)
        if zone is None:
            raise ValueError(f"{timezone!r} is not a time zone")
        quiet = Quiet(policy.quiet_hours)
        send_time = SendTimeGate(policy.send_time, quiet)
        self._policy = policy
        self._segments = segments
        self._zone = zone
        self._caps = Caps(policy)
        self._handlers = receipts.Receipts(policy.channels, policy.send_time.visits, zone).handlers
        self._reads_segments = bool(
            policy.suppression.segments or any(rule.segments for rule in policy.channels.values())
        )
        self._bypassed: frozenset[str] = policy.transactional.bypass
        self._holdout = Holdout(policy.holdout)
        self._gates: tuple[tuple[Gate, Callable[[Case], Check]], ...] = (
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
            The decision: `postponed` comes with the time to ask again, with `attempt` one higher.
        """
        self.expire(person, now_ms)
        case = self._case(person, request, now_ms)
        if sends.entry(person.state, case.key):
            return _again(case)
        gates, gate, check, held_out = self._pass(case)
        if gate and check.until_ms is not None and check.until_ms >= case.expires_ms:
            check = expiry_of_wait(case, gate, check)
            gate = "expiry"
            gates.append(_gate_row(gate, check))
        outcome: Outcome = "ghost" if case.holdout else "sent"
        if gate:
            outcome = "suppressed" if check.until_ms is None else "postponed"
        decided_by, why = ("holdout", held_out) if outcome == "ghost" else (gate, check.reason)
        reason = ledger.sentence(case, outcome, why)
        row = ledger.row(case, outcome, decided_by, reason, gates, check.until_ms)
        self._note(case, outcome, check.until_ms)
        return Decision(row, outcome, check.until_ms, ledger.action(case, row) if outcome == "sent" else None)

    def on_event(self, person: Person, event: Event, now_ms: int) -> list[Row]:
        """Follow what becomes of messages, and learn when and where the person answers.

        Args:
            person: The person; sections `caps` and `sends` of the state are changed.
            event: A resolved touchpoint of theirs.
            now_ms: Logical time.

        Returns:
            Further rows of the ledger: a message that has failed.
        """
        handler = self._handlers.get(event["event"])
        return handler(person, event, now_ms) if handler else []

    def regret(self, person: Person, key: str, reason: str, now_ms: int, event_id: str = "") -> Row | None:
        """Say that a message should not have gone out, as is known now; see `processors.decisions.receipts.regret`."""
        return receipts.regret(person, key, reason, now_ms, event_id)

    def withdraw(self, person: Person, key: str) -> None:
        """Take back a postponed message whose run has ended, so that nothing waits for it."""
        sends.settle_pending(person.state, key, None, 0)

    def withdrawn(self, person: Person, request: MessageRequest, reason: str, now_ms: int) -> Row:
        """Write the last row about a message that was postponed and whose run has ended.

        Args:
            person: The person.
            request: What would have been asked next.
            reason: Why the run has ended.
            now_ms: Logical time.
        """
        case = self._case(person, request, now_ms)
        if not (request.message.transactional and "holdout" in self._bypassed):
            self._holdout.check(case)
        check = Check(False, {"run_ended": reason}, f"its run ended while it waited ({reason.replace('_', ' ')})")
        said = ledger.sentence(case, "suppressed", check.reason)
        return ledger.row(case, "suppressed", "withdrawn", said, [_gate_row("withdrawn", check)])

    def expire(self, person: Person, now_ms: int) -> None:
        """Settle reservations that nobody has reported on, and forget what no window reaches any more."""
        self._caps.prune(person.state, now_ms)
        sends.prune(person.state, now_ms, self._policy.remembered_ms)

    def due(self, person: Person) -> int | None:
        """When `expire` next changes what a decision would be; None: by itself, never."""
        return self._caps.due(person.state)

    def combine(self, mine: State, other: State) -> None:
        """Join sections `caps` and `sends` of another state into `mine`: caps and what was learned add up.

        The order in which states are joined cannot be seen in the result. `other` is given away.
        """
        caps.combine(mine, other)
        sends.combine(mine, other)

    def _case(self, person: Person, request: MessageRequest, now_ms: int) -> Case:
        message, channels = request.message, self._policy.channels
        lifetime = message.expires_after_ms if message.expires_after_ms is not None else self._policy.expires_after
        expires_ms = request.asked_ms + lifetime
        return Case(
            person=person,
            request=request,
            key=ledger.idempotency_key(request.journey, request.journey_version, request.run_id, request.step),
            now_ms=now_ms,
            zone=clock.zone_of(person.document, self._zone),
            expires_ms=expires_ms if request.expires_ms is None else min(expires_ms, request.expires_ms),
            channels=[name for name in message.channels or channels if name in channels],
            members=self._segments.members(person) if self._reads_segments else _NO_SEGMENTS,
        )

    def _pass(self, case: Case) -> tuple[list[Row], Gate | None, Check, str]:
        """Go through the gates: the rows, the gate that decides (None: all passed), its answer, why held out."""
        transactional = case.message.transactional
        bypassed = self._bypassed if transactional else _NO_SEGMENTS
        rows = [_gate_row("transactional", Check(True, {"transactional": transactional}))]
        held_out = ""
        for gate, look in self._gates:
            check = _BYPASSED if gate in bypassed else look(case)
            rows.append(_gate_row(gate, check))
            if gate == "holdout":
                held_out = check.reason
            elif not check.passed:
                return rows, gate, check, held_out
        return rows, None, _PASSED, held_out

    def _note(self, case: Case, outcome: Outcome, until_ms: int | None) -> None:
        """Remember the decision."""
        request, message, state = case.request, case.message, case.person.state
        # Nobody waits for a message that is not going to be sent.
        sends.settle_pending(state, case.key, None if case.holdout else until_ms, message.priority)
        if outcome != "sent":
            return
        counted = self._caps.counts(case)
        if counted:
            self._caps.reserve(case)
        sent = LogEntry(
            at=case.now_ms,
            attempt=request.attempt,
            journey=request.journey,
            version=request.journey_version,
            run_id=request.run_id,
            step=request.step,
            template=message.template,
            channel=case.channel,
            purpose=message.purpose,
            tags=list(message.tags),
            campaign=message.campaign.get("name", ""),
            variant=request.variant,
            flags=COUNTED if counted else 0,
        )
        sends.note(state, case.key, sent)


_NO_SEGMENTS: frozenset[str] = frozenset()
_PASSED = Check(True, {})
_BYPASSED = Check(True, {"bypassed": "transactional"})


def _gate_row(gate: Gate, check: Check) -> Row:
    return {"gate": gate, "passed": check.passed, "input": check.input}


def _again(case: Case) -> Decision:
    """Answer for a message that has already gone out: at most once under one key, whatever asks again."""
    check = Check(False, {"already_sent": True}, "this very message has already gone out")
    reason = ledger.sentence(case, "suppressed", check.reason)
    row = ledger.row(case, "suppressed", "delivery", reason, [_gate_row("delivery", check)])
    return Decision({**row, "decision_id": ledger.decision_id(case.key, f"{case.request.attempt} again")}, "suppressed")
