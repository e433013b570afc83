"""One turn: one event, or one timer, of one person; what it is about and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from processors.journeys.compiled import Program, Trigger
from processors.journeys.events import identity, journey_event
from processors.journeys.matching import Event, Matcher, about
from processors.journeys.runs import Run, Section, keep
from schemas.decisions.decision import Decision, Emit, MessageRequest
from schemas.journeys.definitions import MessageNode
from schemas.profiles.person import Person
from schemas.segments.conditions import Condition, SegmentChange
from schemas.time import text_of_ms
from schemas.topics import DECISIONS


class Segments(Protocol):
    """What journeys ask of the segment engine."""

    def holds(self, condition: Condition, person: Person, now_ms: int) -> bool:
        """Tell whether a condition holds for a person."""
        ...

    def members(self, person: Person) -> AbstractSet[str]:
        """List the segments that a person is in."""
        ...


class Sender(Protocol):
    """What journeys ask of the resolver."""

    def decide(self, person: Person, request: MessageRequest, now_ms: int) -> Decision:
        """Decide about one message."""
        ...

    def regret(self, person: Person, key: str, reason: str, now_ms: int, event_id: str = "") -> dict[str, Any] | None:
        """Write the ledger row of a message that a late event shows to have been a mistake."""
        ...

    def withdraw(self, person: Person, key: str) -> None:
        """Take back a message that was postponed."""
        ...

    def withdrawn(self, person: Person, request: MessageRequest, reason: str, now_ms: int) -> dict[str, Any]:
        """Write the ledger's last row about a message that was postponed and taken back."""
        ...


class Turn:
    """What is going on.

    Attributes:
        person: Whose turn it is.
        section: Their journeys.
        now: Logical time.
        event: The event; None when a timer, or a segment, is the cause.
        happened: When it happened.
        changes: Segments that were entered or left.
        sender: Decides about messages.
        programs: Journeys by version.
        out: What comes of it.
    """

    __slots__ = ("changes", "event", "happened", "now", "out", "person", "programs", "section", "sender")

    def __init__(
        self,
        person: Person,
        section: Section,
        now: int,
        event: Event | None,
        happened: int,
        changes: Sequence[SegmentChange],
        sender: Sender,
        programs: Mapping[str, Program],
    ) -> None:
        self.person = person
        self.section = section
        self.now = now
        self.event = event
        self.happened = happened
        self.changes = changes
        self.sender = sender
        self.programs = programs
        self.out: list[Emit] = []

    @property
    def event_id(self) -> str:
        """The event's id; empty without an event."""
        return self.event["event_id"] if self.event is not None else ""

    def meets(self, trigger: Trigger, since: int, key: str) -> bool:
        """Tell whether this is what a run of that key has waited for since then."""
        if isinstance(trigger, Matcher):
            return (
                self.event is not None
                and self.happened >= since
                and trigger.matches(self.event)
                and about(trigger.keys(self.event), key)
            )
        return any(
            change.segment == trigger.segment and change.entered == (trigger.when == "entered")
            for change in self.changes
        )

    def say(self, kind: str, run_id: str, run: Run, step: str = "", **detail: Any) -> None:
        """Report what happened in a run."""
        self.out.append(
            journey_event(
                kind, self.now, self.person.profile_id, run_id, run, step=step, detail=detail, event_id=self.event_id
            )
        )

    def regret(self, run: Run) -> None:
        """Mark the messages of a run that would not have gone out, had this event not come late."""
        if self.event is None:
            return
        sent: list[Any] = run.get("sent", [])
        for one in [one for one in sent if one[0] > self.happened]:
            sent.remove(one)
            why = f"{self.event['event']} had happened before, at {text_of_ms(self.happened)}, and was reported late"
            if row := self.sender.regret(self.person, one[1], why, self.now, self.event_id):
                self.out.append(Emit(DECISIONS, row))

    def end(self, run_id: str, run: Run, reason: str, until: int) -> None:
        """End a run; what it has sent, and its goals, are remembered until a time."""
        runs = self.section["runs"]
        del runs[run_id]
        self._withdraw(run_id, run, reason)
        self.say("exited", run_id, run, run["step"], reason=reason)
        if until > self.now:
            kept: Run = {
                name: run[name] for name in ("journey", "version", "key", "since", "at", "sent", "goals") if name in run
            }
            keep(self.section, run_id, {**kept, "until": until})

    def turn_away(self, kind: str, program: Program, key: str, cause: str, **detail: Any) -> None:
        """Report why a person does not enter a journey."""
        run = {"journey": program.journey.name, "version": program.version, "key": key}
        self.say(kind, identity(kind, program.version, self.person.profile_id, key, cause), run, **detail)

    def _withdraw(self, run_id: str, run: Run, reason: str) -> None:
        """Take back the message that a run waits to send, so that its last word is not that it was postponed."""
        if (pending := run.get("pending")) is None:
            return
        self.sender.withdraw(self.person, pending)
        program = self.programs.get(run["version"])
        op = program.ops.get(run["step"]) if program else None
        if program is None or op is None or not isinstance(op.node, MessageNode):
            return
        node, variant = program.message(op, self.person.profile_id, run.get("arm", ""))
        request = MessageRequest(
            journey=run["journey"],
            journey_version=run["version"],
            run_id=run_id,
            step=op.id,
            message=node,
            asked_ms=run["begun"],
            attempt=run["attempt"],
            trigger_event_id=self.event_id,
            holdout_share=program.journey.holdout,
            variant=variant,
        )
        self.out.append(Emit(DECISIONS, self.sender.withdrawn(self.person, request, reason, self.now)))

    def settle_collapsed(self) -> None:
        """Report runs that a merge has ended."""
        collapsed: dict[str, Run] = self.section.pop("collapsed", {})
        for run_id in sorted(collapsed):
            run = collapsed[run_id]
            self._withdraw(run_id, run, "joined into another run")
            into = [
                other_id
                for other_id, other in self.section.get("runs", {}).items()
                if other["journey"] == run["journey"] and other["key"] == run["key"]
            ]
            self.out.append(
                journey_event(
                    "collapsed",
                    run["begun"],
                    self.person.profile_id,
                    run_id,
                    run,
                    step=run["step"],
                    detail={"into": min(into)} if into else {"reason": "already_over"},
                )
            )
